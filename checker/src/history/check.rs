//! From a history to its verdict: key by key, for a history is linearizable if and only if that of
//! every key is (Herlihy and Wing 1990, theorem 1; Horn and Kroening, "Faster linearizability
//! checking via P-compositionality", 2015).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::budget::Budget;
use super::counts::Pruning;
use super::hashes::Seeded;
use super::model::Step;
use super::operation::Operation;
use super::problem;
use super::search::{self, Found};
use super::shrink;
use super::verdict::{Limits, Reason, Verdict};
use super::zones::{Zones, zones};

/// What one key's history is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Linearizable,
    /// Of these operations there is no order, or (empty) of all of them.
    NotLinearizable(Vec<u32>),
}

/// Which engine decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// The zones where they can, else the search.
    Any,
    /// The search, as the tests ask for it.
    #[cfg(test)]
    Search,
}

/// Whether `history` is linearizable. Its operations may come in any order.
pub fn check(history: &[Operation], limits: &Limits) -> Verdict {
    let budget = Budget::new(limits.time, limits.memory_bytes_max);
    let parts = split(history);
    let next = AtomicUsize::new(0);
    let worst = Mutex::new(Verdict::Linearizable);
    let work = || {
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let verdict = match decide(part, limits, &budget, Engine::Any) {
                Ok(Part::Linearizable) => continue,
                Err(reason) => Verdict::Unknown(reason),
                Ok(Part::NotLinearizable(evidence)) => {
                    budget.cancel();
                    let example = shrink::counter_example(part, &evidence, limits);
                    Verdict::NotLinearizable(Box::new(example))
                }
            };
            let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(*worst, Verdict::NotLinearizable(_)) {
                *worst = verdict;
            }
        }
    };
    let threads = limits.threads.clamp(1, parts.len().max(1));
    thread::scope(|scope| {
        let work = &work;
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    worst.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The operations of each key; the keys with the fewest first.
fn split(history: &[Operation]) -> Vec<Vec<&Operation>> {
    let mut place_of: HashMap<&str, usize, Seeded> = HashMap::default();
    let mut parts: Vec<Vec<&Operation>> = Vec::new();
    for operation in history {
        let place = *place_of.entry(&operation.key).or_insert_with(|| {
            parts.push(Vec::new());
            parts.len() - 1
        });
        parts[place].push(operation);
    }
    parts.sort_by_key(Vec::len);
    parts
}

/// Decides one key's history.
pub(super) fn decide(
    part: &[&Operation],
    limits: &Limits,
    budget: &Budget,
    engine: Engine,
) -> Result<Part, Reason> {
    budget.time()?;
    let steps_max = budget.bytes_max() / size_of::<Step>();
    let initial = limits.initial.as_ref();
    let mut problem =
        problem::problem(part, initial, limits.absent_is_empty, steps_max).ok_or(Reason::Memory)?;
    let answer = match engine {
        Engine::Any => zones(&problem),
        #[cfg(test)]
        Engine::Search => Zones::NotForThis,
    };
    match answer {
        Zones::Linearizable => Ok(Part::Linearizable),
        Zones::Contradiction(calls) => {
            let operations = calls.iter().map(|call| problem.required[*call].operation);
            Ok(Part::NotLinearizable(operations.collect()))
        }
        Zones::NotForThis => {
            problem.classify();
            match search::search(problem, Pruning::On, budget)? {
                Found::Order => Ok(Part::Linearizable),
                Found::NoOrder(_) => Ok(Part::NotLinearizable(Vec::new())),
            }
        }
    }
}
