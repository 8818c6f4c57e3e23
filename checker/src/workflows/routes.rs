//! Every route by which a value is written takes a time to live, and clears the one before.

use http::Method;
use serde_json::{Value, json};

use crate::audit::call::{Call, path};
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::worker::{Step, Worker};

use super::expiry::{CLEARED, LEFT, left, store, store_by};

const COUNTED: &str = "an increment leaves the time of its key as it is";
const HOUR: (&str, u64) = ("1h", 3_600_000);
const MINUTES: (&str, u64) = ("5m", 300_000);

/// Times that are looked at but not waited for. Milliseconds of days are more than 31 or 32 bits
/// hold.
const LONG_TTLS: &[(&str, u64)] = &[
    ("30", 30_000),
    ("30s", 30_000),
    ("5m", 300_000),
    ("2h", 7_200_000),
    ("1d", 86_400_000),
    ("1500ms", 1_500),
    ("90000ms", 90_000),
    ("25d", 2_160_000_000),
    ("30d", 2_592_000_000),
    ("50d", 4_320_000_000),
    ("4320000", 4_320_000_000),
    ("365d", 31_536_000_000),
];

/// A way to write a value, perhaps with a time to live.
#[derive(Clone, Copy)]
struct Route {
    name: &'static str,
    call: fn(&str, &str, Option<&str>) -> Call,
}

const ROUTES: [Route; 5] = [
    Route { name: "put", call: |key, value, ttl| timed(Call::put(key, value), ttl) },
    Route { name: "post", call: |key, value, ttl| timed(Call::post(key, value), ttl) },
    Route { name: "raw-put", call: |key, value, ttl| timed(raw(Method::PUT, key, value), ttl) },
    Route { name: "raw-post", call: |key, value, ttl| timed(raw(Method::POST, key, value), ttl) },
    // The last, for a service may have none.
    Route { name: "batch", call: in_batch },
];

/// A write of the value's JSON alone.
pub(super) fn raw(method: Method, key: &str, value: &str) -> Call {
    Call::new(method, path("/keys/", key)).query("raw", "").body(value)
}

fn timed(call: Call, ttl: Option<&str>) -> Call {
    match ttl {
        Some(ttl) => call.query("ttl", ttl),
        None => call,
    }
}

/// Plain digits are a number there.
fn in_batch(key: &str, value: &str, ttl: Option<&str>) -> Call {
    let value: Value = serde_json::from_str(value).unwrap_or_default();
    let mut op = json!({"op": "put", "key": key, "value": value});
    if let Some(ttl) = ttl {
        op["ttl"] = ttl.parse::<u64>().map_or_else(|_| ttl.into(), Value::from);
    }
    Call::batch(&[op])
}

fn routes(run: &Run<'_>) -> &'static [Route] {
    if run.has(Feature::Batch) { &ROUTES } else { &ROUTES[..ROUTES.len() - 1] }
}

/// Times of every length, by every route.
pub(super) fn long_times(worker: &mut Worker<'_>) {
    let run = worker.run;
    for route in routes(run) {
        for ttl in LONG_TTLS {
            let key = run.key(&format!("long-{}-{}", route.name, ttl.0));
            worker.case(LEFT, |worker| timed_by(worker, *route, (&key, "1"), *ttl));
        }
    }
}

/// After each route each other one, without a time and with another.
pub(super) fn one_after_another(worker: &mut Worker<'_>) {
    let run = worker.run;
    for first in routes(run) {
        for second in routes(run) {
            let key = run.key(&format!("routes-{}-{}", first.name, second.name));
            worker.case(CLEARED, |worker| {
                timed_by(worker, *first, (&key, "1"), HOUR)?;
                let answer = worker.call(&(second.call)(&key, "2", None))?;
                worker.status("a value can be stored", &answer, &[200, 201])?;
                has_no_time(worker, &key, "2")?;
                timed_by(worker, *first, (&key, "3"), HOUR)?;
                timed_by(worker, *second, (&key, "4"), MINUTES)
            });
        }
    }
    if run.has(Feature::Counters) {
        let key = run.key("routes-incr");
        worker.case(COUNTED, |worker| counted_up(worker, &key));
    }
}

fn timed_by(
    worker: &mut Worker<'_>,
    route: Route,
    (key, value): (&str, &str),
    ttl: (&str, u64),
) -> Step {
    let expiry = store_by(worker, &(route.call)(key, value, Some(ttl.0)), ttl.1)?;
    left(worker, key, value, expiry)
}

/// Asserts that a key has this value, and that it stays.
pub(super) fn has_no_time(worker: &mut Worker<'_>, key: &str, value: &str) -> Step {
    let answer = worker.ask(&Call::get(key))?;
    worker.value("a value that was stored is there", &answer, value)?;
    let field = answer.field("kv-ttl-ms").unwrap_or("none").to_owned();
    worker.holds(CLEARED, field == "none", "no KV-TTL-Ms", field)
}

fn counted_up(worker: &mut Worker<'_>, key: &str) -> Step {
    let expiry = store(worker, key, HOUR)?;
    let answer = worker.call(&Call::incr(key, 1))?;
    worker.value(COUNTED, &answer, "2")?;
    left(worker, key, "2", expiry)?;
    if worker.run.has(Feature::Batch) {
        let answer = worker.call(&Call::batch(&[json!({"op": "incr", "key": key})]))?;
        worker.status("a batch whose operations can all be done is done", &answer, &[200])?;
        left(worker, key, "3", expiry)?;
    }
    Ok(())
}
