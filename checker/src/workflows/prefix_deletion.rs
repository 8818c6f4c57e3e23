//! A deletion by prefix is one step: all keys with the prefix go, in the view of everybody at once,
//! none of them comes back, and no other key goes with them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::page::Page;
use crate::audit::run::Run;
use crate::audit::session::Answer;
use crate::audit::worker::{Step, Worker, shown};
use crate::exact;

use super::gate::Gate;
use super::{expiry, wide};

const DELETED: &str = "a deletion by prefix deletes the keys with the prefix and no others";
const COUNTED: &str = "a deletion by prefix answers how many keys it has deleted";
const AT_ONCE: &str = "nobody sees a deletion by prefix half done";
const GONE: &str = "keys that were deleted by prefix stay gone";

/// How prefixes end: what comes behind the last of their keys is not always the next byte.
const ENDINGS: [&str; 5] = ["/", "é", "\u{7f}", "ÿ", "\u{10ffff}"];
/// Keys with a prefix: more than fit on one page, and more than one batch writes.
const KEYS: usize = 1_000;
/// The same where each costs a call.
const KEYS_BY_ONE: usize = 150;
/// How long after its deletion a key is looked at again.
const LATER: Duration = Duration::from_millis(550);

/// Prefixes whose keys are deleted, since when.
pub(super) struct Gone(Mutex<Vec<(String, Instant)>>);

/// Keys with one prefix.
struct Doomed {
    prefix: String,
    keys: Vec<String>,
    neighbours: Vec<String>,
}

/// Deletes a few keys, and then many while others look.
pub(super) fn check(run: &Run<'_>) -> Gone {
    let gone = Gone(Mutex::default());
    let taken = AtomicUsize::new(0);
    run.worker(|worker| {
        worker.case(DELETED, |worker| few(worker));
        if run.has(Feature::Batch) {
            worker.case(DELETED, |worker| {
                taken.store(wide::ops_taken(worker)?, Ordering::Relaxed);
                Ok(())
            });
        }
    });
    let width = Some(taken.into_inner()).filter(|width| *width > 0);
    let rounds = (run.plan.settings.ops as usize / 400).clamp(1, ENDINGS.len());
    for (round, ending) in ENDINGS.iter().enumerate().take(rounds) {
        if run.is_over() {
            break;
        }
        many(run, &Doomed::new(run, round, ending, width), width, &gone);
    }
    gone
}

/// What was deleted is still gone a while later.
pub(super) fn stays_gone(worker: &mut Worker<'_>, gone: &Gone) -> Step {
    let gone = gone.0.lock().unwrap_or_else(PoisonError::into_inner);
    for (prefix, since) in &*gone {
        worker.sleep_until(*since + LATER)?;
        worker.forget_trail();
        lists_none(worker, GONE, prefix)?;
    }
    Ok(())
}

fn few(worker: &mut Worker<'_>) -> Step {
    let run = worker.run;
    let doomed: Vec<_> = (0..25).map(|number| run.key(&format!("d/x{number}"))).collect();
    let spared = [run.key("d/"), run.key("d/w"), run.key("d/y"), run.key("d/X1"), run.key("d")];
    for key in doomed.iter().chain(&spared) {
        store(worker, key)?;
    }
    worker.forget_trail();
    let answer = worker.call(&Call::delete_prefix(&format!("{}d/x", run.prefix)))?;
    counts(worker, &answer, doomed.len())?;
    for key in &doomed {
        let answer = worker.ask(&Call::get(key))?;
        worker.status(DELETED, &answer, &[404])?;
    }
    for key in &spared {
        let answer = worker.ask(&Call::get(key))?;
        worker.value(DELETED, &answer, "1")?;
    }
    Ok(())
}

fn store(worker: &mut Worker<'_>, key: &str) -> Step {
    let answer = worker.call(&Call::put(key, "1"))?;
    worker.status("a value can be stored", &answer, &[200])
}

