//! Several clients at once on one key: what only one may win, and what nobody may lose.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::audit::call::Call;
use crate::audit::run::Run;
use crate::audit::session::Effect;
use crate::audit::worker::{Sent, Step, Worker, shown, value_of};

use super::conditions::{version, with};
use super::gate::Gate;

const ONE_WINS: &str = "of several clients that create a key, exactly one does";
const CHAIN: &str = "a chain of compare-and-set loses nothing";
const ONE_CHANGES: &str =
    "of several clients that write or delete at one version, exactly one does";

/// Rounds of the race to create a key.
const RACES: usize = 60;
/// Rounds of the race to write or to delete: the moment that two steps are apart is short.
const DELETION_RACES: usize = 150;
/// Tries of each client in a chain of compare-and-set.
const TRIES: usize = 60;

/// What came of one race.
#[derive(Default)]
struct Race {
    winners: AtomicUsize,
    unknown: AtomicUsize,
    winner: AtomicUsize,
}

impl Race {
    fn came_in(&self, client: usize, sent: &Sent) {
        match (sent.effect(), &sent.outcome) {
            (Effect::Unknown, _) => {
                self.unknown.fetch_add(1, Ordering::Relaxed);
            }
            (Effect::Told, Ok(answer)) if answer.status < 300 => {
                self.winners.fetch_add(1, Ordering::Relaxed);
                self.winner.store(client, Ordering::Relaxed);
            }
            (Effect::Told | Effect::None, _) => {}
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.winners.load(Ordering::Relaxed), self.unknown.load(Ordering::Relaxed))
    }
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
            let sent = worker.send_untracked(&create(&key(round), worker.index));
            race.came_in(worker.index, &sent);
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
    let (winners, unknown) = race.counts();
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
    let began = AtomicBool::new(false);
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

/// Half of the clients write and half delete, all of them what they know at the same version.
pub(super) fn put_or_delete(run: &Run<'_>) {
    let clients = run.clients(4, 8);
    let races: Vec<Race> = (0..DELETION_RACES).map(|_| Race::default()).collect();
    let key = run.key("contested");
    let current = AtomicU64::new(0);
    let (gate, is_over) = (Gate::new(clients), AtomicBool::new(false));
    run.workers(clients, |worker| {
        for race in &races {
            if worker.index == 0 {
                let began = worker.case(ONE_CHANGES, |worker| {
                    let answer = worker.ask(&Call::put(&key, "0"))?;
                    worker.status(ONE_CHANGES, &answer, &[200])?;
                    current.store(version(worker, &answer)?, Ordering::Relaxed);
                    Ok(())
                });
                is_over.store(!began, Ordering::Relaxed);
            }
            gate.wait();
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            let call = contest(&key, worker.index, current.load(Ordering::Relaxed));
            let sent = worker.send_untracked(&call);
            race.came_in(worker.index, &sent);
            gate.wait();
            if worker.index == 0 {
                let at = current.load(Ordering::Relaxed);
                worker.case(ONE_CHANGES, |worker| judge_contest(worker, &key, race, at));
            }
        }
    });
}

/// What a client of that race calls: those with an odd number delete.
fn contest(key: &str, client: usize, current: u64) -> Call {
    let call = match client % 2 {
        0 => Call::put(key, &(client + 1).to_string()),
        _ => Call::delete(key),
    };
    with(call, "If-Match", current)
}

fn judge_contest(worker: &mut Worker<'_>, key: &str, race: &Race, current: u64) -> Step {
    let (winners, unknown) = race.counts();
    worker.retrace([Call::put(key, "0"), contest(key, 0, current), contest(key, 1, current)]);
    let holds = winners == 1 || (winners == 0 && unknown > 0);
    worker.holds(ONE_CHANGES, holds, "one success", format!("{winners}, all at once"))?;
    let answer = worker.ask(&Call::get(key))?;
    if unknown > 0 {
        return Ok(());
    }
    match race.winner.load(Ordering::Relaxed) {
        winner if winner % 2 == 0 => worker.value(
            "the value is that of the client that won",
            &answer,
            &(winner + 1).to_string(),
        ),
        _ => worker.status("the key is gone when the client won that deletes", &answer, &[404]),
    }
}
