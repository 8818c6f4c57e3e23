//! A deleted key is gone and stays gone, and no other key goes with it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::audit::call::Call;
use crate::audit::run::Run;
use crate::audit::worker::{Step, Worker};

use super::Workflow;

pub(super) static DELETION: Workflow = Workflow {
    name: "deletion",
    promise: "a deleted key is gone and stays gone, and no other key goes with it",
    needs: &[],
    run,
};

const GONE: &str = "a deleted key is not there";
const STORED: &str = "a stored value can be read";
const STAYS: &str = "a key that nobody deletes stays";
const STAYS_GONE: &str = "a deleted key does not come back";

/// Operations of one round, as they are counted in the settings. The keys that are only stored and
/// deleted come on top: many deletions show the few that are not done.
const ROUND_CALLS: usize = 9;
const SHORT_LIVED_PER_ROUND: usize = 8;
/// How many deleted keys a client looks at again in the end.
const LOOKED_AT_AGAIN_MAX: usize = 400;
/// A deleted key may come back with a flush or a merge that is under way. It is given a millisecond
/// for each operation, and this at most, so that short runs stay short.
const PAUSE_MAX: Duration = Duration::from_millis(1_200);

fn run(run: &Run<'_>) {
    let clients = run.clients(1, 64);
    let rounds = run.ops_each(clients).div_ceil(ROUND_CALLS);
    let deleted: Vec<Mutex<Vec<String>>> = (0..clients).map(|_| Mutex::default()).collect();
    run.workers(clients, |worker| {
        for key in &neighbours(worker) {
            worker.case("a neighbour is stored", |worker| stored(worker, key, "\"neighbour\""));
        }
        let keys = delete_many(worker, rounds);
        *deleted[worker.index].lock().unwrap_or_else(PoisonError::into_inner) = keys;
    });
    run.plan.cancel.sleep(PAUSE_MAX.min(Duration::from_millis(run.plan.settings.ops.into())));
    run.workers(clients, |worker| {
        // Those of another client, so on another connection.
        let deleted = &deleted[(worker.index + 1) % clients];
        let deleted = deleted.lock().unwrap_or_else(PoisonError::into_inner);
        for key in deleted.iter().rev().take(LOOKED_AT_AGAIN_MAX) {
            worker.case(STAYS_GONE, |worker| gone(worker, STAYS_GONE, key));
        }
        for key in &neighbours(worker) {
            worker.case(STAYS, |worker| {
                let answer = worker.ask(&Call::get(key))?;
                worker.value(STAYS, &answer, "\"neighbour\"")
            });
        }
    });
}

/// Keys that nobody deletes, close to those that a client deletes.
fn neighbours(worker: &Worker<'_>) -> [String; 3] {
    let name = format!("{}-", worker.index);
    [name.clone(), format!("{name}0-"), format!("{name}~")].map(|suffix| worker.run.key(&suffix))
}

/// Deletes in rounds; gives the keys that have to be gone for good.
fn delete_many(worker: &mut Worker<'_>, rounds: usize) -> Vec<String> {
    let mut deleted = Vec::new();
    for round in 0..rounds {
        let key = worker.run.key(&format!("{}-{round}", worker.index));
        let value = format!("{{\"round\":{round},\"n\":{}}}", worker.rng.u32(..));
        let is_overwritten = round % 2 == 1;
        if worker.case(GONE, |worker| one(worker, &key, &value, is_overwritten)) {
            deleted.push(key.clone());
        }
        for number in 0..SHORT_LIVED_PER_ROUND {
            let key = worker.run.key(&format!("{}-{round}-{number}", worker.index));
            if worker.case(GONE, |worker| short_lived(worker, &key, &value)) {
                deleted.push(key);
            }
        }
    }
    deleted
}

fn one(worker: &mut Worker<'_>, key: &str, value: &str, is_overwritten: bool) -> Step {
    let answer = worker.call(&Call::post(key, value))?;
    worker.status(STORED, &answer, &[200, 201])?;
    let answer = worker.ask(&Call::get(key))?;
    worker.value(STORED, &answer, value)?;
    delete(worker, key)?;
    gone(worker, GONE, key)?;
    let answer = worker.call(&Call::delete(key))?;
    worker.status("a key that is not there cannot be deleted", &answer, &[404])?;
    // A deletion must not be of the name but of the value.
    stored(worker, key, value)?;
    // Nor of the last value alone: the one before must not show again.
    if is_overwritten {
        stored(worker, key, "\"overwritten\"")?;
    }
    delete(worker, key)?;
    gone(worker, GONE, key)
}

fn short_lived(worker: &mut Worker<'_>, key: &str, value: &str) -> Step {
    let answer = worker.call(&Call::post(key, value))?;
    worker.status(STORED, &answer, &[200, 201])?;
    delete(worker, key)?;
    gone(worker, GONE, key)
}

fn stored(worker: &mut Worker<'_>, key: &str, value: &str) -> Step {
    let answer = worker.call(&Call::put(key, value))?;
    worker.status(STORED, &answer, &[200])?;
    let answer = worker.ask(&Call::get(key))?;
    worker.value(STORED, &answer, value)
}

fn delete(worker: &mut Worker<'_>, key: &str) -> Step {
    let answer = worker.call(&Call::delete(key))?;
    worker.status("a key that is there can be deleted", &answer, &[200])
}

fn gone(worker: &mut Worker<'_>, promise: &str, key: &str) -> Step {
    let answer = worker.ask(&Call::get(key))?;
    worker.status(promise, &answer, &[404])
}
