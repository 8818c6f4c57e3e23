//! The ways in which a key changes: what is promised of a version holds for each of them.

use serde_json::json;

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::worker::{Step, Worker};

use super::conditions::{version, with};

/// What a key holds before it changes, if it is there, and after.
const BEFORE: &str = "1";
const AFTER: &str = "2";
/// The time of a key that expires: long enough for a wait to begin.
pub(super) const TTL_MS: u64 = 30;

const ELSEWHERE: &str = "what one connection has changed, a GET with the old tag on another sees";

/// Rounds of each change.
const ROUNDS: usize = 3;

/// What changes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is written for the first time.
    Creation,
    Put,
    Post,
    Incr,
    Batch,
    BatchIncr,
    Delete,
    BatchDelete,
    PrefixDeletion,
    /// Its time is over.
    Expiry,
}

impl Change {
    const ALL: [Change; 10] = [
        Change::Creation,
        Change::Put,
        Change::Post,
        Change::Incr,
        Change::Batch,
        Change::BatchIncr,
        Change::Delete,
        Change::BatchDelete,
        Change::PrefixDeletion,
        Change::Expiry,
    ];

    /// Those that the service has.
    pub(super) fn all(run: &Run<'_>) -> Vec<Change> {
        let has = |change: &Change| change.needs().iter().all(|feature| run.has(*feature));
        Change::ALL.into_iter().filter(has).collect()
    }

    fn needs(self) -> &'static [Feature] {
        match self {
            Change::Creation | Change::Put | Change::Post | Change::Delete => &[],
            Change::Incr => &[Feature::Counters],
            Change::Batch | Change::BatchDelete => &[Feature::Batch],
            Change::BatchIncr => &[Feature::Batch, Feature::Counters],
            Change::PrefixDeletion => &[Feature::PrefixDeletion],
            Change::Expiry => &[Feature::Expiry],
        }
    }

    /// What is called before, so that there is something to change.
    pub(super) fn preparation(self, key: &str) -> Option<Call> {
        match self {
            Change::Creation => None,
            Change::Expiry => Some(Call::put(key, BEFORE).query("ttl", &format!("{TTL_MS}ms"))),
            Change::Put
            | Change::Post
            | Change::Incr
            | Change::Batch
            | Change::BatchIncr
            | Change::Delete
            | Change::BatchDelete
            | Change::PrefixDeletion => Some(Call::put(key, BEFORE)),
        }
    }

    /// The call that makes it; none for what comes by itself. No other key may begin like this one.
    pub(super) fn call(self, key: &str) -> Option<Call> {
        match self {
            Change::Creation | Change::Put => Some(Call::put(key, AFTER)),
            Change::Post => Some(Call::post(key, AFTER)),
            Change::Incr => Some(Call::incr(key, 1)),
            Change::Batch => Some(Call::batch(&[json!({"op": "put", "key": key, "value": 2})])),
            Change::BatchIncr => Some(Call::batch(&[json!({"op": "incr", "key": key})])),
            Change::Delete => Some(Call::delete(key)),
            Change::BatchDelete => Some(Call::batch(&[json!({"op": "delete", "key": key})])),
            Change::PrefixDeletion => Some(Call::delete_prefix(key)),
            Change::Expiry => None,
        }
    }

    /// What the key holds after it; none if it is gone.
    pub(super) fn leaves(self) -> Option<&'static str> {
        match self {
            Change::Creation
            | Change::Put
            | Change::Post
            | Change::Incr
            | Change::Batch
            | Change::BatchIncr => Some(AFTER),
            Change::Delete | Change::BatchDelete | Change::PrefixDeletion | Change::Expiry => None,
        }
    }
}

/// Each change is seen at once by a conditional GET on another connection, with a larger version.
pub(super) fn seen_elsewhere(run: &Run<'_>) {
    run.worker(|worker| {
        for change in Change::all(run).repeat(ROUNDS) {
            let key = run.key(&format!("changes-{:08x}-", worker.rng.u32(..)));
            if let Some(call) = change.call(&key) {
                worker.case(ELSEWHERE, |worker| seen(worker, &key, change, &call));
            }
        }
    });
}

fn seen(worker: &mut Worker<'_>, key: &str, change: Change, call: &Call) -> Step {
    let mut before = None;
    if let Some(preparation) = change.preparation(key) {
        let answer = worker.ask(&preparation)?;
        worker.status(ELSEWHERE, &answer, &[200])?;
        before = Some(version(worker, &answer)?);
    }
    let get = match before {
        Some(before) => with(Call::get(key), "If-None-Match", before),
        None => Call::get(key),
    };
    // What a cache would keep, it keeps now.
    let (known, status) =
        (worker.elsewhere(|worker| worker.ask(&get))?, before.map_or(404, |_| 304));
    worker.status(ELSEWHERE, &known, &[status])?;
    let answer = worker.call(call)?;
    worker.status(ELSEWHERE, &answer, &[200, 201])?;
    let answer = worker.elsewhere(|worker| worker.ask(&get))?;
    let Some(value) = change.leaves() else {
        return worker.status(ELSEWHERE, &answer, &[404]);
    };
    worker.value(ELSEWHERE, &answer, value)?;
    let (before, after) = (before.unwrap_or(0), version(worker, &answer)?);
    let expected = format!("a version larger than {before}");
    worker.holds("every change of a key makes its version larger", after > before, expected, after)
}
