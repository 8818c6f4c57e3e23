//! How much a run does: the same names, defaults and limits for the command line and for the query
//! of `POST /test/{name}`.

use std::time::Duration;

use common::config::{Row, Setting, value};

use crate::report::Settings;

/// Clients of a run.
pub const CLIENTS_MAX: u32 = 256;
/// Operations of a workflow.
pub const OPS_MAX: u32 = 1_000_000;
/// Keys that are shared.
pub const KEYS_MAX: u32 = 10_000;
/// Requests a second of `load`.
pub const RATE_MAX: u32 = 1_000_000;
/// How long `load` sends.
pub const DURATION_MAX: Duration = Duration::from_secs(3_600);

/// `CLIENTS`.
pub const CLIENTS: Setting<u32> = Setting {
    name: "CLIENTS",
    default: "8",
    help: "concurrent clients",
    parse: |text| count(text, CLIENTS_MAX).ok_or("is not a count (1 to 256)"),
};

/// `OPS`.
pub const OPS: Setting<u32> = Setting {
    name: "OPS",
    default: "2000",
    help: "operations a workflow",
    parse: |text| count(text, OPS_MAX).ok_or("is not a count (1 to 1000000)"),
};

/// `KEYS`.
pub const KEYS: Setting<u32> = Setting {
    name: "KEYS",
    default: "8",
    help: "keys that clients share",
    parse: |text| count(text, KEYS_MAX).ok_or("is not a count (1 to 10000)"),
};

/// `SEED`. Without one each run has another.
pub const SEED: Setting<Option<u64>> = Setting {
    name: "SEED",
    default: "random",
    help: "same seed, same operations",
    parse: |text| {
        if text == "random" {
            return Ok(None);
        }
        digits(text).map(Some).ok_or("is not a seed (0 to 18446744073709551615, or random)")
    },
};

/// `RATE`; none is as fast as it goes.
pub const RATE: Setting<Option<u32>> = Setting {
    name: "RATE",
    default: "1000",
    help: "requests a second of load, or max",
    parse: |text| {
        if text == "max" {
            return Ok(None);
        }
        count(text, RATE_MAX).map(Some).ok_or("is not a rate (1 to 1000000, or max)")
    },
};

/// `DURATION`.
pub const DURATION: Setting<Duration> = Setting {
    name: "DURATION",
    default: "3s",
    help: "of load",
    parse: |text| {
        let duration = value::timeout(text).ok();
        duration
            .filter(|duration| *duration <= DURATION_MAX)
            .ok_or("is not a duration (500ms, 30s, 5m, or seconds; 1ms to 1h)")
    },
};

/// The rows of all of them.
pub const ROWS: &[Row] =
    &[SEED.row(), CLIENTS.row(), OPS.row(), KEYS.row(), RATE.row(), DURATION.row()];

/// Reads all of them; `get` finds the text of one, none for its default.
///
/// # Errors
/// Which one was refused, its text and why.
pub fn read(
    get: impl Fn(&str) -> Option<String>,
) -> Result<Settings, (&'static str, String, &'static str)> {
    Ok(Settings {
        clients: one(&CLIENTS, &get)?,
        ops: one(&OPS, &get)?,
        keys: one(&KEYS, &get)?,
        seed: seed(one(&SEED, &get)?),
        rate: one(&RATE, &get)?,
        duration_ms: crate::audit::millis(one(&DURATION, &get)?),
    })
}

/// The seed, or one that nobody has chosen.
pub fn seed(chosen: Option<u64>) -> u64 {
    // Short, for it is typed again.
    chosen.unwrap_or_else(|| fastrand::u64(..1_000_000_000))
}

fn one<T>(
    setting: &Setting<T>,
    get: impl Fn(&str) -> Option<String>,
) -> Result<T, (&'static str, String, &'static str)> {
    let text = get(setting.name).unwrap_or_else(|| setting.default.to_owned());
    (setting.parse)(&text).map_err(|reason| (setting.name, text, reason))
}

fn count(text: &str, max: u32) -> Option<u32> {
    let count = digits(text).and_then(|count| u32::try_from(count).ok());
    count.filter(|count| (1..=max).contains(count))
}

fn digits(text: &str) -> Option<u64> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits_only)
}
