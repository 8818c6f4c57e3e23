//! Recorded histories as text; docs/history.md describes the formats.

pub mod edn;
mod jepsen_log;
mod jsonl;
mod pairs;

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use common::text::escaped;

use super::operation::{Op, Operation, Value};
use edn::Edn;

/// How a history is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An operation a line, as JSON.
    Jsonl,
    /// The lines that Jepsen logs: one register.
    JepsenLog,
    /// The maps of Jepsen and knossos: calls and returns.
    Edn,
}

/// Which operations a history may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// All that there are.
    Any,
    /// Reads and writes.
    Register,
    /// Reads, writes, compare-and-set.
    CasRegister,
    /// All that there are; in `edn`, absent and the empty string are the same.
    Kv,
}

/// A history that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its operations.
    pub operations: Vec<Operation>,
    /// See [`Limits::absent_is_empty`](super::Limits::absent_is_empty).
    pub absent_is_empty: bool,
    /// How a start value given as text is to be read.
    pub values: Values,
}

/// How a text stands for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// It is JSON, or else a string.
    Json,
    /// It is EDN; `nil` is absence.
    Edn,
    /// It is the string itself.
    Strings,
}

/// Why a text is no history.
#[derive(Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

impl Display for ParseError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, escaped(&self.reason))
    }
}

impl std::error::Error for ParseError {}

impl Format {
    /// What `text` looks like: JSON maps begin with a quoted name, EDN with other brackets.
    pub fn of(text: &str) -> Format {
        let text = text.trim_start();
        let is_map = text.strip_prefix('{').map(str::trim_start);
        match is_map {
            Some(inside) if inside.starts_with(['"', '}']) => Format::Jsonl,
            Some(_) => Format::Edn,
            None if text.starts_with(['[', '(', ';', '#']) => Format::Edn,
            None => Format::JepsenLog,
        }
    }

    /// Reads a history.
    pub fn read(self, text: &str, model: Model) -> Result<Recorded, ParseError> {
        match self {
            Format::Jsonl => jsonl::read(text, model),
            Format::JepsenLog => jepsen_log::read(text, model),
            Format::Edn => edn::history::read(text, model),
        }
    }
}

impl Model {
    /// Whether a history of this model may have `op`.
    fn allows(self, op: &Op) -> bool {
        match (self, op) {
            (Model::Any | Model::Kv, _)
            | (Model::Register | Model::CasRegister, Op::Get | Op::Put { .. })
            | (Model::CasRegister, Op::Cas { .. }) => true,
            (Model::Register, Op::Cas { .. })
            | (
                Model::Register | Model::CasRegister,
                Op::Delete { .. } | Op::Append { .. } | Op::Add { .. },
            ) => false,
        }
    }
}

impl Values {
    /// The value that `text` stands for; `None` is absence.
    pub fn value(self, text: &str) -> Option<Value> {
        match self {
            Values::Json => Some(match jsonl::value(text) {
                Some(value) => value,
                None => Arc::from(serde_json::Value::from(text).to_string()),
            }),
            Values::Edn => match Edn::read(text) {
                Ok(Edn::Nil) => None,
                Ok(value) => Some(Arc::from(value.to_string())),
                Err(_) => Some(Arc::from(text)),
            },
            Values::Strings => Some(Arc::from(text)),
        }
    }
}

fn error<T>(line: usize, reason: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError { line, reason: reason.into() })
}

#[cfg(test)]
mod tests;
