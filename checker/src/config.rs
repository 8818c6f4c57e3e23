//! The settings of `checker`: flags and environment in, a command out.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::Path;
use std::time::Duration;

use common::config::secret::Secret;
use common::config::server::{self, HOST, KV_TOKEN, LIMITS, LOG_LEVEL};
use common::config::value::{self, Host};
use common::config::{ConfigError, Invocation, Origin, Program, Row, Setting, Subcommand, Values};
use common::health::Target;
use common::http::Limits;
use http::Uri;
use http::uri::Scheme;
use log::LevelFilter;

use crate::report::Settings;
use crate::{settings, workflows};

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Serve until a signal comes.
    Serve(Config),
    /// Run workflows and report.
    Run(RunCommand),
    /// Kill and restart a service while it is written to.
    Crash(CrashCommand),
    /// Check the checker.
    SelfTest(SelfTestCommand),
    /// Ask the running service whether it is well.
    Health(Target),
    /// Print [`PROGRAM`]'s help.
    Help,
    /// Print [`PROGRAM`]'s version.
    Version,
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The address to listen on.
    pub host: Host,
    /// The port to listen on, 0 for a free one.
    pub port: u16,
    /// The `kv` that is checked.
    pub kv_service_url: ServiceUrl,
    /// The token that `kv` asks for.
    pub kv_token: Option<Secret>,
    /// What is logged.
    pub log_level: LevelFilter,
    /// How often all workflows run by themselves; none means never.
    pub check_interval: Option<Duration>,
    /// The limits of the HTTP engine.
    pub limits: Limits,
}

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

/// What `PROGRAM` can be told to do.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// Serve until a signal comes.
    Serve,
    /// Run workflows and report.
    Run,
    /// Kill and restart a service while it is written to.
    Crash,
    /// Check the checker.
    SelfTest,
    /// Ask the running service whether it is well.
    Health,
}

const PORT: Setting<u16> = server::port("8001");

/// The command line of `checker`.
pub const PROGRAM: Program<Action> = Program {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    about: "validates a running kv over HTTP",
    main: Subcommand {
        action: Action::Serve,
        name: "",
        help: "serve until SIGTERM or SIGINT",
        settings: &[
            &[PORT.row(), HOST.row(), KV_SERVICE_URL.row()],
            &KV_TOKEN.rows(),
            &[CHECK_INTERVAL.row(), LOG_LEVEL.row()],
            LIMITS,
        ],
        arguments: "",
    },
    subcommands: &[
        Subcommand {
            action: Action::Run,
            name: "run",
            help: "run workflows, all by default",
            settings: &[&[URL.row()], &KV_TOKEN.rows(), settings::ROWS, OUTPUTS],
            arguments: "[NAME]...",
        },
        Subcommand {
            action: Action::Crash,
            name: "crash",
            help: "kill a service again and again",
            settings: &[
                &[ROUNDS.row(), START_TIMEOUT.row()],
                &KV_TOKEN.rows(),
                &[settings::SEED.row(), settings::CLIENTS.row()],
                OUTPUTS,
            ],
            arguments: "-- COMMAND...",
        },
        Subcommand {
            action: Action::SelfTest,
            name: "selftest",
            help: "check the checker",
            settings: &[&[SEEDS.row(), settings::SEED.row()]],
            arguments: "",
        },
        Subcommand {
            action: Action::Health,
            name: "health",
            help: "ask the running service",
            settings: &[&[PORT.row(), HOST.row()]],
            arguments: "",
        },
    ],
    examples: &[
        ("checker", "serve on all addresses"),
        ("checker --kv-service-url http://127.0.0.1:8000", "check that kv"),
        ("checker run --url http://127.0.0.1:8000", "put it to every test"),
        ("checker run types --format json", "one test, as JSON"),
        ("checker crash -- kv --data-dir DIR", "is it durable?"),
        ("PORT=9001 checker health && echo well", "check a running checker"),
    ],
    exit_codes: &[
        ("0", "passed; stopped by a signal; health: healthy"),
        ("1", "a promise is broken; could not start; health: not healthy"),
        ("2", "not decided, or all was skipped"),
        ("3", "the service could not be reached"),
        ("64", "a flag, argument or setting is wrong"),
        ("130", "stopped at once by a second Ctrl-C"),
    ],
};

const KV_SERVICE_URL: Setting<ServiceUrl> = Setting {
    name: "KV_SERVICE_URL",
    default: "http://kv-service:8000",
    help: "target",
    parse: service_url,
};

