//! What the service knows of its runs: which are under way, and what came of the last ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::metrics::{Kind, Text};

use crate::audit::unix_ms;
use crate::audit::watch::Watch;
use crate::report::{Report, Verdict, WorkflowReport};
use crate::workflows;

/// The name under which all workflows run together.
pub const ALL: &str = "all";
/// How many runs are remembered; the oldest is forgotten first.
pub const PAST_MAX: usize = 50;

/// Shared by the threads that run and those that answer.
#[derive(Debug, Default)]
pub struct Board {
    state: Mutex<State>,
    /// Something has stopped running.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<&'static str, Arc<Watch>>,
    past: VecDeque<PastRun>,
    last: Option<Arc<Report>>,
    /// In the order of [`workflows::ALL`].
    workflows: [Record; workflows::ALL.len()],
}

/// What is known of one workflow.
#[derive(Debug, Default)]
struct Record {
    /// In the order of [`Verdict::ALL`].
    verdicts: [u64; Verdict::ALL.len()],
    last: Option<WorkflowReport>,
    finished_unix_ms: u64,
    passed_unix_ms: u64,
}

/// A moment, in milliseconds of Unix time.
type Stamp = fn(&Record) -> u64;

/// The right to run under a name. Nobody else has it until this is dropped.
#[derive(Debug)]
pub struct Turn {
    /// How far the run is.
    pub watch: Arc<Watch>,
    board: Arc<Board>,
    name: &'static str,
}

/// Everything at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// What runs.
    pub running: Vec<Running>,
    /// Each workflow, in the order of [`workflows::ALL`].
    pub standings: Vec<Standing>,
    /// The last runs, the newest first.
    pub past: Vec<PastRun>,
}

/// A run under way.
#[derive(Debug)]
pub struct Running {
    /// Under which name.
    pub name: &'static str,
    /// Which workflow it is at; empty before the first.
    pub workflow: &'static str,
    /// Calls that were answered so far.
    pub calls: u64,
}

/// What is known of a workflow.
#[derive(Debug)]
pub struct Standing {
    /// Its name.
    pub name: &'static str,
    /// What a pass says.
    pub promise: &'static str,
    /// What came of the last run; none before the first.
    pub verdict: Option<Verdict>,
    /// The first promise that was found broken, or why it was not decided.
    pub why: Option<String>,
    /// When the last run ended, in milliseconds of Unix time.
    pub finished_unix_ms: u64,
}

/// A run that is over.
#[derive(Debug, Clone)]
pub struct PastRun {
    /// Under which name.
    pub name: &'static str,
    /// Whether nobody had asked for it.
    pub by_the_clock: bool,
    /// The verdict over its workflows.
    pub verdict: Verdict,
    /// The workflows that failed.
    pub broken: Vec<&'static str>,
    /// When it began, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
}

impl Board {
    /// The right to run under this name; none while somebody else has it.
    pub fn begin(self: &Arc<Self>, name: &'static str) -> Option<Turn> {
        let mut state = self.state();
        if state.running.contains_key(name) {
            return None;
        }
        let watch = Arc::new(Watch::default());
        state.running.insert(name, Arc::clone(&watch));
        Some(Turn { watch, board: Arc::clone(self), name })
    }

