//! The settings of `kv`: flags and environment in, a command out.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use common::config::secret::{Secret, SecretSetting};
use common::config::server::{self, HOST, KV_TOKEN, LIMITS, LOG_LEVEL, MAX_BODY};
use common::config::url::{ServiceUrl, service_url};
use common::config::value::{self, Host};
use common::config::{ConfigError, Invocation, Program, Row, Setting, Subcommand, Values};
use common::health::Target;
use common::http::Limits;
use log::LevelFilter;

use crate::access::Access;
use crate::backup::Transfer;
use crate::store::{EtcdUrl, Fsync, Options};

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Serve until a signal comes.
    Serve(Box<Config>),
    /// Ask the running service whether it is well.
    Health(Target),
    /// Write everything that a running kv keeps to a file.
    Export(Transfer),
    /// Have a running kv take over what is in a file.
    Import(Transfer),
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
    /// Where values are kept.
    pub store: StoreChoice,
    /// The tokens that clients have to show.
    pub access: Access,
}

/// Where values are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    /// In memory, as long as the process lives.
    Memory {
        /// Bytes of memory that the store may need.
        bytes_max: usize,
    },
    /// On a disk.
    Durable(Options),
    /// In a cluster of etcd.
    Etcd(EtcdUrl),
}

/// What `PROGRAM` can be told to do.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// Serve until a signal comes.
    Serve,
    /// Ask the running service whether it is well.
    Health,
    /// Write everything that a running kv keeps to a file.
    Export,
    /// Have a running kv take over what is in a file.
    Import,
}

const PORT: Setting<u16> = server::port("8000");

const MAX_MEMORY: Setting<usize> =
    Setting { name: "MAX_MEMORY", default: "none", help: "for keys and values", parse: max_memory };

const STORE: SecretSetting =
    SecretSetting::new("STORE", "STORE_FILE", "memory, durable, etcd://host:2379");

const DATA_DIR: Setting<Option<PathBuf>> =
    Setting { name: "DATA_DIR", default: "none", help: "keep all keys here", parse: data_dir };

const FSYNC: Setting<Fsync> =
    Setting { name: "FSYNC", default: "always", help: "or after: 100ms", parse: fsync };

const CACHE_SIZE: Setting<usize> = Setting {
    name: "CACHE_SIZE",
    default: "32MiB",
    help: "memory for DATA_DIR",
    parse: value::byte_size,
};

const KV_READ_TOKEN: SecretSetting =
    SecretSetting::new("KV_READ_TOKEN", "KV_READ_TOKEN_FILE", "token for GET and HEAD");

const KV_URL: Setting<Option<ServiceUrl>> =
    Setting { name: "KV_URL", default: "none", help: "in place of --host, --port", parse: kv_url };

const FILE: Setting<Option<PathBuf>> =
    Setting { name: "FILE", default: "-", help: "the file; - is stdin, stdout", parse: file };

/// Which kv a transfer is with, and the file.
const TRANSFER: &[Row] = &[KV_URL.row(), PORT.row(), HOST.row(), FILE.row()];

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
            &STORE.rows(),
            &[MAX_MEMORY.row()],
            &[DATA_DIR.row(), FSYNC.row(), CACHE_SIZE.row()],
            LIMITS,
        ],
        arguments: "",
    },
    subcommands: &[
        Subcommand {
            action: Action::Health,
            name: "health",
            help: "ask the running service (--port, --host)",
            settings: &[&[PORT.row(), HOST.row()]],
            arguments: "",
        },
        Subcommand {
            action: Action::Export,
            name: "export",
            help: "write all keys to --file",
            settings: &[TRANSFER, &KV_TOKEN.rows(), &KV_READ_TOKEN.rows()],
            arguments: "",
        },
        Subcommand {
            action: Action::Import,
            name: "import",
            help: "take over the keys in --file",
            settings: &[TRANSFER, &KV_TOKEN.rows(), &[MAX_BODY.row()]],
            arguments: "",
        },
    ],
    examples: &[
        ("kv", "serve on port 8000 of all addresses"),
        ("kv --host 127.0.0.1 --port 9000", "serve this machine alone"),
        ("MAX_BODY=4MiB LOG_LEVEL=warning kv", "set by the environment"),
        ("PORT=9000 kv health && echo well", "check a running kv"),
        ("kv export --file kv.jsonl", "back up the running kv"),
        ("kv import --file kv.jsonl", "restore it, or another one"),
    ],
    exit_codes: &[
        ("0", "stopped by a signal; health: healthy; export, import: all of it"),
        ("1", "could not start (port in use), or do all that was asked"),
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
        Invocation::Run(Action::Export, values) => {
            let read_token = KV_READ_TOKEN.get(&values, &read_file)?;
            let token = read_token.or(KV_TOKEN.get(&values, &read_file)?);
            // An export has no such line.
            Command::Export(transfer(&values, token, usize::MAX)?)
        }
        Invocation::Run(Action::Import, values) => {
            let token = KV_TOKEN.get(&values, &read_file)?;
            Command::Import(transfer(&values, token, values.get(&MAX_BODY)?)?)
        }
        Invocation::Run(Action::Serve, values) => Command::Serve(Box::new(Config {
            host: values.get(&HOST)?,
            port: values.get(&PORT)?,
            log_level: values.get(&LOG_LEVEL)?,
            limits: server::limits(&values)?,
            store: store(&values, &read_file)?,
            access: Access {
                token: KV_TOKEN.get(&values, &read_file)?,
                read_token: KV_READ_TOKEN.get(&values, &read_file)?,
            },
        })),
    })
}

