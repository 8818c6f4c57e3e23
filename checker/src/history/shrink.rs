//! From a history that has no order to the few operations that show it.
//!
//! Invariant: nothing is taken out whose lack could itself be the contradiction. If what is left
//! has no order, neither has the whole.

use std::time::Duration;

use super::budget::Budget;
use super::check::{Engine, Part, decide};
use super::counts::Pruning;
use super::operation::{Condition, Op, Operation, Outcome, Seen, Value};
use super::problem;
use super::search::{self, Found};
use super::verdict::{CounterExample, Limits};

/// How long the search for fewer operations may take.
const SHRINKING_MAX: Duration = Duration::from_secs(5);
/// How often everything is tried to be dropped; what one round drops can free others.
const ROUNDS_MAX: usize = 4;

struct Shrinking {
    limits: Limits,
    budget: Budget,
    operations: Vec<Operation>,
}

/// The counter-example in one key's history, which has no order. `evidence` says which of its
/// operations show that, or nothing.
pub(super) fn counter_example(
    part: &[&Operation],
    evidence: &[u32],
    limits: &Limits,
) -> CounterExample {
    let time = limits.time.min(SHRINKING_MAX);
    let mut operations: Vec<Operation> = if evidence.is_empty() {
        part.iter().map(|operation| (*operation).clone()).collect()
    } else {
        evidence.iter().map(|at| part[*at as usize].clone()).collect()
    };
    operations.retain(|operation| operation.outcome != Outcome::Failed);
    operations.sort_by_key(|operation| operation.called_ns);
    let mut shrinking = Shrinking {
        limits: limits.clone(),
        budget: Budget::new(time, limits.memory_bytes_max),
        operations,
    };
    shrinking.cut_end();
    shrinking.cut_start();
    shrinking.drop_operations();
    let longest = shrinking.longest();
    CounterExample {
        key: part.first().map(|operation| operation.key.clone()).unwrap_or_default(),
        initial: shrinking.limits.initial,
        operations: shrinking.operations,
        longest,
    }
}

impl Shrinking {
    fn is_bad(&self, operations: &[Operation], limits: &Limits) -> bool {
        let part: Vec<&Operation> = operations.iter().collect();
        let answer = decide(&part, limits, &self.budget, Engine::Any);
        matches!(answer, Ok(Part::NotLinearizable(_)))
    }

