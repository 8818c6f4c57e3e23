//! The settings of `checker`: flags and environment in, a command out.

mod audit;
mod history;

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::Path;
use std::time::Duration;

use common::config::secret::Secret;
use common::config::server::{self, HOST, KV_TOKEN, LIMITS, LOG_LEVEL};
use common::config::value::{self, Host};
use common::config::{ConfigError, Invocation, Program, Setting, Subcommand};
use common::health::Target;
use common::http::Limits;
use http::Uri;
use http::uri::Scheme;
use log::LevelFilter;

pub use self::audit::{CrashCommand, Format, Output, RunCommand, SelfTestCommand};
pub use self::history::History;
use crate::settings;

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
    /// Judge recorded histories.
    History(History),
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
    /// Judge recorded histories.
    History,
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
            settings: &[audit::RUN, &KV_TOKEN.rows(), settings::ROWS, audit::OUTPUTS],
            arguments: "[NAME]...",
        },
        Subcommand {
            action: Action::Crash,
            name: "crash",
            help: "kill a service again and again",
            settings: &[
                audit::CRASH,
                &KV_TOKEN.rows(),
                &[settings::SEED.row(), settings::CLIENTS.row()],
                audit::OUTPUTS,
            ],
            arguments: "-- COMMAND...",
        },
        Subcommand {
            action: Action::SelfTest,
            name: "selftest",
            help: "check the checker",
            settings: &[audit::SELFTEST],
            arguments: "",
        },
        Subcommand {
            action: Action::History,
            name: "history",
            help: "are records linearizable?",
            settings: &[history::ROWS],
            arguments: "FILE...",
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
        ("checker history etcd.log", "judge what Jepsen recorded"),
        ("PORT=9001 checker health && echo well", "check a running checker"),
    ],
    exit_codes: &[
        ("0", "passed; stopped by a signal; health: healthy"),
        ("1", "a promise is broken; could not start; health: not healthy"),
        ("2", "not decided, or all was skipped"),
        ("3", "the service could not be reached"),
        ("64", "a flag, argument or setting is wrong; no such history"),
        ("130", "stopped at once by a second Ctrl-C"),
    ],
};

const KV_SERVICE_URL: Setting<ServiceUrl> = Setting {
    name: "KV_SERVICE_URL",
    default: "http://kv-service:8000",
    help: "target",
    parse: service_url,
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
        Invocation::Run(Action::Run, values) => Command::Run(audit::run(&values, &read_file)?),
        Invocation::Run(Action::Crash, values) => {
            Command::Crash(audit::crash(&values, &read_file)?)
        }
        Invocation::Run(Action::SelfTest, values) => Command::SelfTest(audit::selftest(&values)?),
        Invocation::Run(Action::History, values) => Command::History(history::read(&values)?),
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
    use crate::history::format::{Format, Model};

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
    fn history_reads_its_files_and_settings() {
        let expected = History {
            files: ["a.log", "b.edn"].map(OsString::from).to_vec(),
            model: Model::Any,
            format: None,
            initial: None,
            timeout: Duration::from_secs(60),
            memory_bytes_max: 1 << 30,
            threads: value::workers("cores").unwrap(),
            explained_max: 20,
        };
        assert_eq!(read("history a.log b.edn", &[]), Ok(Command::History(expected.clone())));
        let args = "history --model kv a.log --format edn --initial 0 b.edn --timeout 2s \
                    --memory-max 1MiB --threads 1 --explain 0";
        let set = History {
            model: Model::Kv,
            format: Some(Format::Edn),
            initial: Some("0".to_owned()),
            timeout: Duration::from_secs(2),
            memory_bytes_max: 1 << 20,
            threads: 1,
            explained_max: 0,
            ..expected
        };
        assert_eq!(read(args, &[]), Ok(Command::History(set)));
        for (args, error) in [
            ("history", "history: FILE is missing, see --help"),
            (
                "history a --model x",
                "--model: 'x' is not a model (any, register, cas-register, kv)",
            ),
            (
                "history a --format x",
                "--format: 'x' is not a format (auto, jsonl, jepsen-log, edn)",
            ),
            ("history a --explain 1001", "--explain: '1001' is not a count (0 to 1000)"),
            ("history a --port 1", "history has no flag '--port', see --help"),
        ] {
            assert_eq!(read(args, &[]).unwrap_err().to_string(), error);
        }
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
