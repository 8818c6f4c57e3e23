//! What the service knows of its runs: which are under way, and what came of the last ones.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::metrics::{Kind, Text};

use crate::audit::unix_ms;
use crate::report::{Report, Verdict, WorkflowReport};
use crate::workflows;

/// The name under which all workflows run together.
pub const ALL: &str = "all";

/// Shared by the threads that run and those that answer.
#[derive(Debug, Default)]
pub struct Board(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: BTreeSet<&'static str>,
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
    board: Arc<Board>,
    name: &'static str,
}

impl Board {
    /// The right to run under this name; none while somebody else has it.
    pub fn begin(self: &Arc<Self>, name: &'static str) -> Option<Turn> {
        let is_free = self.state().running.insert(name);
        is_free.then(|| Turn { board: Arc::clone(self), name })
    }

    /// The names under which something runs.
    pub fn running(&self) -> Vec<&'static str> {
        self.state().running.iter().copied().collect()
    }

    /// The last report.
    pub fn last(&self) -> Option<Arc<Report>> {
        self.state().last.clone()
    }

    /// Keeps a report.
    pub fn add(&self, report: Arc<Report>) {
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.board.state().running.remove(self.name);
    }
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
