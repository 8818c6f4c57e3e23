//! A batch is done whole or not at all, and nobody sees it half done.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::page::Page;
use crate::audit::run::Run;
use crate::audit::session::{Answer, Effect};
use crate::audit::worker::{Step, Worker, shown, value_of};

use super::{Workflow, wide};

pub(super) static BATCH: Workflow = Workflow {
    name: "batch",
    promise: "a batch is done whole or not at all, and nobody sees it half done",
    needs: &[Feature::Batch],
    run,
};

pub(super) const RESULTS: &str =
    "a batch answers each operation in order, and each sees those before it";
pub(super) const WHOLE: &str = "a batch of which one operation is refused does nothing";
const ONE_STEP: &str = "nobody sees a batch half done";
const FORWARD: &str = "who has seen a batch on one key sees it on every other";
const SUM: &str = "what batches move from one counter to another is neither lost nor made";

/// Keys that one batch writes.
const WIDTH: usize = 8;
/// Counters that batches move numbers between, and what they hold together.
const ACCOUNTS: usize = 6;

fn run(run: &Run<'_>) {
    run.worker(|worker| {
        for round in 0..8 {
            let base = run.key(&format!("seq-{round}-"));
            worker.case(RESULTS, |worker| sequence(worker, &base));
        }
        let base = run.key("refused-");
        for at in [0, 1, WIDTH / 2, WIDTH] {
            worker.case(WHOLE, |worker| refused(worker, &base, at));
        }
    });
    let keys: Vec<_> = (0..WIDTH).map(|number| run.key(&format!("group/{number}"))).collect();
    let looked_at = keys.clone();
    let listed = run.has(Feature::List).then(|| format!("{}group/", run.prefix));
    let rounds = run.ops_each(4).clamp(100, 5_000);
    seen_whole(run, &Group { keys, looked_at, listed, rounds });
    moves(run);
    wide::check(run);
}

/// Keys that one client writes by batches, the same number to all of them, while others look.
pub(super) struct Group {
    /// The keys.
    pub(super) keys: Vec<String>,
    /// Those of them that are read.
    pub(super) looked_at: Vec<String>,
    /// The prefix under which a list shows those and no others, if it is to be looked at.
    pub(super) listed: Option<String>,
    /// How many batches are written.
    pub(super) rounds: usize,
}

/// The answer to a batch that has to be done.
pub(super) fn done(worker: &mut Worker<'_>, ops: &[Value]) -> Step<Value> {
    let answer = worker.call(&Call::batch(ops))?;
    worker.status("a batch whose operations can all be done is done", &answer, &[200])?;
    Ok(serde_json::from_str(&answer.body).unwrap_or_default())
}

/// Each operation of a batch, and its result.
fn sequence(worker: &mut Worker<'_>, base: &str) -> Step {
    let key = |name: &str| worker.run.key(&[&base[worker.run.prefix.len()..], name].concat());
    let (a, n, none) = (key("a"), key("n"), key("none"));
    let number = worker.rng.u32(1..1_000_000);
    let ops = [
        json!({"op": "get", "key": a}),
        json!({"op": "put", "key": a, "value": [number]}),
        json!({"op": "get", "key": a}),
        json!({"op": "put", "key": a, "value": {"n": number}}),
        json!({"op": "get", "key": a}),
        json!({"op": "incr", "key": n, "by": number}),
        json!({"op": "incr", "key": n}),
        json!({"op": "get", "key": n}),
        json!({"op": "delete", "key": a}),
        json!({"op": "get", "key": a}),
        json!({"op": "delete", "key": none}),
        json!({"op": "put", "key": a, "value": "last", "if_version": null}),
    ];
    let body = done(worker, &ops)?;
    let mut results = body["results"].clone();
    let versions: Vec<_> =
        results.as_array().into_iter().flatten().map(|r| r["version"].clone()).collect();
    for result in results.as_array_mut().into_iter().flatten() {
        if let Some(members) = result.as_object_mut() {
            members.remove("version");
        }
    }
    let wanted = json!([
        {"op": "get", "key": a, "found": false},
        {"op": "put", "key": a},
        {"op": "get", "key": a, "found": true, "value": [number]},
        {"op": "put", "key": a},
        {"op": "get", "key": a, "found": true, "value": {"n": number}},
        {"op": "incr", "key": n, "value": number},
        {"op": "incr", "key": n, "value": number + 1},
        {"op": "get", "key": n, "found": true, "value": number + 1},
        {"op": "delete", "key": a, "found": true},
        {"op": "get", "key": a, "found": false},
        {"op": "delete", "key": none, "found": false},
        {"op": "put", "key": a},
    ]);
    worker.holds(RESULTS, results == wanted, &wanted, &results)?;
    let answer = worker.ask(&Call::get(&a))?;
    worker.value(RESULTS, &answer, "\"last\"")?;
    let last = versions.last().and_then(Value::as_u64);
    let holds = last.is_some() && answer.version() == last;
    let promise = "the version in a batch's result is that of the key";
    worker.holds(promise, holds, format!("{last:?}"), format!("{:?}", answer.version()))?;
    let answer = worker.ask(&Call::get(&n))?;
    worker.value(RESULTS, &answer, &(number + 1).to_string())
}

