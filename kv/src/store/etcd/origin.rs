//! The record that says which store this is, kept under a key that no client can name.
//!
//! It holds the origin that versions are counted from: the clock in microseconds when the store was
//! made, and more after an import of larger versions. Every transaction compares the record's
//! revision with the one that is known here. So a cluster that has come back with an empty disk,
//! or a node of another cluster, takes no write and answers no read, and a store that is made
//! anew gives out larger versions than the one before.

use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::Shared;
use super::call::{CALL_TIMEOUT, CallError};
use super::cluster::{Failure, Node, Resend, TXN, parse};
use super::wire::{KeyValue, OpAnswer, Range, Txn, TxnAnswer};
use crate::store::Version;

/// Tries of a step whose record changes meanwhile, which only imports do.
const TRIES_MAX: usize = 16;
/// The form of the record and of the values.
const FORMAT: u32 = 1;

/// Where versions are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// What is added to each version.
    pub(super) version: u64,
    /// When the record was last written, and when first.
    revision: u64,
    created: u64,
}

/// The record's text.
#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    origin: u64,
}

/// What came of a transaction with the record's compare.
enum Outcome<T> {
    Done(T),
    /// A compare of the step's own does not hold.
    Conflict,
    /// The record has another revision.
    Moved(Origin),
}

impl Shared {
    /// Takes one transaction, which `build` gives what it compares and does. None if a compare does
    /// not hold; `read` is given the answer otherwise, with the origin that counted.
    pub(super) fn txn<T>(
        &self,
        resend: Resend,
        build: impl Fn(&mut Txn, Origin),
        read: impl Fn(TxnAnswer<'_>, Origin) -> Result<T, CallError>,
    ) -> Result<Option<T>, Failure> {
        for _ in 0..TRIES_MAX {
            let Some(origin) = self.origin() else {
                return Err(Failure::Unavailable(self.cluster.why_not()));
            };
            let mut txn = self.guarded(origin);
            build(&mut txn, origin);
            let outcome = self.cluster.txn(&txn.body(), resend, |answer| {
                if answer.succeeded {
                    return Ok(Outcome::Done(read(answer, origin)?));
                }
                let now = self.still(origin, record_in(&answer))?;
                Ok(if now == origin { Outcome::Conflict } else { Outcome::Moved(now) })
            })?;
            match outcome {
                Outcome::Done(done) => return Ok(Some(done)),
                Outcome::Conflict => return Ok(None),
                Outcome::Moved(now) => self.move_origin(now),
            }
        }
        Err(Failure::Unavailable("imports change the store again and again".into()))
    }

    /// A transaction that is done only by the store with this record.
    pub(super) fn guarded(&self, origin: Origin) -> Txn {
        let mut txn = Txn::default();
        txn.compare_revision(&self.record_key, origin.revision);
        txn.otherwise(&Range::one(&self.record_key));
        txn
    }

    pub(super) fn origin(&self) -> Option<Origin> {
        *self.origin.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_origin(&self, now: Origin) {
        let mut origin = self.origin.write().unwrap_or_else(PoisonError::into_inner);
        if origin.is_none_or(|origin| origin.revision < now.revision) {
            *origin = Some(now);
        }
    }

    /// Whether the node answers through the whole cluster, and holds this store. The first one that
    /// does says which store that is, or has it made.
    pub(super) fn probe(&self, node: &Node, timeout: std::time::Duration) -> Result<(), CallError> {
        let before = self.cluster.revision();
        let mut txn = Txn::default();
        // Without an operation etcd would answer from what the node has, and ask nobody else.
        txn.range(&Range::one(&self.record_key));
        let bytes = self.cluster.ask_node(node, TXN, &txn.body(), timeout)?;
        let answer: TxnAnswer<'_> = parse(&bytes)?;
        self.cluster.note_revision(answer.header.revision.0, before)?;
        match (self.origin(), record_in(&answer)) {
            (Some(origin), record) => self.still(origin, record).map(|now| self.move_origin(now)),
            (None, Some(record)) => read(record).map(|origin| self.move_origin(origin)),
            (None, None) => self.make_record(node),
        }
    }

    /// What the record has become, if it is the same store's.
    fn still(&self, known: Origin, record: Option<&KeyValue<'_>>) -> Result<Origin, CallError> {
        let now = record.map(read).transpose()?;
        now.filter(|now| now.created == known.created).ok_or_else(|| {
            let prefix = String::from_utf8_lossy(&self.prefix);
            let reason = format!(
                "does not hold the store '{prefix}' any more: its data was lost or replaced; \
                 it is used again after a restart of kv"
            );
            CallError::Unreached(reason.into())
        })
    }

    fn make_record(&self, node: &Node) -> Result<(), CallError> {
        let origin = Version::of_the_clock().0;
        let mut txn = Txn::default();
        txn.compare_revision(&self.record_key, 0);
        txn.put(&self.record_key, &record_text(origin), 0);
        let bytes = self.cluster.ask_node(node, TXN, &txn.body(), CALL_TIMEOUT)?;
        let answer: TxnAnswer<'_> = parse(&bytes)?;
        if answer.succeeded {
            let revision = answer.header.revision.0;
            self.move_origin(Origin { version: origin, revision, created: revision });
            let prefix = String::from_utf8_lossy(&self.prefix);
            log::info!("made the store '{prefix}' in etcd, with versions from {origin} on");
            return Ok(());
        }
        // Another process has made it in this moment.
        self.probe(node, CALL_TIMEOUT)
    }

    /// Has versions counted from there on that are larger than this one.
    pub(super) fn outgrow(&self, version: Version) -> Result<(), Failure> {
        let text = record_text(version.0 + 1);
        for _ in 0..TRIES_MAX {
            if self.origin().is_some_and(|origin| origin.version > version.0) {
                return Ok(());
            }
            // Twice does no harm; and the reading makes what was written known here.
            self.txn(Resend::Safe, |txn, _| txn.put(&self.record_key, &text, 0), |_, _| Ok(()))?;
            let read = |txn: &mut Txn, _| txn.range(&Range::one(&self.record_key));
            self.txn(Resend::Safe, read, |_, _| Ok(()))?;
        }
        Err(Failure::Unavailable("imports change the store again and again".into()))
    }
}

/// The record in the answer's only range.
fn record_in<'a, 'b>(answer: &'b TxnAnswer<'a>) -> Option<&'b KeyValue<'a>> {
    let range = |op: &'b OpAnswer<'a>| op.range.as_ref();
    answer.responses.iter().find_map(range)?.kvs.first()
}

fn read(record: &KeyValue<'_>) -> Result<Origin, CallError> {
    let text = record.decode().map(|(_, text)| text).unwrap_or_default();
    match serde_json::from_slice(&text) {
        Ok(Record { format: FORMAT, origin }) => Ok(Origin {
            version: origin,
            revision: record.mod_revision.0,
            created: record.create_revision.0,
        }),
        Ok(Record { format, .. }) => Err(CallError::Unreached(
            format!("holds a store of the unknown format {format}").into(),
        )),
        Err(_) => {
            let reason: Arc<str> = "holds a record of the store that cannot be read".into();
            Err(CallError::Unreached(reason))
        }
    }
}

fn record_text(origin: u64) -> Vec<u8> {
    let record = Record { format: FORMAT, origin };
    // It cannot fail: two numbers into a vector.
    serde_json::to_vec(&record).unwrap_or_default()
}
