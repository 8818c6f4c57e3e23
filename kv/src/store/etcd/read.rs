//! Reads of single keys. Those that wait together travel in one transaction of ranges, which etcd
//! answers from one revision, after it has made sure that this is the latest one.

use crossbeam_channel::Receiver;

use super::Shared;
use super::call::CallError;
use super::cluster::{Failure, Resend};
use super::value;
use super::wire::{KeyValue, Range, TxnAnswer};
use crate::key::Key;
use crate::store::entry::Entry;
use crate::store::{Found, Refused};

/// Reads in one transaction.
const READS_MAX: usize = 64;

/// A read that waits.
pub(super) struct Read {
    pub(super) key: Key<'static>,
    pub(super) done: Box<dyn FnOnce(Result<Option<Found>, Refused>) + Send>,
}

/// A key as it was read.
#[derive(Clone)]
pub(super) struct Looked {
    /// What is there, if it has not expired.
    pub(super) entry: Option<Entry>,
    /// When it was last written in etcd, expired or not; 0 if it is not there.
    pub(super) revision: u64,
}

/// Reads for as long as there is somebody who asks.
pub(super) fn serve(shared: &Shared, queue: &Receiver<Read>) {
    while let Ok(first) = queue.recv() {
        let mut reads = Vec::with_capacity(READS_MAX);
        reads.push(first);
        reads.extend(queue.try_iter().take(READS_MAX - 1));
        answer(shared, reads);
    }
}

fn answer(shared: &Shared, mut reads: Vec<Read>) {
    let keys: Vec<&Key<'_>> = reads.iter().map(|read| &read.key).collect();
    let found = match shared.look(&keys, 0) {
        Err(Failure::AnswerTooLarge) if reads.len() > 1 => {
            // The values are large: half of them at a time.
            let rest = reads.split_off(reads.len() / 2);
            answer(shared, reads);
            return answer(shared, rest);
        }
        outcome => outcome.map_err(Refused::from),
    };
    let now_ms = shared.now_ms();
    match found {
        Ok((looked, _)) => {
            for (read, looked) in reads.into_iter().zip(looked) {
                (read.done)(
                    looked.map(|looked| looked.entry.map(|entry| Found::of(entry, now_ms))),
                );
            }
        }
        Err(refused) => reads.into_iter().for_each(|read| (read.done)(Err(refused.clone()))),
    }
}

impl Shared {
    /// Reads the keys as they are at one revision, the latest one if it is 0; and says which one that
    /// is.
    pub(super) fn look(
        &self,
        keys: &[&Key<'_>],
        revision: u64,
    ) -> Result<(Vec<Result<Looked, Refused>>, u64), Failure> {
        let names: Vec<Vec<u8>> = keys.iter().map(|key| self.name(key.as_str())).collect();
        let outcome = self.txn(
            Resend::Safe,
            |txn, _| {
                for name in &names {
                    txn.range(&Range { revision, ..Range::one(name) });
                }
            },
            |answer, _| self.looked(&answer, names.len()),
        )?;
        // Only the record is compared, and that is seen to.
        outcome.ok_or(Failure::Unavailable("etcd contradicts itself".into()))
    }

    fn looked(
        &self,
        answer: &TxnAnswer<'_>,
        count: usize,
    ) -> Result<(Vec<Result<Looked, Refused>>, u64), CallError> {
        let now_ms = self.now_ms();
        let ranges = answer.responses.iter().map(|op| op.range.as_ref());
        let looked: Option<Vec<_>> = ranges
            .map(|range| {
                let Some(kv) = range?.kvs.first() else {
                    return Some(Ok(Looked { entry: None, revision: 0 }));
                };
                let entry = self.entry(kv)?;
                let revision = kv.mod_revision.0;
                Some(entry.map(|entry| Looked {
                    entry: Some(entry).filter(|entry| entry.is_live(now_ms)),
                    revision,
                }))
            })
            .collect();
        match looked.filter(|looked| looked.len() == count) {
            Some(looked) => Ok((looked, answer.header.revision.0)),
            None => Err(CallError::Lost("answers other ranges than were asked for".into())),
        }
    }

    /// The entry that etcd keeps so, expired or not; none if that is no key of this store.
    pub(super) fn entry(&self, kv: &KeyValue<'_>) -> Option<Result<Entry, Refused>> {
        let (name, value) = kv.decode()?;
        let key = name.strip_prefix(&*self.prefix)?;
        Some(value::decode(key, &value, kv.mod_revision.0))
    }
}
