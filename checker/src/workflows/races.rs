//! Several clients at once on one key: what only one may win, and what nobody may lose.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::audit::call::Call;
use crate::audit::run::Run;
use crate::audit::session::Effect;
use crate::audit::worker::{Step, Worker, shown, value_of};

use super::gate::Gate;

const ONE_WINS: &str = "of several clients that create a key, exactly one does";
const CHAIN: &str = "a chain of compare-and-set loses nothing";
const AWAITED: &str = "a GET that waits answers when the version differs, not before and not later";

/// Rounds of the race to create a key.
const RACES: usize = 60;
/// Tries of each client in a chain of compare-and-set.
const TRIES: usize = 60;

/// What came of one race.
#[derive(Default)]
struct Race {
    winners: AtomicUsize,
    unknown: AtomicUsize,
    winner: AtomicUsize,
}

/// N writers create the same key at the same moment.
pub(super) fn create_only(run: &Run<'_>) {
    let clients = run.clients(4, 16);
    let races: Vec<Race> = (0..RACES).map(|_| Race::default()).collect();
    let key = |round: usize| run.key(&format!("race-{round}"));
    let gate = Gate::new(clients);
    run.workers(clients, |worker| {
        for (round, race) in races.iter().enumerate() {
            gate.wait();
            if run.is_over() {
                return;
            }
            let call = create(&key(round), worker.index);
            let sent = worker.send_untracked(&call);
            match sent.effect() {
                Effect::Unknown => {
                    race.unknown.fetch_add(1, Ordering::Relaxed);
                }
                Effect::Told if sent.outcome.is_ok_and(|answer| answer.status < 300) => {
                    race.winners.fetch_add(1, Ordering::Relaxed);
                    race.winner.store(worker.index, Ordering::Relaxed);
                }
                Effect::Told | Effect::None => {}
            }
        }
    });
    run.worker(|worker| {
        for (round, race) in races.iter().enumerate() {
            let key = key(round);
            worker.case(ONE_WINS, |worker| judge(worker, &key, race, clients));
        }
    });
}

fn create(key: &str, client: usize) -> Call {
    Call::put(key, &client.to_string()).field("If-None-Match", "*")
}

fn judge(worker: &mut Worker<'_>, key: &str, race: &Race, clients: usize) -> Step {
    let winners = race.winners.load(Ordering::Relaxed);
    let unknown = race.unknown.load(Ordering::Relaxed);
    if winners + unknown == 0 && worker.run.is_over() {
        return Ok(());
    }
    let answer = worker.ask(&Call::get(key))?;
    let holds = winners == 1 || (winners == 0 && unknown > 0);
    let first = worker.curl(&create(key, 0));
    let seen = format!("{winners} of {clients}, each with its own number, at once: {first}");
    worker.holds(ONE_WINS, holds, "one success", seen)?;
    if unknown == 0 {
        let winner = race.winner.load(Ordering::Relaxed).to_string();
        worker.value("the value is that of the client that created the key", &answer, &winner)?;
    }
    Ok(())
}

/// N clients read a number and set the next one if nobody else has.
pub(super) fn compare_and_set(run: &Run<'_>) {
    let clients = run.clients(4, 16);
    let key = run.key("chain");
    let (won, unknown) = (AtomicU64::new(0), AtomicU64::new(0));
    let began = std::sync::atomic::AtomicBool::new(false);
    run.worker(|worker| {
        let ok = worker.case(CHAIN, |worker| {
            let answer = worker.ask(&Call::put(&key, "0"))?;
            worker.status(CHAIN, &answer, &[200])
        });
        began.store(ok, Ordering::Relaxed);
    });
    if !began.load(Ordering::Relaxed) {
        return;
    }
    let gate = Gate::new(clients);
    run.workers(clients, |worker| {
        gate.wait();
        for _ in 0..TRIES {
            let Ok(answer) = worker.ask(&Call::get(&key)) else { return };
            let number = value_of(&answer).and_then(|value| value.parse::<u64>().ok());
            let (Some(number), Some(version)) = (number, answer.version()) else { return };
            let next = (number + 1).to_string();
            let call = Call::put(&key, &next).field("If-Match", format!("\"{version}\""));
            let sent = worker.send_untracked(&call);
            match sent.effect() {
                Effect::Unknown => unknown.fetch_add(1, Ordering::Relaxed),
                Effect::Told if sent.outcome.is_ok_and(|answer| answer.status < 300) => {
                    won.fetch_add(1, Ordering::Relaxed)
                }
                Effect::Told | Effect::None => 0,
            };
            worker.forget_trail();
        }
    });
    run.worker(|worker| {
        worker.case(CHAIN, |worker| {
            let answer = worker.ask(&Call::get(&key))?;
            let number = value_of(&answer).and_then(|value| value.parse::<u64>().ok());
            let (won, unknown) = (won.load(Ordering::Relaxed), unknown.load(Ordering::Relaxed));
            let holds = number.is_some_and(|number| (won..=won + unknown).contains(&number));
            let expected = format!("{won} successes and {unknown} unknown make {won} at least");
            worker.holds(CHAIN, holds, expected, shown(&answer))
        });
    });
}

/// A client waits for a change; another makes it.
pub(super) fn wait(run: &Run<'_>) {
    const SHORT: Duration = Duration::from_millis(150);
    const LONG: &str = "4s";
    /// Far less than the long wait, far more than a busy machine needs.
    const AT_ONCE: Duration = Duration::from_secs(3);

    let key = run.key("wait");
    let version = std::sync::Mutex::new(None);
    run.worker(|worker| {
        worker.case(AWAITED, |worker| {
            let answer = worker.ask(&Call::put(&key, "1"))?;
            worker.status(AWAITED, &answer, &[200])?;
            let tag = answer.field("etag").unwrap_or_default().to_owned();
            let called = Instant::now();
            let call = Call::get(&key).query("wait", "150ms").field("If-None-Match", tag.clone());
            let answer = worker.call(&call)?;
            let waited = called.elapsed();
            worker.status("a wait that is over answers 304", &answer, &[304])?;
            let seen = format!("an answer after {waited:?}");
            worker.holds(AWAITED, waited >= SHORT, "nothing for 150 ms", seen)?;
            *version.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(tag);
            Ok(())
        });
    });
    let tag = version.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(tag) = tag else { return };
    run.workers(2, |worker| {
        if worker.index == 0 {
            worker.case(AWAITED, |worker| {
                let called = Instant::now();
                let call = Call::get(&key).query("wait", LONG).field("If-None-Match", tag.clone());
                let answer = worker.call(&call)?;
                let waited = called.elapsed();
                worker.value(AWAITED, &answer, "2")?;
                let seen = format!("an answer after {waited:?}");
                worker.holds(AWAITED, waited < AT_ONCE, "an answer when the value changed", seen)
            });
        } else {
            worker.case(AWAITED, |worker| {
                worker.sleep_until(Instant::now() + SHORT)?;
                let answer = worker.call(&Call::put(&key, "2"))?;
                worker.status(AWAITED, &answer, &[200])
            });
        }
    });
}
