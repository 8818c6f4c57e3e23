//! A counter-example as text: an operation a line, with the time in which it ran.

use std::fmt::{self, Display, Formatter};

use common::text::escaped;

use super::operation::{Condition, Op, Operation, Outcome, Refusal, Seen, Value};
use super::verdict::CounterExample;

/// A counter-example to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Timeline<'a> {
    /// The counter-example.
    pub example: &'a CounterExample,
    /// How many of its operations are shown; the last ones are.
    pub operations_max: usize,
}

/// How many characters of a value are shown.
const VALUE_CHARS_MAX: usize = 32;
/// How many columns a moment may have; where there are many, two share one.
const COLUMNS_MAX: usize = 60;

impl Display for Timeline<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let CounterExample { key, initial, operations, longest } = self.example;
        f.write_str("no order explains these operations")?;
        if !key.is_empty() {
            write!(f, " on the key {}", Shown(key))?;
        }
        match initial {
            Some(value) => writeln!(f, ", before which it held {}", Shown(value))?,
            None => writeln!(f, ", before which it held nothing")?,
        }
        let hidden = operations.len().saturating_sub(self.operations_max);
        if hidden > 0 {
            writeln!(f, "  ({hidden} earlier ones are not shown)")?;
        }
        let shown = &operations[hidden..];
        let texts: Vec<String> = shown.iter().map(ToString::to_string).collect();
        let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
        let processes = shown.iter().map(|operation| operation.process.to_string().len());
        let digits = processes.max().unwrap_or(0);
        let moments = moments(shown);
        for (operation, text) in shown.iter().zip(&texts) {
            let padding = width - text.chars().count();
            let bar = bar(operation, &moments);
            writeln!(f, "  {:>digits$}  {text}{:padding$}  {bar}", operation.process, "")?;
        }
        if hidden == 0 && !longest.is_empty() {
            let of_all = operations.len();
            writeln!(f, "  the longest order explains {} of {of_all}:", longest.len())?;
            for operation in longest.iter().filter_map(|at| operations.get(*at)) {
                writeln!(f, "    {operation}")?;
            }
        }
        Ok(())
    }
}

/// What was asked and what came of it.
impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.op {
            Op::Get => f.write_str("get")?,
            Op::Put { value, condition } => write!(f, "put {}{condition}", Shown(value))?,
            Op::Delete { condition } => write!(f, "delete{condition}")?,
            Op::Cas { expected: Some(expected), value } => {
                write!(f, "cas {} to {}", Shown(expected), Shown(value))?;
            }
            Op::Cas { expected: None, value } => write!(f, "cas absent to {}", Shown(value))?,
            Op::Append { value } => write!(f, "append {}", Shown(value))?,
            Op::Add { by } => write!(f, "add {by}")?,
        }
        f.write_str(": ")?;
        match &self.outcome {
            Outcome::Ok(seen) => seen.fmt(f),
            Outcome::Failed => f.write_str("failed"),
            Outcome::Unknown => f.write_str("unknown"),
        }
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Condition::None => Ok(()),
            Condition::Absent => f.write_str(" if absent"),
            Condition::Present => f.write_str(" if present"),
            Condition::Version(version) => write!(f, " if version {version}"),
            Condition::NotVersion(version) => write!(f, " if not version {version}"),
        }
    }
}

impl Display for Seen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Seen::Done { version: None } => f.write_str("ok"),
            Seen::Done { version: Some(version) } => write!(f, "ok, version {version}"),
            Seen::Found { value, version: None } => Shown(value).fmt(f),
            Seen::Found { value, version: Some(version) } => {
                write!(f, "{}, version {version}", Shown(value))
            }
            Seen::Absent => f.write_str("absent"),
            Seen::Refused(Refusal::Unseen) => f.write_str("refused"),
            Seen::Refused(Refusal::Absent) => f.write_str("refused, absent"),
            Seen::Refused(Refusal::Version(version)) => write!(f, "refused, version {version}"),
        }
    }
}

/// A value on one line, and not too long.
struct Shown<'a>(&'a Value);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text: &str = self.0;
        match text.char_indices().nth(VALUE_CHARS_MAX) {
            _ if text.is_empty() => f.write_str("\"\""),
            None => escaped(text).fmt(f),
            Some((end, _)) => write!(f, "{}...", escaped(&text[..end])),
        }
    }
}

/// The moments at which something was called or returned; on equal times calls come first.
fn moments(operations: &[Operation]) -> Vec<(u64, bool)> {
    let mut moments = Vec::new();
    for operation in operations {
        moments.push((operation.called_ns, false));
        if operation.outcome != Outcome::Unknown {
            moments.push((operation.returned_ns, true));
        }
    }
    moments.sort_unstable();
    moments.dedup();
    moments
}

fn bar(operation: &Operation, moments: &[(u64, bool)]) -> String {
    let columns = moments.len().min(COLUMNS_MAX);
    let column = |moment: (u64, bool)| {
        let at = moments.binary_search(&moment).unwrap_or_else(|at| at);
        at * columns / moments.len().max(1)
    };
    let from = column((operation.called_ns, false));
    let (until, end) = match operation.outcome {
        Outcome::Ok(_) | Outcome::Failed => (column((operation.returned_ns, true)), "|"),
        Outcome::Unknown => (columns, ">"),
    };
    let length = until.saturating_sub(from + 1);
    format!("{:from$}|{}{end}", "", "-".repeat(length))
}
