//! A GET that waits answers when its key changes, whatever changed it, and for all who wait.
//!
//! Only what is certain is judged. A wait may be called before the change or after it, so what
//! counts is what it answered, and whether that was seconds too late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::audit::call::Call;
use crate::audit::run::Run;
use crate::audit::session::{Answer, Effect, ns_since};
use crate::audit::worker::{Sent, Step, Stop, Worker, shown, value_of};
use crate::exact;

use super::changes::{Change, TTL_MS};
use super::conditions::{version, with};
use super::gate::Gate;

const AWAITED: &str = "a GET that waits answers when the key changes, not before and not later";
const LASTS: &str = "a GET that waits lasts until the key changes or its time is over";

/// Clients that wait, and the keys that they wait for at a time: two wait for each.
const WAITERS: usize = 8;
const KEYS: usize = 4;
/// How long they wait at most.
const WAIT: Duration = Duration::from_secs(4);
/// Far less than that, and far more than a busy machine needs.
const AT_ONCE: Duration = Duration::from_secs(3);
/// A wait begins at most so long before the change is called.
const AHEAD_US_MAX: u64 = 5_000;
/// How often each change is awaited; less often where few operations are asked for.
const ROUNDS_MAX: usize = 10;
/// How long nothing changes: some servers or proxies give up after a second.
const NOTHING: Duration = Duration::from_millis(1_500);
const NOTHING_SHORT: Duration = Duration::from_millis(150);
/// With fewer operations than this the short one has to do.
const OPS_FOR_LONG: u32 = 2_000;

/// A key that is waited for.
#[derive(Debug, Clone)]
struct Awaited {
    key: String,
    change: Change,
    /// None if it is not there yet.
    before: Option<u64>,
    /// When it expires: not before the one, not after the other.
    expires_ns: (u64, u64),
}

/// Clocks of two machines run at speeds that differ by less than one part in a hundred, and a
/// server may count whole milliseconds.
const CLOCK_SHARE: u32 = 100;
const CLOCK_STEP: Duration = Duration::from_millis(2);

/// What the clients share.
struct Shared {
    keys: Mutex<Vec<Awaited>>,
    ended: Mutex<Vec<(usize, Sent)>>,
    is_over: AtomicBool,
    gate: Gate,
}

/// When a key changed: not before the one, not after the other.
type Moment = (u64, u64);

