//! The lines that Jepsen logs about one cas-register:
//! `INFO  jepsen.util - 3 :invoke :cas [1 2]`, with any tabs and spaces between the words.

use super::edn::Edn;
use super::pairs::{Dialect, Event, Kind, pair};
use super::{Model, ParseError, Recorded, Values, error};

/// What stands before an operation, and behind it a dash. Other lines are about other things.
const MARK: &str = "jepsen.util";

pub(super) fn read(text: &str, model: Model) -> Result<Recorded, ParseError> {
    let mut events = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let Some((_, rest)) = text.split_once(MARK) else {
            continue;
        };
        if let ("-", text) = word(rest) {
            events.extend(event(line, text)?);
        }
    }
    if events.is_empty() && !text.trim().is_empty() {
        return error(1, format!("no line of the file is one of '{MARK} - '"));
    }
    let operations = pair(events, Dialect::JepsenLog, model)?;
    Ok(Recorded { operations, absent_is_empty: false, values: Values::Edn })
}

fn event(line: usize, text: &str) -> Result<Option<Event>, ParseError> {
    let (process, text) = word(text);
    let (kind, text) = word(text);
    let (function, text) = word(text);
    if process.starts_with(':') {
        return Ok(None); // The nemesis.
    }
    let Ok(process) = process.parse() else {
        return error(line, format!("'{process}' is no process"));
    };
    let Some(kind) = Kind::of(kind) else {
        return error(line, format!("'{kind}' is none of :invoke, :ok, :fail, :info"));
    };
    let value = match Edn::read(if text.is_empty() { "nil" } else { text }) {
        Ok(value) => value,
        Err(refused) => return error(line, refused.reason),
    };
    let function = function.trim_start_matches(':').to_owned();
    Ok(Some(Event { line, process, kind, function, key: None, value }))
}

/// The first word, and what is behind it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""));
    (word, rest.trim_start())
}
