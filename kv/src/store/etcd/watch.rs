//! The watch: one stream of everything that is written in the store, for as long as somebody here
//! waits for a key.
//!
//! It begins behind a revision, and when it breaks it begins again behind the last one that it has
//! told of. So it tells of every change; when it cannot, because etcd has compacted that revision
//! away, every key that is waited for is read instead.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::call::{self, CALL_TIMEOUT};
use super::cluster::{Failure, Resend};
use super::waiting::{TICK, Waiting};
use super::wire::{Range, WatchLine, WatchResult, end_of, quoted};
use super::{Shared, pool};

/// How long a stream may be silent before it is opened again, at another node if this one has
/// failed: a node that is cut off looks like one with nothing to tell.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Before it is tried again with a cluster that cannot be asked.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a line. etcd splits longer ones.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Why a stream has ended.
enum Ended {
    /// It can go on where it was.
    Broken,
    /// What happened meanwhile is not told any more.
    Forgotten,
}

/// Starts the threads, which live as long as the process.
pub(super) fn start(shared: &Arc<Shared>, waiting: &Arc<Waiting>) -> std::io::Result<()> {
    let waits = Arc::clone(waiting);
    pool::spawn("etcd-wait", move || {
        loop {
            waits.until_some();
            waits.tick();
            thread::sleep(TICK);
        }
    })?;
    let (shared, waiting) = (Arc::clone(shared), Arc::clone(waiting));
    pool::spawn("etcd-watch", move || {
        loop {
            waiting.until_some();
            watch(&shared, &waiting);
        }
    })
}

/// Watches until nobody waits.
fn watch(shared: &Shared, waiting: &Arc<Waiting>) {
    // The first revision that has not been told of.
    let mut from = None;
    while waiting.len() > 0 {
        let begin = from.map_or_else(|| shared.next_revision(), Ok);
        let Ok(begin) = begin else {
            thread::sleep(PAUSE);
            continue;
        };
        let is_new = from.is_none();
        let mut next = begin;
        let ended = stream(shared, waiting, &mut next, is_new);
        from = match ended {
            Ended::Broken => Some(next),
            Ended::Forgotten => None,
        };
    }
}

fn stream(shared: &Shared, waiting: &Arc<Waiting>, next: &mut u64, is_new: bool) -> Ended {
    let Some(node) = shared.cluster.well_node() else {
        thread::sleep(PAUSE);
        return if is_new { Ended::Forgotten } else { Ended::Broken };
    };
    let (from, end) = ([&*shared.prefix, b"\x01"].concat(), end_of(&shared.prefix));
    let (from, end) = (quoted(&from), quoted(&end));
    let body = format!(
        r#"{{"create_request":{{"key":{from},"range_end":{end},"start_revision":"{next}","fragment":true}}}}"#
    );
    let opened = shared.cluster.token(node, CALL_TIMEOUT).and_then(|token| {
        call::stream(&shared.cluster.agent, &node.address, token.as_deref(), &body, SILENCE_MAX)
    });
    let mut lines = match opened {
        Ok(lines) => BufReader::new(lines),
        Err(error) => {
            log::debug!("no watch at etcd node {}: {}", node.address, error.reason());
            thread::sleep(PAUSE);
            return if is_new { Ended::Forgotten } else { Ended::Broken };
        }
    };
    if is_new {
        // What changed before the stream began is seen by this reading.
        waiting.all_changed();
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        match read {
            Ok(1..) if line.ends_with(b"\n") => {}
            Ok(count) if count as u64 == LINE_BYTES_MAX => return Ended::Forgotten,
            Ok(_) | Err(_) => return Ended::Broken,
        }
        let Ok(WatchLine { result: Some(result) }) = serde_json::from_slice(&line) else {
            return Ended::Broken;
        };
        if result.canceled {
            return Ended::Forgotten;
        }
        tell(shared, waiting, &result, next);
        if waiting.len() == 0 {
            return Ended::Broken;
        }
    }
}

fn tell(shared: &Shared, waiting: &Arc<Waiting>, result: &WatchResult<'_>, next: &mut u64) {
    for event in &result.events {
        let name = event.kv.key().unwrap_or_default();
        let key = name.strip_prefix(&*shared.prefix).and_then(|key| std::str::from_utf8(key).ok());
        if let Some(key) = key {
            waiting.changed(key);
        }
        // A revision that goes on in the next line is told of again if the stream breaks here.
        let told = event.kv.mod_revision.0;
        *next = (*next).max(if result.fragment { told } else { told + 1 });
    }
}

impl Shared {
    /// The revision behind the latest one.
    fn next_revision(&self) -> Result<u64, Failure> {
        let read = |answer: super::wire::TxnAnswer<'_>, _| Ok(answer.header.revision.0 + 1);
        let range = Range::one(&self.record_key);
        let next = self.txn(Resend::Safe, |txn, _| txn.range(&range), read)?;
        next.ok_or(Failure::Unavailable("etcd contradicts itself".into()))
    }
}
