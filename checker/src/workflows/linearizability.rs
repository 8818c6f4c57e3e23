//! Thousands of concurrent operations on a few keys are explained by some order in which each
//! took effect at one moment between its call and its answer.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::session::{Answer, Effect};
use crate::audit::worker::{Sent, Worker, value_of};
use crate::history::{
    Condition, CounterExample, Limits, Op, Operation, Outcome, Refusal, Seen, Verdict, check,
};
use crate::report::{Timeline, TimelineOperation, quoted};

use super::Workflow;
use super::gate::Gate;

pub(super) static LINEARIZABILITY: Workflow = Workflow {
    name: "linearizability",
    promise: "every operation takes effect at one moment between its call and its answer",
    needs: &[],
    run,
};

const EXPECTED: &str = "an order of these operations that explains what each has seen";
/// How long the search for an order may take.
const SEARCH_TIME: Duration = Duration::from_secs(30);
const SEARCH_MEMORY_BYTES: usize = 256 << 20;
/// Operations of one key: more make the search longer and find little more.
const OPS_PER_KEY_MAX: usize = 4_000;

/// What the clients share.
struct Recording {
    keys: Vec<Arc<str>>,
    /// The next number of a process.
    processes: AtomicU64,
    operations: Mutex<Vec<Operation>>,
    gate: Gate,
}

fn run(run: &Run<'_>) {
    let clients = run.clients(2, 64);
    let ops = run.plan.settings.ops as usize;
    let keys = (run.plan.settings.keys as usize).max(ops.div_ceil(OPS_PER_KEY_MAX)).min(ops);
    let recording = Recording {
        keys: (0..keys).map(|number| run.key(&format!("r{number}")).into()).collect(),
        processes: AtomicU64::new(clients as u64),
        operations: Mutex::default(),
        gate: Gate::new(clients),
    };
    run.workers(clients, |worker| record(worker, &recording, run.ops_each(clients)));
    let operations = recording.operations.into_inner().unwrap_or_else(PoisonError::into_inner);
    run.worker(|worker| judge(worker, &operations));
}

