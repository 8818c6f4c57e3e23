//! A key with a time to live is there until its time and gone after it.
//!
//! A write takes effect somewhere between its call and its answer, so the key must be there for a
//! read that was answered a ttl after the call, and must be gone for a read that was called a ttl
//! after the answer. Nothing is said about the time between, and no busy machine makes a verdict
//! wrong.

use std::time::{Duration, Instant};

use http::Method;

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::session::Effect;
use crate::audit::worker::{Step, Worker, shown};

use super::{Workflow, expired, routes};

pub(super) static EXPIRY: Workflow = Workflow {
    name: "expiry",
    promise: "a key with a time to live is there until its time and gone after it",
    needs: &[Feature::Expiry],
    run,
};

const THERE: &str = "a key is there until its time";
pub(super) const GONE: &str = "a key is gone after its time";
pub(super) const LEFT: &str = "KV-TTL-Ms is the time that is left";
pub(super) const CLEARED: &str = "a write without ttl clears it";
pub(super) const KEPT: &str = "an expiry takes no value that was written after it was set";

/// Clocks of two machines run at speeds that differ by less than one part in a hundred, and a
/// server may count whole milliseconds.
const CLOCK_SHARE: u32 = 100;
const CLOCK_STEP: Duration = Duration::from_millis(2);
/// Between two reads of a key whose time is near.
const PAUSE: Duration = Duration::from_millis(3);

/// Times to live as they are written, and in milliseconds.
const TTLS: &[(&str, u64)] =
    &[("120ms", 120), ("250ms", 250), ("400ms", 400), ("700ms", 700), ("1", 1_000), ("1s", 1_000)];
/// Keys that are overwritten at the moment of their expiry.
const OVERWRITTEN: usize = 24;

/// What each worker does.
const JOBS: &[fn(&mut Worker<'_>)] = &[
    |worker| watched(worker, TTLS[0]),
    |worker| watched(worker, TTLS[1]),
    |worker| watched(worker, TTLS[2]),
    |worker| watched(worker, TTLS[3]),
    |worker| watched(worker, TTLS[4]),
    |worker| watched(worker, TTLS[5]),
    |worker| replaced(worker),
    |worker| routes::long_times(worker),
    |worker| routes::one_after_another(worker),
    |worker| expired::no_trace(worker),
    |worker| overwritten_in_time(worker),
];

fn run(run: &Run<'_>) {
    run.workers(JOBS.len(), |worker| JOBS[worker.index](worker));
}

/// When a key expires: not before the first moment, and no later than the second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiry {
    pub(super) earliest: Instant,
    pub(super) latest: Instant,
    /// The version of the write, if it was answered with one.
    pub(super) version: Option<u64>,
}

/// Stores with a time to live, as it is written and in milliseconds.
pub(super) fn store(worker: &mut Worker<'_>, key: &str, ttl: (&str, u64)) -> Step<Expiry> {
    store_by(worker, &Call::put(key, "1").query("ttl", ttl.0), ttl.1)
}

/// Stores by a call that says for how long.
pub(super) fn store_by(worker: &mut Worker<'_>, call: &Call, ttl_ms: u64) -> Step<Expiry> {
    let called = Instant::now();
    let answer = worker.call(call)?;
    let is_post = call.method == Method::POST && call.target.starts_with("/keys/");
    let status = if is_post { 201 } else { 200 };
    worker.status("a value can be stored with a time to live", &answer, &[status])?;
    let returned = Instant::now();
    let ttl = Duration::from_millis(ttl_ms);
    let tolerance = ttl / CLOCK_SHARE + CLOCK_STEP;
    Ok(Expiry {
        earliest: called + ttl.saturating_sub(tolerance),
        latest: returned + ttl + tolerance,
        version: answer.version(),
    })
}

/// Reads a key from its write until it has been gone for a while.
fn watched(worker: &mut Worker<'_>, ttl: (&str, u64)) {
    for round in 0..2 {
        let key = worker.run.key(&format!("watched-{}-{round}", ttl.0));
        worker.case(THERE, |worker| watch(worker, &key, ttl));
        if ttl.1 > 500 {
            return;
        }
    }
}

