//! One client of a run: it calls, remembers what it did, and asserts.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::call::Call;
use super::run::Run;
use super::session::{Answer, Effect, Lost, Session, ns_since};
use crate::exact;
use crate::report::latency::Recorder;
use crate::report::{Evidence, Operations, REPLAY_CALLS_MAX, Timeline, quoted};

/// How often a call is made that may be repeated, until it has an answer.
const ATTEMPTS: usize = 4;
const NAMES_ITS_KEY: &str = "an answer names its key";

/// One client. What it counts gets into the ledger when it is dropped.
pub struct Worker<'a> {
    /// The run that it belongs to.
    pub run: &'a Run<'a>,
    /// Which of the run's workers it is.
    pub index: usize,
    /// Its own stream of random numbers: the same for the same seed, workflow and index.
    pub rng: Rng,
    session: Session,
    /// A second connection; none until it is needed.
    other: Option<Session>,
    trail: Vec<Call>,
    operations: Operations,
    checks: u64,
    latency: Recorder,
}

/// Why a case ends before its end.
#[derive(Debug)]
pub enum Stop {
    /// A promise is broken, and the evidence is in the ledger.
    Broken,
    /// An outcome is unknown, and without it the promise cannot be decided.
    Lost(String),
    /// The run is over.
    Over,
}

/// What the parts of a case return.
pub type Step<T = ()> = Result<T, Stop>;

/// A call, what came of it, and when.
#[derive(Debug)]
pub struct Sent {
    /// The answer, or why there is none.
    pub outcome: Result<Answer, Lost>,
    /// When it was sent, in nanoseconds of the run.
    pub called_ns: u64,
    /// When the answer was whole.
    pub returned_ns: u64,
}

impl Sent {
    /// What is known of its effect.
    pub fn effect(&self) -> Effect {
        self.outcome.as_ref().map_or_else(Lost::effect, Answer::effect)
    }
}

/// What is read of the answer to a GET.
#[derive(Deserialize)]
struct Found<'a> {
    key: Option<String>,
    #[serde(borrow)]
    value: &'a RawValue,
}

