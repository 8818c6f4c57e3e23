//! What goes over many keys: lists, removal by prefix, export and import.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::call::{CallError, Refusal};
use super::cluster::{Failure, Resend};
use super::value::{self, Base, HEADER_BYTES};
use super::wire::{KeyValue, Only, Range, RangeAnswer, end_of};
use super::{OPS_MAX, REQUEST_BYTES_MAX};
use crate::key::Key;
use crate::store::entry::Entry;
use crate::store::{Imported, Listed, Page, Refused, Selection, Version, step};

/// Keys in the first part of a walk; how large their values are shows then.
const PART_KEYS_FIRST: usize = 64;
/// Keys in a later part.
const PART_KEYS_MAX: usize = 1_000;
/// Bytes of values that a part should have.
const PART_BYTES: usize = 1 << 20;
/// Keys in a transaction of an import: each is compared too.
const IMPORT_KEYS_MAX: usize = 100;
/// Bytes of them.
const IMPORT_BYTES_MAX: usize = 512 << 10;
/// Tries of a part of an import whose keys are changed by others meanwhile.
const IMPORT_TRIES_MAX: usize = 16;

/// The keys of a range as they are at one revision, in byte order, expired ones among them.
pub(super) struct Walk {
    shared: Arc<Shared>,
    /// The next key that may be there.
    from: Vec<u8>,
    end: Vec<u8>,
    /// 0 before the first part, which settles it.
    revision: u64,
    only: Only,
    part_keys: usize,
    read: VecDeque<Walked>,
    is_over: bool,
}

/// A key in a walk.
enum Walked {
    Entry(Result<Entry, Refused>),
    /// In a walk over keys only: the key if it has a lease, and may have expired.
    Key(Option<String>),
}

/// One part of a walk.
struct Part {
    read: VecDeque<Walked>,
    last: Option<Vec<u8>>,
    more: bool,
    bytes: usize,
    revision: u64,
}

impl Walk {
    fn new(shared: &Arc<Shared>, from: Vec<u8>, end: Vec<u8>, revision: u64, only: Only) -> Self {
        Walk {
            shared: Arc::clone(shared),
            from,
            end,
            revision,
            only,
            part_keys: if only == Only::Keys { PART_KEYS_MAX } else { PART_KEYS_FIRST },
            read: VecDeque::new(),
            is_over: false,
        }
    }

    fn next_walked(&mut self) -> Option<Result<Walked, Refused>> {
        while self.read.is_empty() && !self.is_over {
            if let Err(failure) = self.read_part() {
                self.is_over = true;
                return Some(Err(failure.into()));
            }
        }
        self.read.pop_front().map(Ok)
    }

    fn read_part(&mut self) -> Result<(), Failure> {
        let Walk { shared, from, end, revision, only, part_keys, .. } = self;
        let range = Range {
            key: from,
            end: Some(end),
            limit: *part_keys,
            revision: *revision,
            only: *only,
        };
        let read = |range: &RangeAnswer<'_>| shared.part(range, *only);
        let part = shared.txn(
            Resend::Safe,
            |txn, _| txn.range(&range),
            |answer, _| {
                let range = answer.responses.first().and_then(|op| op.range.as_ref());
                let part = range.and_then(read);
                let part = part.ok_or_else(|| CallError::Lost("answers no range".into()))?;
                Ok(Part { revision: answer.header.revision.0, ..part })
            },
        );
        let part = match part {
            Err(Failure::AnswerTooLarge) if *part_keys > 1 => {
                *part_keys /= 2;
                return Ok(());
            }
            outcome => outcome?.ok_or(Failure::Unavailable("etcd contradicts itself".into()))?,
        };
        if self.revision == 0 {
            self.revision = part.revision;
        }
        if self.only == Only::All && !part.read.is_empty() {
            let each = (part.bytes / part.read.len()).max(1);
            self.part_keys = (PART_BYTES / each).clamp(1, PART_KEYS_MAX);
        }
        self.is_over = !part.more;
        if let Some(mut last) = part.last {
            last.push(0);
            self.from = last;
        }
        self.read = part.read;
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = Result<Entry, Refused>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_walked()? {
            Ok(Walked::Entry(entry)) => Some(entry),
            // Who walks over keys asks for what was walked.
            Ok(Walked::Key(_)) => None,
            Err(refused) => Some(Err(refused)),
        }
    }
}

