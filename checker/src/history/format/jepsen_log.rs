//! The lines that Jepsen logs about one cas-register:
//! `INFO  jepsen.util - 3 :invoke :cas [1 2]`, with tabs or spaces between the words.

use super::edn::Edn;
use super::pairs::{Dialect, Event, Kind, pair};
use super::{Model, ParseError, Recorded, Values, error};

/// What stands before an operation. Other lines are about other things.
const MARK: &str = "jepsen.util - ";

pub(super) fn read(text: &str, model: Model) -> Result<Recorded, ParseError> {
    let mut events = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let Some((_, text)) = text.split_once(MARK) else {
            continue;
        };
        events.extend(event(line, text.trim())?);
    }
    if events.is_empty() && !text.trim().is_empty() {
        return error(1, format!("no line of the file is one of '{MARK}'"));
    }
    let operations = pair(events, Dialect::JepsenLog, model)?;
    Ok(Recorded { operations, absent_is_empty: false, values: Values::Edn })
}

fn event(line: usize, text: &str) -> Result<Option<Event>, ParseError> {
    let mut words = text.splitn(4, |c: char| c.is_ascii_whitespace()).map(str::trim);
    let [process, kind, function] = [(); 3].map(|()| words.next().unwrap_or_default());
    if process.starts_with(':') {
        return Ok(None); // The nemesis.
    }
    let Ok(process) = process.parse() else {
        return error(line, format!("'{process}' is no process"));
    };
    let Some(kind) = Kind::of(kind) else {
        return error(line, format!("'{kind}' is none of :invoke, :ok, :fail, :info"));
    };
    let value = words.next().unwrap_or("nil");
    let value = match Edn::read(value) {
        Ok(value) => value,
        Err(refused) => return error(line, refused.reason),
    };
    let function = function.trim_start_matches(':').to_owned();
    Ok(Some(Event { line, process, kind, function, key: None, value }))
}
