//! What `run`, `crash` and `selftest` are told.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use common::config::secret::Secret;
use common::config::server::KV_TOKEN;
use common::config::{ConfigError, Origin, Row, Setting, Values, value};

use super::{KV_SERVICE_URL, ServiceUrl, service_url};
use crate::report::Settings;
use crate::{settings, workflows};

/// What `run` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunCommand {
    /// The service.
    pub url: ServiceUrl,
    /// The token that it asks for.
    pub token: Option<Secret>,
    /// The names of the workflows; none means all.
    pub names: Vec<&'static str>,
    /// How much is done.
    pub settings: Settings,
    /// Where the report goes, and in which form.
    pub output: Output,
}

/// What `crash` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashCommand {
    /// The program to start, and its arguments.
    pub command: Vec<OsString>,
    /// How often it is killed.
    pub rounds: u32,
    /// How long it may take to answer after a start.
    pub start_timeout: Duration,
    /// The token that it asks for.
    pub token: Option<Secret>,
    /// How much is done.
    pub settings: Settings,
    /// Where the report goes, and in which form.
    pub output: Output,
}

/// What `selftest` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTestCommand {
    /// With how many seeds the correct server is checked.
    pub seeds: u32,
    /// The first of them.
    pub seed: u64,
}

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its form.
    pub format: Format,
    /// The file; none is the standard output.
    pub file: Option<String>,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// [`Report`](crate::report::Report) as JSON.
    Json,
    /// One page that needs nothing else.
    Html,
    /// XML as continuous integration reads it.
    Junit,
}

/// The settings of `run` alone.
pub(super) const RUN: &[Row] = &[URL.row()];
/// The settings of `crash` alone.
pub(super) const CRASH: &[Row] = &[ROUNDS.row(), START_TIMEOUT.row()];
/// The settings of `selftest`.
pub(super) const SELFTEST: &[Row] = &[SEEDS.row(), settings::SEED.row()];

/// Reads those of `run`.
pub(super) fn run<E>(
    values: &Values<E>,
    read_file: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<RunCommand, ConfigError>
where
    E: Fn(&str) -> Option<OsString>,
{
    Ok(RunCommand {
        url: match values.get(&URL)? {
            Some(url) => url,
            None => values.get(&KV_SERVICE_URL)?,
        },
        token: KV_TOKEN.get(values, read_file)?,
        names: names(values.arguments())?,
        settings: audit_settings(values)?,
        output: output(values)?,
    })
}

/// Reads those of `crash`.
pub(super) fn crash<E>(
    values: &Values<E>,
    read_file: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<CrashCommand, ConfigError>
where
    E: Fn(&str) -> Option<OsString>,
{
    if values.arguments().is_empty() {
        return Err(ConfigError::MissingArgument { subcommand: "crash", argument: "COMMAND" });
    }
    Ok(CrashCommand {
        command: values.arguments().to_vec(),
        rounds: values.get(&ROUNDS)?,
        start_timeout: values.get(&START_TIMEOUT)?,
        token: KV_TOKEN.get(values, read_file)?,
        settings: Settings {
            clients: values.get(&settings::CLIENTS)?,
            seed: settings::seed(values.get(&settings::SEED)?),
            ..Settings::default()
        },
        output: output(values)?,
    })
}

/// Reads those of `selftest`.
pub(super) fn selftest<E>(values: &Values<E>) -> Result<SelfTestCommand, ConfigError>
where
    E: Fn(&str) -> Option<OsString>,
{
    Ok(SelfTestCommand {
        seeds: values.get(&SEEDS)?,
        seed: settings::seed(values.get(&settings::SEED)?),
    })
}

const URL: Setting<Option<ServiceUrl>> = Setting {
    name: "URL",
    default: "",
    help: "target, else KV_SERVICE_URL",
    parse: |text| if text.is_empty() { Ok(None) } else { service_url(text).map(Some) },
};

const FORMAT: Setting<Format> = Setting {
    name: "FORMAT",
    default: "text",
    help: "text, json, html or junit",
    parse: |text| match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "html" => Ok(Format::Html),
        "junit" => Ok(Format::Junit),
        _ => Err("is not a format (text, json, html, junit)"),
    },
};

const OUTPUT: Setting<Option<String>> = Setting {
    name: "OUTPUT",
    default: "-",
    help: "file for the report",
    parse: |text| Ok((text != "-").then(|| text.to_owned())),
};

/// The settings of whatever reports.
pub(super) const OUTPUTS: &[Row] = &[FORMAT.row(), OUTPUT.row()];

const ROUNDS: Setting<u32> = Setting {
    name: "ROUNDS",
    default: "10",
    help: "how often it is killed",
    parse: |text| count(text, "is not a count (1 to 10000)"),
};

const START_TIMEOUT: Setting<Duration> = Setting {
    name: "START_TIMEOUT",
    default: "30s",
    help: "to answer after a start",
    parse: value::timeout,
};

const SEEDS: Setting<u32> = Setting {
    name: "SEEDS",
    default: "50",
    help: "runs against the correct server",
    parse: |text| count(text, "is not a count (1 to 10000)"),
};

fn count(text: &str, refusal: &'static str) -> Result<u32, &'static str> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text.parse().ok().filter(|count| digits_only && (1..=10_000).contains(count));
    count.ok_or(refusal)
}

/// The workflows that are named, each once.
fn names(arguments: &[OsString]) -> Result<Vec<&'static str>, ConfigError> {
    let mut names = Vec::new();
    for argument in arguments {
        let workflow = argument.to_str().and_then(workflows::find);
        let workflow = workflow.ok_or_else(|| ConfigError::Refused {
            origin: Origin::Argument("NAME"),
            text: argument.clone(),
            reason: "is not a workflow, see GET /tests or checker run --help",
        })?;
        if !names.contains(&workflow.name) {
            names.push(workflow.name);
        }
    }
    Ok(names)
}

fn audit_settings<E>(values: &Values<E>) -> Result<Settings, ConfigError>
where
    E: Fn(&str) -> Option<OsString>,
{
    Ok(Settings {
        clients: values.get(&settings::CLIENTS)?,
        ops: values.get(&settings::OPS)?,
        keys: values.get(&settings::KEYS)?,
        seed: settings::seed(values.get(&settings::SEED)?),
        rate: values.get(&settings::RATE)?,
        duration_ms: crate::audit::millis(values.get(&settings::DURATION)?),
    })
}

fn output<E>(values: &Values<E>) -> Result<Output, ConfigError>
where
    E: Fn(&str) -> Option<OsString>,
{
    Ok(Output { format: values.get(&FORMAT)?, file: values.get(&OUTPUT)? })
}
