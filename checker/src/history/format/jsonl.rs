//! An operation a line, as JSON.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Model, ParseError, Recorded, Values, error};
use crate::history::operation::{Condition, Op, Operation, Outcome, Refusal, Seen, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    process: u64,
    #[serde(borrow, default)]
    key: Cow<'a, str>,
    op: OpName,
    #[serde(borrow, default, deserialize_with = "given")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    expected: Option<&'a RawValue>,
    by: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[expect(clippy::option_option, reason = "null asks for absence")]
    if_version: Option<Option<u64>>,
    if_not_version: Option<u64>,
    #[serde(default)]
    if_present: bool,
    outcome: OutcomeName,
    #[serde(borrow, default, deserialize_with = "given")]
    seen: Option<&'a RawValue>,
    version: Option<u64>,
    #[serde(default)]
    absent: bool,
    #[serde(default)]
    refused: bool,
    called_ns: u64,
    returned_ns: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpName {
    #[serde(alias = "read")]
    Get,
    #[serde(alias = "write")]
    Put,
    Delete,
    Cas,
    Append,
    Incr,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OutcomeName {
    Ok,
    Failed,
    Unknown,
}

/// A field that is there is given, though it be `null`.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Where values were strings and where not, for texts can be appended to nothing else.
#[derive(Default)]
struct Kinds {
    appends: bool,
    other_than_string: Option<usize>,
}

pub(super) fn read(text: &str, model: Model) -> Result<Recorded, ParseError> {
    let mut operations = Vec::new();
    let mut keys: HashMap<Cow<'_, str>, Arc<str>> = HashMap::new();
    let mut kinds = Kinds::default();
    let lines = || (1..).zip(text.lines()).filter(|(_, line)| !line.trim_ascii().is_empty());
    for (number, line) in lines() {
        let line = parse(number, line)?;
        let op = op(number, &line)?;
        if !model.allows(&op) {
            return error(number, "the model has no such operation");
        }
        kinds.note(number, &line);
        let outcome = outcome(number, &line)?;
        let returned_ns = match (outcome == Outcome::Unknown, line.returned_ns) {
            (_, Some(returned_ns)) if returned_ns < line.called_ns => {
                return error(number, "returned_ns is before called_ns");
            }
            (_, Some(returned_ns)) => returned_ns,
            (true, None) => u64::MAX,
            (false, None) => return error(number, "returned_ns is missing"),
        };
        let key = keys.entry(line.key).or_insert_with_key(|key| Arc::from(&**key)).clone();
        let (process, called_ns) = (line.process, line.called_ns);
        operations.push(Operation { process, key, op, outcome, called_ns, returned_ns });
    }
    let mut values = Values::Json;
    if kinds.appends {
        if let Some(line) = kinds.other_than_string {
            return error(line, "the value is no string, in a history with appends");
        }
        operations.iter_mut().for_each(unquote);
        values = Values::Strings;
    }
    Ok(Recorded { operations, absent_is_empty: false, values })
}

/// The text of a value: a string as `serde_json` writes it, anything else as it came.
pub(super) fn value(text: &str) -> Option<Value> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    Some(canonical(raw))
}

fn canonical(raw: &RawValue) -> Value {
    let text = raw.get();
    // Only escapes can write the same string in two ways.
    if text.starts_with('"')
        && text.contains('\\')
        && let Ok(string) = serde_json::from_str::<String>(text)
    {
        return Arc::from(serde_json::Value::from(string).to_string());
    }
    Arc::from(text)
}

fn parse(number: usize, line: &str) -> Result<Line<'_>, ParseError> {
    serde_json::from_str(line).or_else(|refused| {
        let text = refused.to_string();
        let reason = text.split(" at line ").next().unwrap_or(&text);
        error(number, format!("{reason} (column {})", refused.column()))
    })
}

impl Kinds {
    fn note(&mut self, number: usize, line: &Line<'_>) {
        self.appends |= line.op == OpName::Append;
        let mut values = [line.value, line.expected, line.seen].into_iter().flatten();
        if values.any(|value| !value.get().starts_with('"')) {
            self.other_than_string.get_or_insert(number);
        }
        if line.op == OpName::Incr {
            self.other_than_string.get_or_insert(number);
        }
    }
}