impl<'a> Worker<'a> {
    pub(super) fn new(run: &'a Run<'a>, index: usize) -> Worker<'a> {
        let seed = seed_of(run.plan.settings.seed, run.workflow.name, index);
        Worker {
            run,
            index,
            rng: Rng::with_seed(seed),
            session: Session::new(Arc::clone(&run.plan.target), &run.plan.cancel),
            other: None,
            trail: Vec::new(),
            operations: Operations::default(),
            checks: 0,
            latency: Recorder::default(),
        }
    }

    /// One case of a workflow: what it sends is what its evidence replays, and an unknown outcome
    /// in it leaves it undecided. True if it came to its end.
    pub fn case(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Step) -> bool {
        if self.run.is_over() {
            return false;
        }
        self.trail.clear();
        match work(self) {
            Ok(()) => true,
            Err(Stop::Broken | Stop::Over) => false,
            Err(Stop::Lost(why)) => {
                self.run.ledger.entries().unproven(format!("{what}: {}", quoted(&why)));
                false
            }
        }
    }

    /// Sends once, and tells what came of it and when.
    pub fn send(&mut self, call: &Call) -> Sent {
        if self.trail.len() >= REPLAY_CALLS_MAX {
            self.trail.remove(0);
        }
        self.trail.push(call.clone());
        self.send_untracked(call)
    }

    /// The same, without a place in the evidence; for calls in large numbers.
    pub fn send_untracked(&mut self, call: &Call) -> Sent {
        let called_ns = ns_since(self.run.epoch);
        let outcome = self.session.send(call);
        let returned_ns = ns_since(self.run.epoch);
        let sent = Sent { outcome, called_ns, returned_ns };
        self.operations.sent += 1;
        match sent.effect() {
            Effect::Told => self.operations.ok += 1,
            Effect::None => self.operations.failed += 1,
            Effect::Unknown => self.operations.unknown += 1,
        }
        self.run.answered(sent.outcome.is_ok());
        if sent.outcome.is_ok() {
            self.latency.add(Duration::from_nanos(returned_ns.saturating_sub(called_ns)));
            self.run.plan.watch.count();
        }
        if let Ok(answer) = &sent.outcome {
            self.names_its_key(call, answer);
        }
        sent
    }

    /// An answer for another key is a broken promise whatever the call was for. One that names no
    /// key is left to whoever reads it: it may be no answer of a kv at all.
    fn names_its_key(&mut self, call: &Call, answer: &Answer) {
        let Some(wanted) = call.key_in_answer().filter(|_| answer.status == 200) else { return };
        let key = found(answer).and_then(|found| found.key);
        if key.is_none_or(|key| key == wanted) {
            return;
        }
        let replay =
            if self.trail.last() == Some(call) { self.replay() } else { vec![self.curl(call)] };
        let evidence = Evidence {
            promise: NAMES_ITS_KEY.to_owned(),
            expected: quoted(&format!("200 with the key {wanted}")),
            seen: quoted(&shown(answer)),
            replay,
            timeline: None,
        };
        self.run.ledger.entries().broken(evidence);
    }

    /// Sends once; ends the case if the outcome is unknown.
    pub fn call(&mut self, call: &Call) -> Step<Answer> {
        if self.run.is_over() {
            return Err(Stop::Over);
        }
        match self.send(call).outcome {
            Ok(answer) if answer.effect() != Effect::Unknown => Ok(answer),
            Ok(answer) => Err(Stop::Lost(format!(
                "{} {} answered {}",
                call.method, call.target, answer.status
            ))),
            Err(lost) => {
                Err(Stop::Lost(format!("{} {}: {}", call.method, call.target, lost.text())))
            }
        }
    }

    /// Sends what may be sent twice without harm, a few times until there is an answer. A service
    /// that answers 5xx each time has answered with that.
    pub fn ask(&mut self, call: &Call) -> Step<Answer> {
        let mut lost = None;
        let mut answered = None;
        for _ in 0..ATTEMPTS {
            if self.run.is_over() {
                return Err(Stop::Over);
            }
            match self.send(call).outcome {
                Ok(answer) if answer.effect() != Effect::Unknown => return Ok(answer),
                Ok(answer) => answered = Some(answer),
                Err(error) => lost = Some(error),
            }
        }
        match (answered, lost) {
            (Some(answer), None) => Ok(answer),
            (answered, lost) => {
                let status = answered.map_or(0, |answer| answer.status);
                let why = lost.map_or_else(|| status.to_string(), |lost| lost.text().to_owned());
                Err(Stop::Lost(format!("{} {}: {why}", call.method, call.target)))
            }
        }
    }

    /// Asserts.
    pub fn holds(
        &mut self,
        promise: &str,
        holds: bool,
        expected: impl Display,
        seen: impl Display,
    ) -> Step {
        self.checks += 1;
        if holds {
            return Ok(());
        }
        let evidence = Evidence {
            promise: promise.to_owned(),
            expected: quoted(&expected.to_string()),
            seen: quoted(&seen.to_string()),
            replay: self.replay(),
            timeline: None,
        };
        self.run.ledger.entries().broken(evidence);
        Err(Stop::Broken)
    }

    /// Asserts that the answer has one of these statuses.
    pub fn status(&mut self, promise: &str, answer: &Answer, statuses: &[u16]) -> Step {
        let holds = statuses.contains(&answer.status);
        let wanted: Vec<_> = statuses.iter().map(u16::to_string).collect();
        self.holds(promise, holds, format!("status {}", wanted.join(" or ")), shown(answer))
    }

    /// Asserts that the answer to a GET names a key, which is looked at when it comes, and holds
    /// this value, which is JSON text.
    pub fn value(&mut self, promise: &str, answer: &Answer, value: &str) -> Step {
        let found = found(answer);
        let holds = answer.status == 200
            && found.as_ref().is_some_and(|found| exact::same(found.value.get(), value));
        self.holds(promise, holds, format!("200 with the value {value}"), shown(answer))?;
        let has_key = found.is_some_and(|found| found.key.is_some());
        self.holds(NAMES_ITS_KEY, has_key, "200 with the key", shown(answer))
    }

    /// Adds a broken promise whose operations are on a timeline.
    pub fn broken_history(
        &mut self,
        promise: &str,
        expected: &str,
        seen: &str,
        before: &Call,
        time: Timeline,
    ) {
        self.checks += 1;
        let calls = time.operations.iter().map(|operation| operation.curl.clone());
        let replay =
            std::iter::once(self.curl(before)).chain(calls).take(REPLAY_CALLS_MAX).collect();
        let (promise, expected, seen) = (promise.into(), expected.into(), seen.into());
        let evidence = Evidence { promise, expected, seen, replay, timeline: Some(time) };
        self.run.ledger.entries().broken(evidence);
    }

    /// Counts assertions that held.
    pub fn held(&mut self, checks: u64) {
        self.checks += checks;
    }

    /// Begins the evidence of a case anew.
    pub fn forget_trail(&mut self) {
        self.trail.clear();
    }

    /// Begins the evidence of a case with calls of other clients.
    pub fn retrace(&mut self, calls: impl IntoIterator<Item = Call>) {
        self.trail = calls.into_iter().take(REPLAY_CALLS_MAX).collect();
    }

    /// Does this on another connection: what is written on one has to be seen on each.
    pub fn elsewhere<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let plan = self.run.plan;
        let open = || Session::new(Arc::clone(&plan.target), &plan.cancel);
        let other = self.other.take().unwrap_or_else(open);
        let own = std::mem::replace(&mut self.session, other);
        let result = work(self);
        self.other = Some(std::mem::replace(&mut self.session, own));
        result
    }

    /// Sleeps; ends the case if the run is over.
    pub fn sleep_until(&self, then: Instant) -> Step {
        if self.run.plan.cancel.sleep_until(then) { Ok(()) } else { Err(Stop::Over) }
    }

    /// The command line of a call.
    pub fn curl(&self, call: &Call) -> String {
        let target = &self.run.plan.target;
        call.curl(&target.url, target.token.is_some())
    }

    fn replay(&self) -> Vec<String> {
        self.trail.iter().map(|call| self.curl(call)).collect()
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.run.ledger.entries().add(self.operations, self.checks, &self.latency);
    }
}

/// The value in the answer to a GET, as JSON text.
pub fn value_of(answer: &Answer) -> Option<String> {
    Some(found(answer)?.value.get().to_owned())
}

fn found(answer: &Answer) -> Option<Found<'_>> {
    serde_json::from_str(&answer.body).ok()
}

/// An answer in few words.
pub fn shown(answer: &Answer) -> String {
    if answer.body.is_empty() {
        return answer.status.to_string();
    }
    format!("{} {}", answer.status, answer.body)
}

/// FNV-1a over the name, mixed with the seed and the worker's number.
fn seed_of(seed: u64, name: &str, index: usize) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ seed).wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
