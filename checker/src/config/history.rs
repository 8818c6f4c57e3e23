//! What `history` is told.

use std::ffi::OsString;
use std::time::Duration;

use common::config::{ConfigError, Row, Setting, Values, value};

use crate::history::format::{Format, Model};

/// Which histories are judged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The files.
    pub files: Vec<OsString>,
    /// Which operations they may have.
    pub model: Model,
    /// How they are written; `None`: as each looks.
    pub format: Option<Format>,
    /// What every key holds at first; `None` is absent.
    pub initial: Option<String>,
    /// How long a file may take.
    pub timeout: Duration,
    /// How many bytes a file may take.
    pub memory_bytes_max: usize,
    /// How many keys are searched at a time.
    pub threads: usize,
    /// How many operations of a counter-example are shown.
    pub explained_max: usize,
}

/// The settings of `history`.
pub(super) const ROWS: &[Row] = &[
    MODEL.row(),
    FORMAT.row(),
    INITIAL.row(),
    TIMEOUT.row(),
    MEMORY_MAX.row(),
    THREADS.row(),
    EXPLAIN.row(),
];

/// Reads them.
pub(super) fn read<E>(values: &Values<E>) -> Result<History, ConfigError>
where
    E: Fn(&str) -> Option<OsString>,
{
    if values.arguments().is_empty() {
        return Err(ConfigError::MissingArgument { subcommand: "history", argument: "FILE" });
    }
    Ok(History {
        model: values.get(&MODEL)?,
        format: values.get(&FORMAT)?,
        initial: values.get(&INITIAL)?,
        timeout: values.get(&TIMEOUT)?,
        memory_bytes_max: values.get(&MEMORY_MAX)?,
        threads: values.get(&THREADS)?,
        explained_max: values.get(&EXPLAIN)?,
        files: values.arguments().to_vec(),
    })
}

const MODEL: Setting<Model> = Setting {
    name: "MODEL",
    default: "any",
    help: "any, register, cas-register, kv",
    parse: model,
};
const FORMAT: Setting<Option<Format>> = Setting {
    name: "FORMAT",
    default: "auto",
    help: "auto, jsonl, jepsen-log, edn",
    parse: format,
};
const INITIAL: Setting<Option<String>> = Setting {
    name: "INITIAL",
    default: "",
    help: "value of a key at first, else absent",
    parse: initial,
};
const TIMEOUT: Setting<Duration> =
    Setting { name: "TIMEOUT", default: "60s", help: "time for a file", parse: value::timeout };
const MEMORY_MAX: Setting<usize> = Setting {
    name: "MEMORY_MAX",
    default: "1GiB",
    help: "memory for a file",
    parse: value::byte_size,
};
const THREADS: Setting<usize> =
    Setting { name: "THREADS", default: "cores", help: "keys at a time", parse: value::workers };
const EXPLAIN: Setting<usize> = Setting {
    name: "EXPLAIN",
    default: "20",
    help: "operations of a contradiction to show",
    parse: explained,
};

fn model(text: &str) -> Result<Model, &'static str> {
    match text {
        "any" => Ok(Model::Any),
        "register" => Ok(Model::Register),
        "cas-register" => Ok(Model::CasRegister),
        "kv" => Ok(Model::Kv),
        _ => Err("is not a model (any, register, cas-register, kv)"),
    }
}

fn format(text: &str) -> Result<Option<Format>, &'static str> {
    match text {
        "auto" => Ok(None),
        "jsonl" => Ok(Some(Format::Jsonl)),
        "jepsen-log" => Ok(Some(Format::JepsenLog)),
        "edn" => Ok(Some(Format::Edn)),
        _ => Err("is not a format (auto, jsonl, jepsen-log, edn)"),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a setting may refuse its text; this one does not")]
fn initial(text: &str) -> Result<Option<String>, &'static str> {
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

fn explained(text: &str) -> Result<usize, &'static str> {
    let count = text.parse().ok().filter(|count| *count <= EXPLAINED_MAX);
    count.ok_or("is not a count (0 to 1000)")
}

/// More than anybody reads.
const EXPLAINED_MAX: usize = 1_000;
