//! Steps that read, decide and write: conditions, counters, removals and batches.
//!
//! The keys are read at one revision, the operations are done here on what was read, and one
//! transaction writes what has changed, if every key that was read still has the revision that it
//! was read with. If one has not, the step is taken again from the beginning.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::call::Refusal;
use super::cluster::{Failure, Resend};
use super::read::Looked;
use super::value::{self, Base, HEADER_BYTES};
use super::wire::Txn;
use super::{OPS_MAX, REQUEST_BYTES_MAX, Shared};
use crate::key::Key;
use crate::store::entry::Entry;
use crate::store::step::{self, ReadLimit};
use crate::store::{Action, Batched, Condition, Done, Found, Op, Refused, Version};

/// Tries of a step whose keys are changed by others meanwhile.
const TRIES_MAX: u32 = 100;
/// The longest pause before another try; it grows up to there.
const PAUSE_MS_MAX: u32 = 16;
/// Keys whose values are read in one request.
const READ_KEYS_MAX: usize = 64;

/// Keys that a step may depend on: etcd counts compares to its limit, and one is the record's.
pub(super) const COMPARES_MAX: usize = OPS_MAX - 1;

/// The keys of a step: what was read, and what they have become.
struct Keys<'a> {
    by_key: HashMap<&'a str, State>,
    /// The order in which they were first named.
    order: Vec<&'a str>,
}

struct State {
    /// None if the step does not depend on what was there.
    read: Option<Looked>,
    entry: Option<Entry>,
    is_changed: bool,
}

