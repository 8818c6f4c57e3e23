//! One client of a service that will be killed, and what it knows of its own keys.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::session::{Answer, Effect};
use crate::audit::worker::{Step, Worker, shown, value_of};

const THERE: &str = "what was acknowledged before a kill is there after it, and nothing else is";
const WHOLE: &str =
    "of a batch that was under way when the service was killed, all is there or nothing";
const FORWARD: &str = "versions do not go back over a kill";

/// Keys that a client writes one by one.
const KEYS: usize = 60;
/// Groups of keys that it writes in one batch each, and their size.
const GROUPS: usize = 6;
const WIDTH: usize = 5;

/// A client and its keys. Groups come behind the keys that stand alone.
pub(super) struct Writer {
    sets: Vec<Set>,
    state: Mutex<State>,
}

/// Keys that are written together.
struct Set(Vec<String>);

#[derive(Default)]
struct State {
    /// For each set what its keys hold.
    known: Vec<Known>,
    /// The largest version that was acknowledged.
    version: u64,
    acknowledged: u64,
    number: u64,
}

/// What a set holds: a number in all its keys, or none where they are absent.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    acknowledged: Option<u64>,
    /// What a call under way would have made of it.
    under_way: Option<Next>,
}

/// What a call makes of a set: the number, or absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Next(Option<u64>);

impl Writer {
    pub(super) fn new(run: &Run<'_>, client: usize) -> Writer {
        let mut sets: Vec<_> =
            (0..KEYS).map(|key| Set(vec![run.key(&format!("{client}-{key}"))])).collect();
        if run.has(Feature::Batch) {
            sets.extend((0..GROUPS).map(|group| {
                Set((0..WIDTH).map(|at| run.key(&format!("{client}-g{group}-{at}"))).collect())
            }));
        }
        let known = vec![Known::default(); sets.len()];
        Writer { sets, state: Mutex::new(State { known, ..State::default() }) }
    }

    /// How many writes were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.state().acknowledged
    }

    /// Writes until a call gets no answer.
    pub(super) fn write(&self, worker: &mut Worker<'_>, round: u64) {
        let mut state = self.state();
        // Another stream in each round, for workers begin anew.
        let seed = worker.rng.u64(..) ^ round;
        worker.rng.seed(seed);
        while !worker.run.is_over() {
            // Groups are few, and a half batch is worth more than a lost write.
            let is_group = self.sets.len() > KEYS && worker.rng.u8(..3) == 0;
            let at = if is_group {
                worker.rng.usize(KEYS..self.sets.len())
            } else {
                worker.rng.usize(..KEYS)
            };
            state.number += 1;
            let deletes = worker.rng.u8(..5) == 0;
            let next = (!deletes).then_some(state.number);
            let call = self.sets[at].call(next);
            let sent = worker.send_untracked(&call);
            match (sent.effect(), sent.outcome) {
                (Effect::Told, Ok(answer)) if matches!(answer.status, 200 | 201 | 404) => {
                    state.known[at] = Known { acknowledged: next, under_way: None };
                    state.acknowledged += 1;
                    state.version = state.version.max(version(&answer).unwrap_or(0));
                }
                (Effect::None, _) => return,
                (Effect::Told | Effect::Unknown, _) => {
                    state.known[at].under_way = Some(Next(next));
                    return;
                }
            }
        }
    }

    /// Reads all keys after a restart.
    pub(super) fn verify(&self, worker: &mut Worker<'_>) {
        let mut state = self.state();
        for (set, known) in self.sets.iter().zip(0..) {
            let before = state.known[known];
            let mut found = before;
            let largest = state.version;
            worker.case(THERE, |worker| {
                found.acknowledged = set.verify(worker, before, largest)?;
                found.under_way = None;
                Ok(())
            });
            state.known[known] = found;
        }
        let largest = state.version;
        let mut next = largest;
        worker.case(FORWARD, |worker| {
            if !worker.run.has(Feature::Versions) {
                return Ok(());
            }
            let answer = worker.call(&Call::put(&worker.run.key("version"), "1"))?;
            next = answer.version().unwrap_or_default();
            worker.holds(FORWARD, next > largest, format!("more than {largest}"), next)
        });
        state.version = state.version.max(next);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Set {
    /// The call that writes this number to all keys, or deletes them.
    fn call(&self, number: Option<u64>) -> Call {
        match (&self.0[..], number) {
            ([key], Some(number)) => Call::put(key, &number.to_string()),
            ([key], None) => Call::delete(key),
            (keys, number) => {
                let op = |key| match number {
                    Some(number) => json!({"op": "put", "key": key, "value": number}),
                    None => json!({"op": "delete", "key": key}),
                };
                Call::batch(&keys.iter().map(op).collect::<Vec<_>>())
            }
        }
    }

    /// What the keys hold now: what was acknowledged, or what was under way.
    fn verify(&self, worker: &mut Worker<'_>, known: Known, largest: u64) -> Step<Option<u64>> {
        let mut held = Vec::new();
        let mut seen = Vec::new();
        for key in &self.0 {
            let answer = worker.ask(&Call::get(key))?;
            let version = answer.version().unwrap_or(0);
            let is_old = known.under_way.is_some() || version <= largest;
            worker.holds(FORWARD, is_old, format!("at most {largest}"), version)?;
            held.push(match answer.status {
                404 => Some(None),
                200 => value_of(&answer).and_then(|value| value.parse().ok()).map(Some),
                _ => None,
            });
            seen.push(shown(&answer));
        }
        let told = |number: Option<u64>| number.map_or("absent".to_owned(), |n| n.to_string());
        let acknowledged = self.told(worker, known.acknowledged);
        let may_be = match known.under_way {
            Some(Next(number)) => format!("{}, or {}", told(known.acknowledged), told(number)),
            None => told(known.acknowledged),
        };
        let is_whole = held.iter().all(|number| *number == held[0]);
        let expected = format!("{may_be} in all of {} keys", self.0.len());
        worker.holds(WHOLE, is_whole, expected, seen.join(", "))?;
        let holds = held[0].is_some_and(|number| {
            number == known.acknowledged || Some(Next(number)) == known.under_way
        });
        let expected = format!("{may_be}; acknowledged: {acknowledged}");
        worker.holds(THERE, holds, expected, seen.join(", "))?;
        Ok(held[0].flatten())
    }

    /// The call that was acknowledged last.
    fn told(&self, worker: &Worker<'_>, number: Option<u64>) -> String {
        worker.curl(&self.call(number))
    }
}

/// The version that a write answered.
fn version(answer: &Answer) -> Option<u64> {
    answer.version().or_else(|| {
        let body: Value = serde_json::from_str(&answer.body).ok()?;
        body["version"].as_u64()
    })
}
