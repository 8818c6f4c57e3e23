//! A group of steps that are written, synced and published together, one after the other in
//! memory: each sees what those before it have changed.
//!
//! Nothing is on the disk, and nobody else sees it, before the commit thread writes what the group
//! has come to.

use std::collections::HashMap;

use super::cache::Cache;
use super::directory::Room;
use super::record::{self, STATE_KEY, State};
use super::tree::{Changes, View};
use crate::key::Key;
use crate::store::entry::{Entry, NEVER};
use crate::store::{Action, Batched, Done, Found, Imported, Op, Refused, Version, step};

/// Bytes that a record takes on the disk beside key and value, twice: in the journal and in a
/// table.
const RECORD_BYTES: u64 = 2 * 64;

pub(super) struct Group<'a> {
    view: &'a View,
    /// What was read lately of that view.
    cache: &'a Cache,
    pub(super) now_ms: u64,
    /// What each key that was touched has come to, by an entry that has its name.
    touched: HashMap<Entry, Touched>,
    state: State,
    /// Steps that have changed something.
    pub(super) steps: u64,
    /// Entries that were removed after their time.
    pub(super) expired: u64,
    room: Room,
}

struct Touched {
    /// The deadline of what is on the disk, if something is.
    stored: Option<u64>,
    now: Option<Entry>,
}

/// A key, and what it was before a step.
type Before<'k> = (&'k [u8], Option<Entry>);

impl<'a> Group<'a> {
    /// A group of some `steps`, more or less.
    pub(super) fn new(
        view: &'a View,
        cache: &'a Cache,
        now_ms: u64,
        room: Room,
        steps: usize,
    ) -> Self {
        Group {
            view,
            cache,
            now_ms,
            touched: HashMap::with_capacity(steps),
            state: view.state,
            steps: 0,
            expired: 0,
            room,
        }
    }

    /// One operation; says with which version, if it changed something, or else the latest.
    pub(super) fn step(&mut self, op: &Op<'_>) -> Result<(Done, Version), Refused> {
        let (done, before) = self.apply(op, self.next_version())?;
        if before.is_some() {
            self.took(self.next_version());
        }
        Ok((done, self.state.version))
    }

