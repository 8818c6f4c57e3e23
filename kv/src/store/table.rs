//! The kept data and its indexes, for one thread at a time. No lock, no clock, no thread: the time
//! comes in with each call, in milliseconds of a clock that never goes back.
//!
//! Invariants: `index` and `ordered` hold the same entries; `expiring` holds those of them that
//! have a deadline; `bytes` is the sum of their costs. An entry whose deadline has passed may be
//! there still, but is treated as absent by every step.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::time::Duration;

use hashbrown::HashTable;

use super::entry::{Entry, NEVER};
use super::{
    Action, Batched, Condition, Done, Found, Imported, Incremented, Op, Page, Refused, Selection,
    Version, step,
};
use crate::key::Key;

/// Parts of the hash index. Each grows on its own, so that no step moves all entries at once.
const SHARDS: usize = 256;
/// Expired entries that a full store removes before it looks whether there is room.
const MAKE_ROOM_MAX: usize = 1024;

/// What a step leaves behind: entries that are to be dropped when no lock is held any more.
pub(super) type Garbage = Vec<Entry>;

pub(super) struct Table {
    index: Box<[HashTable<Entry>]>,
    hasher: RandomState,
    ordered: BTreeSet<Entry>,
    expiring: BTreeSet<Expiring>,
    /// The last version that was given out.
    version: Version,
    /// Steps that have changed something.
    steps: u64,
    bytes: usize,
    bytes_max: usize,
}

/// An entry in the order in which entries expire.
#[derive(Clone, PartialEq, Eq)]
struct Expiring(Entry);