fn counts(worker: &mut Worker<'_>, answer: &Answer, count: usize) -> Step {
    let wanted = format!(r#"{{"success":true,"deleted":{count}}}"#);
    let holds = answer.status == 200 && exact::same(&answer.body, &wanted);
    worker.holds(COUNTED, holds, format!("200 {wanted}"), shown(answer))
}

impl Doomed {
    fn new(run: &Run<'_>, round: usize, ending: &str, width: Option<usize>) -> Doomed {
        let before = format!("m{round}");
        let count = if width.is_some() { KEYS } else { KEYS_BY_ONE };
        let key = |suffix: &str| run.key(&[before.as_str(), ending, suffix].concat());
        // The prefix itself is a key with the prefix.
        let names = (0..count).map(|number| format!("{number:03}"));
        let keys = std::iter::once(String::new()).chain(names).map(|name| key(&name)).collect();
        let next = ending.chars().next().and_then(|last| char::from_u32(u32::from(last) + 1));
        let behind = next.map(|next| format!("{before}{next}"));
        let neighbours = [Some(before.clone()), Some(format!("{before}!")), behind];
        let neighbours = neighbours.iter().flatten().map(|suffix| run.key(suffix)).collect();
        Doomed { prefix: key(""), keys, neighbours }
    }

    /// The first key, the last, and some between.
    fn looked_at(&self) -> Vec<String> {
        let count = self.keys.len();
        [0, count / 4, count / 2, count - 1].map(|at| self.keys[at].clone()).to_vec()
    }
}

/// Deletes many keys, of which some have expired, while others look.
fn many(run: &Run<'_>, doomed: &Doomed, width: Option<usize>, gone: &Gone) {
    let is_stored = AtomicBool::new(false);
    run.worker(|worker| {
        let ok = worker.case(DELETED, |worker| prepare(worker, doomed, width));
        is_stored.store(ok, Ordering::Relaxed);
    });
    if !is_stored.into_inner() {
        return;
    }
    let clients = run.clients(3, 6);
    let (gate, is_under_way) = (Gate::new(clients), AtomicBool::new(true));
    let looked_at = doomed.looked_at();
    run.workers(clients, |worker| {
        if worker.index > 0 {
            let in_batch = width.is_some() && worker.index % 3 > 0;
            worker.case(AT_ONCE, |worker| look(worker, &looked_at, in_batch, true).map(|_| ()));
            gate.wait();
            while is_under_way.load(Ordering::Relaxed) && !run.is_over() {
                let looked = |worker: &mut Worker<'_>| look_on(worker, &looked_at, in_batch);
                worker.case(AT_ONCE, looked);
            }
            return;
        }
        gate.wait();
        worker.case(DELETED, |worker| {
            let answer = worker.call(&Call::delete_prefix(&doomed.prefix));
            // What nobody has seen by now is not to be seen any more.
            is_under_way.store(false, Ordering::Relaxed);
            let (answer, since) = (answer?, Instant::now());
            is_deleted(worker, doomed, width, &answer)?;
            let mut gone = gone.0.lock().unwrap_or_else(PoisonError::into_inner);
            gone.push((doomed.prefix.clone(), since));
            Ok(())
        });
        // The case may not even have begun.
        is_under_way.store(false, Ordering::Relaxed);
    });
}

fn prepare(worker: &mut Worker<'_>, doomed: &Doomed, width: Option<usize>) -> Step {
    for key in &doomed.neighbours {
        store(worker, key)?;
    }
    if worker.run.has(Feature::Expiry) {
        let mut latest = Instant::now();
        for name in ["0500x", "999x"] {
            let key = worker.run.key(&[&doomed.prefix[worker.run.prefix.len()..], name].concat());
            latest = expiry::store(worker, &key, ("20ms", 20))?.latest;
        }
        worker.sleep_until(latest)?;
    }
    match width {
        Some(width) => wide::write_all(worker, &doomed.keys, width)?,
        None => doomed.keys.iter().try_for_each(|key| store(worker, key))?,
    }
    if worker.run.has(Feature::Expiry) {
        // A time that is not over makes no key an expired one.
        expiry::store(worker, &doomed.keys[1], ("1h", 3_600_000))?;
    }
    Ok(())
}

/// Nothing is left but the neighbours.
fn is_deleted(
    worker: &mut Worker<'_>,
    doomed: &Doomed,
    width: Option<usize>,
    answer: &Answer,
) -> Step {
    counts(worker, answer, doomed.keys.len())?;
    lists_none(worker, DELETED, &doomed.prefix)?;
    if let Some(width) = width {
        let values = wide::read_all(worker, &doomed.keys, width)?;
        let left = doomed.keys.iter().zip(&values).find(|(_, value)| value.is_some());
        worker.holds(DELETED, left.is_none(), "no key", format!("{left:?}"))?;
    }
    for key in &doomed.looked_at() {
        let answer = worker.ask(&Call::get(key))?;
        worker.status(DELETED, &answer, &[404])?;
    }
    for key in &doomed.neighbours {
        let answer = worker.ask(&Call::get(key))?;
        worker.value(DELETED, &answer, "1")?;
    }
    Ok(())
}

fn lists_none(worker: &mut Worker<'_>, promise: &str, prefix: &str) -> Step {
    let answer = worker.ask(&Call::list(prefix).query("limit", "5"))?;
    let page = Page::read(&answer);
    let holds = page.is_some_and(|page| page.keys.is_empty() && page.next_cursor.is_none());
    worker.holds(promise, holds, "no key", shown(&answer))
}

/// Looks a few times: what is gone once is gone from then on.
fn look_on(worker: &mut Worker<'_>, keys: &[String], in_batch: bool) -> Step {
    let mut are_there = true;
    for _ in 0..4 {
        are_there = look(worker, keys, in_batch, are_there)?;
    }
    Ok(())
}

/// Whether the keys are there: in one batch all or none are, and one by one none is behind one
/// that is gone.
fn look(worker: &mut Worker<'_>, keys: &[String], in_batch: bool, were_there: bool) -> Step<bool> {
    if in_batch {
        let gets: Vec<_> = keys.iter().map(|key| json!({"op": "get", "key": key})).collect();
        let answer = worker.ask(&Call::batch(&gets))?;
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let found = |at: usize| body["results"][at]["found"].as_bool();
        let first = found(0);
        let is_one = first.is_some() && (1..keys.len()).all(|at| found(at) == first);
        let holds = is_one && (were_there || first == Some(false));
        let expected = if were_there { "all keys, or none" } else { "no key" };
        worker.holds(AT_ONCE, holds, expected, shown(&answer))?;
        return Ok(first == Some(true));
    }
    let mut are_there = were_there;
    for _ in 0..keys.len() {
        let Some(key) = worker.rng.choice(keys) else { break };
        let answer = worker.ask(&Call::get(key))?;
        worker.status("a key is there or not", &answer, &[200, 404])?;
        let is_there = answer.status == 200;
        worker.holds(AT_ONCE, are_there || !is_there, "404, as of another key", shown(&answer))?;
        are_there = is_there;
    }
    Ok(are_there)
}
