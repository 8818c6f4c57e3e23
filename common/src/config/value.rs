//! What a setting's text may be. Each function reads one kind of value; its error goes on where
//! the refused text ended: `'abc'` … `is not a port (0 to 65535)`.
//!
//! Numbers are digits alone: no sign, no fraction, no space.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use log::LevelFilter;

/// Where a server listens or is asked: an IP address, or a name to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An IP address.
    Address(IpAddr),
    /// A host name.
    Name(String),
}

impl Host {
    /// Whether nobody but this machine reaches it. A name other than `localhost` is not looked up,
    /// and may be anything.
    pub fn is_loopback(&self) -> bool {
        match self {
            Host::Address(address) => address.to_canonical().is_loopback(),
            Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// The authority of a URL (RFC 3986, section 3.2): an IPv6 address stands in brackets.
    pub fn with_port(&self, port: u16) -> String {
        match self {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]:{port}"),
            Host::Address(IpAddr::V4(_)) | Host::Name(_) => format!("{self}:{port}"),
        }
    }
}

impl Display for Host {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(address) => address.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// The notations of [`byte_size`], [`timeout`], [`log_level`] and [`Secret`](super::secret::Secret), for `--help`.
pub const NOTATIONS: &[(&str, &str)] = &[
    ("sizes", "1048576, 64KiB, 1MiB, 2GiB (times 1024); KB, MB, GB (times 1000)"),
    ("durations", "500ms, 30s, 5m, 2h, 1d; a plain number is seconds"),
    ("levels", "DEBUG, INFO, WARNING, ERROR"),
    ("tokens", "visible ASCII without spaces; a flag shows in the process list"),
];

const SIZE_UNITS: &[(&str, u64)] = &[
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("b", 1),
    ("", 1),
];

const DURATION_UNITS_MS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("", 1_000)];

const TIMEOUT_MS_MAX: u64 = 86_400_000;
const CONNECTIONS_MAX: usize = 1_000_000;
const WORKERS_MAX: usize = 1_024;
const HOST_NAME_BYTES_MAX: usize = 253;

/// A TCP port; 0 means a free one.
pub fn port(text: &str) -> Result<u16, &'static str> {
    number(text).and_then(|port| u16::try_from(port).ok()).ok_or("is not a port (0 to 65535)")
}

/// An IP address, or a host name.
pub fn host(text: &str) -> Result<Host, &'static str> {
    if let Ok(address) = text.parse() {
        return Ok(Host::Address(address));
    }
    let labels_hold = text.split('.').all(|label| {
        let mut bytes = label.bytes();
        let plain = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        plain && !label.is_empty() && !label.starts_with('-')
    });
    // A name of digits and dots alone is a mistyped address (WHATWG URL, "ends in a number").
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if labels_hold && !is_number && text.len() <= HOST_NAME_BYTES_MAX {
        Ok(Host::Name(text.to_owned()))
    } else {
        Err("is not a host (an IP address or a host name)")
    }
}

/// How many connections a server may have: 1 to 1,000,000.
pub fn connections(text: &str) -> Result<usize, &'static str> {
    count(text, CONNECTIONS_MAX).ok_or("is not a count (1 to 1000000)")
}

/// How many threads work: 1 to 1,024, or `cores` for one for each core that the process may use.
pub fn workers(text: &str) -> Result<usize, &'static str> {
    if text.eq_ignore_ascii_case("cores") {
        return Ok(thread::available_parallelism().map_or(1, usize::from));
    }
    count(text, WORKERS_MAX).ok_or("is not a count (1 to 1024, or cores)")
}

/// Bytes, at least one: a number, alone or with a unit in any case. `KiB`, `MiB`, `GiB` are
/// powers of 1024, and `KB`, `MB`, `GB` are powers of 1000. A lone `K` is refused, for it means
/// either.
pub fn byte_size(text: &str) -> Result<usize, &'static str> {
    scaled(text, SIZE_UNITS)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0)
        .ok_or("is not a size (bytes, or with KiB, MiB, GiB, KB, MB, GB; at least 1)")
}

/// How long something may take, 1 ms to a day: a number with `ms`, `s`, `m`, `h` or `d`, or
/// seconds.
pub fn timeout(text: &str) -> Result<Duration, &'static str> {
    millis(text)
        .filter(|millis| (1..=TIMEOUT_MS_MAX).contains(millis))
        .map(Duration::from_millis)
        .ok_or("is not a duration (500ms, 30s, 5m, 2h, or seconds; 1ms to 1d)")
}

/// Milliseconds, in the notation of [`timeout`] and without its bounds.
pub fn millis(text: &str) -> Option<u64> {
    scaled(text, DURATION_UNITS_MS)
}

/// `DEBUG`, `INFO`, `WARNING` or `ERROR` in any case. `WARN` and Python's `CRITICAL` are
/// understood too; the latter shows errors, for there is nothing above them here.
pub fn log_level(text: &str) -> Result<LevelFilter, &'static str> {
    const LEVELS: &[(&str, LevelFilter)] = &[
        ("DEBUG", LevelFilter::Debug),
        ("INFO", LevelFilter::Info),
        ("WARNING", LevelFilter::Warn),
        ("WARN", LevelFilter::Warn),
        ("ERROR", LevelFilter::Error),
        ("CRITICAL", LevelFilter::Error),
    ];
    LEVELS
        .iter()
        .find(|(name, _)| text.eq_ignore_ascii_case(name))
        .map(|(_, level)| *level)
        .ok_or("is not a log level (DEBUG, INFO, WARNING, ERROR)")
}