fn store<E>(
    values: &Values<E>,
    read_file: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<StoreChoice, ConfigError>
where
    E: Fn(&str) -> Option<OsString>,
{
    // A URL may hold a password.
    let store = STORE.get(values, read_file)?;
    let directory = values.get(&DATA_DIR)?;
    match (store.as_ref().map(Secret::expose), directory) {
        (None | Some("memory"), None) => memory(values),
        (None | Some("durable"), Some(directory)) => durable(values, directory),
        (Some("durable"), None) => Err(STORE.refused(values, "needs DATA_DIR")),
        (Some(_), Some(_)) => Err(STORE.refused(values, "cannot be given together with DATA_DIR")),
        (Some(url), None) => {
            let url = EtcdUrl::parse(url).map_err(|error| STORE.refused(values, error.reason()))?;
            values.needs(&[FSYNC.row(), CACHE_SIZE.row()], DATA_DIR.row())?;
            if values.get(&MAX_MEMORY)? == usize::MAX {
                Ok(StoreChoice::Etcd(url))
            } else {
                Err(STORE.refused(values, "cannot be given together with MAX_MEMORY"))
            }
        }
    }
}

fn memory<E>(values: &Values<E>) -> Result<StoreChoice, ConfigError>
where
    E: Fn(&str) -> Option<OsString>,
{
    values.needs(&[FSYNC.row(), CACHE_SIZE.row()], DATA_DIR.row())?;
    Ok(StoreChoice::Memory { bytes_max: values.get(&MAX_MEMORY)? })
}

fn durable<E>(values: &Values<E>, directory: PathBuf) -> Result<StoreChoice, ConfigError>
where
    E: Fn(&str) -> Option<OsString>,
{
    values.excludes(DATA_DIR.row(), MAX_MEMORY.row())?;
    Ok(StoreChoice::Durable(Options {
        directory,
        fsync: values.get(&FSYNC)?,
        cache_bytes: values.get(&CACHE_SIZE)? as u64,
    }))
}

/// A directory, or `none`.
fn data_dir(text: &str) -> Result<Option<PathBuf>, &'static str> {
    match text {
        "" => Err("is no directory"),
        text if text.eq_ignore_ascii_case("none") => Ok(None),
        text => Ok(Some(PathBuf::from(text))),
    }
}

/// `always`, or how long after a write.
fn fsync(text: &str) -> Result<Fsync, &'static str> {
    if text.eq_ignore_ascii_case("always") {
        return Ok(Fsync::Always);
    }
    let interval = value::timeout(text).map(Fsync::Every);
    interval.map_err(|_| "is neither 'always' nor a duration (100ms, 1s, or seconds; 1ms to 1d)")
}

fn transfer<E: Fn(&str) -> Option<OsString>>(
    values: &Values<E>,
    token: Option<Secret>,
    line_bytes_max: usize,
) -> Result<Transfer, ConfigError> {
    let url = if let Some(url) = values.get(&KV_URL)? {
        url.to_string()
    } else {
        let target = Target { host: values.get(&HOST)?, port: values.get(&PORT)? };
        format!("http://{}", target.reachable())
    };
    Ok(Transfer { url, token, file: values.get(&FILE)?, line_bytes_max })
}

fn kv_url(text: &str) -> Result<Option<ServiceUrl>, &'static str> {
    if text.eq_ignore_ascii_case("none") { Ok(None) } else { service_url(text).map(Some) }
}

/// A path, or `-` for none.
#[allow(clippy::unnecessary_wraps, reason = "a setting's text can be refused, but not this one's")]
fn file(text: &str) -> Result<Option<PathBuf>, &'static str> {
    Ok((text != "-").then(|| PathBuf::from(text)))
}

