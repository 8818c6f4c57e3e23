//! Batches of as many operations as a service takes, and as many keys as make it forget some.
//!
//! A server that works in parts, or keeps so many keys and no more, is right as long as little is
//! asked of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::audit::call::Call;
use crate::audit::run::Run;
use crate::audit::worker::{Step, Worker};

use super::batch::{Group, RESULTS, WHOLE, done, seen_whole};

const KEPT: &str = "a key stays until somebody deletes it, however many others there are";

/// Operations of a batch, by the contract.
const OPS_MAX: usize = 1_000;
/// Operations where a service in front of an engine takes fewer in a transaction.
const OPS_FEW: usize = 100;

/// Puts the largest batches to the test.
pub(super) fn check(run: &Run<'_>) {
    let taken = AtomicUsize::new(0);
    run.worker(|worker| {
        worker.case(RESULTS, |worker| {
            taken.store(ops_taken(worker)?, Ordering::Relaxed);
            Ok(())
        });
    });
    let width = taken.into_inner();
    if width == 0 {
        return;
    }
    let ops = run.plan.settings.ops as usize;
    let keys: Vec<_> = (0..width).map(|number| run.key(&format!("wide/{number:03}"))).collect();
    run.worker(|worker| {
        worker.case(RESULTS, |worker| answers(worker, &keys));
        worker.case(WHOLE, |worker| refused_late(worker, &keys));
        worker.case(KEPT, |worker| many_stay(worker, width, (ops / 200).clamp(2, 10)));
    });
    // Among the first and the last of a batch some are far apart, in whatever parts it is done.
    let looked_at = [0, width / 3, width / 2, width - 1].map(|at| keys[at].clone()).to_vec();
    seen_whole(run, &Group { keys, looked_at, listed: None, rounds: (ops / 66).clamp(4, 30) });
}

/// How many operations the service takes in a batch: as many as the contract says, or few. It may
/// refuse more, all of them.
pub(super) fn ops_taken(worker: &mut Worker<'_>) -> Step<usize> {
    let key = worker.run.key("absent");
    let gets = vec![json!({"op": "get", "key": key}); OPS_MAX];
    let answer = worker.ask(&Call::batch(&gets))?;
    if answer.status == 422 {
        let note = "a batch of 1000 operations is refused with 422: one of 100 is tried";
        worker.run.ledger.entries().note(note);
        return Ok(OPS_FEW);
    }
    worker.status("a batch of 1000 operations is done", &answer, &[200])?;
    Ok(OPS_MAX)
}

/// What keys hold: the results of gets in batches of this size.
pub(super) fn read_all(
    worker: &mut Worker<'_>,
    keys: &[String],
    width: usize,
) -> Step<Vec<Option<Value>>> {
    let mut values = Vec::new();
    for part in keys.chunks(width) {
        let gets: Vec<_> = part.iter().map(|key| json!({"op": "get", "key": key})).collect();
        worker.forget_trail();
        let mut body = done(worker, &gets)?;
        values.extend((0..part.len()).map(|at| {
            let result = body["results"][at].take();
            // A result without "found" is neither: it is shown as what it is.
            if result["found"] == false { None } else { result.get("value").cloned() }
        }));
    }
    Ok(values)
}

/// Writes a number to each key, in batches of this size.
pub(super) fn write_all(worker: &mut Worker<'_>, keys: &[String], width: usize) -> Step {
    for (number, part) in keys.chunks(width).enumerate() {
        let puts = (number * width..).zip(part).map(|(at, key)| put(key, &at.into()));
        let puts: Vec<_> = puts.collect();
        worker.forget_trail();
        done(worker, &puts)?;
    }
    Ok(())
}

fn put(key: &str, value: &Value) -> Value {
    json!({"op": "put", "key": key, "value": value})
}

/// Asserts that keys hold these values; none is absent.
fn hold(
    worker: &mut Worker<'_>,
    promise: &str,
    (keys, width): (&[String], usize),
    wanted: impl Fn(usize) -> Option<Value>,
) -> Step {
    let values = read_all(worker, keys, width)?;
    let wrong = (0..keys.len()).find(|at| values.get(*at) != Some(&wanted(*at)));
    worker.held(keys.len() as u64);
    let at = wrong.unwrap_or_default();
    let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    let expected = format!("{} with {}", keys[at], shown(wanted(at).as_ref()));
    let seen = shown(values.get(at).and_then(Option::as_ref));
    worker.holds(promise, wrong.is_none(), expected, seen)
}

fn answers(worker: &mut Worker<'_>, keys: &[String]) -> Step {
    write_all(worker, keys, keys.len())?;
    hold(worker, RESULTS, (keys, keys.len()), |at| Some(at.into()))?;
    for number in [0, 1, keys.len() / 2, keys.len() - 2, keys.len() - 1] {
        worker.forget_trail();
        let answer = worker.ask(&Call::get(&keys[number]))?;
        worker.value(RESULTS, &answer, &number.to_string())?;
    }
    Ok(())
}

/// Many operations, and one of the last is refused: none of them is done.
fn refused_late(worker: &mut Worker<'_>, keys: &[String]) -> Step {
    // Every second key is there before.
    let (text, width) = (&keys[0], keys.len());
    let deletes: Vec<_> = keys.iter().map(|key| json!({"op": "delete", "key": key})).collect();
    done(worker, &deletes)?;
    let before: Vec<_> = keys.iter().step_by(2).map(|key| put(key, &"before".into())).collect();
    done(worker, &before)?;
    let refusals = [
        (412, json!({"op": "put", "key": text, "value": 1, "if_version": null})),
        (409, json!({"op": "incr", "key": text})),
    ];
    for (status, refusal) in &refusals {
        for at in [width - 1, width * 2 / 3] {
            let mut ops: Vec<_> = (1..width).map(|number| changed(&keys[number], number)).collect();
            ops.insert(at, refusal.clone());
            worker.forget_trail();
            let answer = worker.call(&Call::batch(&ops))?;
            let promise = "a batch of which one operation is refused is refused";
            worker.status(promise, &answer, &[*status])?;
            let wanted = |at: usize| at.is_multiple_of(2).then(|| "before".into());
            hold(worker, WHOLE, (keys, width), wanted)?;
        }
    }
    Ok(())
}

/// An operation that changes a key, one kind after the other.
fn changed(key: &str, number: usize) -> Value {
    if number.is_multiple_of(4) {
        json!({"op": "delete", "key": key})
    } else {
        put(key, &"after".into())
    }
}

/// Many keys at once: each of them stays, and is there to be deleted in the end.
fn many_stay(worker: &mut Worker<'_>, width: usize, batches: usize) -> Step {
    let run = worker.run;
    let keys: Vec<_> =
        (0..width * batches).map(|number| run.key(&format!("many/{number}"))).collect();
    write_all(worker, &keys, width)?;
    hold(worker, KEPT, (&keys, width), |at| Some(at.into()))?;
    for part in keys.chunks(width) {
        let deletes: Vec<_> = part.iter().map(|key| json!({"op": "delete", "key": key})).collect();
        worker.forget_trail();
        let body = done(worker, &deletes)?;
        let gone = (0..part.len()).find(|at| body["results"][*at]["found"] != true);
        let key = &part[gone.unwrap_or_default()];
        worker.holds(KEPT, gone.is_none(), format!("{key} is there"), format!("{key} is gone"))?;
    }
    Ok(())
}
