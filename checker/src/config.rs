//! The settings of `checker`: flags and environment in, a command out.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use common::config::secret::Secret;
use common::config::server::{self, HOST, KV_TOKEN, LIMITS, LOG_LEVEL};
use common::config::url::{ServiceUrl, service_url};
use common::config::value::Host;
use common::config::{ConfigError, Invocation, Program, Setting, Subcommand};
use common::health::Target;
use common::http::Limits;
use log::LevelFilter;

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Serve until a signal comes.
    Serve(Config),
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
    /// The limits of the HTTP engine.
    pub limits: Limits,
}

/// What `PROGRAM` can be told to do.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// Serve until a signal comes.
    Serve,
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
            &[LOG_LEVEL.row()],
            LIMITS,
        ],
    },
    subcommands: &[Subcommand {
        action: Action::Health,
        name: "health",
        help: "ask the running service (--port, --host)",
        settings: &[&[PORT.row(), HOST.row()]],
    }],
    examples: &[
        ("checker", "serve on all addresses"),
        ("checker --kv-service-url http://127.0.0.1:8000", "check that kv"),
        ("PORT=9001 checker health && echo well", "check a running checker"),
    ],
    exit_codes: &[
        ("0", "stopped by a signal; health: healthy"),
        ("1", "could not start (port in use); health: not healthy"),
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
        Invocation::Run(Action::Serve, values) => Command::Serve(Config {
            host: values.get(&HOST)?,
            port: values.get(&PORT)?,
            kv_service_url: values.get(&KV_SERVICE_URL)?,
            kv_token: KV_TOKEN.get(&values, &read_file)?,
            log_level: values.get(&LOG_LEVEL)?,
            limits: server::limits(&values)?,
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::config::value;

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
    fn a_url_with_tls_is_refused_by_name() {
        let error = read("", &[("KV_SERVICE_URL", "https://kv")]).unwrap_err().to_string();
        assert_eq!(
            error,
            "KV_SERVICE_URL: 'https://kv' cannot be asked, this build speaks http only"
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