impl Shared {
    fn part(&self, range: &RangeAnswer<'_>, only: Only) -> Option<Part> {
        let mut bytes = 0;
        let mut read = VecDeque::with_capacity(range.kvs.len());
        for kv in &range.kvs {
            if only == Only::Keys {
                let name = if kv.lease.0 > 0 { kv.key()? } else { Vec::new() };
                let key = name.strip_prefix(&*self.prefix);
                read.push_back(Walked::Key(
                    key.map(|key| String::from_utf8_lossy(key).into_owned()),
                ));
                continue;
            }
            let entry = self.entry(kv)?;
            bytes += entry.as_ref().map_or(0, |entry| entry.key().len() + entry.value().len());
            read.push_back(Walked::Entry(entry));
        }
        let last = range.kvs.last().and_then(KeyValue::key);
        Some(Part { read, last, more: range.more, bytes, revision: 0 })
    }

    /// The keys with this prefix: from where on, and up to where.
    fn range_of(&self, prefix: &str) -> (Vec<u8>, Vec<u8>) {
        if prefix.is_empty() {
            // The record of the store comes before all keys.
            let from = [&*self.prefix, b"\x01"].concat();
            return (from, end_of(&self.prefix));
        }
        let from = self.name(prefix);
        let end = end_of(&from);
        (from, end)
    }

    pub(super) fn list(self: &Arc<Self>, selection: &Selection) -> Result<Page, Refused> {
        let (mut from, end) = self.range_of(&selection.prefix);
        if let Some(after) = &selection.after {
            let mut behind = self.name(after);
            behind.push(0);
            from = from.max(behind);
        }
        if from >= end {
            return Ok(Page { entries: Vec::new(), more_after: None });
        }
        let mut walk = Walk::new(self, from, end, 0, Only::All);
        walk.part_keys = walk.part_keys.min(selection.limit + 1);
        step::page(selection, walk, self.now_ms())
    }

    /// Everything, at one revision.
    pub(super) fn export(
        self: &Arc<Self>,
    ) -> impl Iterator<Item = Result<Listed, Refused>> + Send + use<> {
        let (from, end) = self.range_of("");
        let walk = Walk::new(self, from, end, 0, Only::All);
        let now_ms = self.now_ms();
        walk.filter(move |entry| entry.as_ref().map_or(true, |entry| entry.is_live(now_ms)))
            .map(|entry| entry.map(Listed))
    }

    /// Removes what begins so, in one transaction. What of it had expired is looked up afterwards, in
    /// the revision before.
    pub(super) fn delete_prefix(self: &Arc<Self>, prefix: &str) -> Result<usize, Refused> {
        let (from, end) = self.range_of(prefix);
        let now_ms = self.now_ms();
        let removed = self.txn(
            Resend::Unsafe,
            |txn, _| txn.delete(&from, Some(&end)),
            |answer, _| {
                let delete = answer.responses.first().and_then(|op| op.delete.as_ref());
                let deleted = delete.map_or(0, |delete| delete.deleted.0);
                Ok((deleted, answer.header.revision.0))
            },
        )?;
        let Some((deleted, revision)) = removed.filter(|(deleted, _)| *deleted > 0) else {
            return Ok(0);
        };
        self.writes.fetch_add(1, Ordering::Relaxed);
        let unknown = |refused: Refused| {
            let reason = format!("{deleted} keys were removed, but not counted: {refused}");
            Refused::MayHaveHappened(reason.into())
        };
        let mut before = Walk::new(self, from, end, revision - 1, Only::Keys);
        let (mut live, mut with_lease) = (0, Vec::new());
        while let Some(walked) = before.next_walked() {
            match walked.map_err(unknown)? {
                Walked::Key(Some(key)) => with_lease.push(key),
                Walked::Key(None) | Walked::Entry(_) => live += 1,
            }
        }
        for keys in with_lease.chunks(PART_KEYS_FIRST) {
            live += self.live_of(keys, revision - 1, now_ms).map_err(|f| unknown(f.into()))?;
        }
        Ok(live)
    }