fn count(text: &str, max: usize) -> Option<usize> {
    let count = number(text).and_then(|count| usize::try_from(count).ok());
    count.filter(|count| (1..=max).contains(count))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (amount, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name))?;
    number(amount)?.checked_mul(*scale)
}

fn number(text: &str) -> Option<u64> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits_only)
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    type Parse<T> = fn(&str) -> Result<T, &'static str>;

    #[track_caller]
    fn check<T: Debug + PartialEq>(parse: Parse<T>, table: &[(&str, T)]) {
        for (text, value) in table {
            assert_eq!(parse(text).as_ref(), Ok(value), "{text:?}");
        }
    }

    #[track_caller]
    fn check_refused<T: Debug>(parse: Parse<T>, start: &str, table: &[&str]) {
        for text in table.iter().chain(&["", " ", "-1", "+1", "1 ", " 1", "1.5", "\u{661}", "\0"]) {
            let reason = parse(text).expect_err(text);
            assert!(reason.starts_with(start), "{text:?}: {reason}");
        }
    }

    #[test]
    fn ports() {
        check(port, &[("0", 0), ("80", 80), ("08000", 8000), ("65535", 65535)]);
        check_refused(port, "is not a port", &["abc", "65536", "0x50", "99999999999999999999"]);
    }

    #[test]
    fn hosts() {
        let address = |text: &str| Host::Address(text.parse().unwrap());
        check(
            host,
            &[
                ("0.0.0.0", address("0.0.0.0")),
                ("::", address("::")),
                ("::1", address("::1")),
                ("localhost", Host::Name("localhost".into())),
                ("kv-service", Host::Name("kv-service".into())),
                ("my_kv.example.org", Host::Name("my_kv.example.org".into())),
            ],
        );
        let long = "a".repeat(254);
        check_refused(
            host,
            "is not a host",
            &[
                "a b",
                "http://a",
                "a:80",
                "[::1]",
                "1.2.3",
                "1.2.3.256",
                "a..b",
                ".",
                "größe",
                &long,
            ],
        );
    }

    #[test]
    fn loopback_hosts() {
        for text in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost", "LocalHost"]
        {
            assert!(host(text).unwrap().is_loopback(), "{text}");
        }
        for text in ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "kv", "localhost.kv"] {
            assert!(!host(text).unwrap().is_loopback(), "{text}");
        }
    }

    #[test]
    fn counts() {
        check(connections, &[("1", 1), ("10000", 10_000), ("1000000", 1_000_000)]);
        check_refused(
            connections,
            "is not a count (1 to 1000000)",
            &["0", "1000001", "1k", "cores"],
        );
        check(workers, &[("1", 1), ("1024", 1024)]);
        check_refused(workers, "is not a count (1 to 1024, or cores)", &["0", "1025", "all"]);
        assert!(workers("cores").unwrap() >= 1);
        assert_eq!(workers("CORES"), workers("cores"));
    }

    #[test]
    fn byte_sizes() {
        check(
            byte_size,
            &[
                ("1", 1),
                ("1048576", 1 << 20),
                ("512B", 512),
                ("64KiB", 64 << 10),
                ("1MiB", 1 << 20),
                ("1mib", 1 << 20),
                ("2GiB", 2 << 30),
                ("1KB", 1_000),
                ("1kB", 1_000),
                ("3MB", 3_000_000),
                ("2GB", 2_000_000_000),
            ],
        );
        check_refused(
            byte_size,
            "is not a size",
            &["0", "0MiB", "MiB", "1K", "64M", "1 MiB", "1TiB", "1.5MiB", "1MiBx"],
        );
        check_refused(
            byte_size,
            "is not a size",
            &["18446744073709551616", "18014398509481984KiB"],
        );
    }

    #[test]
    fn timeouts() {
        check(
            timeout,
            &[
                ("1ms", Duration::from_millis(1)),
                ("500ms", Duration::from_millis(500)),
                ("30s", Duration::from_secs(30)),
                ("30", Duration::from_secs(30)),
                ("5m", Duration::from_secs(300)),
                ("2h", Duration::from_secs(7_200)),
                ("2H", Duration::from_secs(7_200)),
                ("1d", Duration::from_secs(86_400)),
            ],
        );
        check_refused(
            timeout,
            "is not a duration",
            &["0", "0ms", "ms", "1us", "1h30m", "5 m", "1w"],
        );
        check_refused(timeout, "is not a duration", &["86401", "2d", "99999999999999999h"]);
    }

    #[test]
    fn log_levels() {
        check(
            log_level,
            &[
                ("DEBUG", LevelFilter::Debug),
                ("info", LevelFilter::Info),
                ("Warning", LevelFilter::Warn),
                ("WARN", LevelFilter::Warn),
                ("ERROR", LevelFilter::Error),
                ("critical", LevelFilter::Error),
            ],
        );
        check_refused(log_level, "is not a log level", &["TRACE", "OFF", "INF", "20"]);
    }
}
