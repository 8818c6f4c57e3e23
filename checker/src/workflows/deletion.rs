//! A deleted key is gone and stays gone, and no other key goes with it.

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

/// Calls of one round.
const ROUND_CALLS: usize = 9;
/// How many deleted keys a client looks at again in the end.
const LOOKED_AT_AGAIN_MAX: usize = 100;

fn run(run: &Run<'_>) {
    let clients = run.clients(1, 64);
    let rounds = run.ops_each(clients).div_ceil(ROUND_CALLS);
    run.workers(clients, |worker| {
        let name = format!("{}-", worker.index);
        let neighbours =
            [run.key(&name), run.key(&format!("{name}0-")), run.key(&format!("{name}~"))];
        for key in &neighbours {
            worker.case("a neighbour is stored", |worker| stored(worker, key, "\"neighbour\""));
        }
        let mut deleted = Vec::new();
        for round in 0..rounds {
            let key = run.key(&format!("{name}{round}"));
            let value = format!("{{\"round\":{round},\"n\":{}}}", worker.rng.u32(..));
            if worker.case(GONE, |worker| one(worker, &key, &value)) {
                deleted.push(key);
            }
        }
        for key in deleted.iter().rev().take(LOOKED_AT_AGAIN_MAX) {
            worker.case(STAYS_GONE, |worker| gone(worker, STAYS_GONE, key));
        }
        for key in &neighbours {
            worker.case(STAYS, |worker| {
                let answer = worker.ask(&Call::get(key))?;
                worker.value(STAYS, &answer, "\"neighbour\"")
            });
        }
    });
}

fn one(worker: &mut Worker<'_>, key: &str, value: &str) -> Step {
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