fn op(number: usize, line: &Line<'_>) -> Result<Op, ParseError> {
    let value = || match line.value {
        Some(value) => Ok(canonical(value)),
        None => error(number, "value is missing"),
    };
    let has_condition =
        line.if_version.is_some() || line.if_not_version.is_some() || line.if_present;
    let (op, may) = match line.op {
        OpName::Get => (Op::Get, (false, false, false, false)),
        OpName::Put => {
            let op = Op::Put { value: value()?, condition: condition(number, line)? };
            (op, (true, false, false, true))
        }
        OpName::Delete => {
            (Op::Delete { condition: condition(number, line)? }, (false, false, false, true))
        }
        OpName::Cas => {
            let op = Op::Cas { expected: line.expected.map(canonical), value: value()? };
            (op, (true, true, false, false))
        }
        OpName::Append => (Op::Append { value: value()? }, (true, false, false, false)),
        OpName::Incr => (Op::Add { by: line.by.unwrap_or(1) }, (false, false, true, false)),
    };
    let has = (line.value.is_some(), line.expected.is_some(), line.by.is_some(), has_condition);
    for (has, may, name) in [
        (has.0, may.0, "value"),
        (has.1, may.1, "expected"),
        (has.2, may.2, "by"),
        (has.3, may.3, "a condition"),
    ] {
        if has && !may {
            return error(
                number,
                format!("the operation takes no {}", name.trim_start_matches("a ")),
            );
        }
    }
    Ok(op)
}

fn condition(number: usize, line: &Line<'_>) -> Result<Condition, ParseError> {
    match (line.if_version, line.if_not_version, line.if_present) {
        (None, None, false) => Ok(Condition::None),
        (Some(Some(version)), None, false) => Ok(Condition::Version(version)),
        (Some(None), None, false) => Ok(Condition::Absent),
        (None, Some(version), false) => Ok(Condition::NotVersion(version)),
        (None, None, true) => Ok(Condition::Present),
        (Some(_), Some(_), _) | (Some(_), _, true) | (_, Some(_), true) => {
            error(number, "there is more than one condition")
        }
    }
}

fn outcome(number: usize, line: &Line<'_>) -> Result<Outcome, ParseError> {
    let seen = match line.outcome {
        OutcomeName::Failed => return Ok(Outcome::Failed),
        OutcomeName::Unknown => return Ok(Outcome::Unknown),
        OutcomeName::Ok => line.seen.map(canonical),
    };
    let version = line.version;
    let is_delete = line.op == OpName::Delete;
    let seen = match (line.op, seen, line.absent, line.refused) {
        (OpName::Get | OpName::Incr, Some(value), false, false) => Seen::Found { value, version },
        (OpName::Get | OpName::Delete, None, true, false) if version.is_none() => Seen::Absent,
        (OpName::Put | OpName::Cas | OpName::Append | OpName::Incr, None, false, false) => {
            Seen::Done { version }
        }
        (OpName::Delete, None, false, false) if version.is_none() => Seen::Done { version },
        (OpName::Put | OpName::Delete | OpName::Cas | OpName::Incr, None, is_absent, true) => {
            Seen::Refused(match (is_absent, version) {
                (false, None) => Refusal::Unseen,
                (true, None) => Refusal::Absent,
                (false, Some(version)) => Refusal::Version(version),
                (true, Some(_)) => return error(number, "what is absent has no version"),
            })
        }
        (OpName::Get, None, false, false) => {
            return error(number, "a get that is ok has either seen or absent");
        }
        _ => return error(number, "the operation cannot have seen that"),
    };
    let has_condition =
        line.if_version.is_some() || line.if_not_version.is_some() || line.if_present;
    if matches!(seen, Seen::Refused(_)) && (line.op == OpName::Put || is_delete) && !has_condition {
        return error(number, "refused, but there is no condition");
    }
    Ok(Outcome::Ok(seen))
}

/// Makes the strings of an operation the texts that they stand for.
fn unquote(operation: &mut Operation) {
    let plain = |value: &mut Value| {
        if let Ok(text) = serde_json::from_str::<String>(value) {
            *value = Arc::from(text);
        }
    };
    match &mut operation.op {
        Op::Put { value, .. } | Op::Append { value } => plain(value),
        Op::Cas { expected, value } => {
            expected.iter_mut().for_each(plain);
            plain(value);
        }
        Op::Get | Op::Delete { .. } | Op::Add { .. } => {}
    }
    if let Outcome::Ok(Seen::Found { value, .. }) = &mut operation.outcome {
        plain(value);
    }
}
