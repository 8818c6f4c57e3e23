//! The settings of `kv`: flags and environment in, a command out.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use common::config::secret::SecretSetting;
use common::config::server::{self, HOST, KV_TOKEN, LIMITS, LOG_LEVEL};
use common::config::value::{self, Host};
use common::config::{ConfigError, Invocation, Program, Setting, Subcommand};
use common::health::Target;
use common::http::Limits;
use log::LevelFilter;

use crate::access::Access;

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
    /// What is logged.
    pub log_level: LevelFilter,
    /// The limits of the HTTP engine.
    pub limits: Limits,
    /// Bytes of memory that the store may need.
    pub memory_bytes_max: usize,
    /// The tokens that clients have to show.
    pub access: Access,
}

/// What `PROGRAM` can be told to do.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// Serve until a signal comes.
    Serve,
    /// Ask the running service whether it is well.
    Health,
}

const PORT: Setting<u16> = server::port("8000");

const MAX_MEMORY: Setting<usize> =
    Setting { name: "MAX_MEMORY", default: "none", help: "for keys and values", parse: max_memory };

const KV_READ_TOKEN: SecretSetting =
    SecretSetting::new("KV_READ_TOKEN", "KV_READ_TOKEN_FILE", "token for GET and HEAD");

/// The command line of `kv`.
pub const PROGRAM: Program<Action> = Program {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    about: "JSON values under string keys over HTTP",
    main: Subcommand {
        action: Action::Serve,
        name: "",
        help: "serve until SIGTERM or SIGINT",
        settings: &[
            &[PORT.row(), HOST.row(), LOG_LEVEL.row()],
            &KV_TOKEN.rows(),
            &KV_READ_TOKEN.rows(),
            &[MAX_MEMORY.row()],
            LIMITS,
        ],
        argument: None,
    },
    subcommands: &[Subcommand {
        action: Action::Health,
        name: "health",
        help: "ask the running service (--port, --host)",
        settings: &[&[PORT.row(), HOST.row()]],
        argument: None,
    }],
    examples: &[
        ("kv", "serve on port 8000 of all addresses"),
        ("kv --host 127.0.0.1 --port 9000", "serve this machine alone"),
        ("MAX_BODY=4MiB LOG_LEVEL=warning kv", "set by the environment"),
        ("PORT=9000 kv health && echo well", "check a running kv"),
    ],
    exit_codes: &[
        ("0", "stopped by a signal; health: healthy"),
        ("1", "could not start (port in use); health: not healthy"),
        ("64", "a flag, argument or setting is wrong"),
        ("130", "stopped at once by a second Ctrl-C"),
    ],
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
            log_level: values.get(&LOG_LEVEL)?,
            limits: server::limits(&values)?,
            memory_bytes_max: values.get(&MAX_MEMORY)?,
            access: Access {
                token: KV_TOKEN.get(&values, &read_file)?,
                read_token: KV_READ_TOKEN.get(&values, &read_file)?,
            },
        }),
    })
}

/// A size, or `none` for as much as there is.
fn max_memory(text: &str) -> Result<usize, &'static str> {
    if text.eq_ignore_ascii_case("none") { Ok(usize::MAX) } else { value::byte_size(text) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::config::secret::Secret;

    use super::*;

    fn read(args: &str, env: &[(&str, &str)]) -> Result<Command, ConfigError> {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, text)| text.into());
        let file = |path: &Path| Ok(path.as_os_str().as_encoded_bytes().to_vec());
        parse(args.split_whitespace().map(OsString::from), env, file)
    }

    fn config() -> Config {
        Config {
            host: value::host("0.0.0.0").unwrap(),
            port: 8000,
            log_level: LevelFilter::Info,
            limits: Limits { workers: value::workers("cores").unwrap(), ..Limits::default() },
            memory_bytes_max: usize::MAX,
            access: Access::default(),
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
        check_both("MAX_BODY", "2GiB", |config| {
            config.limits.body_bytes_max = 2 << 30;
            config.limits.buffered_bytes_max = 8 << 30;
        });
        check_both("MAX_CONNECTIONS", "7", |config| config.limits.connections_max = 7);
        check_both("WORKERS", "3", |config| config.limits.workers = 3);
        let quarter = Duration::from_millis(250);
        check_both("HEAD_TIMEOUT", "250ms", |config| config.limits.head_timeout = quarter);
        check_both("BODY_TIMEOUT", "250ms", |config| config.limits.body_timeout = quarter);
        check_both("MAX_MEMORY", "64MiB", |config| config.memory_bytes_max = 64 << 20);
        check_both("MAX_MEMORY", "None", |config| config.memory_bytes_max = usize::MAX);
        check_both("KV_TOKEN", "a", |config| config.access.token = Secret::new("a"));
        check_both("KV_READ_TOKEN", "a", |config| config.access.read_token = Secret::new("a"));
        // The files of these tests hold their names.
        check_both("KV_TOKEN_FILE", "a", |config| config.access.token = Secret::new("a"));
        check_both("KV_READ_TOKEN_FILE", "a", |config| config.access.read_token = Secret::new("a"));
        check_both("IDLE_TIMEOUT", "250ms", |config| config.limits.idle_timeout = quarter);
        check_both("WRITE_TIMEOUT", "250ms", |config| config.limits.write_timeout = quarter);
    }

    #[test]
    fn health_reads_the_address_and_nothing_else() {
        let target =
            |host, port| Ok(Command::Health(Target { host: value::host(host).unwrap(), port }));
        assert_eq!(read("health", &[]), target("0.0.0.0", 8000));
        assert_eq!(read("health", &[("PORT", "1"), ("HOST", "::1")]), target("::1", 1));
        assert_eq!(read("health --port 2 --host kv", &[]), target("kv", 2));
        assert_eq!(read("health", &[("LOG_LEVEL", "wrong")]), target("0.0.0.0", 8000));
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
