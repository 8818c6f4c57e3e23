//! An expired key does not exist: no list shows it, no condition on it holds that needs it, and
//! every operation finds it absent.
//!
//! A server may keep what has expired until somebody comes across it, so each operation has a key
//! of its own, and comes across it first.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::page::Page;
use crate::audit::worker::{Step, Worker, shown};

use super::expiry::{GONE, KEPT, store};
use super::routes::has_no_time;
use super::ways::Write;

const NOTHING: &str = "an expired key does not exist, in no respect";
const TTL: (&str, u64) = ("150ms", 150);

/// An operation on an expired key, and what it has to answer.
struct Probe {
    needs: &'static [Feature],
    /// The call, from the key and the version that it had.
    call: fn(&str, u64) -> Call,
    statuses: &'static [u16],
    /// What the body holds.
    body: &'static str,
    /// The value that the key has then, if any.
    leaves: Option<&'static str>,
}

const fn refused(
    needs: &'static [Feature],
    call: fn(&str, u64) -> Call,
    statuses: &'static [u16],
) -> Probe {
    Probe { needs, call, statuses, body: "", leaves: None }
}

const fn done(
    needs: &'static [Feature],
    call: fn(&str, u64) -> Call,
    body: &'static str,
    leaves: Option<&'static str>,
) -> Probe {
    Probe { needs, call, statuses: &[200], body, leaves }
}

const VERSIONS: &[Feature] = &[Feature::Versions];
const BATCH: &[Feature] = &[Feature::Batch];
const BOTH: &[Feature] = &[Feature::Versions, Feature::Batch];

const PROBES: &[Probe] = &[
    refused(&[], |key, _| Call::get(key), &[404]),
    refused(VERSIONS, |key, _| Call::get(key).query("raw", ""), &[404]),
    refused(&[], |key, _| Call::delete(key), &[404]),
    refused(VERSIONS, |key, was| Call::get(key).field("If-None-Match", tag(was)), &[404]),
    refused(VERSIONS, |key, was| Call::delete(key).field("If-Match", tag(was)), &[404, 412]),
    refused(VERSIONS, |key, _| Call::put(key, "2").field("If-Match", "*"), &[412]),
    refused(VERSIONS, |key, was| Call::put(key, "2").field("If-Match", tag(was)), &[412]),
    refused(VERSIONS, |key, was| Call::post(key, "2").field("If-Match", tag(was)), &[412]),
    refused(VERSIONS, |key, was| Write::RawPut.call(key, "2").field("If-Match", tag(was)), &[412]),
    done(VERSIONS, |key, _| Call::put(key, "2").field("If-None-Match", "*"), "", Some("2")),
    done(VERSIONS, |key, was| Call::put(key, "2").field("If-None-Match", tag(was)), "", Some("2")),
    done(&[Feature::Counters], |key, _| Call::incr(key, 5), "\"value\":5", Some("5")),
    done(BATCH, |key, _| op(json!({"op": "get", "key": key})), "\"found\":false", None),
    done(BATCH, |key, _| op(json!({"op": "delete", "key": key})), "\"found\":false", None),
    done(BATCH, |key, _| op(json!({"op": "incr", "key": key, "by": 5})), "\"value\":5", Some("5")),
    done(
        BATCH,
        |key, _| op(json!({"op": "put", "key": key, "value": 2, "if_version": null})),
        "",
        Some("2"),
    ),
    refused(
        BOTH,
        |key, was| op(json!({"op": "put", "key": key, "value": 2, "if_version": was})),
        &[412],
    ),
    refused(BOTH, |key, was| op(json!({"op": "delete", "key": key, "if_version": was})), &[412]),
];

fn tag(version: u64) -> String {
    format!("\"{version}\"")
}

fn op(op: Value) -> Call {
    Call::batch(&[op])
}

/// Keys expire, and each operation meets one.
pub(super) fn no_trace(worker: &mut Worker<'_>) {
    let run = worker.run;
    worker.case(NOTHING, |worker| {
        let mut expired = Vec::new();
        let mut latest = Instant::now();
        for (number, probe) in PROBES.iter().enumerate() {
            if !probe.needs.iter().all(|feature| run.has(*feature)) {
                continue;
            }
            let key = run.key(&format!("trace-{number}"));
            let expiry = store(worker, &key, TTL)?;
            latest = expiry.latest;
            // A version that is missing where there are versions is for another workflow to find.
            expired.push((probe, key, expiry.version.unwrap_or(1)));
        }
        let overwritten = run.key("trace-overwritten");
        latest = latest.max(store(worker, &overwritten, TTL)?.latest);
        worker.sleep_until(latest)?;
        if run.has(Feature::List) {
            is_listed_nowhere(worker, &format!("{}trace-", run.prefix))?;
        }
        for (probe, key, version) in &expired {
            worker.forget_trail();
            meets(worker, probe, key, *version)?;
        }
        // The new value has no time of its own.
        let answer = worker.call(&Call::put(&overwritten, "3"))?;
        worker.status(NOTHING, &answer, &[200])?;
        worker.sleep_until(Instant::now() + Duration::from_millis(TTL.1 + 20))?;
        let answer = worker.ask(&Call::get(&overwritten))?;
        worker.value(KEPT, &answer, "3")
    });
}

fn is_listed_nowhere(worker: &mut Worker<'_>, prefix: &str) -> Step {
    for values in ["true", "false"] {
        let answer = worker.ask(&Call::list(prefix).query("values", values))?;
        let page = Page::read(&answer);
        let holds = page.is_some_and(|page| page.keys.is_empty() && page.entries.is_empty());
        worker.holds(NOTHING, holds, "no key in the list", shown(&answer))?;
    }
    Ok(())
}

fn meets(worker: &mut Worker<'_>, probe: &Probe, key: &str, version: u64) -> Step {
    let call = (probe.call)(key, version);
    let answer = worker.call(&call)?;
    let compact: String = answer.body.split_whitespace().collect();
    let holds = probe.statuses.contains(&answer.status) && compact.contains(probe.body);
    let statuses: Vec<_> = probe.statuses.iter().map(u16::to_string).collect();
    let expected = format!("{} {}", statuses.join(" or "), probe.body);
    let seen = format!("{} to {}", shown(&answer), worker.curl(&call));
    worker.holds(NOTHING, holds, expected, seen)?;
    let Some(value) = probe.leaves else {
        let answer = worker.ask(&Call::get(key))?;
        return worker.status(GONE, &answer, &[404]);
    };
    has_no_time(worker, key, value)
}
