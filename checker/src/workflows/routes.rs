//! Every route by which a value is written takes a time to live, and clears the one before.

use serde_json::{Value, json};

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::worker::{Step, Worker};

use super::expiry::{CLEARED, LEFT, left, store, store_by};
use super::ways::{Ways, Write};

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

/// The call that writes a value with a time to live, as it is written.
fn timed(write: Write, key: &str, value: &str, ttl: &str) -> Call {
    match write {
        Write::Put | Write::Post | Write::RawPut | Write::RawPost => {
            write.call(key, value).query("ttl", ttl)
        }
        Write::Batch => {
            // Plain digits are a number there.
            let ttl = ttl.parse::<u64>().map_or_else(|_| ttl.into(), Value::from);
            let value: Value = serde_json::from_str(value).unwrap_or_default();
            Call::batch(&[json!({"op": "put", "key": key, "value": value, "ttl": ttl})])
        }
    }
}

/// Times of every length, by every route.
pub(super) fn long_times(worker: &mut Worker<'_>) {
    let run = worker.run;
    for write in Ways::of(run).writes {
        for ttl in LONG_TTLS {
            let key = run.key(&format!("long-{write:?}-{}", ttl.0));
            worker.case(LEFT, |worker| timed_by(worker, write, (&key, "1"), *ttl));
        }
    }
}

/// After each route each other one, without a time and with another.
pub(super) fn one_after_another(worker: &mut Worker<'_>) {
    let run = worker.run;
    let writes = Ways::of(run).writes;
    for &first in &writes {
        for &second in &writes {
            let key = run.key(&format!("routes-{first:?}-{second:?}"));
            worker.case(CLEARED, |worker| {
                timed_by(worker, first, (&key, "1"), HOUR)?;
                let answer = worker.call(&second.call(&key, "2"))?;
                worker.status("a value can be stored", &answer, &[200, 201])?;
                has_no_time(worker, &key, "2")?;
                timed_by(worker, first, (&key, "3"), HOUR)?;
                timed_by(worker, second, (&key, "4"), MINUTES)
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
    write: Write,
    (key, value): (&str, &str),
    ttl: (&str, u64),
) -> Step {
    let expiry = store_by(worker, &timed(write, key, value, ttl.0), ttl.1)?;
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
