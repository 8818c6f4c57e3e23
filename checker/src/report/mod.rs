//! What came of a run, as plain data: every format and page is made of this and of nothing else.
//!
//! As JSON (`--format json`, `GET /report.json`) the types here are the schema; `docs/checker.md`
//! describes it and [`SCHEMA`] names its version. A field may be added under the same version;
//! one that goes or changes its meaning takes a new one.
//!
//! Invariant: text that came from the service is escaped ([`common::text::escaped`]) and cut to
//! [`TEXT_BYTES_MAX`] before it gets in here, and each list has a limit.

pub mod html;
mod junit;
pub mod latency;
pub(crate) mod text;

use serde::Serialize;

pub use latency::{Interval, Latency, Load};
pub use text::Style;

/// The schema of the JSON and its version.
pub const SCHEMA: &str = "checker-report/1";
/// The longest text that is quoted from the service.
pub const TEXT_BYTES_MAX: usize = 2_048;
/// How much evidence of one workflow is kept; what comes after it is counted.
pub const EVIDENCE_MAX: usize = 8;
/// How many notes of one workflow are kept.
pub const NOTES_MAX: usize = 16;
/// How many calls one piece of evidence replays.
pub const REPLAY_CALLS_MAX: usize = 40;

/// What came of one run of some workflows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The version of the checker.
    pub checker_version: &'static str,
    /// The URL of the service.
    pub target: String,
    /// The verdict over all workflows: [`Verdict::over`].
    pub verdict: Verdict,
    /// When the run began, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// What it ran with.
    pub settings: Settings,
    /// The additions to the fixed API that the service was found to have.
    pub features: Vec<&'static str>,
    /// The command line that repeats the run.
    pub repeat: String,
    /// Each workflow, in the order in which they ran.
    pub workflows: Vec<WorkflowReport>,
}

/// What a run was asked to do. The same values send the same operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Concurrent clients.
    pub clients: u32,
    /// Operations of a workflow, over all its clients.
    pub ops: u32,
    /// Keys that clients share.
    pub keys: u32,
    /// What the operations are derived from.
    pub seed: u64,
    /// Requests a second that `load` sends; none means as many as it can.
    pub rate: Option<u32>,
    /// How long `load` sends, in milliseconds.
    pub duration_ms: u64,
}

/// What came of one workflow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkflowReport {
    /// Its name, as in `checker run NAME`.
    pub name: &'static str,
    /// What a pass says.
    pub promise: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is unknown, skipped or unreachable; none for the other verdicts.
    pub reason: Option<String>,
    /// When it began, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    /// How long it took, without the removal of its keys.
    pub duration_ms: u64,
    /// What became of its calls.
    pub operations: Operations,
    /// How many assertions were made.
    pub checks: u64,
    /// What was found broken, at most [`EVIDENCE_MAX`]; empty unless it failed.
    pub evidence: Vec<Evidence>,
    /// How many more there were.
    pub evidence_left_out: u64,
    /// What is worth knowing and is no fault.
    pub notes: Vec<String>,
    /// How long the calls took, from sending to the last byte; none if no call was answered.
    pub latency: Option<Latency>,
    /// What the load generator measured; `load` alone has it.
    pub load: Option<Load>,
    /// The command line that repeats it.
    pub repeat: String,
}

/// What became of the calls of a workflow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Operations {
    /// Calls that were made.
    pub sent: u64,
    /// Calls with an answer that says what happened.
    pub ok: u64,
    /// Calls that certainly had no effect: connection refused, 400, 401, 413, 415, 422, 431.
    pub failed: u64,
    /// Calls that may have had their effect: time-out, connection lost, 5xx.
    pub unknown: u64,
}

/// One broken promise: what had to be, what was, and how to see it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The promise, as a sentence.
    pub promise: String,
    /// What the promise asks for here.
    pub expected: String,
    /// What was seen instead.
    pub seen: String,
    /// `curl` command lines, in order, that do what was done; at most [`REPLAY_CALLS_MAX`].
    pub replay: Vec<String>,
    /// The operations that no order explains, if a history was judged.
    pub timeline: Option<Timeline>,
}

