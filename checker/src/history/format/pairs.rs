//! Calls and returns become operations: each process has one call at a time.

use std::collections::HashMap;
use std::sync::Arc;

use super::edn::Edn;
use super::{Model, ParseError, error};
use crate::history::operation::{Condition, Op, Operation, Outcome, Refusal, Seen, Value};

/// One entry of a history in Jepsen's manner.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) line: usize,
    pub(super) process: u64,
    pub(super) kind: Kind,
    pub(super) function: String,
    pub(super) key: Option<Edn>,
    pub(super) value: Edn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// Who means what by a failure and by `nil`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// A compare-and-set that failed saw another value; a read of `nil` saw nothing there.
    JepsenLog,
    /// What failed did not happen; a read of `nil` says nothing.
    Edn,
    /// The same, and strings are the texts that they stand for.
    EdnKv,
}

impl Kind {
    pub(super) fn of(keyword: &str) -> Option<Kind> {
        match keyword.trim_start_matches(':') {
            "invoke" => Some(Kind::Invoke),
            "ok" => Some(Kind::Ok),
            "fail" => Some(Kind::Fail),
            "info" => Some(Kind::Info),
            _ => None,
        }
    }
}

/// The operations of `events`, which are in the order of time.
pub(super) fn pair(
    events: Vec<Event>,
    dialect: Dialect,
    model: Model,
) -> Result<Vec<Operation>, ParseError> {
    let mut operations = Vec::new();
    let mut open: HashMap<u64, Event> = HashMap::new();
    let mut called: HashMap<u64, u64> = HashMap::new();
    let end = u64::try_from(events.len()).unwrap_or(u64::MAX);
    for (now, event) in (0..).zip(events) {
        if event.kind == Kind::Invoke {
            if open.contains_key(&event.process) {
                let text = format!("process {} has a call open already", event.process);
                return error(event.line, text);
            }
            called.insert(event.process, now);
            open.insert(event.process, event);
            continue;
        }
        let Some(invoked) = open.remove(&event.process) else {
            if event.kind == Kind::Info {
                continue; // A note, for nothing was called.
            }
            return error(event.line, format!("process {} has no call open", event.process));
        };
        if invoked.function != event.function {
            let text = format!("process {} called :{}", event.process, invoked.function);
            return error(event.line, text);
        }
        let called_ns = called.remove(&event.process).unwrap_or(now);
        operations.extend(operation(invoked, Some(event), dialect, model, (called_ns, now))?);
    }
    let mut open: Vec<Event> = open.into_values().collect();
    open.sort_by_key(|event| event.line);
    for event in open {
        let called_ns = called.remove(&event.process).unwrap_or(end);
        operations.extend(operation(event, None, dialect, model, (called_ns, end))?);
    }
    operations.sort_by_key(|operation: &Operation| operation.called_ns);
    Ok(operations)
}

fn operation(
    invoked: Event,
    returned: Option<Event>,
    dialect: Dialect,
    model: Model,
    (called_ns, returned_ns): (u64, u64),
) -> Result<Option<Operation>, ParseError> {
    let Event { line, process, function, key, mut value, .. } = invoked;
    let is_read = matches!(&*function, "read" | "get");
    if let (Some(returned), false) = (&returned, is_read)
        && value == Edn::Nil
        && returned.kind == Kind::Ok
    {
        value = returned.value.clone();
    }
    let op = op(line, &function, &value, dialect)?;
    if !model.allows(&op) {
        return error(line, format!("the model has no :{function}"));
    }
    let Some(outcome) = outcome(&op, returned, dialect) else {
        return Ok(None);
    };
    let key = match key {
        None => Arc::from(""),
        Some(Edn::Text(text)) => Arc::from(text),
        Some(key) => Arc::from(key.to_string()),
    };
    Ok(Some(Operation { process, key, op, outcome, called_ns, returned_ns }))
}

fn op(line: usize, function: &str, value: &Edn, dialect: Dialect) -> Result<Op, ParseError> {
    let given = |value: &Edn| match text(value, dialect) {
        Some(value) => Ok(value),
        None => error(line, format!(":{function} of nil")),
    };
    Ok(match function {
        "read" | "get" => Op::Get,
        "write" | "put" => Op::Put { value: given(value)?, condition: Condition::None },
        "append" => Op::Append { value: given(value)? },
        "delete" => Op::Delete { condition: Condition::None },
        "cas" => match value {
            Edn::List(pair) if pair.len() == 2 => {
                Op::Cas { expected: text(&pair[0], dialect), value: given(&pair[1])? }
            }
            other => return error(line, format!(":cas takes [old new], not {other}")),
        },
        other => {
            let known = ":read, :get, :write, :put, :cas, :append, :delete";
            return error(line, format!("':{other}' is none of {known}"));
        }
    })
}

/// What came of the call; `None` if it says nothing.
fn outcome(op: &Op, returned: Option<Event>, dialect: Dialect) -> Option<Outcome> {
    let Some(Event { kind, value, .. }) = returned else {
        return Some(Outcome::Unknown);
    };
    match (kind, op, dialect) {
        (Kind::Invoke | Kind::Info, ..) => Some(Outcome::Unknown),
        (Kind::Ok, Op::Get, _) => match (text(&value, dialect), dialect) {
            (Some(value), _) => Some(Outcome::Ok(Seen::Found { value, version: None })),
            (None, Dialect::JepsenLog) => Some(Outcome::Ok(Seen::Absent)),
            (None, Dialect::Edn | Dialect::EdnKv) => None,
        },
        (
            Kind::Ok,
            Op::Put { .. }
            | Op::Cas { .. }
            | Op::Append { .. }
            | Op::Delete { .. }
            | Op::Add { .. },
            _,
        ) => Some(Outcome::Ok(Seen::Done { version: None })),
        (Kind::Fail, _, Dialect::JepsenLog) if is_timed_out(&value) => Some(Outcome::Unknown),
        (Kind::Fail, Op::Cas { .. }, Dialect::JepsenLog) => {
            Some(Outcome::Ok(Seen::Refused(Refusal::Unseen)))
        }
        (Kind::Fail, _, _) => Some(Outcome::Failed),
    }
}

fn is_timed_out(value: &Edn) -> bool {
    matches!(value, Edn::Word(word) if word == ":timed-out")
}

/// The text that stands for a value; `None` is absence.
fn text(value: &Edn, dialect: Dialect) -> Option<Value> {
    match (value, dialect) {
        (Edn::Nil, _) => None,
        (Edn::Text(text), Dialect::EdnKv) => Some(Arc::from(&**text)),
        (value, _) => Some(Arc::from(value.to_string())),
    }
}