/// The operation at this place is refused: in each of the ways in which one can be.
fn refused(worker: &mut Worker<'_>, base: &str, at: usize) -> Step {
    let run = worker.run;
    let suffix = &base[run.prefix.len()..];
    let keys: Vec<_> =
        (0..WIDTH).map(|number| run.key(&format!("{suffix}{at}-{number}"))).collect();
    let (text, fresh) =
        (run.key(&format!("{suffix}{at}-text")), run.key(&format!("{suffix}{at}-new")));
    let before: Vec<_> =
        keys.iter().map(|key| json!({"op": "put", "key": key, "value": "before"})).collect();
    done(worker, &before)?;
    done(worker, &[json!({"op": "put", "key": text, "value": "text"})])?;
    for (status, refusal) in [
        (412, json!({"op": "put", "key": text, "value": 1, "if_version": null})),
        (412, json!({"op": "put", "key": text, "value": 1, "if_version": 1})),
        (412, json!({"op": "delete", "key": text, "if_version": 1})),
        (409, json!({"op": "incr", "key": text})),
        (422, json!({"op": "incr", "key": text, "by": "x"})),
        (422, json!({"op": "nonsense", "key": text})),
    ] {
        let mut ops: Vec<_> =
            keys.iter().map(|key| json!({"op": "put", "key": key, "value": "after"})).collect();
        ops[0] = json!({"op": "delete", "key": keys[0]});
        ops[1] = json!({"op": "put", "key": fresh, "value": 1});
        ops.insert(at, refusal);
        worker.forget_trail();
        let answer = worker.call(&Call::batch(&ops))?;
        worker.status(
            "a batch of which one operation is refused is refused",
            &answer,
            &[status],
        )?;
        for key in &keys {
            let answer = worker.ask(&Call::get(key))?;
            worker.value(WHOLE, &answer, "\"before\"")?;
        }
        let answer = worker.ask(&Call::get(&fresh))?;
        worker.status(WHOLE, &answer, &[404])?;
        let answer = worker.ask(&Call::get(&text))?;
        worker.value(WHOLE, &answer, "\"text\"")?;
    }
    Ok(())
}

/// One writes the same number to several keys, a batch each time; the others look.
pub(super) fn seen_whole(run: &Run<'_>, group: &Group) {
    let Group { keys, looked_at, listed, .. } = group;
    let zero: Vec<_> = keys.iter().map(|key| put(key, 0)).collect();
    let stored = AtomicBool::new(false);
    run.worker(|worker| {
        let ok = worker.case(ONE_STEP, |worker| done(worker, &zero).map(|_| ()));
        stored.store(ok, Ordering::Relaxed);
    });
    let is_writing = AtomicBool::new(stored.load(Ordering::Relaxed));
    let gets: Vec<_> = looked_at.iter().map(|key| json!({"op": "get", "key": key})).collect();
    run.workers(run.clients(4, 16), |worker| {
        if worker.index == 0 {
            write_rounds(worker, group, &is_writing);
            is_writing.store(false, Ordering::Relaxed);
            return;
        }
        while is_writing.load(Ordering::Relaxed) && !run.is_over() {
            worker.case(ONE_STEP, |worker| match (worker.index % 3, listed) {
                (1, _) => key_by_key(worker, looked_at),
                (2, Some(prefix)) => in_a_list(worker, prefix, looked_at.len()),
                _ => in_one_batch(worker, &gets),
            });
        }
    });
}

fn write_rounds(worker: &mut Worker<'_>, group: &Group, is_writing: &AtomicBool) {
    let mut order: Vec<_> = group.keys.iter().collect();
    for round in 1..=group.rounds {
        if worker.run.is_over() || !is_writing.load(Ordering::Relaxed) {
            return;
        }
        // In another order each time: a half that is seen is another half.
        worker.rng.shuffle(&mut order);
        let ops: Vec<_> = order.iter().map(|key| put(key, round)).collect();
        worker.send_untracked(&Call::batch(&ops));
    }
}

