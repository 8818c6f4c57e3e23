//! The parameters behind the `?` of a request target.
//!
//! Pure. Names and values are percent-encoded, and a `+` is a space, as forms and their libraries
//! write them (WHATWG URL, section 5.1). Of duplicates the last counts. Parameters that an
//! endpoint does not know are ignored.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::config::value;

use crate::key::{self, Key};

/// Keys in a page of a list, unless the client says otherwise.
const LIMIT: usize = 100;
/// The most that it may say.
const LIMIT_MAX: usize = 1_000;
/// The longest time that a client may wait for a key.
const WAIT_MS_MAX: u64 = 60_000;

/// What a text should be to be a time to live.
pub const TTL: &str = "is not a duration of 1ms or more (500ms, 30s, 5m, 2h, 1d, or seconds)";
const WAIT: &str = "is not a duration (500ms, 30s, or seconds; 1ms to 60s)";
const FLAG: &str = "is neither true nor false (or 1, 0; the name alone is true)";
/// What a text should be to be added.
pub const BY: &str = "is not an integer of 64 bits";
const LIMITS: &str = "is not a count (1 to 1000)";
const PREFIX: &str = "is empty; it says which keys are deleted";
const CURSOR: &str = "is not a next_cursor of a list";
const ENCODED: &str = "is not percent-encoded UTF-8";

/// The query of a request target.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(Option<&'a str>);

/// A parameter that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterError {
    name: &'static str,
    /// None when it is missing.
    value: Option<String>,
    fault: &'static str,
}

impl<'a> Query<'a> {
    /// Reads what follows the `?`, if there was one.
    pub fn new(query: Option<&'a str>) -> Self {
        Query(query)
    }

    /// `ttl`: how long a value is kept.
    pub fn ttl(self) -> Result<Option<Duration>, ParameterError> {
        self.read("ttl", TTL, ttl)
    }

    /// `wait`: how long to wait for a change, at most a minute.
    pub fn wait(self) -> Result<Option<Duration>, ParameterError> {
        let wait = |text: &str| {
            let millis = value::millis(text).filter(|millis| (1..=WAIT_MS_MAX).contains(millis));
            millis.map(Duration::from_millis)
        };
        self.read("wait", WAIT, wait)
    }

    /// `raw`: whether a body is the value alone.
    pub fn raw(self) -> Result<bool, ParameterError> {
        self.flag("raw")
    }

    /// `values`: whether a list has the values too.
    pub fn values(self) -> Result<bool, ParameterError> {
        self.flag("values")
    }

    /// `by`: what is added, 1 by default.
    pub fn by(self) -> Result<i64, ParameterError> {
        Ok(self.read("by", BY, |text| text.parse().ok())?.unwrap_or(1))
    }

    /// `limit`: how many keys a page has at most.
    pub fn limit(self) -> Result<usize, ParameterError> {
        let limit = |text: &str| {
            let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|limit| digits_only && (1..=LIMIT_MAX).contains(limit))
        };
        Ok(self.read("limit", LIMITS, limit)?.unwrap_or(LIMIT))
    }

    /// `prefix`: how the keys begin; empty by default, as all do.
    pub fn prefix(self) -> Result<String, ParameterError> {
        let prefix = self.read("prefix", ENCODED, |text| Some(text.to_owned()))?;
        Ok(prefix.unwrap_or_default())
    }

    /// `prefix`, where it may not be left out.
    pub fn required_prefix(self) -> Result<String, ParameterError> {
        let prefix = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let missing = ParameterError { name: "prefix", value: None, fault: "is missing" };
        self.read("prefix", PREFIX, prefix)?.ok_or(missing)
    }

    /// `cursor`: the key behind which a page begins.
    pub fn cursor(self) -> Result<Option<String>, ParameterError> {
        self.read("cursor", CURSOR, |text| {
            let key = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            Key::new(key.as_str()).is_ok().then_some(key)
        })
    }

    fn flag(self, name: &'static str) -> Result<bool, ParameterError> {
        let flag = |text: &str| match text {
            "" | "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        };
        Ok(self.read(name, FLAG, flag)?.unwrap_or(false))
    }

    /// The parameter's value, read by `parse`; `fault` says what is wrong with one that it does
    /// not take.
    fn read<T>(
        self,
        name: &'static str,
        fault: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ParameterError> {
        let Some(query) = self.0 else { return Ok(None) };
        let parameters = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut of_this_name =
            parameters.filter(|(other, _)| decode(other).is_some_and(|other| other == name));
        let Some((_, encoded)) = of_this_name.next_back() else { return Ok(None) };
        let refuse = |value: &str, fault| {
            let value = Some(value.to_owned());
            Err(ParameterError { name, value, fault })
        };
        match decode(encoded) {
            Some(text) => {
                parse(&text).map_or_else(|| refuse(&text, fault), |value| Ok(Some(value)))
            }
            None => refuse(encoded, ENCODED),
        }
    }
}

/// A time to live: at least a millisecond.
pub fn ttl(text: &str) -> Option<Duration> {
    value::millis(text).filter(|millis| *millis > 0).map(Duration::from_millis)
}

/// The cursor of the page behind this key.
pub fn cursor_behind(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let spaced = text.replace('+', " ");
    key::decode(&spaced).ok().map(|text| Cow::Owned(text.into_owned()))
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParameterError { name, value, fault } = self;
        match value {
            Some(value) => write!(f, "Parameter {name}: '{value}' {fault}"),
            None => write!(f, "Parameter {name} {fault}"),
        }
    }
}

