//! The last write is the one that is read, by everybody, at once and later.

use crate::audit::call::Call;
use crate::audit::run::Run;
use crate::audit::worker::{Step, Worker};

use super::{Workflow, values};

pub(super) static OVERWRITE: Workflow = Workflow {
    name: "overwrite",
    promise: "the last write is the one that is read, at once and later, on any connection",
    needs: &[],
    run,
};

const LAST: &str = "the last value that was written is the one that is read";
const LATER: &str = "a value stays until it is overwritten";

/// Overwrites of one key, each with a read before and a read after.
const WRITES_PER_KEY: usize = 10;

fn run(run: &Run<'_>) {
    let clients = run.clients(2, 64);
    let keys_each = run.ops_each(clients).div_ceil(WRITES_PER_KEY * 2);
    let last = std::sync::Mutex::new(Vec::new());
    run.workers(clients, |worker| {
        for number in 0..keys_each {
            let key = run.key(&format!("{}-{number}", worker.index));
            let mut value = String::new();
            if worker.case(LAST, |worker| overwrite(worker, &key, &mut value)) {
                let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                last.push((key, value));
            }
        }
    });
    // On connections other than those of the writes.
    let last = last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    run.workers(clients, |worker| {
        for (key, value) in last.iter().skip(worker.index).step_by(clients) {
            worker.case(LATER, |worker| {
                let answer = worker.ask(&Call::get(key))?;
                worker.value(LATER, &answer, value)
            });
        }
    });
}

fn overwrite(worker: &mut Worker<'_>, key: &str, value: &mut String) -> Step {
    for write in 0..WRITES_PER_KEY {
        // The number tells writes apart whose random parts happen to be the same.
        *value = format!("[{write},{}]", values::random(&mut worker.rng, 2));
        let call = if write % 2 == 0 { Call::put(key, value) } else { Call::post(key, value) };
        let answer = worker.call(&call)?;
        worker.status("a write is answered with success", &answer, &[200, 201])?;
        let answer = worker.ask(&Call::get(key))?;
        worker.value(LAST, &answer, value)?;
        // At times at once from another connection too, before the next write hides this one.
        if write % 3 == 2 {
            let answer = worker.elsewhere(|worker| worker.ask(&Call::get(key)))?;
            worker.value(LAST, &answer, value)?;
        }
    }
    Ok(())
}
