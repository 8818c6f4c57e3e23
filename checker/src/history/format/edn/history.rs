//! The maps of Jepsen and knossos: a vector of them, or one after the other.

use super::{Edn, Reader};
use crate::history::format::pairs::{Dialect, Event, Kind, pair};
use crate::history::format::{Model, ParseError, Recorded, Values, error};

pub(in crate::history::format) fn read(text: &str, model: Model) -> Result<Recorded, ParseError> {
    let mut events = Vec::new();
    let mut reader = Reader::new(text);
    reader.skip_space();
    // The entries of the vector are read one by one, so that each has its line.
    let is_vector = reader.rest.starts_with(['[', '(']);
    let close = if reader.rest.starts_with('[') { ']' } else { ')' };
    if is_vector {
        reader.skip(1);
    }
    loop {
        reader.skip_space();
        let line = reader.line;
        let Some(entry) = reader.value(0)? else {
            break;
        };
        events.extend(event(line, entry)?);
    }
    if is_vector {
        if !reader.rest.starts_with(close) {
            return error(reader.line, format!("the history is not closed by '{close}'"));
        }
        reader.skip(1);
        reader.skip_space();
    }
    if !reader.rest.is_empty() {
        return error(reader.line, "something follows the history that is no part of it");
    }
    let is_kv = model == Model::Kv || events.iter().any(is_of_kv);
    split_tuples(&mut events);
    if is_kv {
        check_kinds(&events)?;
    }
    let dialect = if is_kv { Dialect::EdnKv } else { Dialect::Edn };
    let operations = pair(events, dialect, model)?;
    let values = if is_kv { Values::Strings } else { Values::Edn };
    Ok(Recorded { operations, absent_is_empty: is_kv, values })
}

/// The event of an entry; none if it is the nemesis's.
fn event(line: usize, entry: Edn) -> Result<Option<Event>, ParseError> {
    let Edn::Map(entries) = entry else {
        return error(line, "an entry is no map");
    };
    let [mut process, mut kind, mut function, mut key, mut value] = [const { None }; 5];
    for (name, given) in entries {
        let Edn::Word(name) = name else {
            continue;
        };
        let place = match &*name {
            ":process" => &mut process,
            ":type" => &mut kind,
            ":f" => &mut function,
            ":key" => &mut key,
            ":value" => &mut value,
            _ => continue,
        };
        if place.replace(given).is_some() {
            return error(line, format!("{name} is there twice"));
        }
    }
    let process = match process {
        None => return error(line, ":process is missing"),
        Some(Edn::Word(process)) if process.starts_with(':') => return Ok(None),
        Some(process) => process.to_string(),
    };
    let Ok(process) = process.parse() else {
        return error(line, format!("'{process}' is no process"));
    };
    let Some(Edn::Word(kind)) = kind else {
        return error(line, ":type is missing");
    };
    let Some(kind) = Kind::of(&kind) else {
        return error(line, format!("'{kind}' is none of :invoke, :ok, :fail, :info"));
    };
    let Some(Edn::Word(function)) = function else {
        return error(line, ":f is missing");
    };
    let function = function.trim_start_matches(':').to_owned();
    let value = value.unwrap_or(Edn::Nil);
    Ok(Some(Event { line, process, kind, function, key, value }))
}

fn is_of_kv(event: &Event) -> bool {
    event.key.is_some() || matches!(&*event.function, "get" | "put" | "append" | "delete")
}

/// Takes the key out of values that are all `[key value]` (jepsen.independent).
fn split_tuples(events: &mut [Event]) {
    let is_tuple = |event: &Event| match &event.value {
        Edn::List(tuple) if tuple.len() == 2 && event.key.is_none() => {
            event.function != "cas" || matches!(&tuple[1], Edn::List(pair) if pair.len() == 2)
        }
        // What crashed may have lost its value.
        Edn::Nil | Edn::Word(_) => matches!(event.kind, Kind::Info | Kind::Fail),
        Edn::List(_) | Edn::Text(_) | Edn::Set(_) | Edn::Map(_) => false,
    };
    if !events.iter().all(is_tuple) {
        return;
    }
    for event in events {
        if let Edn::List(tuple) = &mut event.value {
            let value = tuple.pop();
            event.key = tuple.pop();
            event.value = value.unwrap_or(Edn::Nil);
        }
    }
}

/// Strings stand for themselves here, so that nothing else may look like one.
fn check_kinds(events: &[Event]) -> Result<(), ParseError> {
    let values = |event: &Event| match &event.value {
        Edn::List(items) if event.function == "cas" => items.clone(),
        Edn::Nil => Vec::new(),
        value => vec![value.clone()],
    };
    let has_strings =
        events.iter().any(|event| values(event).iter().any(|v| matches!(v, Edn::Text(_))));
    let other = events.iter().find(|event| {
        let is_returned = matches!(event.kind, Kind::Invoke | Kind::Ok);
        is_returned && values(event).iter().any(|v| !matches!(v, Edn::Text(_) | Edn::Nil))
    });
    match other {
        Some(event) if has_strings => {
            error(event.line, "the value is no string, where others are strings")
        }
        Some(_) | None => Ok(()),
    }
}