    /// How many of the keys had a value at that revision.
    fn live_of(&self, keys: &[String], revision: u64, now_ms: u64) -> Result<usize, Failure> {
        let named: Vec<Key<'_>> = keys.iter().map(|key| Key::kept(key)).collect();
        let looked = match self.look(&named.iter().collect::<Vec<_>>(), revision) {
            Err(Failure::AnswerTooLarge) if keys.len() > 1 => {
                let (front, back) = keys.split_at(keys.len() / 2);
                let front = self.live_of(front, revision, now_ms)?;
                return Ok(front + self.live_of(back, revision, now_ms)?);
            }
            outcome => outcome?.0,
        };
        let there = looked.iter().flatten().filter_map(|looked| looked.entry.as_ref());
        Ok(there.filter(|entry| entry.is_live(now_ms)).count())
    }

    /// Takes over keys, some in each transaction; says how many.
    pub(super) fn import(&self, entries: &[Imported<'_>]) -> Result<usize, Refused> {
        if let Some(latest) = entries.iter().filter_map(|entry| entry.version).max() {
            self.outgrow_if_later(latest)?;
        }
        let mut taken = 0;
        let mut rest = entries;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(part_of(rest));
            taken += self.import_part(part)?;
            rest = after;
        }
        Ok(taken)
    }

    fn outgrow_if_later(&self, latest: Version) -> Result<(), Refused> {
        let origin = self.origin().ok_or_else(|| self.unavailable())?;
        let next = Base::Counted(origin.version).version(self.cluster.revision());
        if latest < next { Ok(()) } else { self.outgrow(latest).map_err(Refused::from) }
    }

    fn import_part(&self, entries: &[Imported<'_>]) -> Result<usize, Refused> {
        let keys: Vec<&Key<'_>> = entries.iter().map(|entry| &entry.key).collect();
        for _ in 0..IMPORT_TRIES_MAX {
            let (looked, _) = self.look(&keys, 0)?;
            let now_ms = self.now_ms();
            let mut writes = Vec::new();
            let mut seen = std::collections::HashSet::new();
            // Of a key that is named twice the last one counts.
            for (entry, looked) in entries.iter().zip(looked).rev() {
                let looked = looked?;
                let current = looked.entry.as_ref().map(Entry::version);
                let Some(deadline_ms) = entry.deadline_if_news(current, now_ms) else { continue };
                if !seen.insert(entry.key.as_str()) {
                    continue;
                }
                let lease = self.leases.get(&self.cluster, deadline_ms, now_ms)?;
                writes.push((
                    self.name(entry.key.as_str()),
                    looked.revision,
                    entry,
                    deadline_ms,
                    lease,
                ));
            }
            if writes.is_empty() {
                return Ok(0);
            }
            let written = self.txn(
                Resend::Unsafe,
                |txn, origin| {
                    for (name, revision, entry, deadline_ms, lease) in &writes {
                        txn.compare_revision(name, *revision);
                        let base = entry.version.map_or(Base::last(origin.version), Base::Given);
                        let json = entry.value.as_bytes();
                        txn.put(name, &value::encode(base, *deadline_ms, json), *lease);
                    }
                },
                |_, _| Ok(()),
            );
            match written {
                Err(Failure::Refused(Refusal::NoLease)) => self.leases.forget(),
                Err(failure) => return Err(failure.into()),
                Ok(Some(())) => {
                    self.writes.fetch_add(1, Ordering::Relaxed);
                    return Ok(writes.len());
                }
                Ok(None) => {}
            }
        }
        Err(Refused::Unavailable("others change the same keys again and again".into()))
    }
}

/// How many entries go with the next transaction.
fn part_of(entries: &[Imported<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Imported<'_>| {
        bytes += entry.key.as_str().len() + HEADER_BYTES + entry.value.len();
        bytes <= IMPORT_BYTES_MAX
    };
    entries.iter().take(IMPORT_KEYS_MAX.min(OPS_MAX)).take_while(fits).count().max(1)
}

const _: () = assert!(IMPORT_BYTES_MAX <= REQUEST_BYTES_MAX);