impl std::error::Error for ParameterError {}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    type Read<T> = fn(Query<'static>) -> Result<T, ParameterError>;

    #[track_caller]
    fn check<T: Debug + PartialEq>(read: Read<T>, query: &'static str, expected: T) {
        assert_eq!(read(Query::new(Some(query))), Ok(expected), "{query}");
    }

    #[track_caller]
    fn check_refused<T: Debug>(read: Read<T>, query: &'static str, error: &str) {
        let refused = read(Query::new(Some(query))).expect_err(query).to_string();
        assert!(refused.starts_with(error), "{query}: {refused}");
    }

    #[test]
    fn parameters_are_found_by_name() {
        check(Query::by, "", 1);
        check(Query::by, "&&=&=5&by5&xby=5&by%3D=5&bY=5&%zz=5", 1);
        check(Query::by, "a=b&by=5&c", 5);
        check(Query::by, "by=5&by=6", 6);
        check(Query::by, "by=x&by=6", 6);
        check(Query::by, "%62%79=%35", 5);
        assert_eq!(Query::new(None).by(), Ok(1));
    }

    #[test]
    fn values_are_decoded() {
        check(Query::prefix, "prefix=a+b%20c%2Bd", "a b c+d".to_owned());
        check(Query::prefix, "prefix=%C3%A9=?/", "é=?/".to_owned());
        check(Query::prefix, "prefix", String::new());
        check_refused(Query::prefix, "prefix=%zz", "Parameter prefix: '%zz' is not percent");
        check_refused(Query::prefix, "prefix=%C3", "Parameter prefix: '%C3' is not percent");
        check_refused(Query::by, "by=%", "Parameter by: '%' is not percent-encoded UTF-8");
    }

    #[test]
    fn times_to_live() {
        let check = |query, millis| {
            check(Query::ttl, query, Some(Duration::from_millis(millis)));
        };
        check("ttl=30", 30_000);
        check("ttl=1ms", 1);
        check("ttl=500ms", 500);
        check("ttl=30s", 30_000);
        check("ttl=5m", 300_000);
        check("ttl=2h", 7_200_000);
        check("ttl=1d", 86_400_000);
        check("ttl=400d", 34_560_000_000);
        check("ttl=18446744073709551615ms", u64::MAX);
        for query in ["ttl", "ttl=0", "ttl=0ms", "ttl=-1", "ttl=%2B1", "ttl=1.5", "ttl=1w"] {
            check_refused(Query::ttl, query, "Parameter ttl: '");
        }
        check_refused(
            Query::ttl,
            "ttl=18446744073709551616ms",
            "Parameter ttl: '18446744073709551",
        );
        check_refused(Query::ttl, "ttl=213503982335d", "Parameter ttl: '213503982335d' is not a");
    }

    #[test]
    fn waits() {
        check(Query::wait, "wait=1ms", Some(Duration::from_millis(1)));
        check(Query::wait, "wait=60s", Some(Duration::from_secs(60)));
        check(Query::wait, "wait=1m", Some(Duration::from_secs(60)));
        check(Query::wait, "wait=30", Some(Duration::from_secs(30)));
        check(Query::wait, "x", None);
        for query in ["wait", "wait=0", "wait=60001ms", "wait=61", "wait=-1", "wait=soon"] {
            check_refused(Query::wait, query, "Parameter wait: '");
        }
    }

    #[test]
    fn flags() {
        for query in ["raw", "raw=", "raw=1", "raw=true", "raw=0&raw"] {
            check(Query::raw, query, true);
        }
        for query in ["", "raw=0", "raw=false", "raw&raw=0"] {
            check(Query::raw, query, false);
        }
        for query in ["raw=yes", "raw=2", "raw=TRUE", "raw=+"] {
            check_refused(Query::raw, query, "Parameter raw: '");
        }
        check(Query::values, "values=true", true);
    }

    #[test]
    fn amounts() {
        check(Query::by, "by=-5", -5);
        check(Query::by, "by=9223372036854775807", i64::MAX);
        check(Query::by, "by=-9223372036854775808", i64::MIN);
        for query in ["by", "by=1.0", "by=x", "by=9223372036854775808", "by=+5"] {
            check_refused(Query::by, query, "Parameter by: '");
        }
    }

    #[test]
    fn pages() {
        check(Query::limit, "", 100);
        check(Query::limit, "limit=1", 1);
        check(Query::limit, "limit=1000", 1000);
        for query in ["limit", "limit=0", "limit=1001", "limit=-1", "limit=%2B1", "limit=1e2"] {
            check_refused(Query::limit, query, "Parameter limit: '");
        }
        check_refused(Query::required_prefix, "", "Parameter prefix is missing");
        check_refused(Query::required_prefix, "prefix=", "Parameter prefix: '' is empty");
        check(Query::required_prefix, "prefix=a", "a".to_owned());
    }

    #[test]
    fn cursors_carry_keys() {
        for key in ["a", "é/?&=+%", "\u{10ffff}"] {
            let cursor = cursor_behind(key);
            let query = format!("cursor={cursor}");
            assert_eq!(Query::new(Some(&query)).cursor(), Ok(Some(key.to_owned())));
        }
        check(Query::cursor, "", None);
        for query in ["cursor", "cursor=!", "cursor=YQ==", "cursor=YR", "cursor=_w", "cursor=AA"] {
            check_refused(Query::cursor, query, "Parameter cursor: '");
        }
    }
}
