//! The settings of everything that listens: where, how loud, and within which limits.

use std::ffi::OsString;
use std::time::Duration;

use log::LevelFilter;

use super::secret::SecretSetting;
use super::value::{self, Host};
use super::{ConfigError, Row, Setting, Values};
use crate::http::Limits;

/// `HOST`: the address to listen on.
pub const HOST: Setting<Host> =
    Setting { name: "HOST", default: "0.0.0.0", help: "where to listen", parse: value::host };

/// `LOG_LEVEL`: what is logged.
pub const LOG_LEVEL: Setting<LevelFilter> = Setting {
    name: "LOG_LEVEL",
    default: "INFO",
    help: "lowest level logged",
    parse: value::log_level,
};

/// `KV_TOKEN`: what kv asks for, and what the checker shows it.
pub const KV_TOKEN: SecretSetting =
    SecretSetting::new("KV_TOKEN", "KV_TOKEN_FILE", "token for everything");

/// `PORT`, whose default is each program's own.
pub const fn port(default: &'static str) -> Setting<u16> {
    Setting { name: "PORT", default, help: "0 takes a free one", parse: value::port }
}

/// The settings that [`limits`] reads.
pub const LIMITS: &[Row] = &[
    MAX_BODY.row(),
    MAX_CONNECTIONS.row(),
    HEAD_TIMEOUT.row(),
    BODY_TIMEOUT.row(),
    IDLE_TIMEOUT.row(),
    WRITE_TIMEOUT.row(),
    WORKERS.row(),
];

/// `MAX_BODY`: the longest body of a request, in bytes.
pub const MAX_BODY: Setting<usize> =
    Setting { name: "MAX_BODY", default: "1MiB", help: "size of a body", parse: value::byte_size };

const MAX_CONNECTIONS: Setting<usize> = Setting {
    name: "MAX_CONNECTIONS",
    default: "10000",
    help: "open at once",
    parse: value::connections,
};

const HEAD_TIMEOUT: Setting<Duration> = time_limit("HEAD_TIMEOUT", "10s", "for a whole head");
const BODY_TIMEOUT: Setting<Duration> = time_limit("BODY_TIMEOUT", "30s", "for a whole body");
const IDLE_TIMEOUT: Setting<Duration> = time_limit("IDLE_TIMEOUT", "75s", "between two requests");
const WRITE_TIMEOUT: Setting<Duration> = time_limit("WRITE_TIMEOUT", "30s", "for taking an answer");

const WORKERS: Setting<usize> = Setting {
    name: "WORKERS",
    default: "cores",
    help: "threads that answer",
    parse: value::workers,
};

const fn time_limit(
    name: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting<Duration> {
    Setting { name, default, help, parse: value::timeout }
}

/// The engine's limits as they were set.
pub fn limits<E>(values: &Values<E>) -> Result<Limits, ConfigError>
where
    E: Fn(&str) -> Option<OsString>,
{
    let defaults = Limits::default();
    let body_bytes_max: usize = values.get(&MAX_BODY)?;
    Ok(Limits {
        body_bytes_max,
        // A few of the largest bodies fit in, or no such body would ever be taken.
        buffered_bytes_max: defaults.buffered_bytes_max.max(body_bytes_max.saturating_mul(4)),
        connections_max: values.get(&MAX_CONNECTIONS)?,
        head_timeout: values.get(&HEAD_TIMEOUT)?,
        body_timeout: values.get(&BODY_TIMEOUT)?,
        idle_timeout: values.get(&IDLE_TIMEOUT)?,
        write_timeout: values.get(&WRITE_TIMEOUT)?,
        workers: values.get(&WORKERS)?,
        ..defaults
    })
}
