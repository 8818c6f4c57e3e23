//! Unknown operations in the search: those that do the same are a pool, and some of them right before
//! an operation that needs them are a chain.

use std::collections::HashMap;
use std::ops::Range;

use super::model::{Effect, State, Step, Values, number_of};
use super::problem::Call;

/// Unknown operations that do the same.
pub(super) struct Pool {
    pub(super) class: u32,
    pub(super) steps: Range<u32>,
    /// The times of their calls, sorted, and their places among the key's operations.
    pub(super) called: Vec<u32>,
    pub(super) operations: Vec<u32>,
}

/// An unknown operation at the end of a chain of such.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) parent: u32,
    pub(super) pool: u32,
    pub(super) step: u32,
    pub(super) state: State,
}

/// The end of a chain of none.
pub(super) const NO_LINK: u32 = u32::MAX;
pub(super) fn pools(optional: &[Call]) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    let mut of_class = HashMap::new();
    for call in optional {
        let at = *of_class.entry(call.class).or_insert_with(|| {
            pools.push(Pool {
                class: call.class,
                steps: call.steps.clone(),
                called: Vec::new(),
                operations: Vec::new(),
            });
            pools.len() - 1
        });
        pools[at].called.push(call.called);
        pools[at].operations.push(call.operation);
    }
    pools
}

/// The ways of a call that can be open in `state`: the first one, and that of the slot whose turn it
/// is. The slots of the others grow.
pub(super) fn possible(
    steps: &[Step],
    of: &Range<u32>,
    state: State,
) -> impl Iterator<Item = u32> + use<> {
    let rest = &steps[of.start as usize + 1..of.end as usize];
    let found = rest.binary_search_by_key(&state.filled, |step| step.slot).ok();
    [Some(of.start), found.map(|at| of.start + 1 + number_of(at))].into_iter().flatten()
}

/// The links of a chain, from its last one up.
pub(super) struct LinksUp<'a> {
    pub(super) links: &'a [Link],
    pub(super) at: u32,
}

impl Iterator for LinksUp<'_> {
    type Item = Link;

    fn next(&mut self) -> Option<Link> {
        let link = *self.links.get(self.at as usize)?;
        self.at = link.parent;
        Some(link)
    }
}

/// How often a pool is used in the chain that ends with the link at `at`.
pub(super) fn in_chain(links: &[Link], at: u32, pool: usize) -> usize {
    LinksUp { links, at }.filter(|link| link.pool as usize == pool).count()
}

/// Whether `step` could not go, or would do something else, without the operation of the effect
/// `last` right before it, which went from the state `before`.
pub(super) fn depends_on(step: &Step, before: State, last: Effect, values: &mut Values) -> bool {
    if step.apply(before, values).is_none() {
        return true;
    }
    match step.effect {
        Effect::None | Effect::Set(_) => false,
        Effect::Append(_) => true,
        // Two sums commute.
        Effect::Add(_) => !matches!(last, Effect::Add(_)),
    }
}