/// Concurrent operations on one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// The key.
    pub key: String,
    /// What it held before the first of them; none if it was absent.
    pub initial: Option<String>,
    /// The operations, by the time of their call.
    pub operations: Vec<TimelineOperation>,
}

/// One operation of a timeline. Times are in microseconds from the first call of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineOperation {
    /// Which client; after an unknown outcome a client goes on under a new number.
    pub process: u64,
    /// What was asked and seen: `put 17`, `get -> 17`, `delete -> absent`.
    pub text: String,
    /// When it was called.
    pub called_us: u64,
    /// When its answer was there; none if nobody knows, or if it came after the contradiction.
    pub returned_us: Option<u64>,
    /// Its place, from 1, in an order of as many of them as could be explained; none for one that
    /// does not fit there.
    pub order: Option<u64>,
    /// The `curl` command line that does the same.
    pub curl: String,
}

/// What is known about a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was put to the test and held.
    Passed,
    /// It is broken, and there is evidence.
    Failed,
    /// It could not be decided.
    Unknown,
    /// The service has nothing that could be tested.
    Skipped,
    /// The service could not be reached.
    Unreachable,
}

impl Default for Settings {
    /// The defaults of the command line, and seed 0.
    fn default() -> Settings {
        Settings { clients: 8, ops: 2_000, keys: 8, seed: 0, rate: Some(1_000), duration_ms: 3_000 }
    }
}

impl Verdict {
    /// The verdict over several: one broken promise outweighs all, then what could not be decided;
    /// what was skipped does not weigh, unless there is nothing else.
    pub fn over(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        let weight = |verdict: &Verdict| match verdict {
            Verdict::Skipped => 0,
            Verdict::Passed => 1,
            Verdict::Unknown => 2,
            Verdict::Unreachable => 3,
            Verdict::Failed => 4,
        };
        verdicts.into_iter().max_by_key(weight).unwrap_or(Verdict::Unknown)
    }

    /// The exit code of a command whose result this is. All skipped is no pass.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Passed => 0,
            Verdict::Failed => 1,
            Verdict::Unknown | Verdict::Skipped => 2,
            Verdict::Unreachable => 3,
        }
    }

    /// The word for it, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Unknown => "unknown",
            Verdict::Skipped => "skipped",
            Verdict::Unreachable => "unreachable",
        }
    }

    /// Every verdict.
    pub const ALL: [Verdict; 5] = [
        Verdict::Passed,
        Verdict::Failed,
        Verdict::Unknown,
        Verdict::Skipped,
        Verdict::Unreachable,
    ];
}

impl Report {
    /// The report as JSON, its last line ended.
    #[allow(clippy::missing_panics_doc, reason = "strings, numbers and lists are always JSON")]
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("strings, numbers and lists are always JSON") + "\n"
    }
}

/// Text that came from outside, made fit for a report: escaped, and cut where it is too long.
pub fn quoted(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = common::text::escaped(&text[..end]).to_string();
    if end < text.len() { format!("{cut}… ({} bytes)", text.len()) } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_outweighs_all_and_a_skip_nothing() {
        use Verdict::{Failed, Passed, Skipped, Unknown, Unreachable};
        for (verdicts, over, exit_code) in [
            (&[][..], Unknown, 2),
            (&[Skipped, Skipped], Skipped, 2),
            (&[Skipped, Passed], Passed, 0),
            (&[Passed, Unknown, Passed], Unknown, 2),
            (&[Unreachable, Passed], Unreachable, 3),
            (&[Passed, Failed, Unknown, Unreachable], Failed, 1),
        ] {
            let verdict = Verdict::over(verdicts.iter().copied());
            assert_eq!((verdict, verdict.exit_code()), (over, exit_code), "{verdicts:?}");
        }
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.word());
        }
    }

    #[test]
    fn what_the_service_says_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[2Jb\n"), r"a\u{1b}[2Jb\n");
        let cut = quoted(&"é".repeat(5_000));
        assert!(cut.len() < TEXT_BYTES_MAX + 32 && cut.ends_with("… (10000 bytes)"), "{cut}");
    }
}