impl Table {
    /// Versions begin behind `version`. Writes are refused that would take more than `bytes_max`.
    pub(super) fn new(version: Version, bytes_max: usize) -> Self {
        Table {
            index: (0..SHARDS).map(|_| HashTable::new()).collect(),
            hasher: RandomState::new(),
            ordered: BTreeSet::new(),
            expiring: BTreeSet::new(),
            version,
            steps: 0,
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn get(&self, key: &Key<'_>, now_ms: u64) -> Option<Found> {
        let entry = self.find(key.as_str().as_bytes(), now_ms)?;
        Some(Found::of(entry.clone(), now_ms))
    }

    pub(super) fn put(
        &mut self,
        key: &Key<'_>,
        value: &str,
        ttl: Option<Duration>,
        condition: &Condition,
        now_ms: u64,
        garbage: &mut Garbage,
    ) -> Result<Version, Refused> {
        self.check(key, condition, now_ms)?;
        let version = self.next_version();
        let entry = Entry::new(key, value, version, step::deadline_ms(ttl, now_ms));
        self.make_room(&entry, now_ms, garbage)?;
        garbage.extend(self.set(entry));
        self.took(version);
        Ok(version)
    }

    pub(super) fn delete(
        &mut self,
        key: &Key<'_>,
        condition: &Condition,
        now_ms: u64,
        garbage: &mut Garbage,
    ) -> Result<bool, Refused> {
        self.check(key, condition, now_ms)?;
        let removed = self.remove(key.as_str().as_bytes());
        let was_live = removed.as_ref().is_some_and(|entry| entry.is_live(now_ms));
        garbage.extend(removed);
        if was_live {
            self.took(self.next_version());
        }
        Ok(was_live)
    }

    pub(super) fn increment(
        &mut self,
        key: &Key<'_>,
        by: i64,
        condition: &Condition,
        now_ms: u64,
        garbage: &mut Garbage,
    ) -> Result<Incremented, Refused> {
        self.check(key, condition, now_ms)?;
        let version = self.next_version();
        let (value, entry) = self.sum(key, by, version, now_ms)?;
        self.make_room(&entry, now_ms, garbage)?;
        garbage.extend(self.set(entry));
        self.took(version);
        Ok(Incremented { value, version })
    }

    /// All operations, or none.
    pub(super) fn batch(
        &mut self,
        ops: &[Op<'_>],
        now_ms: u64,
        garbage: &mut Garbage,
    ) -> Result<Batched, (usize, Refused)> {
        let version = self.next_version();
        let mut undo = Vec::new();
        let mut results = Vec::with_capacity(ops.len());
        let mut read = step::ReadLimit::default();
        for (index, op) in ops.iter().enumerate() {
            let done = self.apply(op, version, now_ms, garbage);
            match done.and_then(|(done, changed)| Ok((read.count(done)?, changed))) {
                Ok((done, Changed::No)) => results.push(done),
                Ok((done, Changed::From(before))) => {
                    undo.push((&op.key, before));
                    results.push(done);
                }
                Err(refused) => {
                    self.put_back(undo, garbage);
                    return Err((index, refused));
                }
            }
        }
        if !undo.is_empty() {
            self.took(version);
        }
        garbage.extend(undo.into_iter().filter_map(|(_, before)| before));
        Ok(Batched { version: self.version, results })
    }

    pub(super) fn list(&self, selection: &Selection, now_ms: u64) -> Page {
        let range = (selection.from(), Bound::Unbounded);
        let entries = self.ordered.range::<[u8], _>(range).cloned().map(Ok::<_, Infallible>);
        match step::page(selection, entries, now_ms) {
            Ok(page) => page,
            Err(impossible) => match impossible {},
        }
    }

    /// Removes every key that begins so; says how many had a value, and which keys they were.
    pub(super) fn delete_prefix(&mut self, prefix: &str, now_ms: u64) -> (usize, Garbage) {
        let prefix = prefix.as_bytes();
        let range = self.ordered.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        let begin_so: Garbage =
            range.take_while(|entry| entry.key().starts_with(prefix)).cloned().collect();
        for entry in &begin_so {
            self.remove(entry.key());
        }
        let deleted = begin_so.iter().filter(|entry| entry.is_live(now_ms)).count();
        if deleted > 0 {
            self.took(self.next_version());
        }
        (deleted, begin_so)
    }

    /// Takes over what is newer than what is here; says how many entries those were. Deadlines are on
    /// the same clock as `now_ms`.
    pub(super) fn import(
        &mut self,
        entries: &[Imported<'_>],
        now_ms: u64,
        garbage: &mut Garbage,
    ) -> Result<usize, Refused> {
        let version = self.next_version();
        let mut latest = self.version;
        let mut before: Vec<(&Key<'_>, Option<Entry>)> = Vec::new();
        for imported in entries {
            let Imported { key, value, version: given, .. } = imported;
            let current = self.find(key.as_str().as_bytes(), now_ms).map(Entry::version);
            let Some(deadline_ms) = imported.deadline_if_news(current, now_ms) else { continue };
            let entry = Entry::new(key, value, given.unwrap_or(version), deadline_ms);
            latest = latest.max(entry.version());
            if let Err(refused) = self.make_room(&entry, now_ms, garbage) {
                self.put_back(before, garbage);
                return Err(refused);
            }
            before.push((key, self.set(entry)));
        }
        if !before.is_empty() {
            self.took(latest);
        }
        let taken = before.len();
        garbage.extend(before.into_iter().filter_map(|(_, entry)| entry));
        Ok(taken)
    }

    /// All entries that have a value, in byte order.
    pub(super) fn entries(&self, now_ms: u64) -> Vec<Entry> {
        self.ordered.iter().filter(|entry| entry.is_live(now_ms)).cloned().collect()
    }

    /// Removes entries whose deadline has passed, so many at most; they are in `garbage` then.
    pub(super) fn sweep(&mut self, now_ms: u64, entries_max: usize, garbage: &mut Garbage) {
        for _ in 0..entries_max {
            let due = self.expiring.first().filter(|first| !first.0.is_live(now_ms));
            let Some(key) = due.map(|due| due.0.clone()) else { return };
            garbage.extend(self.remove(key.key()));
        }
    }

    /// When the next entry expires.
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        self.expiring.first().map(|first| first.0.deadline_ms())
    }

    /// Keys that have a value.
    pub(super) fn len(&self, now_ms: u64) -> usize {
        let dead = self.expiring.iter().take_while(|entry| !entry.0.is_live(now_ms)).count();
        self.ordered.len() - dead
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Steps that have changed something: each has a version.
    pub(super) fn writes(&self) -> u64 {
        self.steps
    }

    fn find(&self, key: &[u8], now_ms: u64) -> Option<&Entry> {
        self.find_any(key).filter(|entry| entry.is_live(now_ms))
    }

    fn find_any(&self, key: &[u8]) -> Option<&Entry> {
        let hash = self.hasher.hash_one(key);
        self.index[shard(hash)].find(hash, |entry| entry.key() == key)
    }

    fn check(&self, key: &Key<'_>, condition: &Condition, now_ms: u64) -> Result<(), Refused> {
        if condition.if_match.is_none() && condition.if_none_match.is_none() {
            return Ok(());
        }
        let current = self.find(key.as_str().as_bytes(), now_ms).map(Entry::version);
        if condition.holds(current) { Ok(()) } else { Err(Refused::Condition(current)) }
    }

    fn next_version(&self) -> Version {
        Version(self.version.0 + 1)
    }

    /// A step has been taken.
    fn took(&mut self, version: Version) {
        self.version = version;
        self.steps += 1;
    }

    /// Refuses what would take the store past its limit; what takes less than before may stay.
    fn make_room(
        &mut self,
        entry: &Entry,
        now_ms: u64,
        garbage: &mut Garbage,
    ) -> Result<(), Refused> {
        if self.bytes + entry.cost() <= self.bytes_max {
            return Ok(());
        }
        loop {
            let removed_before = garbage.len();
            self.sweep(now_ms, MAKE_ROOM_MAX, garbage);
            let before = self.find_any(entry.key()).map_or(0, Entry::cost);
            if entry.cost() <= before || self.bytes - before + entry.cost() <= self.bytes_max {
                return Ok(());
            }
            if garbage.len() == removed_before {
                return Err(Refused::Full(self.bytes_max));
            }
        }
    }

    /// Puts the entry in place of what was there.
    fn set(&mut self, entry: Entry) -> Option<Entry> {
        let hash = self.hasher.hash_one(entry.key());
        let shard = &mut self.index[shard(hash)];
        let before = if let Some(kept) = shard.find_mut(hash, |kept| kept.key() == entry.key()) {
            Some(std::mem::replace(kept, entry.clone()))
        } else {
            let hasher = &self.hasher;
            shard.insert_unique(hash, entry.clone(), |kept| hasher.hash_one(kept.key()));
            None
        };
        if let Some(before) = &before {
            self.forget(before);
        }
        self.bytes += entry.cost();
        if entry.deadline_ms() != NEVER {
            self.expiring.insert(Expiring(entry.clone()));
        }
        self.ordered.replace(entry);
        before
    }

    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let hash = self.hasher.hash_one(key);
        let found = self.index[shard(hash)].find_entry(hash, |entry| entry.key() == key);
        let (removed, _) = found.ok()?.remove();
        self.ordered.remove(key);
        self.forget(&removed);
        Some(removed)
    }

    /// The sums and the order of expiry no longer have the entry.
    fn forget(&mut self, entry: &Entry) {
        self.bytes -= entry.cost();
        if entry.deadline_ms() != NEVER {
            self.expiring.remove(&Expiring(entry.clone()));
        }
    }

    /// The sum of the key's integer and `by`, and the entry that would hold it.
    fn sum(
        &self,
        key: &Key<'_>,
        by: i64,
        version: Version,
        now_ms: u64,
    ) -> Result<(i64, Entry), Refused> {
        step::sum(self.find(key.as_str().as_bytes(), now_ms), key, by, version)
    }

    /// One operation of a batch, and whether it has changed its key.
    fn apply(
        &mut self,
        op: &Op<'_>,
        version: Version,
        now_ms: u64,
        garbage: &mut Garbage,
    ) -> Result<(Done, Changed), Refused> {
        self.check(&op.key, &op.condition, now_ms)?;
        let (done, entry) = match &op.action {
            Action::Get => return Ok((Done::Get(self.get(&op.key, now_ms)), Changed::No)),
            Action::Delete => {
                let Some(removed) = self.remove(op.key.as_str().as_bytes()) else {
                    return Ok((Done::Delete(false), Changed::No));
                };
                let done = Done::Delete(removed.is_live(now_ms));
                return Ok((done, Changed::From(Some(removed))));
            }
            Action::Put(value, ttl) => {
                let entry = Entry::new(&op.key, value, version, step::deadline_ms(*ttl, now_ms));
                (Done::Put, entry)
            }
            Action::Increment(by) => {
                let (sum, entry) = self.sum(&op.key, *by, version, now_ms)?;
                (Done::Increment(sum), entry)
            }
        };
        self.make_room(&entry, now_ms, garbage)?;
        Ok((done, Changed::From(self.set(entry))))
    }

    /// Puts back what was there before the changes of a refused step, the last one first.
    fn put_back(&mut self, changes: Vec<(&Key<'_>, Option<Entry>)>, garbage: &mut Garbage) {
        for (key, before) in changes.into_iter().rev() {
            garbage.extend(match before {
                Some(entry) => self.set(entry),
                None => self.remove(key.as_str().as_bytes()),
            });
        }
    }
}

/// Whether an operation has changed its key, and what was there before.
enum Changed {
    No,
    From(Option<Entry>),
}

/// The upper half of the hash: the lower bits choose the place within the shard.
fn shard(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or_default() % SHARDS
}

impl Ord for Expiring {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_deadline = self.0.deadline_ms().cmp(&other.0.deadline_ms());
        by_deadline.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Expiring {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