    /// All operations, or none.
    pub(super) fn batch(&mut self, ops: &[Op<'_>]) -> Result<Batched, (usize, Refused)> {
        let version = self.next_version();
        let mut read = step::ReadLimit::default();
        let mut undo = Vec::new();
        let mut results = Vec::with_capacity(ops.len());
        for (index, op) in ops.iter().enumerate() {
            let done = self.apply(op, version).and_then(|(done, before)| {
                undo.extend(before);
                read.count(done)
            });
            match done {
                Ok(done) => results.push(done),
                Err(refused) => {
                    self.put_back(undo);
                    return Err((index, refused));
                }
            }
        }
        if !undo.is_empty() {
            self.took(version);
        }
        Ok(Batched { version: self.state.version, results })
    }

    /// Removes every key that begins so; says how many had a value.
    pub(super) fn delete_prefix(&mut self, prefix: &str) -> Result<usize, Refused> {
        let prefix = prefix.as_bytes();
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        for entry in self.view.entries(std::ops::Bound::Included(prefix)) {
            let entry = entry?;
            if !entry.key().starts_with(prefix) {
                break;
            }
            keys.push(entry.key().into());
        }
        let here = self
            .touched
            .iter()
            .filter(|(named, now)| named.key().starts_with(prefix) && now.stored.is_none());
        keys.extend(here.map(|(named, _)| named.key().into()));
        let mut deleted = 0;
        let mut undo: Vec<Before<'_>> = Vec::with_capacity(keys.len());
        for key in &keys {
            let removed = self.find_any(key).and_then(|before| {
                self.set(key, before.as_ref(), None)?;
                Ok(before)
            });
            match removed {
                Ok(before) => {
                    deleted += usize::from(self.live(before.as_ref()).is_some());
                    undo.push((key, before));
                }
                Err(refused) => {
                    self.put_back(undo);
                    return Err(refused);
                }
            }
        }
        if deleted > 0 {
            self.took(self.next_version());
        }
        Ok(deleted)
    }

    /// Takes over what is newer than what is here; says how many keys those were.
    pub(super) fn import(&mut self, entries: &[Imported<'_>]) -> Result<usize, Refused> {
        let next = self.next_version();
        let mut latest = self.state.version;
        let mut undo: Vec<Before<'_>> = Vec::new();
        for imported in entries {
            let Imported { key, value, version, .. } = imported;
            let name = key.as_str().as_bytes();
            let taken = self.find_any(name).and_then(|before| {
                let current = self.live(before.as_ref()).map(Entry::version);
                let Some(deadline_ms) = imported.deadline_if_news(current, self.now_ms) else {
                    return Ok(None);
                };
                let entry = Entry::new(key, value, version.unwrap_or(next), deadline_ms);
                let version = entry.version();
                self.grow(name, before.as_ref(), entry)?;
                Ok(Some((before, version)))
            });
            match taken {
                Ok(None) => {}
                Ok(Some((before, version))) => {
                    latest = latest.max(version);
                    undo.push((name, before));
                }
                Err(refused) => {
                    self.put_back(undo);
                    return Err(refused);
                }
            }
        }
        if !undo.is_empty() {
            self.took(latest);
        }
        Ok(undo.len())
    }

    /// Removes entries that have expired, so many at most, with deadlines from `from_ms` on; says
    /// how many it has found.
    pub(super) fn sweep(&mut self, from_ms: u64, entries_max: usize) -> Result<usize, Refused> {
        let mut found = 0;
        for due in self.view.expiries(from_ms, self.now_ms).take(entries_max) {
            let (_, key) = due?;
            let key = key.as_str().as_bytes();
            found += 1;
            let before = self.find_any(key)?;
            if before.as_ref().is_some_and(|entry| !entry.is_live(self.now_ms)) {
                self.set(key, before.as_ref(), None)?;
                self.expired += 1;
            }
        }
        Ok(found)
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// The keys that may have changed.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        self.touched
            .keys()
            .filter_map(|named| Some(Key::kept(std::str::from_utf8(named.key()).ok()?)))
    }

    /// What every key that may have changed has come to.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&[u8], Option<&Entry>)> {
        self.touched.iter().map(|(named, touched)| (named.key(), touched.now.as_ref()))
    }

    /// What is to be written. `synced` is the last version that the disk keeps for sure.
    pub(super) fn changes(&self, synced: Version) -> (Changes, State) {
        let mut changes = Changes::with_capacity(self.touched.len() + 1);
        let mut stored = Vec::new();
        let mut state = State { synced, ..self.state };
        // Each group has a version of its own, also one that only removes what has expired: by it
        // the audit tells what was on the disk before.
        state.version = state.version.max(Version(self.view.state.version.0 + 1));
        for (named, Touched { stored: before, now }) in &self.touched {
            let key = named.key();
            let deadline_ms = now.as_ref().map(Entry::deadline_ms);
            if let Some(before) = before.filter(|at| *at != NEVER && Some(*at) != deadline_ms) {
                changes.remove(&record::expiry_key(before, key));
            }
            if let Some(entry) = now {
                if entry.deadline_ms() != NEVER && *before != deadline_ms {
                    changes.store(&record::expiry_key(entry.deadline_ms(), key), &[]);
                }
                record::encode(entry, &mut stored);
                changes.store(key, &stored);
            } else if before.is_some() {
                changes.remove(key);
            }
            state.keys += u64::from(now.is_some());
            state.keys = state.keys.saturating_sub(u64::from(before.is_some()));
        }
        changes.store(STATE_KEY, &state.encode());
        (changes, state)
    }

    fn next_version(&self) -> Version {
        Version(self.state.version.0 + 1)
    }

    /// A step has been taken.
    fn took(&mut self, version: Version) {
        self.state.version = version;
        self.steps += 1;
    }

    fn live<'e>(&self, entry: Option<&'e Entry>) -> Option<&'e Entry> {
        entry.filter(|entry| entry.is_live(self.now_ms))
    }

    /// What is under the key, expired or not.
    fn find_any(&self, key: &[u8]) -> Result<Option<Entry>, Refused> {
        match self.touched.get(key) {
            Some(touched) => Ok(touched.now.clone()),
            None => self.cache.get(key).map_or_else(|| self.view.find(key), |it| Ok(Some(it))),
        }
    }

    /// One operation, and what its key was if it has changed it.
    fn apply<'k>(
        &mut self,
        op: &'k Op<'_>,
        version: Version,
    ) -> Result<(Done, Option<Before<'k>>), Refused> {
        let key = op.key.as_str().as_bytes();
        let before = self.find_any(key)?;
        let current = self.live(before.as_ref());
        let current_version = current.map(Entry::version);
        if !op.condition.holds(current_version) {
            return Err(Refused::Condition(current_version));
        }
        let (done, entry) = match &op.action {
            Action::Get => {
                let found = current.map(|entry| Found::of(entry.clone(), self.now_ms));
                return Ok((Done::Get(found), None));
            }
            Action::Delete if current.is_none() => return Ok((Done::Delete(false), None)),
            Action::Delete => {
                self.set(key, before.as_ref(), None)?;
                return Ok((Done::Delete(true), Some((key, before))));
            }
            Action::Put(value, ttl) => {
                let deadline_ms = step::deadline_ms(*ttl, self.now_ms);
                (Done::Put, Entry::new(&op.key, value, version, deadline_ms))
            }
            Action::Increment(by) => {
                let (sum, entry) = step::sum(current, &op.key, *by, version)?;
                (Done::Increment(sum), entry)
            }
        };
        self.grow(key, before.as_ref(), entry)?;
        Ok((done, Some((key, before))))
    }

    /// Puts an entry in place of `before`, if the disk has room for it.
    fn grow(&mut self, key: &[u8], before: Option<&Entry>, entry: Entry) -> Result<(), Refused> {
        let bytes = (key.len() + entry.value().len()) as u64 + RECORD_BYTES;
        self.room.bytes = self.room.bytes.checked_sub(bytes).ok_or(Refused::DiskFull)?;
        self.set(key, before, Some(entry))
    }

    /// Puts `now` in place of `before`, which is what was found under the key.
    fn set(
        &mut self,
        key: &[u8],
        before: Option<&Entry>,
        now: Option<Entry>,
    ) -> Result<(), Refused> {
        if now.is_none() {
            let bytes = key.len() as u64 + RECORD_BYTES;
            let room = &mut self.room;
            match room.bytes.checked_sub(bytes) {
                Some(rest) => room.bytes = rest,
                None => {
                    room.for_removals =
                        room.for_removals.checked_sub(bytes).ok_or(Refused::DiskFull)?;
                }
            }
        }
        if let Some(touched) = self.touched.get_mut(key) {
            touched.now = now;
        } else {
            let stored = before.map(Entry::deadline_ms);
            // What was there may be large, and is not kept for its name.
            let nameless = || Entry::of_bytes(key, &[], Version(0), NEVER);
            let named = now.clone().unwrap_or_else(nameless);
            self.touched.insert(named, Touched { stored, now });
        }
        Ok(())
    }

    /// Puts back what a refused step has changed, the last change first.
    fn put_back(&mut self, changes: Vec<Before<'_>>) {
        for (key, before) in changes.into_iter().rev() {
            if let Some(touched) = self.touched.get_mut(key) {
                touched.now = before;
            }
        }
    }
}
