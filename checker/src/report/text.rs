//! The report for a terminal.

use std::fmt::{self, Display, Formatter, Write};

use super::{Evidence, Latency, Load, Report, Timeline, Verdict, WorkflowReport};

/// How text is set off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Nothing but characters.
    Plain,
    /// With the colours of ECMA-48, for terminals.
    Colour,
}

/// The place that the longest word of a verdict takes.
const WORD_COLUMNS: usize = 11;

impl Report {
    /// The report in lines for people, the last one ended.
    pub fn to_text(&self, style: Style) -> String {
        let mut text = String::new();
        for workflow in &self.workflows {
            let written = workflow.write(&mut text, style);
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        let verdict = style.verdict(self.verdict, 0);
        let seconds = seconds(self.duration_ms);
        text + &format!("\n{verdict}: {} in {seconds}\nrepeat: {}\n", self.target, self.repeat)
    }
}

impl Style {
    /// A verdict's word, followed by spaces up to this many columns.
    pub fn verdict(self, verdict: Verdict, columns: usize) -> impl Display {
        let colour = match verdict {
            Verdict::Passed => "\x1b[32m",
            Verdict::Failed => "\x1b[1;31m",
            Verdict::Unknown | Verdict::Unreachable => "\x1b[33m",
            Verdict::Skipped => "\x1b[2m",
        };
        let word = verdict.word();
        match self {
            Style::Plain => format!("{word:columns$}"),
            Style::Colour => format!("{colour}{word:columns$}\x1b[0m"),
        }
    }
}

impl WorkflowReport {
    /// What was found broken, in lines.
    pub(super) fn evidence_text(&self) -> String {
        let mut text = String::new();
        for evidence in &self.evidence {
            let written = evidence.write(&mut text);
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        text
    }

    fn write(&self, text: &mut String, style: Style) -> fmt::Result {
        let word = style.verdict(self.verdict, WORD_COLUMNS);
        let operations = self.operations;
        write!(text, "{word} {:16} {:>8}", self.name, seconds(self.duration_ms))?;
        if operations.sent > 0 {
            write!(text, " {:>7} calls {:>7} checks", operations.sent, self.checks)?;
        }
        if operations.unknown > 0 {
            write!(text, " {} unknown", operations.unknown)?;
        }
        if let Some(latency) = self.latency {
            write!(text, "  {latency}")?;
        }
        text.push('\n');
        if let Some(reason) = &self.reason {
            writeln!(text, "            {reason}")?;
        }
        if let Some(load) = &self.load {
            load.write(text)?;
        }
        for note in &self.notes {
            writeln!(text, "            note: {note}")?;
        }
        for evidence in &self.evidence {
            evidence.write(text)?;
        }
        if self.evidence_left_out > 0 {
            writeln!(text, "            and {} more", self.evidence_left_out)?;
        }
        if self.verdict == Verdict::Failed {
            writeln!(text, "            repeat: {}", self.repeat)?;
        }
        Ok(())
    }
}

impl Evidence {
    fn write(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "            broken:   {}", self.promise)?;
        writeln!(text, "            expected: {}", self.expected)?;
        writeln!(text, "            seen:     {}", self.seen)?;
        if let Some(timeline) = &self.timeline {
            timeline.write(text)?;
        }
        for line in &self.replay {
            writeln!(text, "              {line}")?;
        }
        Ok(())
    }
}

impl Timeline {
    /// A line an operation: when, a bar from its call to its answer, who and what.
    fn write(&self, text: &mut String) -> fmt::Result {
        const COLUMNS: u64 = 32;
        let ends = self.operations.iter().map(|op| op.returned_us.unwrap_or(op.called_us));
        let end = ends.max().unwrap_or(0).max(1);
        let column = |micros: u64| micros.min(end) * (COLUMNS - 1) / end;
        let initial = self.initial.as_deref().unwrap_or("nothing");
        writeln!(text, "            key {} held {initial}; {end} µs:", self.key)?;
        for operation in &self.operations {
            let from = column(operation.called_us);
            let to = operation.returned_us.map_or(COLUMNS - 1, column);
            let bar: String = (0..COLUMNS)
                .map(|at| match at {
                    at if at == from => '[',
                    at if at == to && operation.returned_us.is_some() => ']',
                    at if at > from && at <= to => '-',
                    _ => ' ',
                })
                .collect();
            writeln!(text, "              {bar}  {:>4}: {}", operation.process, operation.text)?;
        }
        Ok(())
    }
}

impl Load {
    fn write(&self, text: &mut String) -> fmt::Result {
        let wanted = self
            .rate_wanted
            .map_or("as fast as it goes".to_owned(), |rate| format!("{rate}/s wanted"));
        write!(text, "            {wanted}, {:.0}/s reached", self.rate_reached)?;
        if self.errors > 0 {
            write!(text, ", {} errors", self.errors)?;
        }
        if let Some(latency) = self.latency {
            write!(text, "; from when due: {latency}")?;
        }
        text.push('\n');
        if let Some(bottleneck) = &self.bottleneck {
            writeln!(text, "            the generator was the bottleneck: {bottleneck}")?;
        }
        Ok(())
    }
}

impl Display for Latency {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Latency { p50_us, p99_us, max_us, .. } = self;
        write!(f, "p50 {} p99 {} max {}", millis(*p50_us), millis(*p99_us), millis(*max_us))
    }
}

pub(crate) fn seconds(millis: u64) -> String {
    format!("{}.{:02} s", millis / 1_000, millis % 1_000 / 10)
}

fn millis(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1_000, micros % 1_000 / 10)
}