/// A size, or `none` for as much as there is.
fn max_memory(text: &str) -> Result<usize, &'static str> {
    if text.eq_ignore_ascii_case("none") { Ok(usize::MAX) } else { value::byte_size(text) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            store: StoreChoice::Memory { bytes_max: usize::MAX },
            access: Access::default(),
        }
    }

    #[track_caller]
    fn check(args: &str, env: &[(&str, &str)], change: impl FnOnce(&mut Config)) {
        let mut expected = config();
        change(&mut expected);
        assert_eq!(read(args, env), Ok(Command::Serve(Box::new(expected))));
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
        let memory = |bytes_max| StoreChoice::Memory { bytes_max };
        check_both("MAX_MEMORY", "64MiB", |config| config.store = memory(64 << 20));
        check_both("MAX_MEMORY", "None", |config| config.store = memory(usize::MAX));
        check_both("KV_TOKEN", "a", |config| config.access.token = Secret::new("a"));
        check_both("KV_READ_TOKEN", "a", |config| config.access.read_token = Secret::new("a"));
        // The files of these tests hold their names.
        check_both("KV_TOKEN_FILE", "a", |config| config.access.token = Secret::new("a"));
        check_both("KV_READ_TOKEN_FILE", "a", |config| config.access.read_token = Secret::new("a"));
        check_both("IDLE_TIMEOUT", "250ms", |config| config.limits.idle_timeout = quarter);
        check_both("WRITE_TIMEOUT", "250ms", |config| config.limits.write_timeout = quarter);
    }

    #[test]
    fn the_store_is_on_a_disk_if_a_directory_is_given() {
        let on_disk = |change: fn(&mut Options)| {
            let directory = PathBuf::from("/data");
            let mut options = Options { directory, fsync: Fsync::Always, cache_bytes: 32 << 20 };
            change(&mut options);
            move |config: &mut Config| config.store = StoreChoice::Durable(options)
        };
        check("--data-dir /data", &[], on_disk(|_| {}));
        check("", &[("DATA_DIR", "/data"), ("FSYNC", "Always")], on_disk(|_| {}));
        let second = on_disk(|options| options.fsync = Fsync::Every(Duration::from_secs(1)));
        check("--data-dir /data --fsync 1", &[], second);
        let small = on_disk(|options| options.cache_bytes = 1 << 20);
        check("--cache-size 1MiB", &[("DATA_DIR", "/data")], small);
        check("--data-dir none", &[("DATA_DIR", "/data")], |_| {});
        check("--store durable --data-dir /data", &[], on_disk(|_| {}));
        for (args, error) in [
            ("--fsync 1s", "--fsync needs DATA_DIR"),
            ("--cache-size 1MiB", "--cache-size needs DATA_DIR"),
            (
                "--data-dir /data --max-memory 1MiB",
                "--data-dir and --max-memory cannot be given together",
            ),
        ] {
            assert_eq!(read(args, &[]).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn the_store_has_a_name_or_a_url() {
        let etcd = |url: &str| {
            let url = EtcdUrl::parse(url).unwrap();
            move |config: &mut Config| config.store = StoreChoice::Etcd(url)
        };
        check("--store memory", &[("STORE", "durable")], |_| {});
        check("--store etcd://a,b:1/c", &[], etcd("etcd://a,b:1/c"));
        check("", &[("STORE", "etcd://me:pw@a")], etcd("etcd://me:pw@a"));
        // The file of this test holds its name.
        check("--store-file etcd://a", &[], etcd("etcd://a"));
        for (args, error) in [
            ("--store disk", "--store: does not begin with etcd://, nor is memory or durable"),
            (
                "--store etcd://me:s3@a,",
                "--store: names no host between two commas, or more than 16",
            ),
            ("--store durable", "--store: needs DATA_DIR"),
            ("--store etcd://a --fsync 1s", "--fsync needs DATA_DIR"),
            (
                "--store-file etcd://a --data-dir b",
                "--store-file: cannot be given together with DATA_DIR",
            ),
            (
                "--store etcd://a --max-memory 1MiB",
                "--store: cannot be given together with MAX_MEMORY",
            ),
        ] {
            assert_eq!(read(args, &[]).unwrap_err().to_string(), error);
        }
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
    fn transfers_read_where_what_and_a_token() {
        let transfer = |url: &str, token: &str, file: &str, line_bytes_max| Transfer {
            url: url.to_owned(),
            token: Secret::new(token),
            file: (!file.is_empty()).then(|| file.into()),
            line_bytes_max,
        };
        let export = |args: &str, env: &[(&str, &str)], url: &str, token: &str, file: &str| {
            let expected = Command::Export(transfer(url, token, file, usize::MAX));
            assert_eq!(read(&format!("export {args}"), env), Ok(expected), "{args} {env:?}");
        };
        let local = "http://127.0.0.1:8000";
        export("", &[], local, "", "");
        export("--file -", &[("FILE", "a")], local, "", "");
        export("--file a --port 9000 --host ::", &[], "http://[::1]:9000", "", "a");
        export("--kv-url http://kv/at/", &[("KV_TOKEN", "t")], "http://kv/at", "t", "");
        let both = [("KV_TOKEN", "t"), ("KV_READ_TOKEN", "r"), ("KV_URL", "http://kv:1")];
        export("", &both, "http://kv:1", "r", "");
        let import = |args: &str, env: &[(&str, &str)], token: &str, line_bytes_max| {
            let expected = Command::Import(transfer(local, token, "", line_bytes_max));
            assert_eq!(read(&format!("import {args}"), env), Ok(expected), "{args} {env:?}");
        };
        import("", &both[..2], "t", 1 << 20);
        import("--max-body 2MiB", &[], "", 2 << 20);
        for wrong in ["import --kv-read-token r", "export --max-body 1", "export --workers 1"] {
            assert!(read(wrong, &[]).is_err(), "{wrong}");
        }
        assert!(read("export --kv-url kv:8000", &[]).is_err());
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
