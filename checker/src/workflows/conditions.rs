//! Conditional writes happen if and only if their condition holds, and versions only grow.

use std::sync::Mutex;
use std::sync::PoisonError;

use http::Method;
use serde_json::{Value, json};

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::session::Answer;
use crate::audit::worker::{Step, Worker, shown};

use super::{Workflow, changes, races, tags, waits};

pub(super) static CONDITIONS: Workflow = Workflow {
    name: "conditions",
    promise: "a conditional write happens if and only if its condition holds, and versions grow",
    needs: &[Feature::Versions],
    run,
};

const ETAG: &str = "every write and every read answers the version in ETag";
const GROWS: &str = "a write has a version larger than that of every write before it";
pub(super) const REFUSED: &str = "a write whose condition does not hold is refused with 412";
pub(super) const DONE: &str = "a write whose condition holds is done";
const UNCHANGED: &str = "a refused write changes nothing, not the version either";
const CURRENT: &str = "a refusal answers the current version in ETag";
pub(super) const TAGGED: &str = "a GET answers the current version in ETag, with 304 too";
pub(super) const NOT_MODIFIED: &str = "a GET with If-None-Match of the current version answers 304";

/// Rounds of each sequential case.
const ROUNDS: usize = 10;

fn run(run: &Run<'_>) {
    run.worker(|worker| {
        for round in 0..ROUNDS {
            let key = run.key(&format!("writes-{round}"));
            worker.case(DONE, |worker| writes(worker, &key));
            let key = run.key(&format!("reads-{round}"));
            worker.case(NOT_MODIFIED, |worker| reads(worker, &key));
            let key = run.key(&format!("deletes-{round}"));
            worker.case(DONE, |worker| deletes(worker, &key));
        }
    });
    tags::tables(run);
    changes::seen_elsewhere(run);
    versions_grow(run);
    races::create_only(run);
    races::compare_and_set(run);
    races::put_or_delete(run);
    if run.has(Feature::Wait) {
        waits::waits(run);
    }
}

/// `If-Match`, or `If-None-Match`, with a version.
pub(super) fn with(call: Call, field: &'static str, version: u64) -> Call {
    call.field(field, format!("\"{version}\""))
}

pub(super) fn version(worker: &mut Worker<'_>, answer: &Answer) -> Step<u64> {
    let seen = answer.field("etag").unwrap_or("no ETag").to_owned();
    let version = answer.version();
    worker.holds(ETAG, version.is_some(), "ETag: \"<version>\"", seen)?;
    Ok(version.unwrap_or_default())
}

/// The write is done, and its version is larger than the one before.
pub(super) fn done(worker: &mut Worker<'_>, call: &Call, before: u64) -> Step<u64> {
    let answer = worker.call(call)?;
    worker.status(DONE, &answer, &[200, 201])?;
    let after = version(worker, &answer)?;
    worker.holds(GROWS, after > before, format!("more than {before}"), after)?;
    Ok(after)
}

/// The write is refused, and the key is as it was; 0 stands for absence.
pub(super) fn refused(
    worker: &mut Worker<'_>,
    key: &str,
    call: &Call,
    value: &str,
    current: u64,
) -> Step {
    let answer = worker.call(call)?;
    worker.status(REFUSED, &answer, &[412])?;
    if current != 0 {
        let seen = answer.field("etag").unwrap_or("no ETag").to_owned();
        worker.holds(CURRENT, answer.version() == Some(current), current, seen)?;
    }
    unchanged(worker, key, value, current)
}

pub(super) fn unchanged(worker: &mut Worker<'_>, key: &str, value: &str, current: u64) -> Step {
    let answer = worker.ask(&Call::get(key))?;
    if current == 0 {
        return worker.status(UNCHANGED, &answer, &[404]);
    }
    worker.value(UNCHANGED, &answer, value)?;
    let seen = version(worker, &answer)?;
    worker.holds(UNCHANGED, seen == current, format!("version {current}"), seen)
}