/// One client: it calls on the keys by turns, so that all clients are on few keys at a time.
fn record(worker: &mut Worker<'_>, recording: &Recording, ops: usize) {
    let mut process = worker.index as u64;
    let mut own = Vec::with_capacity(ops);
    let mut wrote = None;
    let mut last_versions = vec![None; recording.keys.len()];
    recording.gate.wait();
    for number in 0..ops {
        if worker.run.is_over() {
            break;
        }
        let looks_again = wrote.filter(|_| worker.rng.u8(..4) > 0);
        let at = looks_again.unwrap_or_else(|| place(worker, number, ops, recording.keys.len()));
        let key = &recording.keys[at];
        let (op, call) = match looks_again {
            // What was just written is what a server loses most easily.
            Some(_) => (Op::Get, Call::get(key)),
            None => choose(worker, key, number, last_versions[at]),
        };
        wrote = (op != Op::Get).then_some(at);
        let sent = worker.send_untracked(&call);
        if let Some(version) = sent.outcome.as_ref().ok().and_then(Answer::version) {
            last_versions[at] = Some(version);
        }
        let is_unknown = sent.effect() == Effect::Unknown;
        if let Some(operation) = operation(process, key, op, &sent) {
            own.push(operation);
        }
        if is_unknown {
            process = recording.processes.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut all = recording.operations.lock().unwrap_or_else(PoisonError::into_inner);
    all.append(&mut own);
}

/// Two clients share a key for a while, which changes by turns, and at times it is another one. Many
/// on one key would hide a write that is lost behind the next.
fn place(worker: &mut Worker<'_>, number: usize, ops: usize, keys: usize) -> usize {
    match worker.rng.u8(..6) {
        0 => worker.rng.usize(..keys),
        // Now and then all of them on one.
        1 => number * keys / ops.max(1),
        _ => (number * keys / ops.max(1) + worker.index / 2) % keys,
    }
}

fn choose(
    worker: &mut Worker<'_>,
    key: &str,
    number: usize,
    last_version: Option<u64>,
) -> (Op, Call) {
    // No two writes write the same, so that a read names its write.
    let value = format!("\"{}-{number}\"", worker.index);
    let put = |condition| Op::Put { value: value.as_str().into(), condition };
    let has_versions = worker.run.has(Feature::Versions);
    // None is known yet: no version is 0, and the same seed makes the same calls.
    let version = last_version.unwrap_or(0);
    let if_match = |call: Call| call.field("If-Match", format!("\"{version}\""));
    match worker.rng.u8(..24) {
        0..=5 => (Op::Get, Call::get(key)),
        6..=11 => (put(Condition::None), Call::put(key, &value)),
        12..=14 => (put(Condition::None), Call::post(key, &value)),
        15 | 16 if has_versions => {
            let call = Call::put(key, &value).field("If-None-Match", "*");
            (put(Condition::Absent), call)
        }
        17..=19 if has_versions => {
            (put(Condition::Version(version)), if_match(Call::put(key, &value)))
        }
        20 | 21 if has_versions => {
            let condition = Condition::Version(version);
            (Op::Delete { condition }, if_match(Call::delete(key)))
        }
        _ => (Op::Delete { condition: Condition::None }, Call::delete(key)),
    }
}

/// What is known of a call. None for one that tells nothing: it did not happen, or it was a read
/// whose answer is lost.
fn operation(process: u64, key: &Arc<str>, op: Op, sent: &Sent) -> Option<Operation> {
    let outcome = match (sent.effect(), &sent.outcome) {
        (Effect::None, _) => return None,
        (Effect::Unknown, _) | (Effect::Told, Err(_)) if op == Op::Get => return None,
        (Effect::Unknown, _) | (Effect::Told, Err(_)) => Outcome::Unknown,
        (Effect::Told, Ok(answer)) => seen(&op, answer).map_or(Outcome::Unknown, Outcome::Ok),
    };
    if op == Op::Get && outcome == Outcome::Unknown {
        return None;
    }
    let Sent { called_ns, returned_ns, .. } = *sent;
    Some(Operation { process, key: Arc::clone(key), op, outcome, called_ns, returned_ns })
}

/// What an answer showed; none if it is none that the call can have.
fn seen(op: &Op, answer: &Answer) -> Option<Seen> {
    let version = answer.version();
    match (op, answer.status) {
        (Op::Get, 200) => Some(Seen::Found { value: value_of(answer)?.into(), version }),
        (Op::Get | Op::Delete { .. }, 404) => Some(Seen::Absent),
        (Op::Put { .. } | Op::Delete { .. }, 412) => {
            let refusal = version.map_or(Refusal::Unseen, Refusal::Version);
            Some(Seen::Refused(refusal))
        }
        (Op::Put { .. } | Op::Delete { .. }, 200..=299) => Some(Seen::Done { version }),
        _ => None,
    }
}

fn judge(worker: &mut Worker<'_>, operations: &[Operation]) {
    let limits = Limits {
        time: SEARCH_TIME,
        memory_bytes_max: SEARCH_MEMORY_BYTES,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        ..Limits::default()
    };
    match check(operations, &limits) {
        Verdict::Linearizable => worker.held(operations.len() as u64),
        Verdict::NotLinearizable(example) => {
            let time = timeline(worker, &example, operations);
            let told: Vec<_> =
                example.operations.iter().map(|one| describe(one, operations)).collect();
            let count = example.operations.len();
            let longest = example.longest.len();
            let told = quoted(&told.join("; "));
            let held = time.initial.as_deref().unwrap_or("nothing");
            let seen = format!(
                "no order of {count}, at most of {longest} of them, after the key held {held}: {told}"
            );
            let key = &example.key;
            let before = example
                .initial
                .as_ref()
                .map_or_else(|| Call::delete(key), |value| Call::put(key, value));
            worker.broken_history(LINEARIZABILITY.promise, EXPECTED, &seen, &before, time);
        }
        Verdict::Unknown(reason) => {
            let mut entries = worker.run.ledger.entries();
            entries.unproven(format!("{} operations: {reason}", operations.len()));
        }
    }
}

fn timeline(worker: &Worker<'_>, example: &CounterExample, recorded: &[Operation]) -> Timeline {
    let start = example.operations.iter().map(|operation| operation.called_ns).min().unwrap_or(0);
    let micros = |ns: u64| ns.saturating_sub(start) / 1_000;
    let place = |at: usize| example.longest.iter().position(|index| *index == at);
    let operations =
        example.operations.iter().enumerate().map(|(at, operation)| TimelineOperation {
            process: operation.process,
            text: quoted(&describe(operation, recorded)),
            called_us: micros(operation.called_ns),
            returned_us: matches!(operation.outcome, Outcome::Ok(_))
                .then(|| micros(operation.returned_ns)),
            order: place(at).map(|place| place as u64 + 1),
            curl: worker.curl(&call(operation)),
        });
    let operations = operations.collect();
    let initial = example.initial.as_deref().map(quoted);
    Timeline { key: quoted(&example.key), initial, operations }
}

/// The call that made the operation.
fn call(operation: &Operation) -> Call {
    let conditional = |call: Call, condition: &Condition| match condition {
        Condition::None => call,
        Condition::Absent => call.field("If-None-Match", "*"),
        Condition::Present => call.field("If-Match", "*"),
        Condition::Version(version) => call.field("If-Match", format!("\"{version}\"")),
        Condition::NotVersion(version) => call.field("If-None-Match", format!("\"{version}\"")),
    };
    let key = &operation.key;
    match &operation.op {
        Op::Get => Call::get(key),
        Op::Put { value, condition } => conditional(Call::put(key, value), condition),
        Op::Delete { condition } => conditional(Call::delete(key), condition),
        Op::Cas { value, .. } | Op::Append { value } => Call::put(key, value),
        Op::Add { by } => Call::incr(key, *by),
    }
}

/// Whether an operation of a counter-example has an answer in the record: one that came after the
/// contradiction is cut off.
fn was_answered(operation: &Operation, recorded: &[Operation]) -> bool {
    let is_it =
        |one: &&Operation| (one.process, one.called_ns) == (operation.process, operation.called_ns);
    recorded.iter().find(is_it).is_some_and(|one| matches!(one.outcome, Outcome::Ok(_)))
}

/// An operation of a record in few words: `put "1-7" -> done`.
fn describe(operation: &Operation, recorded: &[Operation]) -> String {
    let mut text = match &operation.op {
        Op::Get => "get".to_owned(),
        Op::Put { value, condition } => format!("put {value}{}", shown_condition(*condition)),
        Op::Delete { condition } => format!("delete{}", shown_condition(*condition)),
        Op::Cas { value, .. } => format!("cas {value}"),
        Op::Append { value } => format!("append {value}"),
        Op::Add { by } => format!("add {by}"),
    };
    let version = |version: &Option<u64>| version.map_or(String::new(), |v| format!(" at {v}"));
    let written = match &operation.outcome {
        Outcome::Ok(Seen::Done { version: at }) => write!(text, " -> done{}", version(at)),
        Outcome::Ok(Seen::Found { value, version: at }) => {
            write!(text, " -> {value}{}", version(at))
        }
        Outcome::Ok(Seen::Absent) => write!(text, " -> absent"),
        Outcome::Ok(Seen::Refused(Refusal::Version(at))) => write!(text, " -> refused at {at}"),
        Outcome::Ok(Seen::Refused(Refusal::Unseen | Refusal::Absent)) => {
            write!(text, " -> refused")
        }
        Outcome::Failed => write!(text, " -> failed"),
        Outcome::Unknown if was_answered(operation, recorded) => {
            write!(text, " -> answered later")
        }
        Outcome::Unknown => write!(text, " -> unknown"),
    };
    debug_assert!(written.is_ok(), "a string takes everything");
    text
}

fn shown_condition(condition: Condition) -> String {
    match condition {
        Condition::None => String::new(),
        Condition::Absent => " if absent".to_owned(),
        Condition::Present => " if present".to_owned(),
        Condition::Version(version) => format!(" if at {version}"),
        Condition::NotVersion(version) => format!(" if not at {version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletion(outcome: Outcome) -> Operation {
        let (called_ns, returned_ns) = (5, 9);
        let op = Op::Delete { condition: Condition::Version(7) };
        Operation { process: 1, key: "k".into(), op, outcome, called_ns, returned_ns }
    }

    #[track_caller]
    fn check(shown: Outcome, recorded: Outcome, text: &str) {
        assert_eq!(describe(&deletion(shown), &[deletion(recorded)]), text);
    }

    #[test]
    fn an_answer_that_is_cut_off_is_not_an_unknown_outcome() {
        let done = || Outcome::Ok(Seen::Done { version: None });
        check(done(), done(), "delete if at 7 -> done");
        check(Outcome::Unknown, done(), "delete if at 7 -> answered later");
        check(Outcome::Unknown, Outcome::Unknown, "delete if at 7 -> unknown");
    }
}