    /// The names under which something runs.
    pub fn running(&self) -> Vec<&'static str> {
        self.state().running.keys().copied().collect()
    }

    /// Waits until nothing runs, but no longer than this; false if something still does.
    pub fn wait_until_idle(&self, timeout: Duration) -> bool {
        let runs = |state: &mut State| !state.running.is_empty();
        let waited = self.ended.wait_timeout_while(self.state(), timeout, runs);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Everything, as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let running = state.running.iter().map(|(name, watch)| {
            let (workflow, calls) = watch.look();
            Running { name, workflow, calls }
        });
        let records = workflows::ALL.iter().zip(&state.workflows);
        let standings = records.map(|(workflow, record)| Standing {
            name: workflow.name,
            promise: workflow.promise,
            verdict: record.last.as_ref().map(|last| last.verdict),
            why: record.last.as_ref().and_then(why),
            finished_unix_ms: record.finished_unix_ms,
        });
        Snapshot {
            running: running.collect(),
            standings: standings.collect(),
            past: state.past.iter().cloned().collect(),
        }
    }

    /// The last report.
    pub fn last(&self) -> Option<Arc<Report>> {
        self.state().last.clone()
    }

    /// Keeps the report of a run under this name.
    pub fn add(&self, name: &'static str, by_the_clock: bool, report: Arc<Report>) {
        let mut state = self.state();
        let now = unix_ms();
        for (workflow, record) in workflows::ALL.iter().zip(state.workflows.iter_mut()) {
            let own = report.workflows.iter().find(|report| report.name == workflow.name);
            let Some(own) = own else { continue };
            for (verdict, count) in Verdict::ALL.iter().zip(&mut record.verdicts) {
                *count += u64::from(*verdict == own.verdict);
            }
            record.finished_unix_ms = now;
            if own.verdict == Verdict::Passed {
                record.passed_unix_ms = now;
            }
            record.last = Some(own.clone());
        }
        let failed = report.workflows.iter().filter(|own| own.verdict == Verdict::Failed);
        let broken = failed.map(|own| own.name).collect();
        let Report { verdict, started_unix_ms, duration_ms, .. } = *report;
        let run = PastRun { name, by_the_clock, verdict, broken, started_unix_ms, duration_ms };
        state.past.truncate(PAST_MAX - 1);
        state.past.push_front(run);
        state.last = Some(report);
    }

    /// Adds what an alert needs to the metrics.
    pub fn write_metrics(&self, text: &mut Text) {
        let state = self.state();
        let records = || workflows::ALL.iter().map(|workflow| workflow.name).zip(&state.workflows);
        text.family("runs_total", Kind::Counter, "Runs of a workflow by verdict.");
        for (name, record) in records() {
            for (verdict, count) in Verdict::ALL.iter().zip(record.verdicts) {
                text.sample(&[("workflow", name), ("verdict", verdict.word())], count);
            }
        }
        text.family("verdict", Kind::Gauge, "1 for the verdict of the last run, 0 for others.");
        for (name, record) in records() {
            let Some(last) = &record.last else { continue };
            for verdict in Verdict::ALL {
                let labels = [("workflow", name), ("verdict", verdict.word())];
                text.sample(&labels, u8::from(verdict == last.verdict));
            }
        }
        let ran: Stamp = |record| record.finished_unix_ms;
        let passed: Stamp = |record| record.passed_unix_ms;
        for (family, help, stamp) in [
            ("last_run_timestamp_seconds", "When a workflow ran last.", ran),
            ("last_pass_timestamp_seconds", "When it passed last.", passed),
        ] {
            text.family(family, Kind::Gauge, help);
            for (name, record) in records().filter(|(_, record)| stamp(record) > 0) {
                let millis = stamp(record);
                let seconds = format!("{}.{:03}", millis / 1_000, millis % 1_000);
                text.sample(&[("workflow", name)], seconds);
            }
        }
        text.family("latency_seconds", Kind::Gauge, "Latency of calls in the last run.");
        for (name, record) in records() {
            let Some(latency) = record.last.as_ref().and_then(|last| last.latency) else {
                continue;
            };
            for (quantile, micros) in
                [("0.5", latency.p50_us), ("0.99", latency.p99_us), ("1", latency.max_us)]
            {
                let seconds = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
                text.sample(&[("workflow", name), ("quantile", quantile)], seconds);
            }
        }
        text.family("running", Kind::Gauge, "Runs under way.");
        text.sample(&[], state.running.len());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A report is added whole; who panics in a run holds no lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.board.state().running.remove(self.name);
        self.board.ended.notify_all();
    }
}

impl Snapshot {
    /// Whether something runs under this name.
    pub fn is_running(&self, name: &str) -> bool {
        self.running.iter().any(|running| running.name == name)
    }
}

fn why(last: &WorkflowReport) -> Option<String> {
    let broken = last.evidence.first().map(|evidence| evidence.promise.clone());
    broken.or_else(|| last.reason.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_runs_under_a_name() {
        let board = Arc::new(Board::default());
        let turn = board.begin("types").unwrap();
        assert!(board.begin("types").is_none());
        let other = board.begin("batch").unwrap();
        assert_eq!(board.running(), ["batch", "types"]);
        drop(turn);
        assert!(board.begin("types").is_some());
        drop(other);
        assert_eq!(board.running(), [""; 0]);
    }
}