fn writes(worker: &mut Worker<'_>, key: &str) -> Step {
    refused(worker, key, &Call::put(key, "0").field("If-Match", "*"), "", 0)?;
    refused(worker, key, &with(Call::post(key, "0"), "If-Match", 7), "", 0)?;
    let first = done(worker, &Call::post(key, "1").field("If-None-Match", "*"), 0)?;
    unchanged(worker, key, "1", first)?;
    refused(worker, key, &Call::put(key, "\"refused\"").field("If-None-Match", "*"), "1", first)?;
    refused(worker, key, &Call::post(key, "\"refused\"").field("If-None-Match", "*"), "1", first)?;
    let second = done(worker, &with(Call::put(key, "2"), "If-Match", first), first)?;
    unchanged(worker, key, "2", second)?;
    refused(worker, key, &with(Call::put(key, "\"refused\""), "If-Match", first), "2", second)?;
    refused(
        worker,
        key,
        &with(Call::post(key, "\"refused\""), "If-Match", second + 1),
        "2",
        second,
    )?;
    refused(
        worker,
        key,
        &with(Call::put(key, "\"refused\""), "If-None-Match", second),
        "2",
        second,
    )?;
    let third = done(worker, &with(Call::put(key, "3"), "If-None-Match", first), second)?;
    unchanged(worker, key, "3", third)?;
    let fourth = done(worker, &Call::put(key, "4").field("If-Match", "*"), third)?;
    let several = format!("\"{first}\", \"{fourth}\"");
    let fifth = done(worker, &Call::put(key, "5").field("If-Match", several), fourth)?;
    let sixth = done(worker, &Call::put(key, "5"), fifth)?;
    // The same value again is another version.
    refused(worker, key, &with(Call::put(key, "\"refused\""), "If-Match", fifth), "5", sixth)
}

fn reads(worker: &mut Worker<'_>, key: &str) -> Step {
    let first = done(worker, &Call::put(key, "1"), 0)?;
    not_modified(worker, key, first)?;
    let second = done(worker, &Call::put(key, "2"), first)?;
    let answer = worker.ask(&with(Call::get(key), "If-None-Match", first))?;
    worker.value("a GET with If-None-Match of an old version answers the value", &answer, "2")?;
    not_modified(worker, key, second)?;
    let answer = worker.call(&Call::delete(key))?;
    worker.status(DONE, &answer, &[200])?;
    let answer = worker.ask(&with(Call::get(key), "If-None-Match", second))?;
    worker.status("a key that is not there is not unmodified either", &answer, &[404])
}

fn not_modified(worker: &mut Worker<'_>, key: &str, current: u64) -> Step {
    let answer = worker.ask(&with(Call::get(key), "If-None-Match", current))?;
    worker.status(NOT_MODIFIED, &answer, &[304])?;
    let seen = version(worker, &answer)?;
    worker.holds(TAGGED, seen == current, current, seen)?;
    worker.holds("a 304 has no body", answer.body.is_empty(), "no body", shown(&answer))
}

fn deletes(worker: &mut Worker<'_>, key: &str) -> Step {
    let first = done(worker, &Call::put(key, "1"), 0)?;
    let second = done(worker, &Call::put(key, "2"), first)?;
    refused(worker, key, &with(Call::delete(key), "If-Match", first), "2", second)?;
    refused(worker, key, &with(Call::delete(key), "If-None-Match", second), "2", second)?;
    let answer = worker.call(&with(Call::delete(key), "If-Match", second))?;
    worker.status(DONE, &answer, &[200])?;
    unchanged(worker, key, "", 0)?;
    refused(worker, key, &with(Call::put(key, "\"refused\""), "If-Match", second), "", 0)?;
    // A version is not used again, so that nobody takes the new key for the old one.
    let third = done(worker, &Call::put(key, "2"), second)?;
    refused(worker, key, &with(Call::put(key, "\"refused\""), "If-Match", second), "2", third)?;
    refused(worker, key, &with(Call::delete(key), "If-Match", second), "2", third)
}

/// When a write was called and answered, and its version.
#[derive(Debug, Clone, Copy)]
struct Write {
    called_ns: u64,
    returned_ns: u64,
    version: u64,
}