    /// Finds the first return at which the contradiction is there. What has not returned by then
    /// may have happened or not.
    fn cut_end(&mut self) {
        let mut times: Vec<u64> = self
            .operations
            .iter()
            .filter(|operation| operation.outcome != Outcome::Unknown)
            .map(|operation| operation.returned_ns)
            .collect();
        times.sort_unstable();
        times.dedup();
        let (mut low, mut high) = (0, times.len());
        let mut best = None;
        while low < high {
            let middle = usize::midpoint(low, high);
            let cut = until(&self.operations, times[middle]);
            if self.is_bad(&cut, &self.limits) {
                best = Some(cut);
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        if let Some(best) = best {
            self.operations = best;
        }
    }

    /// Finds the last moment at which it is certain what the key held, and from which on the
    /// contradiction is there.
    fn cut_start(&mut self) {
        let moments = certain_moments(&self.operations);
        let (mut low, mut high) = (0, moments.len());
        let mut best = None;
        while low < high {
            let middle = usize::midpoint(low, high);
            let (at, value) = &moments[middle];
            let is_left = |(place, operation): &(usize, &Operation)| {
                place > at || operation.outcome == Outcome::Unknown
            };
            let cut: Vec<Operation> = (0..)
                .zip(&self.operations)
                .filter(is_left)
                .map(|(_, operation)| operation.clone())
                .collect();
            let limits = Limits { initial: value.clone(), ..self.limits.clone() };
            if self.is_bad(&cut, &limits) {
                best = Some((cut, limits));
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if let Some((operations, limits)) = best {
            (self.operations, self.limits) = (operations, limits);
        }
    }

    fn drop_operations(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let before = self.operations.len();
            let mut chunk = before.div_ceil(2);
            while chunk > 0 && self.budget.time().is_ok() {
                self.drop_chunks(chunk);
                chunk /= 2;
            }
            if self.operations.len() == before {
                break;
            }
        }
    }

    /// Tries to drop what only sees, so many operations at a time, and then each write that nobody
    /// asks about.
    fn drop_chunks(&mut self, chunk: usize) {
        let mut from = 0;
        while from < self.operations.len() && self.budget.time().is_ok() {
            let range = from..(from + chunk).min(self.operations.len());
            let is_left = |(place, operation): &(usize, &Operation)| {
                !range.contains(place) || !self.can_go(*place, operation, chunk == 1)
            };
            let left: Vec<Operation> = (0..)
                .zip(&self.operations)
                .filter(is_left)
                .map(|(_, operation)| operation.clone())
                .collect();
            if left.len() < self.operations.len() && self.is_bad(&left, &self.limits) {
                from += chunk - (self.operations.len() - left.len()).min(chunk);
                self.operations = left;
            } else {
                from += chunk;
            }
        }
    }

    fn can_go(&self, place: usize, operation: &Operation, writes_too: bool) -> bool {
        only_sees(operation)
            || writes_too
                && plain_value(operation).is_some_and(|value| {
                    let mut others =
                        (0..).zip(&self.operations).filter(|(other, _)| *other != place);
                    others.all(|(_, other)| refuses(other, value))
                })
    }

    fn longest(&self) -> Vec<usize> {
        let part: Vec<&Operation> = self.operations.iter().collect();
        let Limits { initial, absent_is_empty, .. } = &self.limits;
        let problem =
            problem::problem(&part, initial.as_ref(), *absent_is_empty, self.budget.bytes_max());
        let Some(mut problem) = problem else {
            return Vec::new();
        };
        problem.classify();
        match search::search(problem, Pruning::Off, &self.budget) {
            Ok(Found::NoOrder(longest)) => longest.into_iter().map(|at| at as usize).collect(),
            Ok(Found::Order) | Err(_) => Vec::new(),
        }
    }
}

/// The history as it was known at the time `until_ns`.
fn until(operations: &[Operation], until_ns: u64) -> Vec<Operation> {
    let seen = operations.iter().filter(|operation| operation.called_ns <= until_ns);
    seen.filter_map(|operation| {
        let has_returned =
            operation.outcome == Outcome::Unknown || operation.returned_ns <= until_ns;
        match (has_returned, &operation.op) {
            (true, _) => Some(operation.clone()),
            (false, Op::Get) => None,
            (
                false,
                Op::Put { .. }
                | Op::Delete { .. }
                | Op::Cas { .. }
                | Op::Append { .. }
                | Op::Add { .. },
            ) => Some(Operation { outcome: Outcome::Unknown, ..operation.clone() }),
        }
    })
    .collect()
}

/// The operations that ran alone, but for unknown ones, and what the key held then.
fn certain_moments(operations: &[Operation]) -> Vec<(usize, Option<Value>)> {
    let mut moments = Vec::new();
    let mut returned_ns = None;
    let known: Vec<(usize, &Operation)> = (0..)
        .zip(operations)
        .filter(|(_, operation)| operation.outcome != Outcome::Unknown)
        .collect();
    for (order, (place, operation)) in known.iter().enumerate() {
        let was_quiet = returned_ns.is_none_or(|before| before < operation.called_ns);
        let next = known.get(order + 1);
        let is_quiet = next.is_none_or(|(_, next)| operation.returned_ns < next.called_ns);
        if was_quiet && is_quiet {
            moments.extend(held_after(operation).map(|value| (*place, value)));
        }
        returned_ns = returned_ns.max(Some(operation.returned_ns));
    }
    moments
}

/// What the key held when the operation happened or right after it, where that is plain.
#[expect(clippy::option_option, reason = "absence is a value, and not to know is none")]
fn held_after(operation: &Operation) -> Option<Option<Value>> {
    let Outcome::Ok(seen) = &operation.outcome else {
        return None;
    };
    match (&operation.op, seen) {
        (Op::Get | Op::Add { .. }, Seen::Found { value, .. })
        | (Op::Put { value, .. } | Op::Cas { value, .. }, Seen::Done { .. } | Seen::Found { .. }) => {
            Some(Some(value.clone()))
        }
        (Op::Delete { .. }, Seen::Done { .. } | Seen::Found { .. })
        | (Op::Get | Op::Delete { .. }, Seen::Absent) => Some(None),
        (
            Op::Get
            | Op::Put { .. }
            | Op::Delete { .. }
            | Op::Cas { .. }
            | Op::Append { .. }
            | Op::Add { .. },
            Seen::Done { .. } | Seen::Found { .. } | Seen::Absent | Seen::Refused(_),
        ) => None,
    }
}

/// Whether the operation saw something and changed nothing.
fn only_sees(operation: &Operation) -> bool {
    match (&operation.op, &operation.outcome) {
        (Op::Get, _) | (_, Outcome::Ok(Seen::Refused(_) | Seen::Absent)) => true,
        (
            _,
            Outcome::Ok(Seen::Done { .. } | Seen::Found { .. })
            | Outcome::Failed
            | Outcome::Unknown,
        ) => false,
    }
}

/// The value of a write that asks for nothing, or that may not have happened.
fn plain_value(operation: &Operation) -> Option<&Value> {
    match &operation.op {
        Op::Put { value, condition: Condition::None } => Some(value),
        Op::Put { value, .. } | Op::Cas { value, .. } => {
            (operation.outcome == Outcome::Unknown).then_some(value)
        }
        Op::Get | Op::Delete { .. } | Op::Append { .. } | Op::Add { .. } => None,
    }
}

/// Whether the operation either asks for nothing or could not have met `held`.
fn refuses(operation: &Operation, held: &Value) -> bool {
    match (&operation.op, &operation.outcome) {
        (Op::Get, Outcome::Ok(Seen::Found { value, .. })) => value != held,
        (Op::Get, Outcome::Ok(Seen::Absent)) | (Op::Put { condition: Condition::None, .. }, _) => {
            true
        }
        (Op::Cas { expected, .. }, Outcome::Ok(Seen::Done { .. }) | Outcome::Unknown) => {
            expected.as_ref() != Some(held)
        }
        (
            Op::Get
            | Op::Put { .. }
            | Op::Delete { .. }
            | Op::Cas { .. }
            | Op::Append { .. }
            | Op::Add { .. },
            Outcome::Ok(_) | Outcome::Failed | Outcome::Unknown,
        ) => false,
    }
}
