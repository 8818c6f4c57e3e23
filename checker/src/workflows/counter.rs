//! N clients count, and the sum is exact.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::session::Effect;
use crate::audit::worker::{Step, Worker, shown, value_of};

use super::Workflow;
use super::gate::Gate;

pub(super) static COUNTER: Workflow = Workflow {
    name: "counter",
    promise: "concurrent increments are all counted, once each, and exactly",
    needs: &[Feature::Counters],
    run,
};

const SUM: &str = "the sum is that of all increments";
const DISTINCT: &str = "no two increments of the same counter answer the same number";
const EXACT: &str = "a counter is exact over all 64-bit integers, and refuses what does not fit";

/// Increments of some clients on some counters.
#[derive(Default)]
struct Counted {
    /// Increments by one that were answered.
    ok: AtomicU64,
    /// Those whose outcome is unknown.
    unknown: AtomicU64,
    answered: Mutex<Vec<i64>>,
}

/// How many increments there are for each operation that was asked for: they are cheap, and a rare
/// loss shows in many only.
const SHARE: usize = 3;
/// Counters that clients share.
const COUNTERS: usize = 3;

fn run(run: &Run<'_>) {
    run.worker(|worker| {
        worker.case(EXACT, |worker| sequence(worker, &run.key("sequence")));
        worker.case(EXACT, |worker| limits(worker, &run.key("limits")));
        worker.case(EXACT, |worker| no_integers(worker, &run.key("no-integer")));
    });
    let clients = run.clients(4, 64);
    let each = SHARE * run.ops_each(clients);
    let counters: Vec<_> = (0..COUNTERS).map(|_| Counted::default()).collect();
    let keys: Vec<_> = (0..COUNTERS).map(|number| run.key(&format!("shared-{number}"))).collect();
    let gate = Gate::new(clients);
    run.workers(clients, |worker| {
        gate.wait();
        for _ in 0..each {
            if run.is_over() {
                return;
            }
            let which = worker.rng.usize(..COUNTERS);
            count(worker, &keys[which], &counters[which]);
        }
    });
    run.worker(|worker| {
        for (key, counted) in keys.iter().zip(&counters) {
            worker.case(SUM, |worker| judge(worker, key, counted));
        }
    });
}

fn count(worker: &mut Worker<'_>, key: &str, counted: &Counted) {
    let in_batch = worker.run.has(Feature::Batch) && worker.rng.u8(..8) == 0;
    let call = if in_batch {
        Call::batch(&[json!({"op": "incr", "key": key})])
    } else {
        Call::incr(key, 1)
    };
    let sent = worker.send_untracked(&call);
    match (sent.effect(), sent.outcome) {
        (Effect::Told, Ok(answer)) if answer.status == 200 => {
            counted.ok.fetch_add(1, Ordering::Relaxed);
            let value = if in_batch { batch_value(&answer.body) } else { integer(&answer) };
            if let Some(value) = value {
                counted.answered.lock().unwrap_or_else(PoisonError::into_inner).push(value);
            }
        }
        (Effect::Told, Ok(answer)) => {
            worker.case(SUM, |worker| worker.status("a counter counts", &answer, &[200]));
        }
        (Effect::None, _) => {}
        (Effect::Unknown | Effect::Told, _) => {
            counted.unknown.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn integer(answer: &crate::audit::session::Answer) -> Option<i64> {
    value_of(answer)?.parse().ok()
}

fn batch_value(body: &str) -> Option<i64> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    body["results"][0]["value"].as_i64()
}

fn judge(worker: &mut Worker<'_>, key: &str, counted: &Counted) -> Step {
    let (ok, unknown) =
        (counted.ok.load(Ordering::Relaxed), counted.unknown.load(Ordering::Relaxed));
    if ok == 0 {
        return Ok(());
    }
    let answer = worker.ask(&Call::get(key))?;
    let sum = integer(&answer).and_then(|sum| u64::try_from(sum).ok());
    let holds = sum.is_some_and(|sum| (ok..=ok + unknown).contains(&sum));
    let expected = format!("{ok} counted, {unknown} unknown: {ok} to {}", ok + unknown);
    worker.holds(SUM, holds, expected, shown(&answer))?;
    let answered = counted.answered.lock().unwrap_or_else(PoisonError::into_inner);
    let distinct: BTreeSet<_> = answered.iter().collect();
    let seen = format!("{} answers, {} of them distinct", answered.len(), distinct.len());
    let all_in = |sum: u64| {
        let sum = i64::try_from(sum).unwrap_or(i64::MAX);
        answered.iter().all(|value| (1..=sum).contains(value))
    };
    worker.holds(DISTINCT, distinct.len() == answered.len(), "all distinct", seen)?;
    worker.holds(SUM, sum.is_none_or(all_in), "answers from 1 to the sum", "others")
}

/// One client: each step is the sum so far.
fn sequence(worker: &mut Worker<'_>, key: &str) -> Step {
    let mut sum = 0_i64;
    for number in 0..30 {
        let by = if number == 7 { 0 } else { worker.rng.i64(-1_000_000_000..1_000_000_000) };
        sum += by;
        let answer = worker.call(&Call::incr(key, by))?;
        worker.value(
            "an increment answers the sum, and absent counts as 0",
            &answer,
            &sum.to_string(),
        )?;
        let answer = worker.ask(&Call::get(key))?;
        worker.value("a counter can be read", &answer, &sum.to_string())?;
    }
    let call = Call::new(http::Method::POST, crate::audit::call::path("/incr/", key));
    let answer = worker.call(&call)?;
    worker.value("an increment is by 1 unless it says otherwise", &answer, &(sum + 1).to_string())
}

/// At the ends of the range, and where a double is not exact.
fn limits(worker: &mut Worker<'_>, key: &str) -> Step {
    for (start, by, want) in [
        ("9007199254740992", 1, Some("9007199254740993")),
        ("-9007199254740993", 1, Some("-9007199254740992")),
        ("2147483647", 1, Some("2147483648")),
        ("4294967295", 1, Some("4294967296")),
        ("9223372036854775806", 1, Some("9223372036854775807")),
        ("9223372036854775807", 1, None),
        ("9223372036854775807", i64::MAX, None),
        ("9223372036854775807", i64::MIN, Some("-1")),
        ("-9223372036854775808", -1, None),
        ("-9223372036854775808", i64::MAX, Some("-1")),
    ] {
        let answer = worker.call(&Call::put(key, start))?;
        worker.status("a number can be stored", &answer, &[200])?;
        let answer = worker.call(&Call::incr(key, by))?;
        match want {
            Some(sum) => worker.value(EXACT, &answer, sum)?,
            None => worker.status(EXACT, &answer, &[409])?,
        }
        let answer = worker.ask(&Call::get(key))?;
        worker.value(EXACT, &answer, want.unwrap_or(start))?;
    }
    Ok(())
}

fn no_integers(worker: &mut Worker<'_>, key: &str) -> Step {
    for value in ["\"1\"", "1.5", "null", "true", "[1]", "{}", "9223372036854775808"] {
        let answer = worker.call(&Call::put(key, value))?;
        worker.status("a value can be stored", &answer, &[200])?;
        let answer = worker.call(&Call::incr(key, 1))?;
        worker.status("what is no integer cannot be counted up", &answer, &[409])?;
        let answer = worker.ask(&Call::get(key))?;
        worker.value("a refused increment changes nothing", &answer, value)?;
    }
    Ok(())
}