/// Versions over all keys: each once, and larger than those of all writes that had been answered
/// when it was called.
fn versions_grow(run: &Run<'_>) {
    let clients = run.clients(2, 32);
    let each = run.ops_each(clients).div_ceil(4);
    let writes = Mutex::new(Vec::new());
    run.workers(clients, |worker| {
        let mut own = Vec::new();
        for number in 0..each {
            if worker.run.is_over() {
                break;
            }
            let key = run.key(&format!("grows-{}", worker.rng.usize(..16)));
            let call = any_write(worker, &key, number);
            let sent = worker.send_untracked(&call);
            // What a deletion answers there is not said.
            let written = sent.outcome.as_ref().ok().filter(|_| call.method != Method::DELETE);
            if let Some(version) = written.and_then(version_written) {
                let (called_ns, returned_ns) = (sent.called_ns, sent.returned_ns);
                own.push(Write { called_ns, returned_ns, version });
            }
        }
        writes.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
    });
    let mut writes = writes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let broken = out_of_order(&mut writes);
    run.worker(|worker| {
        worker.case(GROWS, |worker| {
            worker.held(writes.len() as u64);
            let Some((before, after)) = broken else { return Ok(()) };
            let (first, second) = (before.version, after.version);
            let gap = after.called_ns.saturating_sub(before.returned_ns);
            let seen = format!("{second}, for a write that was called {gap} ns after");
            let expected = format!("more than {first}, the version of a write that was answered");
            worker.holds(GROWS, false, expected, seen)
        });
    });
}

fn any_write(worker: &mut Worker<'_>, key: &str, number: usize) -> Call {
    match worker.rng.u8(..8) {
        0 | 1 => Call::delete(key),
        2 if worker.run.has(Feature::Counters) => Call::incr(key, 1),
        3 if worker.run.has(Feature::Batch) => {
            Call::batch(&[json!({"op": "put", "key": key, "value": number})])
        }
        _ => Call::put(key, &number.to_string()),
    }
}

/// The version that a write was given; a refused one has none. A batch tells it in its body.
fn version_written(answer: &Answer) -> Option<u64> {
    if answer.status >= 300 {
        return None;
    }
    let in_body = || serde_json::from_str::<Value>(&answer.body).ok()?["version"].as_u64();
    answer.version().or_else(in_body)
}

/// Two writes whose versions are not in the order of the writes.
fn out_of_order(writes: &mut [Write]) -> Option<(Write, Write)> {
    let mut by_return = writes.to_vec();
    by_return.sort_unstable_by_key(|write| write.returned_ns);
    writes.sort_unstable_by_key(|write| write.called_ns);
    let mut answered = by_return.into_iter().peekable();
    let mut largest: Option<Write> = None;
    for write in writes.iter() {
        while let Some(before) = answered.next_if(|before| before.returned_ns < write.called_ns) {
            if largest.is_none_or(|largest| before.version > largest.version) {
                largest = Some(before);
            }
        }
        if let Some(before) = largest.filter(|before| before.version >= write.version) {
            return Some((before, *write));
        }
    }
    writes.sort_unstable_by_key(|write| write.version);
    let twice = writes.windows(2).find(|pair| pair[0].version == pair[1].version);
    twice.map(|pair| (pair[0], pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(writes: &[(u64, u64, u64)], broken: bool) {
        let mut writes: Vec<_> = writes
            .iter()
            .map(|&(called_ns, returned_ns, version)| Write { called_ns, returned_ns, version })
            .collect();
        assert_eq!(out_of_order(&mut writes).is_some(), broken, "{writes:?}");
    }

    #[test]
    fn versions_are_in_the_order_of_the_writes() {
        check(&[], false);
        check(&[(0, 1, 5), (2, 3, 6)], false);
        check(&[(0, 5, 6), (2, 3, 5)], false);
        check(&[(0, 1, 5), (2, 3, 4)], true);
        check(&[(0, 1, 5), (2, 3, 5)], true);
        check(&[(0, 5, 5), (2, 3, 5)], true);
        check(&[(0, 1, 9), (0, 9, 1), (2, 3, 8)], true);
    }
}
