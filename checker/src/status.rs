//! The page of the service: what is known of each workflow, what runs, and buttons to run more.

use maud::{Markup, html};

use crate::board::{self, PastRun, Running, Snapshot, Standing};
use crate::report::html::{moment, page, word};
use crate::report::text::seconds;

/// What the buttons send, so that the answer leads back to the page.
pub const FORM: &str = "then=status";
/// The same as the name and the value of a field.
const FIELD: (&str, &str) = ("then", "status");
/// How often the page looks again while something runs.
const REFRESH_S: u32 = 2;

/// The status page, for this moment.
pub fn status(target: &str, snapshot: &Snapshot, now_unix_ms: u64) -> Markup {
    let is_running = !snapshot.running.is_empty();
    let body = html! {
        header {
            h1 { "checker" }
            p { "checks " code { (target) } }
            nav {
                a href="report" { "last report" } a href="report.json" { "as JSON" }
                a href="report.xml" { "as JUnit" } a href="metrics" { "metrics" }
                a href="docs" { "API" }
            }
        }
        main {
            @for running in &snapshot.running { (running.markup()) }
            (standings(snapshot, now_unix_ms))
            (history(&snapshot.past, now_unix_ms))
        }
    };
    page("checker", is_running.then_some(REFRESH_S), &body)
}

/// What stands at the report's place before there is one.
pub fn no_report() -> Markup {
    let body = html! {
        h1 { "No report yet" }
        p { "Nothing has run since this checker started." }
        (button(board::ALL, "run all", false))
        p { a href="./" { "what there is to run" } }
    };
    page("no report yet", None, &body)
}

impl Running {
    fn markup(&self) -> Markup {
        html! {
            p role="status" {
                strong { (self.name) } " is running: "
                @if !self.workflow.is_empty() && self.workflow != self.name { (self.workflow) ", " }
                (self.calls) " calls so far"
            }
        }
    }
}

fn standings(snapshot: &Snapshot, now_unix_ms: u64) -> Markup {
    let all_runs = snapshot.is_running(board::ALL);
    html! {
        h2 { "Workflows" }
        (button(board::ALL, "run all", all_runs))
        table.stack {
            thead { tr {
                th scope="col" { "name" } th scope="col" { "last verdict" }
                th scope="col" { "a pass says" } th.number scope="col" { "ran" }
                th scope="col" { "run" }
            } }
            tbody { @for standing in &snapshot.standings {
                (standing.row(all_runs || snapshot.is_running(standing.name), now_unix_ms))
            } }
        }
    }
}

impl Standing {
    fn row(&self, is_running: bool, now_unix_ms: u64) -> Markup {
        html! {
            tr {
                th scope="row" { (self.name) }
                td { @match self.verdict {
                    Some(verdict) => { (word(verdict)) },
                    None => { span.soft { "not yet" } },
                } }
                td.promise {
                    (self.promise)
                    @if let Some(why) = &self.why { p.soft { (why) } }
                }
                td.number { @if self.verdict.is_some() { (age(now_unix_ms, self.finished_unix_ms)) } }
                td { (button(self.name, "run", is_running)) }
            }
        }
    }
}

fn history(past: &[PastRun], now_unix_ms: u64) -> Markup {
    html! {
        @if !past.is_empty() {
            h2 { "The last runs" }
            table.stack {
                thead { tr {
                    th scope="col" { "began" } th scope="col" { "of" } th scope="col" { "verdict" }
                    th scope="col" { "asked for by" } th.number scope="col" { "took" }
                    th.number scope="col" { "ago" }
                } }
                tbody { @for run in past {
                    tr {
                        th scope="row" { (moment(run.started_unix_ms)) }
                        td { (run.name) }
                        td {
                            (word(run.verdict))
                            @if !run.broken.is_empty() { ": " (run.broken.join(", ")) }
                        }
                        td { (if run.by_the_clock { "the clock" } else { "a request" }) }
                        td.number data-name="took" { (seconds(run.duration_ms)) }
                        td.number { (age(now_unix_ms, run.started_unix_ms)) }
                    }
                } }
            }
        }
    }
}

fn button(name: &str, words: &str, is_running: bool) -> Markup {
    let (field, value) = FIELD;
    html! {
        form method="post" action={ "test/" (name) } {
            button name=(field) value=(value) aria-label={ "run " (name) }
                disabled=[is_running.then_some("")] { (if is_running { "running" } else { words }) }
        }
    }
}

/// How long ago, in one unit.
fn age(now_unix_ms: u64, then_unix_ms: u64) -> String {
    match now_unix_ms.saturating_sub(then_unix_ms) / 1_000 {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7_200 => format!("{} min ago", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verdict;
    use crate::report::html::tests::as_xml;

    #[test]
    fn ages_are_in_one_unit() {
        for (seconds, text) in [
            (0, "0 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7_200, "2 h ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(age(500_000_000 + seconds * 1_000, 500_000_000), text);
        }
        assert_eq!(age(0, 1), "0 s ago");
    }

    #[test]
    fn the_page_looks_again_only_while_something_runs() {
        let standing = Standing {
            name: "types",
            promise: "it holds",
            verdict: Some(Verdict::Failed),
            why: Some("<script>".to_owned()),
            finished_unix_ms: 1,
        };
        let mut snapshot = Snapshot { standings: vec![standing], ..Snapshot::default() };
        let shown = |snapshot: &Snapshot| {
            let html = status("http://kv/<script>", snapshot, 2).into_string();
            roxmltree::Document::parse(&as_xml(&html)).unwrap();
            html
        };
        let html = shown(&snapshot);
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("http-equiv=\"refresh\"") && !html.contains("disabled="), "{html}");
        let running = Running { name: board::ALL, workflow: "types", calls: 7 };
        snapshot.running.push(running);
        let html = shown(&snapshot);
        assert!(html.contains("http-equiv=\"refresh\"") && html.contains("disabled="), "{html}");
    }

    #[test]
    fn the_field_is_the_form() {
        assert_eq!(format!("{}={}", FIELD.0, FIELD.1), FORM);
    }
}
