//! The report as `JUnit` XML, which continuous integration shows: a suite for the run and a case for
//! each workflow.
//!
//! There is no standard; what is written is what Jenkins, GitLab and pytest's readers agree on. A
//! promise that could not be decided is an error and not a failure.

use maud::{Markup, PreEscaped, html};

use super::html::iso_8601;
use super::{Report, Verdict, WorkflowReport};

/// The class of all cases, by which readers group them.
const CLASS: &str = "checker";

impl Report {
    /// The report as `JUnit` XML, its last line ended.
    pub fn to_junit(&self) -> String {
        let count = |verdicts: &[Verdict]| {
            let workflows = self.workflows.iter();
            workflows.filter(|workflow| verdicts.contains(&workflow.verdict)).count()
        };
        let tests = self.workflows.len();
        let failures = count(&[Verdict::Failed]);
        let errors = count(&[Verdict::Unknown, Verdict::Unreachable]);
        let skipped = count(&[Verdict::Skipped]);
        let time = seconds(self.duration_ms);
        let document = html! {
            (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
            testsuites name=(CLASS) tests=(tests) failures=(failures) errors=(errors) time=(time) {
                testsuite name=(xml(&self.target)) tests=(tests) failures=(failures) errors=(errors)
                    skipped=(skipped) time=(time) timestamp=(iso_8601(self.started_unix_ms)) {
                    properties {
                        property name="verdict" value=(self.verdict.word()) {}
                        property name="checker_version" value=(self.checker_version) {}
                        property name="seed" value=(self.settings.seed) {}
                        property name="repeat" value=(xml(&self.repeat)) {}
                    }
                    @for workflow in &self.workflows { (workflow.case()) }
                }
            }
        };
        document.into_string() + "\n"
    }
}

impl WorkflowReport {
    fn case(&self) -> Markup {
        let reason = xml(self.reason.as_deref().unwrap_or_default());
        let first = self.evidence.first().map_or(self.promise, |evidence| &evidence.promise);
        html! {
            testcase name=(self.name) classname=(CLASS) time=(seconds(self.duration_ms)) {
                @match self.verdict {
                    Verdict::Passed => {},
                    Verdict::Failed => failure type="broken promise" message=(xml(first)) {
                        (xml(&self.evidence_text())) "repeat: " (xml(&self.repeat)) "\n"
                    },
                    Verdict::Unknown | Verdict::Unreachable => {
                        error type=(self.verdict.word()) message=(reason) {
                            "repeat: " (xml(&self.repeat)) "\n"
                        }
                    }
                    Verdict::Skipped => skipped message=(reason) {},
                }
                system-out {
                    "promise: " (self.promise) "\n"
                    (self.operations.sent) " calls, " (self.checks) " checks\n"
                    @if let Some(latency) = self.latency { "latency: " (latency) "\n" }
                    @for note in &self.notes { "note: " (xml(note)) "\n" }
                }
            }
        }
    }
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1_000, millis % 1_000)
}

/// Without what XML 1.0 has no way to write (section 2.2).
fn xml(text: &str) -> String {
    let is_character = |c: &char| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if is_character(&c) { c } else { '\u{fffd}' }).collect()
}