fn put(key: &str, number: usize) -> Value {
    json!({"op": "put", "key": key, "value": number})
}

fn in_one_batch(worker: &mut Worker<'_>, gets: &[Value]) -> Step {
    let answer = worker.ask(&Call::batch(gets))?;
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let values: Vec<_> = (0..gets.len()).map(|at| body["results"][at]["value"].as_u64()).collect();
    let holds = values[0].is_some() && values.iter().all(|value| *value == values[0]);
    worker.holds(ONE_STEP, holds, "the same number in all keys", shown(&answer))
}

/// A page of a list is one look at the store too, but only numbers that go back are a fault.
fn in_a_list(worker: &mut Worker<'_>, prefix: &str, count: usize) -> Step {
    let list = Call::list(prefix).query("values", "true");
    let mut least = 0;
    for _ in 0..4 {
        let answer = worker.ask(&list)?;
        let page = Page::read(&answer);
        let numbers = page.iter().flat_map(|page| &page.entries);
        let numbers: Vec<u64> =
            numbers.filter_map(|entry| entry.value.get().parse().ok()).collect();
        let holds = numbers.len() == count && numbers.iter().all(|number| *number >= least);
        worker.holds(FORWARD, holds, format!("numbers from {least}"), shown(&answer))?;
        least = numbers.into_iter().max().unwrap_or(least);
    }
    Ok(())
}

/// A number that was seen on one key is there on the next, or a later one.
fn key_by_key(worker: &mut Worker<'_>, keys: &[String]) -> Step {
    let mut least = 0;
    for _ in 0..2 * keys.len() {
        let Some(key) = worker.rng.choice(keys) else { return Ok(()) };
        let answer = worker.ask(&Call::get(key))?;
        let number = value_of(&answer).and_then(|value| value.parse::<u64>().ok());
        let holds = number.is_some_and(|number| number >= least);
        worker.holds(FORWARD, holds, format!("{least} or more"), shown(&answer))?;
        least = number.unwrap_or(least);
    }
    Ok(())
}

/// Numbers are moved between counters, and the sum stays.
fn moves(run: &Run<'_>) {
    let clients = run.clients(4, 16);
    let each = run.ops_each(clients).div_ceil(2);
    let keys: Vec<_> = (0..ACCOUNTS).map(|number| run.key(&format!("account/{number}"))).collect();
    let looked = AtomicU64::new(0);
    let movers = AtomicUsize::new(clients - 1);
    let gets: Vec<_> = keys.iter().map(|key| json!({"op": "get", "key": key})).collect();
    run.worker(|worker| {
        let zero: Vec<_> =
            keys.iter().map(|key| json!({"op": "put", "key": key, "value": 0})).collect();
        worker.case(SUM, |worker| done(worker, &zero).map(|_| ()));
    });
    run.workers(clients, |worker| {
        if worker.index == 0 {
            while movers.load(Ordering::Relaxed) > 0 && !run.is_over() {
                worker.case(SUM, |worker| sum_is_zero(worker, &gets));
                looked.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        for _ in 0..each {
            if run.is_over() {
                break;
            }
            let from = worker.rng.usize(..ACCOUNTS);
            let to = (from + worker.rng.usize(1..ACCOUNTS)) % ACCOUNTS;
            let by = worker.rng.i64(1..1_000);
            let ops = [
                json!({"op": "incr", "key": keys[from], "by": -by}),
                json!({"op": "incr", "key": keys[to], "by": by}),
            ];
            let sent = worker.send_untracked(&Call::batch(&ops));
            if let (Effect::Told, Ok(answer)) = (sent.effect(), sent.outcome) {
                worker.case(SUM, |worker| counted(worker, &answer));
            }
        }
        movers.fetch_sub(1, Ordering::Relaxed);
    });
    run.worker(|worker| {
        worker.case(SUM, |worker| sum_is_zero(worker, &gets));
    });
}

fn counted(worker: &mut Worker<'_>, answer: &Answer) -> Step {
    worker.status("a batch whose operations can all be done is done", answer, &[200])
}

fn sum_is_zero(worker: &mut Worker<'_>, gets: &[Value]) -> Step {
    let answer = worker.ask(&Call::batch(gets))?;
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let values = (0..ACCOUNTS).map(|at| body["results"][at]["value"].as_i64());
    let sum = values.sum::<Option<i64>>();
    worker.holds(SUM, sum == Some(0), "numbers whose sum is 0", shown(&answer))
}
