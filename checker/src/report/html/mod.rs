//! The report as one page that needs nothing else: no script, no font, no picture from anywhere.
//!
//! Invariants: text is written by `maud`, which escapes it; the only [`PreEscaped`] here is our own
//! style sheet. What a page holds has the limits of the report that it is made of.

mod plot;
#[cfg(test)]
pub(crate) mod tests;
mod timeline;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use time::OffsetDateTime;

use super::latency::short;
use super::text::seconds;
use super::{Evidence, Latency, Load, Report, Settings, Verdict, WorkflowReport};

/// What a page may load: nothing, and its own style. It is in the page too, for one that is kept as
/// a file.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
     base-uri 'none'; form-action 'self'";

const STYLE: &str = include_str!("style.css");

impl Report {
    /// The report as an HTML page.
    pub fn to_html(&self) -> String {
        let title = format!("{}: {}", self.verdict.word(), self.target);
        page(&title, None, &self.markup()).into_string()
    }

    fn markup(&self) -> Markup {
        html! {
            header {
                h1 { "checker report: " (word(self.verdict)) }
                p { code { (self.target) } ", " (moment(self.started_unix_ms)) ", in " (seconds(self.duration_ms)) }
                p.soft {
                    (told(&self.settings)) ". checker " (self.checker_version) ". "
                    @if !self.features.is_empty() { "Found: " (self.features.join(", ")) "." }
                }
                h4 { "To repeat" }
                pre { (self.repeat) }
            }
            main {
                (self.summary())
                @for workflow in self.workflows.iter().filter(|workflow| workflow.is_broken()) {
                    (workflow.broken())
                }
                (self.latencies())
                @for workflow in &self.workflows {
                    @if let Some(load) = &workflow.load { (load.markup()) }
                }
            }
        }
    }

    fn summary(&self) -> Markup {
        html! {
            h2 { "Workflows" }
            table.stack {
                thead { tr {
                    th scope="col" { "name" } th scope="col" { "verdict" }
                    th scope="col" { "a pass says" } th.number scope="col" { "duration" }
                    th.number scope="col" { "calls" } th.number scope="col" { "checks" }
                } }
                tbody { @for workflow in &self.workflows { (workflow.row()) } }
            }
        }
    }

    fn latencies(&self) -> Markup {
        let measured = || {
            let workflows = self.workflows.iter();
            workflows.filter_map(|workflow| Some((workflow.name, workflow.latency?)))
        };
        html! {
            @if measured().next().is_some() {
                h2 { "Latency of calls" }
                div.wide tabindex="0" role="region" aria-label="Latency of calls" { table {
                    thead { tr {
                        th scope="col" { "name" }
                        @for name in ["calls", "mean", "p50", "p90", "p99", "p99.9", "max"] {
                            th.number scope="col" { (name) }
                        }
                    } }
                    tbody { @for (name, latency) in measured() { (percentiles(name, &latency)) } }
                } }
            }
        }
    }
}

impl WorkflowReport {
    fn is_broken(&self) -> bool {
        !self.evidence.is_empty()
    }

    fn row(&self) -> Markup {
        let unknown = self.operations.unknown;
        html! {
            tr {
                th scope="row" {
                    @if self.is_broken() { a href={ "#" (self.name) } { (self.name) } }
                    @else { (self.name) }
                }
                td { (word(self.verdict)) }
                td.promise {
                    (self.promise)
                    @if let Some(reason) = &self.reason { p.soft { (reason) } }
                    @for note in &self.notes { p.soft { "note: " (note) } }
                }
                td.number data-name="in" { (seconds(self.duration_ms)) }
                td.number data-name="calls" {
                    (self.operations.sent)
                    @if unknown > 0 { " (" (unknown) " unknown)" }
                }
                td.number data-name="checks" { (self.checks) }
            }
        }
    }

    fn broken(&self) -> Markup {
        html! {
            section id=(self.name) {
                h2 { (self.name) ": broken promises" }
                @for evidence in &self.evidence { (evidence.markup()) }
                @if self.evidence_left_out > 0 {
                    p { "And " (self.evidence_left_out) " more that are not shown." }
                }
                h4 { "To repeat" }
                pre { (self.repeat) }
            }
        }
    }
}

impl Evidence {
    fn markup(&self) -> Markup {
        html! {
            article {
                h3 { (self.promise) }
                dl {
                    dt { "expected" } dd.quote { (self.expected) }
                    dt { "seen" } dd.quote { (self.seen) }
                }
                @if let Some(timeline) = &self.timeline { (timeline.markup()) }
                @if !self.replay.is_empty() {
                    h4 { "To replay" }
                    pre { @for line in &self.replay { span.line { (line) "\n" } } }
                }
            }
        }
    }
}

impl Load {
    fn markup(&self) -> Markup {
        html! {
            section {
                h2 { "Load" }
                p {
                    @match self.rate_wanted {
                        Some(rate) => { (rate) " requests a second were wanted, " },
                        None => { "As fast as it goes, " },
                    }
                    (format!("{:.0}", self.rate_reached)) " a second were answered; "
                    (self.sent) " were sent, " (self.errors) " came to nothing."
                }
                @if let Some(bottleneck) = &self.bottleneck {
                    p { strong { "The generator was the bottleneck: " } (bottleneck) }
                }
                @if let Some(latency) = &self.latency {
                    div.wide tabindex="0" role="region" aria-label="Latency under load" { table {
                        thead { tr {
                            th scope="col" { "from when due" }
                            @for name in ["calls", "mean", "p50", "p90", "p99", "p99.9", "max"] {
                                th.number scope="col" { (name) }
                            }
                        } }
                        tbody {
                            (percentiles("to the answer", latency))
                            @if let Some(lateness) = &self.lateness {
                                (percentiles("to the sending", lateness))
                            }
                        }
                    } }
                }
                (plot::over_time(self))
            }
        }
    }
}

/// A whole page. One that is about to change loads itself again after so many seconds.
pub fn page(title: &str, refresh_s: Option<u32>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(CONTENT_SECURITY_POLICY);
                @if let Some(seconds) = refresh_s { meta http-equiv="refresh" content=(seconds); }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    }
}

/// A verdict, set off by colour and by a sign.
pub fn word(verdict: Verdict) -> Markup {
    html! { span class={ "word " (verdict.word()) } { (verdict.word()) } }
}

/// A moment, from milliseconds of Unix time.
pub fn moment(unix_ms: u64) -> Markup {
    let text = iso_8601(unix_ms);
    html! { time datetime=(text) { (text.replace('T', " ").replace('Z', " UTC")) } }
}

/// The second of a moment as `2026-01-31T23:59:59Z`, from milliseconds of Unix time.
pub(super) fn iso_8601(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn told(settings: &Settings) -> String {
    let Settings { clients, ops, keys, seed, rate, duration_ms } = settings;
    let rate = rate.map_or("as fast as it goes".to_owned(), |rate| format!("{rate} a second"));
    format!(
        "{clients} clients, {ops} operations a workflow, {keys} shared keys, seed {seed}; load: \
         {rate} for {}",
        seconds(*duration_ms)
    )
}

fn percentiles(name: &str, latency: &Latency) -> Markup {
    let Latency { count, mean_us, p50_us, p90_us, p99_us, p999_us, max_us } = *latency;
    html! {
        tr {
            th scope="row" { (name) }
            td.number { (count) }
            td.number { (format!("{:.2} ms", mean_us / 1_000.0)) }
            @for micros in [p50_us, p90_us, p99_us, p999_us, max_us] { td.number { (short(micros)) } }
        }
    }
}
