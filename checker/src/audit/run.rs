//! One run of one workflow: its workers, its keys, its time, and the verdict in the end.
//!
//! Invariants: every key of a run begins with a prefix that no other run has, and is removed when
//! the run ends, however it ends. A run ends at its deadline, when it is cancelled, when the
//! service stops answering, or when enough is broken.

use std::hash::{BuildHasher, RandomState};
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::Plan;
use super::call::Call;
use super::features::Feature;
use super::ledger::{BROKEN_MAX, KEYS_MAX, Ledger};
use super::session::Session;
use super::worker::Worker;
use crate::report::{Evidence, Verdict, WorkflowReport, quoted};
use crate::workflows::Workflow;

/// How long a workflow may take, beyond what it was told to.
const RUN_TIME_MAX: Duration = Duration::from_secs(60);
/// Calls in a row without an answer, over all workers, after which no more are made.
const LOST_IN_A_ROW_MAX: u32 = 32;
/// How long the removal of keys may take, whole, and one call of it.
const REMOVAL_TIME_MAX: Duration = Duration::from_secs(5);
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How many pages of keys are looked through for what a prefix deletion has left.
const REMOVAL_PAGES_MAX: usize = 100;

/// One run of one workflow.
pub struct Run<'a> {
    /// What all workflows of a command share.
    pub plan: &'a Plan,
    /// What is run.
    pub workflow: &'static Workflow,
    /// How its keys begin.
    pub prefix: String,
    /// The clock of its operations.
    pub epoch: Instant,
    /// What it has found.
    pub ledger: Ledger,
    deadline: Instant,
    lost_in_a_row: AtomicU32,
}

