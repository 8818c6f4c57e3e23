//! What is left to be seen, and what is left that could bring it about.
//!
//! A value that somebody still has to see must not be left when nothing can set it again; neither
//! must one that more operations have to take away than can set it.

use std::collections::HashMap;

use super::model::{Effect, NO_SLOT, OTHER, State, Step, UNSEEN};
use super::nogoods::{Kinds, kind_bit};
use super::problem::{Call, Problem};

/// Whether the search may leave out what cannot succeed. The longest order is longer without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pruning {
    On,
    Off,
}

#[derive(Debug)]
pub(super) struct Counts {
    calls: Vec<Part>,
    values: Vec<OfValue>,
    /// How many still have to see each slot's version.
    slots: Vec<u32>,
    /// How many calls ask for something.
    guarded: usize,
    /// How many calls need a value, and how many set one whatever was there.
    needing: usize,
    setting: usize,
    /// Whether unknown operations may set one.
    may_set: bool,
    /// The pools that can set a value, with how many there are in each.
    pools_of: HashMap<u32, Vec<(usize, u32)>>,
    is_pruning: bool,
    /// Whether texts only grow until one is set: appends, and nothing else that depends on the state.
    is_growing: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct OfValue {
    /// Calls that need it.
    needed: u32,
    /// Those of them that set another one.
    taken: u32,
    /// Calls that set it.
    set: u32,
}

/// A call's part in the counts.
#[derive(Debug, Clone, Copy)]
struct Part {
    needs: u32,
    needs_slot: u32,
    sets: u32,
    is_guarded: bool,
}

const NOTHING: u32 = u32::MAX;

impl Counts {
    /// `effects` and `totals` are those of the pools of unknown operations.
    pub(super) fn new(
        problem: &Problem,
        effects: &[Effect],
        totals: Vec<u32>,
        pruning: Pruning,
    ) -> Counts {
        let mut pools_of: HashMap<u32, Vec<(usize, u32)>> = HashMap::new();
        for (pool, (effect, total)) in effects.iter().zip(totals).enumerate() {
            if let Some(value) = effect.set() {
                pools_of.entry(value).or_default().push((pool, total));
            }
        }
        let calls: Vec<Part> = problem.required.iter().map(|call| part(problem, call)).collect();
        let mut counts = Counts {
            calls: Vec::new(),
            values: vec![OfValue::default(); problem.values.count()],
            slots: vec![0; problem.slots],
            guarded: 0,
            needing: 0,
            setting: 0,
            may_set: effects.iter().any(|effect| effect.set().is_some()),
            pools_of,
            is_pruning: pruning == Pruning::On && !problem.is_dynamic,
            is_growing: pruning == Pruning::On && is_growing(problem),
        };
        for part in &calls {
            counts.add(*part);
        }
        counts.calls = calls;
        counts
    }

    /// Whether nothing is left that asks for anything: what is left can go in the order of its calls.
    pub(super) fn is_settled(&self) -> bool {
        self.guarded == 0
    }

    /// Whether something has to be seen that nothing brings about.
    pub(super) fn is_hopeless(&self, initial: State) -> bool {
        let is_missing = |(value, of): (u32, &OfValue)| {
            let pools = self.pools_of.get(&value).into_iter().flatten();
            let unknown: u32 = pools.map(|(_, total)| total).sum();
            let times = of.set + unknown + u32::from(value == initial.value);
            (of.needed > 0 && times == 0) || of.taken > times
        };
        self.is_pruning && (0..).zip(&self.values).any(is_missing)
    }

    /// Whether there is no way on after going from one state to the other, and on which kinds of
    /// unknown operations that depends. `is_growth`: whether by an append. `used`: how many of each
    /// kind; `None` if there are always more.
    pub(super) fn dead_if_left(
        &self,
        from: State,
        to: State,
        is_growth: bool,
        used: Option<&[u32]>,
    ) -> Option<Kinds> {
        if self.is_growing && self.setting == 0 && !self.may_set {
            let of = self.values.get(from.value as usize).copied().unwrap_or_default();
            let is_left = is_growth && from.value != to.value && of.needed > 0;
            return (is_left || to.value == OTHER && self.needing > 0).then_some(0);
        }
        if !self.is_pruning {
            return None;
        }
        let is_seen = from.version != UNSEEN && from.version != to.version;
        if is_seen && self.slots[from.version as usize - 1] > 0 {
            return Some(0);
        }
        let of = self.values.get(from.value as usize).copied().unwrap_or_default();
        if from.value == to.value || of.needed == 0 {
            return None;
        }
        let (mut times, mut kinds) = (of.set, 0);
        for (pool, total) in self.pools_of.get(&from.value).into_iter().flatten() {
            times += total - used?[*pool];
            kinds |= kind_bit(*pool);
        }
        (times == 0 || of.taken > times).then_some(kinds)
    }

    pub(super) fn lift(&mut self, call: u32) {
        let part = self.calls[call as usize];
        self.guarded -= usize::from(part.is_guarded);
        self.needing -= usize::from(part.needs != NOTHING);
        self.setting -= usize::from(part.sets != NOTHING);
        if let Some(of) = self.values.get_mut(part.needs as usize) {
            of.needed -= 1;
            of.taken -= u32::from(part.takes());
        }
        if let Some(of) = self.values.get_mut(part.sets as usize) {
            of.set -= 1;
        }
        if let Some(needed) = self.slots.get_mut(part.needs_slot as usize) {
            *needed -= 1;
        }
    }

    pub(super) fn put_back(&mut self, call: u32) {
        self.add(self.calls[call as usize]);
    }

    fn add(&mut self, part: Part) {
        self.guarded += usize::from(part.is_guarded);
        self.needing += usize::from(part.needs != NOTHING);
        self.setting += usize::from(part.sets != NOTHING);
        if let Some(of) = self.values.get_mut(part.needs as usize) {
            of.needed += 1;
            of.taken += u32::from(part.takes());
        }
        if let Some(of) = self.values.get_mut(part.sets as usize) {
            of.set += 1;
        }
        if let Some(needed) = self.slots.get_mut(part.needs_slot as usize) {
            *needed += 1;
        }
    }
}

impl Part {
    fn takes(self) -> bool {
        self.sets != NOTHING && self.sets != self.needs
    }
}

fn is_growing(problem: &Problem) -> bool {
    let is_sum = |step: &Step| matches!(step.effect, Effect::Add(_));
    problem.is_dynamic && !problem.steps.iter().any(is_sum)
}

fn part(problem: &Problem, call: &Call) -> Part {
    let step = problem.step_of(call);
    let is_slotted = problem.steps_of(call).iter().all(|step| step.slot != NO_SLOT);
    Part {
        needs: step.guard.needed().unwrap_or(NOTHING),
        needs_slot: step.guard.needed_slot().unwrap_or(NOTHING),
        sets: step.effect.set().unwrap_or(NOTHING),
        // A sum may overflow, or meet a text.
        is_guarded: !step.is_blind() || is_slotted || matches!(step.effect, Effect::Add(_)),
    }
}