fn watch(worker: &mut Worker<'_>, key: &str, ttl: (&str, u64)) -> Step {
    let expiry = store(worker, key, ttl)?;
    let put = worker.curl(&Call::put(key, "1").query("ttl", ttl.0));
    let mut gone = 0;
    while gone < 5 {
        worker.forget_trail();
        let called = Instant::now();
        let answer = worker.ask(&Call::get(key))?;
        let returned = Instant::now();
        if returned < expiry.earliest {
            let early = expiry.earliest - returned;
            let seen = format!("{} {early:?} before its time, after {put}", shown(&answer));
            worker.holds(THERE, answer.status == 200, "200", seen)?;
            is_left(worker, &answer, expiry, called, returned)?;
        } else if called > expiry.latest {
            let late = called - expiry.latest;
            let seen = format!("{} {late:?} after its time, after {put}", shown(&answer));
            worker.holds(GONE, answer.status == 404, "404", seen)?;
            gone += 1;
        }
        worker.sleep_until(Instant::now() + PAUSE)?;
    }
    Ok(())
}

/// Holds what an answer says is left to what can be.
fn is_left(
    worker: &mut Worker<'_>,
    answer: &crate::audit::session::Answer,
    expiry: Expiry,
    called: Instant,
    returned: Instant,
) -> Step {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let least = millis(expiry.earliest.saturating_duration_since(returned)).saturating_sub(1);
    let most = millis(expiry.latest.saturating_duration_since(called)) + 1;
    let shown = answer.field("kv-ttl-ms").unwrap_or("no KV-TTL-Ms").to_owned();
    let holds = shown.parse::<u64>().is_ok_and(|left| (least..=most).contains(&left));
    worker.holds(LEFT, holds, format!("{least} to {most}"), shown)
}

/// Asserts that a key has this value for as long as is left of its time.
pub(super) fn left(worker: &mut Worker<'_>, key: &str, value: &str, expiry: Expiry) -> Step {
    let called = Instant::now();
    let answer = worker.ask(&Call::get(key))?;
    worker.value(THERE, &answer, value)?;
    is_left(worker, &answer, expiry, called, Instant::now())
}

/// Another write sets another time, or none.
fn replaced(worker: &mut Worker<'_>) {
    let run = worker.run;
    let (cleared, longer, by_post) = (run.key("cleared"), run.key("longer"), run.key("by-post"));
    worker.case(CLEARED, |worker| {
        let expiry = store(worker, &cleared, ("300ms", 300))?;
        let answer = worker.call(&Call::put(&cleared, "2"))?;
        worker.status(CLEARED, &answer, &[200])?;
        let answer = worker.ask(&Call::get(&cleared))?;
        let field = answer.field("kv-ttl-ms").unwrap_or("none").to_owned();
        worker.holds(CLEARED, field == "none", "no KV-TTL-Ms", field)?;
        store(worker, &longer, ("300ms", 300))?;
        store(worker, &longer, ("1h", 3_600_000))?;
        let answer = worker.call(&Call::post(&by_post, "1").query("ttl", "200ms"))?;
        worker.status("a value can be stored with a time to live", &answer, &[201])?;
        let stored = Instant::now();
        worker.sleep_until(expiry.latest + Duration::from_millis(50))?;
        let answer = worker.ask(&Call::get(&cleared))?;
        worker.value(CLEARED, &answer, "2")?;
        let answer = worker.ask(&Call::get(&longer))?;
        worker.value("a later time to live takes the place of an earlier one", &answer, "1")?;
        worker.sleep_until(stored + Duration::from_millis(250))?;
        let answer = worker.ask(&Call::get(&by_post))?;
        worker.status(GONE, &answer, &[404])
    });
}

/// Values that are written around the moment at which the ones before them expire.
fn overwritten_in_time(worker: &mut Worker<'_>) {
    let run = worker.run;
    worker.case(KEPT, |worker| {
        let mut written = Vec::new();
        for number in 0..OVERWRITTEN {
            let key = run.key(&format!("overwritten-{number}"));
            let expiry = store(worker, &key, ("40ms", 40))?;
            let shift = Duration::from_micros(worker.rng.u64(0..8_000));
            worker.sleep_until(expiry.earliest + shift)?;
            let sent = worker.send(&Call::put(&key, "2"));
            if sent.effect() == Effect::Told {
                written.push(key);
            }
        }
        worker.sleep_until(Instant::now() + Duration::from_millis(100))?;
        for key in &written {
            worker.forget_trail();
            let answer = worker.ask(&Call::get(key))?;
            worker.value(KEPT, &answer, "2")?;
        }
        Ok(())
    });
}