impl<'a> Run<'a> {
    /// A run that begins now.
    pub fn new(plan: &'a Plan, workflow: &'static Workflow) -> Run<'a> {
        let epoch = Instant::now();
        let told = Duration::from_millis(plan.settings.duration_ms);
        Run {
            plan,
            workflow,
            prefix: own_prefix(workflow.name),
            epoch,
            ledger: Ledger::default(),
            deadline: epoch + RUN_TIME_MAX + told,
            lost_in_a_row: AtomicU32::new(0),
        }
    }

    /// Whether the service has this addition.
    pub fn has(&self, feature: Feature) -> bool {
        self.plan.features.has(feature)
    }

    /// Whether a worker is to stop.
    pub fn is_over(&self) -> bool {
        let gone = self.lost_in_a_row.load(Ordering::Relaxed) >= LOST_IN_A_ROW_MAX;
        gone || Instant::now() >= self.deadline || self.plan.cancel.is_wanted() || {
            self.ledger.entries().broken_count() >= BROKEN_MAX
        }
    }

    /// Runs the same work on several workers at once, and waits for all. A worker that panics is
    /// the checker's own fault: nothing is said about the service then.
    pub fn workers(&self, count: usize, work: impl Fn(&mut Worker<'_>) + Sync) {
        let run = |index: usize| {
            let mut worker = Worker::new(self, index);
            if panic::catch_unwind(AssertUnwindSafe(|| work(&mut worker))).is_err() {
                self.ledger.entries().given_up = Some("the checker itself has failed".to_owned());
            }
        };
        if count == 1 {
            return run(0);
        }
        thread::scope(|scope| {
            for index in 0..count {
                let builder = thread::Builder::new().name(format!("client-{index}"));
                if let Err(error) = builder.spawn_scoped(scope, move || run(index)) {
                    self.ledger.entries().given_up = Some(format!("no thread to spare: {error}"));
                }
            }
        });
    }

    /// One worker alone.
    pub fn worker(&self, work: impl Fn(&mut Worker<'_>) + Sync) {
        self.workers(1, work);
    }

    /// The number of concurrent clients, at least this many and at most that many.
    pub fn clients(&self, least: usize, most: usize) -> usize {
        (self.plan.settings.clients as usize).clamp(least, most)
    }

    /// The share of the operations that one of several workers makes.
    pub fn ops_each(&self, workers: usize) -> usize {
        (self.plan.settings.ops as usize).div_ceil(workers)
    }

    /// A key of this run, which may exist from now on.
    pub fn key(&self, suffix: &str) -> String {
        let key = [&self.prefix, suffix].concat();
        if !self.removes_by_prefix() {
            let mut entries = self.ledger.entries();
            if entries.keys.len() < KEYS_MAX {
                entries.keys.insert(key.clone());
            }
        }
        key
    }

    /// Counts calls that got no answer.
    pub(super) fn answered(&self, was_answered: bool) {
        if was_answered {
            self.lost_in_a_row.store(0, Ordering::Relaxed);
        } else {
            self.lost_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The report, when all workers have ended and the keys are removed.
    pub fn finish(self, started_unix_ms: u64) -> WorkflowReport {
        let duration_ms = super::millis(self.epoch.elapsed());
        let out_of_time = Instant::now() >= self.deadline;
        self.remove_keys();
        let gone = self.lost_in_a_row.load(Ordering::Relaxed) >= LOST_IN_A_ROW_MAX;
        let Run { plan, workflow, ledger, .. } = self;
        let mut entries = ledger.entries();
        let cancelled = plan.cancel.is_wanted();
        let undecided = if cancelled {
            Some("it was stopped".to_owned())
        } else if gone {
            Some(format!("the service stopped answering: {LOST_IN_A_ROW_MAX} calls in a row"))
        } else if out_of_time {
            Some("its time was over".to_owned())
        } else if let Some(why) = entries.given_up.take() {
            Some(why)
        } else if let Some(first) = entries.unproven_first.take() {
            Some(format!("{} not decided, the first: {first}", entries.unproven))
        } else if entries.operations.ok == 0 || entries.checks == 0 {
            Some("no operation was done".to_owned())
        } else {
            None
        };
        let (verdict, reason) = match undecided {
            _ if !entries.evidence.is_empty() => (Verdict::Failed, None),
            Some(why) => (Verdict::Unknown, Some(why)),
            None => (Verdict::Passed, None),
        };
        WorkflowReport {
            name: workflow.name,
            promise: workflow.promise,
            verdict,
            reason,
            started_unix_ms,
            duration_ms,
            operations: entries.operations,
            checks: entries.checks,
            evidence: std::mem::take(&mut entries.evidence),
            evidence_left_out: entries.evidence_left_out,
            notes: std::mem::take(&mut entries.notes),
            latency: entries.latency.summary(),
            load: entries.load.take(),
            repeat: plan.repeat(&[workflow.name]),
        }
    }

    fn removes_by_prefix(&self) -> bool {
        self.has(Feature::PrefixDeletion) && self.has(Feature::List)
    }

    fn remove_keys(&self) {
        let started = Instant::now();
        let session = Session::to_clean_up(Arc::clone(&self.plan.target), REMOVAL_TIMEOUT);
        let mut left = if self.removes_by_prefix() {
            self.remove_prefix(&session)
        } else {
            let keys = std::mem::take(&mut self.ledger.entries().keys);
            keys.into_iter().collect()
        };
        let mut lost = 0;
        left.retain(|key| {
            if lost >= 3 || started.elapsed() >= REMOVAL_TIME_MAX {
                return true;
            }
            let answer = session.send(&Call::delete(key));
            let removed = answer.is_ok_and(|answer| matches!(answer.status, 200 | 204 | 404));
            lost = if removed { 0 } else { lost + 1 };
            !removed
        });
        if let Some(key) = left.first() {
            let note = format!("{} keys may have stayed behind, such as {key}", left.len());
            log::warn!("{}: {note}", self.workflow.name);
            self.ledger.entries().note(note);
        }
    }

    /// Deletes the prefix, and gives what is still there.
    fn remove_prefix(&self, session: &Session) -> Vec<String> {
        let deleted = session.send(&Call::delete_prefix(&self.prefix));
        let is_deleted = deleted.is_ok_and(|answer| answer.status == 200);
        if !is_deleted {
            self.ledger.entries().note(format!("DELETE /keys?prefix={} failed", self.prefix));
        }
        let left = self.listed(session);
        if is_deleted {
            self.nothing_is_left(&left);
        }
        left
    }

    /// What is there after an answered deletion has survived it, for all writers have ended; only a
    /// call whose outcome is unknown may have its effect later.
    fn nothing_is_left(&self, left: &[String]) {
        let mut entries = self.ledger.entries();
        if entries.operations.unknown > 0 {
            return;
        }
        let Some(first) = left.first() else { return };
        let calls = [Call::delete_prefix(&self.prefix), Call::list(&self.prefix)];
        let target = &self.plan.target;
        let curl = |call: &Call| call.curl(&target.url, target.token.is_some());
        entries.broken(Evidence {
            promise: "after a deletion by prefix no key with it is left".to_owned(),
            expected: "no keys".to_owned(),
            seen: quoted(&format!("{} keys, such as {first}", left.len())),
            replay: calls.iter().map(curl).collect(),
            timeline: None,
        });
    }

    /// The keys of this run that a list shows.
    fn listed(&self, session: &Session) -> Vec<String> {
        let mut left = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..REMOVAL_PAGES_MAX {
            let mut list = Call::list(&self.prefix).query("limit", "1000");
            if let Some(cursor) = &cursor {
                list = list.query("cursor", cursor);
            }
            let Ok(answer) = session.send(&list) else { break };
            let Some(page) = super::page::Page::read(&answer) else { break };
            left.extend(page.keys.into_iter().filter(|key| key.starts_with(&self.prefix)));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        left
    }
}

/// A prefix that nobody else has, on this host or another, now or after a restart.
pub(super) fn own_prefix(name: &str) -> String {
    let unique = RandomState::new().hash_one((SystemTime::now(), process::id(), Instant::now()));
    format!("checker-{name}-{unique:016x}-")
}