const URL: Setting<Option<ServiceUrl>> = Setting {
    name: "URL",
    default: "",
    help: "target, else KV_SERVICE_URL",
    parse: |text| if text.is_empty() { Ok(None) } else { service_url(text).map(Some) },
};

const CHECK_INTERVAL: Setting<Option<Duration>> = Setting {
    name: "CHECK_INTERVAL",
    default: "never",
    help: "run all workflows",
    parse: |text| {
        if text == "never" {
            return Ok(None);
        }
        let interval = value::timeout(text).ok().filter(|interval| interval.as_secs() >= 1);
        interval.map(Some).ok_or("is not an interval (60s, 5m, 2h; 1s to 1d, or never)")
    },
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
const OUTPUTS: &[Row] = &[FORMAT.row(), OUTPUT.row()];

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

/// Where a service is: `http`, a host, and at most a port and a path. No slash ends it, so that
/// a request's path can follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl(String);

impl ServiceUrl {
    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for ServiceUrl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the command line (without the program's name). Flag beats environment beats default;
/// `read_file` is asked for the files that settings name.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
    read_file: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Command, ConfigError> {
    Ok(match PROGRAM.invocation(args, env)? {
        Invocation::Help => Command::Help,
        Invocation::Version => Command::Version,
        Invocation::Run(Action::Health, values) => {
            Command::Health(Target { host: values.get(&HOST)?, port: values.get(&PORT)? })
        }
        Invocation::Run(Action::Run, values) => Command::Run(RunCommand {
            url: match values.get(&URL)? {
                Some(url) => url,
                None => values.get(&KV_SERVICE_URL)?,
            },
            token: KV_TOKEN.get(&values, &read_file)?,
            names: names(values.arguments())?,
            settings: audit_settings(&values)?,
            output: output(&values)?,
        }),
        Invocation::Run(Action::Crash, values) => Command::Crash(CrashCommand {
            command: match values.arguments() {
                [] => return Err(ConfigError::MissingValue("crash -- COMMAND".to_owned())),
                command => command.to_vec(),
            },
            rounds: values.get(&ROUNDS)?,
            start_timeout: values.get(&START_TIMEOUT)?,
            token: KV_TOKEN.get(&values, &read_file)?,
            settings: Settings {
                clients: values.get(&settings::CLIENTS)?,
                seed: settings::seed(values.get(&settings::SEED)?),
                ..Settings::default()
            },
            output: output(&values)?,
        }),
        Invocation::Run(Action::SelfTest, values) => Command::SelfTest(SelfTestCommand {
            seeds: values.get(&SEEDS)?,
            seed: settings::seed(values.get(&settings::SEED)?),
        }),
        Invocation::Run(Action::Serve, values) => Command::Serve(Config {
            host: values.get(&HOST)?,
            port: values.get(&PORT)?,
            kv_service_url: values.get(&KV_SERVICE_URL)?,
            kv_token: KV_TOKEN.get(&values, &read_file)?,
            check_interval: values.get(&CHECK_INTERVAL)?,
            log_level: values.get(&LOG_LEVEL)?,
            limits: server::limits(&values)?,
        }),
    })
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

fn service_url(text: &str) -> Result<ServiceUrl, &'static str> {
    const REFUSED: &str = "is not a service (http://host, http://host:port or http://host/path)";
    let url: Uri = text.parse().map_err(|_| REFUSED)?;
    if url.scheme() == Some(&Scheme::HTTPS) {
        return Err("cannot be checked, this build speaks http only");
    }
    let authority = url.authority().ok_or(REFUSED)?;
    let host_holds = !authority.host().is_empty() && !authority.as_str().contains('@');
    let port_holds = authority.port_u16().is_some() || authority.as_str() == authority.host();
    let is_base = url.scheme() == Some(&Scheme::HTTP) && !text.contains(['?', '#']);
    if host_holds && port_holds && is_base {
        Ok(ServiceUrl(text.trim_end_matches('/').to_owned()))
    } else {
        Err(REFUSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &str, env: &[(&str, &str)]) -> Result<Command, ConfigError> {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, text)| text.into());
        let file = |path: &Path| Ok(path.as_os_str().as_encoded_bytes().to_vec());
        parse(args.split_whitespace().map(OsString::from), env, file)
    }

    fn config() -> Config {
        Config {
            host: value::host("0.0.0.0").unwrap(),
            port: 8001,
            kv_service_url: service_url("http://kv-service:8000").unwrap(),
            kv_token: None,
            check_interval: None,
            log_level: LevelFilter::Info,
            limits: Limits { workers: value::workers("cores").unwrap(), ..Limits::default() },
        }
    }

    #[track_caller]
    fn check(args: &str, env: &[(&str, &str)], change: impl FnOnce(&mut Config)) {
        let mut expected = config();
        change(&mut expected);
        assert_eq!(read(args, env), Ok(Command::Serve(expected)));
    }

    /// Sets one setting by its flag and by its variable.
    #[track_caller]
    fn check_both(name: &str, text: &str, change: impl Fn(&mut Config)) {
        let flag = name.to_ascii_lowercase().replace('_', "-");
        check(&format!("--{flag} {text}"), &[(name, "wrong")], &change);
        check("", &[(name, text)], &change);
        assert!(read("", &[(name, "0 or 1")]).is_err(), "{name} is not read");
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        check("", &[], |_| {});
        let limits = config().limits;
        assert_eq!(limits.body_bytes_max, 1_048_576);
        assert_eq!(limits.connections_max, 10_000);
        let timeouts =
            [limits.head_timeout, limits.body_timeout, limits.idle_timeout, limits.write_timeout];
        assert_eq!(timeouts, [10, 30, 75, 30].map(Duration::from_secs));
    }

    #[test]
    fn every_setting_is_a_flag_and_a_variable() {
        check_both("PORT", "9000", |config| config.port = 9000);
        check_both("HOST", "localhost", |config| config.host = value::host("localhost").unwrap());
        check_both("LOG_LEVEL", "warning", |config| config.log_level = LevelFilter::Warn);
        check_both("KV_SERVICE_URL", "http://a:1", |config| {
            config.kv_service_url = service_url("http://a:1").unwrap();
        });
        check_both("KV_TOKEN", "a", |config| config.kv_token = Secret::new("a"));
        // The files of these tests hold their names.
        check_both("KV_TOKEN_FILE", "a", |config| config.kv_token = Secret::new("a"));
        check_both("MAX_BODY", "2GiB", |config| {
            config.limits.body_bytes_max = 2 << 30;
            config.limits.buffered_bytes_max = 8 << 30;
        });
        check_both("WORKERS", "3", |config| config.limits.workers = 3);
    }

    #[test]
    fn service_urls() {
        for (text, url) in [
            ("http://kv-service:8000", "http://kv-service:8000"),
            ("http://kv-service:8000/", "http://kv-service:8000"),
            ("http://localhost", "http://localhost"),
            ("HTTP://localhost", "HTTP://localhost"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("http://[::1]", "http://[::1]"),
            ("http://proxy/kv/", "http://proxy/kv"),
        ] {
            assert_eq!(service_url(text).unwrap().as_str(), url);
        }
        for text in [
            "",
            "kv",
            "kv:8000",
            "//kv",
            "/kv",
            "*",
            "ftp://kv",
            "http://",
            "http:///a",
            "http://:80",
            "http://kv:",
            "http://kv:70000",
            "http://kv:abc",
            "http://a b",
            "http://kv?a",
            "http://kv/#a",
            "http://kv#a",
            "http://user:word@kv",
            "http://kv\n",
            "http://größe",
        ] {
            let reason = service_url(text).expect_err(text);
            assert!(reason.starts_with("is not a service"), "{text}: {reason}");
        }
    }

    #[test]
    fn a_url_with_tls_is_refused_by_name() {
        let error = read("", &[("KV_SERVICE_URL", "https://kv")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "KV_SERVICE_URL: 'https://kv' cannot be checked, this build speaks http only"
        );
    }

    #[test]
    fn health_reads_the_address_and_nothing_else() {
        let target =
            |host, port| Ok(Command::Health(Target { host: value::host(host).unwrap(), port }));
        assert_eq!(read("health", &[]), target("0.0.0.0", 8001));
        assert_eq!(read("health", &[("PORT", "1"), ("HOST", "::1")]), target("::1", 1));
        assert_eq!(read("health --port 2 --host kv", &[]), target("kv", 2));
        assert_eq!(read("health", &[("LOG_LEVEL", "wrong")]), target("0.0.0.0", 8001));
        assert!(read("health", &[("PORT", "wrong")]).is_err());
        assert!(read("health --log-level info", &[]).is_err());
    }

    #[test]
    fn help_and_version() {
        assert_eq!(read("-h", &[("PORT", "wrong")]), Ok(Command::Help));
        assert_eq!(read("--help", &[]), Ok(Command::Help));
        assert_eq!(read("-V", &[("PORT", "wrong")]), Ok(Command::Version));
        assert_eq!(read("--version", &[]), Ok(Command::Version));
    }

    #[test]
    fn help_fits_a_terminal() {
        for line in PROGRAM.help().lines() {
            assert!(line.len() <= 80, "{line}");
        }
    }
}