impl Shared {
    /// Does the operations as one step, or none of them.
    pub(super) fn batch(&self, ops: &[Op<'_>]) -> Result<Batched, (usize, Refused)> {
        if ops.len() > OPS_MAX {
            return Err((OPS_MAX, Refused::TooManyOps(OPS_MAX)));
        }
        for attempt in 0..TRIES_MAX {
            match self.try_batch(ops) {
                Ok(Some(batched)) => return Ok(batched),
                Ok(None) => thread::sleep(pause(attempt)),
                Err(refused) => return Err(refused),
            }
        }
        let reason = format!("others changed the same keys {TRIES_MAX} times meanwhile");
        Err((0, Refused::Unavailable(reason.into())))
    }

    /// The step, once: none if a key was changed meanwhile.
    fn try_batch(&self, ops: &[Op<'_>]) -> Result<Option<Batched>, (usize, Refused)> {
        let whole = |failure: Failure| (0, Refused::from(failure));
        let origin = self.origin().ok_or_else(|| (0, self.unavailable()))?;
        let (mut keys, revision) = self.read_keys(ops)?;
        // The version that the step has if nothing else is written before it.
        let next = Base::last(origin.version).version(revision + 1);
        let now_ms = self.now_ms();
        let mut limit = ReadLimit::default();
        let mut results = Vec::with_capacity(ops.len());
        for (index, op) in ops.iter().enumerate() {
            let done = keys.apply(op, next, now_ms).and_then(|done| limit.count(done));
            results.push(done.map_err(|refused| (index, refused))?);
        }
        if keys.by_key.values().all(|state| !state.is_changed) {
            let version = Base::last(origin.version).version(revision);
            return Ok(Some(Batched { version, results }));
        }
        let Some((origin, revision)) = self.commit(&keys, now_ms).map_err(whole)? else {
            return Ok(None);
        };
        self.writes.fetch_add(1, Ordering::Relaxed);
        let version = Base::last(origin).version(revision);
        for done in &mut results {
            set_version(done, next, version);
        }
        Ok(Some(Batched { version, results }))
    }

    /// What the operations depend on, as it is at one revision.
    fn read_keys<'a>(&self, ops: &'a [Op<'_>]) -> Result<(Keys<'a>, u64), (usize, Refused)> {
        let mut keys = Keys { by_key: HashMap::new(), order: Vec::new() };
        let mut wanted: Vec<(usize, &Key<'_>)> = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            let name = op.key.as_str();
            if keys.by_key.contains_key(name) {
                continue;
            }
            keys.by_key.insert(name, State { read: None, entry: None, is_changed: false });
            keys.order.push(name);
            let is_blind =
                matches!(op.action, Action::Put(..)) && op.condition == Condition::default();
            if !is_blind {
                wanted.push((index, &op.key));
            }
        }
        let mut revision = 0;
        let mut parts: Vec<&[(usize, &Key<'_>)]> = wanted.chunks(READ_KEYS_MAX).collect();
        parts.reverse();
        while let Some(part) = parts.pop() {
            let names: Vec<&Key<'_>> = part.iter().map(|(_, key)| *key).collect();
            let (looked, at) = match self.look(&names, revision) {
                Err(Failure::AnswerTooLarge) if part.len() > 1 => {
                    let (front, back) = part.split_at(part.len() / 2);
                    parts.extend([back, front]);
                    continue;
                }
                outcome => outcome.map_err(|failure| (0, Refused::from(failure)))?,
            };
            if revision == 0 {
                revision = at;
            }
            for ((index, key), looked) in part.iter().zip(looked) {
                let looked = looked.map_err(|refused| (*index, refused))?;
                if let Some(state) = keys.by_key.get_mut(key.as_str()) {
                    state.entry.clone_from(&looked.entry);
                    state.read = Some(looked);
                }
            }
        }
        Ok((keys, revision))
    }

    /// Writes what has changed; the origin and the revision of it, or none if a key that was read
    /// is another one by now.
    fn commit(&self, keys: &Keys<'_>, now_ms: u64) -> Result<Option<(u64, u64)>, Failure> {
        let mut writes = Vec::new();
        let mut bytes = 0;
        for (name, state) in keys.in_order() {
            let name = self.name(name);
            if let Some(entry) = state.entry.as_ref().filter(|_| state.is_changed) {
                bytes += name.len() + HEADER_BYTES + entry.value().len();
                let lease = self.leases.get(&self.cluster, entry.deadline_ms(), now_ms)?;
                writes.push((name, state, lease));
            } else {
                writes.push((name, state, 0));
            }
        }
        let compares = writes.iter().filter(|(_, state, _)| state.read.is_some()).count();
        if compares > COMPARES_MAX {
            return Err(Failure::TooManyCompares);
        }
        if bytes > REQUEST_BYTES_MAX {
            return Err(Failure::Refused(Refusal::TooLarge));
        }
        let written = self.txn(
            Resend::Unsafe,
            |txn, origin| fill(txn, &writes, origin.version),
            |answer, origin| Ok((origin.version, answer.header.revision.0)),
        );
        match written {
            // It has ended since it was given out: the step is taken again with another one.
            Err(Failure::Refused(Refusal::NoLease)) => {
                self.leases.forget();
                Ok(None)
            }
            outcome => outcome,
        }
    }
}

fn fill(txn: &mut Txn, writes: &[(Vec<u8>, &State, u64)], origin: u64) {
    for (name, state, lease) in writes {
        if let Some(read) = &state.read {
            txn.compare_revision(name, read.revision);
        }
        match &state.entry {
            Some(entry) if state.is_changed => {
                let value = value::encode(Base::last(origin), entry.deadline_ms(), entry.value());
                txn.put(name, &value, *lease);
            }
            None if state.is_changed => txn.delete(name, None),
            Some(_) | None => {}
        }
    }
}

impl Keys<'_> {
    fn in_order(&self) -> impl Iterator<Item = (&str, &State)> {
        self.order.iter().filter_map(|name| Some((*name, self.by_key.get(name)?)))
    }

    /// Does one operation on what the operations before it have left.
    fn apply(&mut self, op: &Op<'_>, version: Version, now_ms: u64) -> Result<Done, Refused> {
        let state = self.by_key.get_mut(op.key.as_str());
        // Every operation's key has been put there.
        let state = state.ok_or(Refused::Condition(None))?;
        let current = state.entry.as_ref().map(Entry::version);
        if !op.condition.holds(current) {
            return Err(Refused::Condition(current));
        }
        let (done, entry) = match &op.action {
            Action::Get => {
                let found = state.entry.clone().map(|entry| Found::of(entry, now_ms));
                return Ok(Done::Get(found));
            }
            Action::Delete if state.entry.is_none() => return Ok(Done::Delete(false)),
            Action::Delete => (Done::Delete(true), None),
            Action::Put(value, ttl) => {
                let deadline_ms = step::deadline_ms(*ttl, now_ms);
                (Done::Put, Some(Entry::new(&op.key, value, version, deadline_ms)))
            }
            Action::Increment(by) => {
                let (sum, entry) = step::sum(state.entry.as_ref(), &op.key, *by, version)?;
                (Done::Increment(sum), Some(entry))
            }
        };
        state.entry = entry;
        state.is_changed = true;
        Ok(done)
    }
}

/// What the step itself wrote and read again has the version that the step turned out to have.
fn set_version(done: &mut Done, expected: Version, version: Version) {
    if let Done::Get(Some(found)) = done
        && found.version() == expected
    {
        let (key, value) = (found.value.key(), found.value.value());
        found.value = Entry::of_bytes(key, value, version, found.value.deadline_ms());
    }
}

/// Longer from try to try, and not the same for everybody.
fn pause(attempt: u32) -> Duration {
    let ms = (1 << attempt.min(PAUSE_MS_MAX.ilog2())).min(PAUSE_MS_MAX);
    let micros = u64::from(ms) * 1_000;
    let noise = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let noise = noise.map_or(0, |since| u64::from(since.subsec_nanos()) / 1_000);
    Duration::from_micros(noise % micros)
}