pub(super) fn waits(run: &Run<'_>) {
    let shared = Shared {
        keys: Mutex::default(),
        ended: Mutex::default(),
        is_over: AtomicBool::new(false),
        gate: Gate::new(WAITERS + 1),
    };
    run.workers(WAITERS + 2, |worker| match worker.index {
        index if index < WAITERS => wait(worker, &shared),
        WAITERS => change(worker, &shared),
        _ => nothing_changes(worker),
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shortest that this time may be on the clock of the service.
fn at_least(time: Duration) -> Duration {
    time.saturating_sub(time / CLOCK_SHARE + CLOCK_STEP)
}

/// One that waits, round by round.
fn wait(worker: &mut Worker<'_>, shared: &Shared) {
    loop {
        shared.gate.wait();
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        let at = worker.index % KEYS;
        let call = lock(&shared.keys).get(at).map(waiting);
        if let Some(call) = call {
            let sent = worker.send_untracked(&call);
            lock(&shared.ended).push((at, sent));
        }
        shared.gate.wait();
    }
}

fn waiting(awaited: &Awaited) -> Call {
    let call = Call::get(&awaited.key).query("wait", &format!("{}ms", WAIT.as_millis()));
    match awaited.before {
        Some(before) => with(call, "If-None-Match", before),
        None => call,
    }
}

/// The one that changes what the others wait for, and judges what they saw.
fn change(worker: &mut Worker<'_>, shared: &Shared) {
    let times = (worker.run.plan.settings.ops as usize / 200).clamp(1, ROUNDS_MAX);
    let mut changes = Change::all(worker.run).repeat(times);
    worker.rng.shuffle(&mut changes);
    for (round, changes) in changes.chunks(KEYS).enumerate() {
        let mut keys = Vec::new();
        let ready = worker.case(AWAITED, |worker| {
            for (at, change) in changes.iter().enumerate() {
                let key = worker.run.key(&format!("wait-{round}-{at}-"));
                keys.push(prepared(worker, key, *change)?);
            }
            Ok(())
        });
        if !ready {
            break;
        }
        lock(&shared.keys).clone_from(&keys);
        shared.gate.wait();
        let ahead = Duration::from_micros(worker.rng.u64(..=AHEAD_US_MAX));
        let slept = worker.sleep_until(Instant::now() + ahead);
        let sent: Vec<_> = keys
            .iter()
            .map(|key| key.change.call(&key.key).map(|call| worker.send_untracked(&call)))
            .collect();
        shared.gate.wait();
        let ended = std::mem::take(&mut *lock(&shared.ended));
        let mut holds = slept.is_ok();
        for (at, wait) in &ended {
            holds &=
                worker.case(AWAITED, |worker| judge(worker, &keys[*at], sent[*at].as_ref(), wait));
        }
        // One that answers too late does so for seconds: once is enough.
        if !holds {
            break;
        }
    }
    shared.is_over.store(true, Ordering::Relaxed);
    shared.gate.wait();
}

fn prepared(worker: &mut Worker<'_>, key: String, change: Change) -> Step<Awaited> {
    let called_ns = ns_since(worker.run.epoch);
    let mut before = None;
    if let Some(preparation) = change.preparation(&key) {
        let answer = worker.ask(&preparation)?;
        worker.status(AWAITED, &answer, &[200])?;
        before = Some(version(worker, &answer)?);
    }
    let (ttl, epoch) = (Duration::from_millis(TTL_MS), worker.run.epoch);
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let expires_ns = (called_ns + ns(at_least(ttl)), ns_since(epoch) + ns(ttl));
    Ok(Awaited { key, change, before, expires_ns })
}

fn judge(worker: &mut Worker<'_>, key: &Awaited, change: Option<&Sent>, wait: &Sent) -> Step {
    let calls = || key.change.preparation(&key.key).into_iter().chain(key.change.call(&key.key));
    worker.retrace(calls());
    let answer = match &wait.outcome {
        Ok(answer) if answer.effect() != Effect::Unknown => answer,
        Ok(answer) => return Err(Stop::Lost(format!("a wait answered {}", answer.status))),
        Err(lost) => return Err(Stop::Lost(format!("a wait: {}", lost.text()))),
    };
    let moment = match change {
        None => key.expires_ns,
        Some(Sent { outcome: Ok(done), called_ns, returned_ns })
            if done.effect() != Effect::Unknown =>
        {
            worker.status(AWAITED, done, &[200, 201])?;
            (*called_ns, *returned_ns)
        }
        Some(_) => return Err(Stop::Lost("the change of an awaited key".to_owned())),
    };
    let Some(wrong) = wrong(end(key, answer), moment, (wait.called_ns, wait.returned_ns)) else {
        worker.held(1);
        return Ok(());
    };
    // A service that stops ends waits early, and that is right.
    worker.ask(&Call::get(&key.key))?;
    let change = key.change.call(&key.key);
    worker
        .retrace(key.change.preparation(&key.key).into_iter().chain([waiting(key)]).chain(change));
    let after = Duration::from_nanos(wait.returned_ns.saturating_sub(wait.called_ns));
    let expected = match key.change.leaves() {
        Some(value) => format!("200 with the value {value} when it is written"),
        None => "404 when the key is gone".to_owned(),
    };
    worker.holds(AWAITED, false, expected, format!("{wrong}, after {after:?}: {}", shown(answer)))
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With what the change left.
    Changed,
    /// As one does whose time is over.
    Unchanged,
    /// As none may.
    Other,
}

fn end(key: &Awaited, answer: &Answer) -> End {
    let is_new = || {
        let found = value_of(answer).zip(key.change.leaves());
        let differs = answer.version().is_some_and(|version| Some(version) != key.before);
        differs && found.is_some_and(|(found, value)| exact::same(&found, value))
    };
    match (answer.status, key.before, key.change.leaves()) {
        (200, _, Some(_)) if is_new() => End::Changed,
        (404, Some(_), None) => End::Changed,
        (304, Some(_), _) | (404, None, _) => End::Unchanged,
        _ => End::Other,
    }
}

/// What is certainly wrong with a wait that ended so, when it was called and answered at these
/// times; none if nothing is.
fn wrong(end: End, changed: Moment, (called_ns, returned_ns): Moment) -> Option<&'static str> {
    let lasted = Duration::from_nanos(returned_ns.saturating_sub(called_ns));
    // Both the change and the wait were there from then on.
    let late = Duration::from_nanos(returned_ns.saturating_sub(changed.1.max(called_ns)));
    match end {
        End::Other => Some("another answer"),
        End::Changed if returned_ns < changed.0 => Some("a change before it was called"),
        End::Unchanged if lasted < at_least(WAIT) => Some("an end before the time was over"),
        End::Changed | End::Unchanged if late >= AT_ONCE => Some("an answer long after the change"),
        End::Changed | End::Unchanged => None,
    }
}

/// Nothing changes, so the wait lasts; and one that has nothing to wait for does not.
fn nothing_changes(worker: &mut Worker<'_>) {
    let is_long = worker.run.plan.settings.ops >= OPS_FOR_LONG;
    let (key, absent) = (worker.run.key("unchanged-"), worker.run.key("absent-"));
    worker.case(LASTS, |worker| {
        let answer = worker.ask(&Call::put(&key, "1"))?;
        worker.status(LASTS, &answer, &[200])?;
        let current = version(worker, &answer)?;
        let called = Instant::now();
        let get = Call::get(&key).query("wait", "4s");
        let answer = worker.call(&get)?;
        worker.value("without If-None-Match a key that is there is answered", &answer, "1")?;
        let took = called.elapsed();
        worker.holds(
            AWAITED,
            took < AT_ONCE,
            "an answer at once",
            format!("one after {took:?}"),
        )?;
        let time = if is_long { NOTHING } else { NOTHING_SHORT };
        let get = with(Call::get(&key), "If-None-Match", current);
        let answer = lasts(worker, get, time, 304)?;
        let seen = version(worker, &answer)?;
        worker.holds("a wait that is over answers the version", seen == current, current, seen)
    });
    worker.case(LASTS, |worker| lasts(worker, Call::get(&absent), NOTHING_SHORT, 404).map(drop));
}

fn lasts(worker: &mut Worker<'_>, get: Call, time: Duration, status: u16) -> Step<Answer> {
    let called = Instant::now();
    let millis = time.as_millis();
    let answer = worker.call(&get.query("wait", &format!("{millis}ms")))?;
    let waited = called.elapsed();
    worker.status(LASTS, &answer, &[status])?;
    let seen = format!("an answer after {waited:?}");
    worker.holds(LASTS, waited >= at_least(time), format!("nothing for {millis} ms"), seen)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[track_caller]
    fn check(end: End, changed: Moment, wait: Moment, is_wrong: bool) {
        assert_eq!(wrong(end, changed, wait).is_some(), is_wrong, "{changed:?} {wait:?}");
    }

    #[test]
    fn a_wait_ends_with_the_change() {
        check(End::Changed, (2 * S, 3 * S), (0, 3 * S), false);
        check(End::Changed, (2 * S, 9 * S), (0, 3 * S), false);
        check(End::Changed, (2 * S, 3 * S), (0, 2 * S - 1), true);
        check(End::Other, (2 * S, 3 * S), (0, 3 * S), true);
    }

    #[test]
    fn an_end_before_the_time_is_over_shows_a_change() {
        check(End::Unchanged, (2 * S, 9 * S), (0, 39 * S / 10), true);
        check(End::Unchanged, (2 * S, 9 * S), (0, 4 * S), false);
        // Its clock may count whole milliseconds.
        check(End::Unchanged, (2 * S, 9 * S), (0, 4 * S - 1), false);
        check(End::Unchanged, (0, 0), (S, 2 * S), true);
    }

    #[test]
    fn late_is_seconds_after_both_the_change_and_the_call() {
        check(End::Changed, (0, S / 2), (0, 4 * S), true);
        check(End::Unchanged, (0, S / 2), (0, 4 * S), true);
        check(End::Changed, (0, 2 * S), (0, 4 * S), false);
        check(End::Changed, (0, S), (3 * S, 5 * S), false);
        check(End::Changed, (0, S), (S, 4 * S), true);
    }
}
