//! The threads that ask every node, all the time, whether it answers through the whole cluster.
//!
//! So a node that does not is known before many requests have met it, requests fail at once when there
//! is no quorum, and all goes on by itself when there is one again.

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::call::{self, CallError, Refusal};
use super::cluster::{Failure, Resend, parse};
use super::wire::{Only, Range, StatusAnswer, end_of};
use super::{Shared, StartError, pool};

/// Between two probes of a node.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// The same for a node that has failed: what it costs to be back late is more.
const PROBE_AGAIN_INTERVAL: Duration = Duration::from_millis(100);
/// How long a node may take to answer one.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two counts of the keys, however often somebody asks: etcd walks through all of them.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// Sums as they were counted last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) keys: usize,
    pub(super) bytes: usize,
}

/// Asks the nodes for the first time, and again and again from then on.
pub(super) fn begin(shared: &Arc<Shared>) -> Result<(), StartError> {
    for node in &shared.cluster.nodes {
        match shared.probe(node, PROBE_TIMEOUT) {
            Ok(()) => {
                node.recover();
                break;
            }
            Err(CallError::Refused(Refusal::Denied(reason) | Refusal::Other(reason))) => {
                return Err(StartError::Refused(format!("{} {reason}", node.address)));
            }
            Err(CallError::Lost(_)) if call::speaks_tls(&node.address) => {
                let reason =
                    "speaks TLS only: put a TLS proxy between, or give it an http listener";
                return Err(StartError::Refused(format!("{} {reason}", node.address)));
            }
            Err(error) => node.fail(&error.reason()),
        }
    }
    if shared.cluster.well_node().is_none() {
        log::warn!("not ready yet: {}", shared.cluster.why_not());
    }
    for index in 0..shared.cluster.nodes.len() {
        let shared = Arc::clone(shared);
        pool::spawn("etcd-probe", move || probe(&shared, index))?;
    }
    Ok(())
}

fn probe(shared: &Shared, index: usize) {
    let node = &shared.cluster.nodes[index];
    loop {
        let answered_before = node.answered();
        match shared.probe(node, PROBE_TIMEOUT) {
            Ok(()) => node.recover(),
            // It is slow, and answers others all the same.
            Err(CallError::Lost(_) | CallError::Busy(_)) if node.answered() != answered_before => {}
            Err(error) => node.fail(&error.reason()),
        }
        thread::sleep(if node.is_well() { PROBE_INTERVAL } else { PROBE_AGAIN_INTERVAL });
    }
}

/// Counts what is kept when somebody asks, and not all the time.
pub(super) struct Counter {
    wanted: Sender<()>,
}

impl Counter {
    pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let (wanted, asked) = bounded(1);
        let shared = Arc::clone(shared);
        pool::spawn("etcd-count", move || count(&shared, &asked))?;
        let counter = Counter { wanted };
        counter.want();
        Ok(counter)
    }

    /// Has the sums counted anew, soon.
    pub(super) fn want(&self) {
        // Full means that they are about to be.
        let _ = self.wanted.try_send(());
    }
}

fn count(shared: &Shared, asked: &Receiver<()>) {
    while asked.recv().is_ok() {
        match shared.count() {
            Ok(counted) => {
                *shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = counted;
            }
            Err(failure) => log::debug!("the keys in etcd are not counted: {failure:?}"),
        }
        thread::sleep(COUNT_INTERVAL);
    }
}

impl Shared {
    fn count(&self) -> Result<Counted, Failure> {
        let (from, end) = ([&*self.prefix, b"\x01"].concat(), end_of(&self.prefix));
        let range = Range { end: Some(&end), only: Only::Count, ..Range::one(&from) };
        let keys = self.txn(
            Resend::Safe,
            |txn, _| txn.range(&range),
            |answer, _| {
                let range = answer.responses.first().and_then(|op| op.range.as_ref());
                Ok(range.map_or(0, |range| range.count.0))
            },
        )?;
        let status = "/v3/maintenance/status";
        let bytes = self.cluster.ask(status, "{}", Resend::Safe, |bytes| {
            parse::<StatusAnswer>(bytes).map(|status| status.bytes_in_use.0)
        });
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        // It needs no right of a user to read, but there may be an etcd that says otherwise.
        Ok(Counted { keys: size(keys.unwrap_or_default()), bytes: size(bytes.unwrap_or_default()) })
    }
}
