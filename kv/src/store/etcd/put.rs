//! Writes without a condition. Those that wait together travel in one transaction.
//!
//! That is as sound as each on its own: they are all waiting for an answer, so their order is free,
//! and each has a version of its own, in the order in which they came. Of those on one key the last
//! one alone is sent, for etcd takes no more of a key: it comes right behind the others, so nobody
//! can see what they wrote.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::call::Refusal;
use super::cluster::{Failure, Resend};
use super::value::{self, Base, HEADER_BYTES, VERSIONS_A_REVISION};
use super::{REQUEST_BYTES_MAX, Shared};
use crate::key::Key;
use crate::store::{Refused, Version, step};

/// Writes in one transaction; each has one of the versions of a revision.
const PUTS_MAX: usize = 64;
const _: () = assert!(PUTS_MAX as u64 <= VERSIONS_A_REVISION);
/// Bytes of keys and values in one transaction, unless there is one write only.
const PUTS_BYTES_MAX: usize = 512 << 10;
/// Tries of a transaction whose leases have ended meanwhile.
const LEASE_TRIES_MAX: usize = 3;

/// A write that waits.
pub(super) struct Put {
    pub(super) key: Key<'static>,
    pub(super) value: String,
    pub(super) ttl: Option<Duration>,
    pub(super) done: Box<dyn FnOnce(Result<Version, Refused>) + Send>,
}

impl Put {
    fn bytes(&self) -> usize {
        self.key.as_str().len() + HEADER_BYTES + self.value.len()
    }
}

/// Writes for as long as there is somebody who asks.
pub(super) fn serve(shared: &Shared, queue: &Receiver<Put>) {
    // What did not fit into the transaction before.
    let mut left = None;
    while let Some(first) = left.take().or_else(|| queue.recv().ok()) {
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while bytes <= PUTS_BYTES_MAX && group.len() < PUTS_MAX {
            let Ok(put) = queue.try_recv() else { break };
            bytes += put.bytes();
            if bytes > PUTS_BYTES_MAX {
                left = Some(put);
            } else {
                group.push(put);
            }
        }
        answer(shared, group);
    }
}

fn answer(shared: &Shared, group: Vec<Put>) {
    // It is alone: nothing else fits into its transaction.
    if group.iter().any(|put| put.bytes() > REQUEST_BYTES_MAX) {
        for put in group {
            (put.done)(Err(Refused::TooLarge(REQUEST_BYTES_MAX)));
        }
        return;
    }
    match write(shared, &group) {
        Ok((origin, revision)) => {
            shared.writes.fetch_add(group.len() as u64, Ordering::Relaxed);
            let count = group.len();
            for (index, put) in group.into_iter().enumerate() {
                let base = Base::before(origin, count - 1 - index);
                (put.done)(Ok(base.version(revision)));
            }
        }
        Err(failure) => {
            let refused = Refused::from(failure);
            for put in group {
                (put.done)(Err(refused.clone()));
            }
        }
    }
}

/// The origin that the group's versions are counted from, and its revision.
fn write(shared: &Shared, group: &[Put]) -> Result<(u64, u64), Failure> {
    let places = group.iter().enumerate().map(|(index, put)| (put.key.as_str(), index));
    let last: HashMap<&str, usize> = places.collect();
    for _ in 0..LEASE_TRIES_MAX {
        let now_ms = shared.now_ms();
        let mut writes = Vec::with_capacity(last.len());
        for (index, put) in group.iter().enumerate() {
            if last.get(put.key.as_str()) == Some(&index) {
                let deadline_ms = step::deadline_ms(put.ttl, now_ms);
                let lease = shared.leases.get(&shared.cluster, deadline_ms, now_ms)?;
                let behind = group.len() - 1 - index;
                writes.push((put, shared.name(put.key.as_str()), behind, deadline_ms, lease));
            }
        }
        let written = shared.txn(
            Resend::Unsafe,
            |txn, origin| {
                for (put, name, behind, deadline_ms, lease) in &writes {
                    let base = Base::before(origin.version, *behind);
                    let value = value::encode(base, *deadline_ms, put.value.as_bytes());
                    txn.put(name, &value, *lease);
                }
            },
            |answer, origin| Ok((origin.version, answer.header.revision.0)),
        );
        match written {
            Err(Failure::Refused(Refusal::NoLease)) => shared.leases.forget(),
            Err(failure) => return Err(failure),
            Ok(Some(written)) => return Ok(written),
            Ok(None) => break,
        }
    }
    Err(Failure::Refused(Refusal::NoLease))
}
