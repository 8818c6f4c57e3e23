//! Keys as lines of JSON, one each: what an export is made of, and the body of an import.
//!
//! ```json
//! {"key":"a","value":[1,2.50],"version":1790000000000001,"expires_at_ms":null}
//! ```
//!
//! A value is the exact text that was stored. Only one with a line end in it (between its tokens, for a JSON
//! string holds none) cannot stand in a line as it is: it is folded, which `"folded":true` says.
//! Folded, it is the same JSON with other white space, and can be unfolded to the very text: a
//! carriage return is written as two, a line feed as a carriage return and a tab.
//!
//! Pure, and linear in the body. As in other bodies the last of duplicate members wins, but one that
//! a line does not know is refused: a mistyped expiry would be dropped.

use std::borrow::Cow;
use std::fmt;

use super::object::{Object, TakeMember};
use super::{BodyError, SyntaxError, decode, python_json};
use crate::answer::{push_json_string, push_number};
use crate::key::{Key, KeyError};
use crate::store::{IMPORTED_VERSION_MAX, Imported, Listed, Version};

/// What a line says of a key.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    key: Key<'a>,
    value: Cow<'a, str>,
    version: Option<Version>,
    expires_at_ms: Option<u64>,
}

/// The line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError<'a> {
    /// Which one, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: LineFault<'a>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineFault<'a> {
    /// It is not UTF-8.
    NotUtf8,
    /// It is not JSON.
    Syntax(SyntaxError),
    /// It is no object.
    NotObject,
    /// It lacks a member.
    Missing(&'static str),
    /// A member has the wrong type, or a value that is out of range.
    Wrong {
        /// The member.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// There is no such member, written here as it was if it is not Unicode.
    UnknownMember(Cow<'a, str>),
    /// The key is none.
    Key(KeyError),
}

const VERSION: &str = "is not a version (an integer up to 4611686018427387904, or null)";
const EXPIRES: &str = "is not a time (Unix milliseconds, an integer, or null)";
const FOLDED: &str = "is neither true nor false";
const NOT_FOLDED: &str = "is not folded, although 'folded' says so";

const _: () = assert!(IMPORTED_VERSION_MAX.0 == 4_611_686_018_427_387_904);

/// Appends the line of a key, with its end.
pub fn push(out: &mut Vec<u8>, listed: &Listed) {
    let value = listed.value();
    out.extend_from_slice(br#"{"key":"#);
    push_json_string(out, &String::from_utf8_lossy(listed.key()));
    out.extend_from_slice(br#","value":"#);
    let folded = value.contains(&b'\n');
    if folded {
        fold(out, value);
    } else {
        out.extend_from_slice(value);
    }
    out.extend_from_slice(br#","version":"#);
    push_number(out, listed.version().0);
    out.extend_from_slice(br#","expires_at_ms":"#);
    match listed.expires_at_ms() {
        Some(at_ms) => push_number(out, at_ms),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(if folded { b",\"folded\":true}\n" } else { b"}\n" });
}

/// Reads the lines of a body. Blank ones count, but are nothing.
pub fn parse(body: &[u8]) -> Result<Vec<Line<'_>>, BodyError<'_>> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let mut lines = Vec::new();
    for (index, bytes) in body.split(|&byte| byte == b'\n').enumerate() {
        match parse_line(bytes) {
            Ok(line) => lines.extend(line),
            Err(fault) => return Err(BodyError::Line(LineError { line: index + 1, fault })),
        }
    }
    Ok(lines)
}

impl Line<'_> {
    /// What the store is given.
    pub fn as_imported(&self) -> Imported<'_> {
        Imported {
            key: self.key.clone(),
            value: Cow::Borrowed(&*self.value),
            version: self.version,
            expires_at_ms: self.expires_at_ms,
        }
    }
}

fn parse_line(bytes: &[u8]) -> Result<Option<Line<'_>>, LineFault<'_>> {
    let text = str::from_utf8(bytes).map_err(|_| LineFault::NotUtf8)?;
    if text.trim_matches([' ', '\t', '\r']).is_empty() {
        return Ok(None);
    }
    match serde_json::from_str::<Object<Members>>(text) {
        Ok(Object(members)) => members.into_line().map(Some),
        Err(_) => Err(match python_json::check(text) {
            Err(error) => LineFault::Syntax(error),
            Ok(()) => LineFault::NotObject,
        }),
    }
}

/// The JSON texts of a line's members, of duplicates the last.
#[derive(Default)]
struct Members<'a> {
    key: Option<&'a str>,
    value: Option<&'a str>,
    version: Option<&'a str>,
    expires_at_ms: Option<&'a str>,
    folded: Option<&'a str>,
    /// The name of a member that no line has.
    unknown: Option<&'a str>,
}

impl<'a> Members<'a> {
    fn into_line(self) -> Result<Line<'a>, LineFault<'a>> {
        if let Some(name) = self.unknown {
            return Err(LineFault::UnknownMember(decode(name).unwrap_or(Cow::Borrowed(name))));
        }
        let key = self.key.ok_or(LineFault::Missing("key"))?;
        let key = key.starts_with('"').then(|| decode(key)).flatten();
        let key = key.ok_or(LineFault::Wrong { name: "key", expected: "is not a string" })?;
        let key = Key::new(key).map_err(LineFault::Key)?;
        let value = self.value.ok_or(LineFault::Missing("value"))?;
        let value = match self.folded {
            None | Some("false") => Cow::Borrowed(value),
            Some("true") => unfold(value)
                .map(Cow::Owned)
                .ok_or(LineFault::Wrong { name: "value", expected: NOT_FOLDED })?,
            Some(_) => return Err(LineFault::Wrong { name: "folded", expected: FOLDED }),
        };
        let version = integer("version", self.version, IMPORTED_VERSION_MAX.0, VERSION)?;
        let expires_at_ms = integer("expires_at_ms", self.expires_at_ms, u64::MAX, EXPIRES)?;
        Ok(Line { key, value, version: version.map(Version), expires_at_ms })
    }
}

/// A number of digits alone; absent and `null` are none.
fn integer<'a>(
    name: &'static str,
    text: Option<&str>,
    max: u64,
    expected: &'static str,
) -> Result<Option<u64>, LineFault<'a>> {
    let Some(text) = text.filter(|text| *text != "null") else { return Ok(None) };
    let number = text.parse().ok().filter(|number| *number <= max);
    number.map(Some).ok_or(LineFault::Wrong { name, expected })
}

fn fold(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        match byte {
            b'\r' => out.extend_from_slice(b"\r\r"),
            b'\n' => out.extend_from_slice(b"\r\t"),
            byte => out.push(byte),
        }
    }
}

/// What was folded; `None` where a carriage return stands with something else.
fn unfold(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        out.push(match character {
            '\r' => match characters.next()? {
                '\r' => '\r',
                '\t' => '\n',
                _ => return None,
            },
            character => character,
        });
    }
    Some(out)
}

impl<'a> TakeMember<'a> for Members<'a> {
    fn take(&mut self, name: Option<&str>, written: &'a str, text: &'a str) {
        let text = Some(text);
        match name {
            Some("key") => self.key = text,
            Some("value") => self.value = text,
            Some("version") => self.version = text,
            Some("expires_at_ms") => self.expires_at_ms = text,
            Some("folded") => self.folded = text,
            Some(_) | None => self.unknown = Some(written),
        }
    }
}

impl fmt::Display for LineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

impl fmt::Display for LineFault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineFault::NotUtf8 => f.write_str("is not UTF-8"),
            LineFault::Syntax(SyntaxError { message, offset }) => {
                write!(f, "is not JSON: {message}, character {offset}")
            }
            LineFault::NotObject => f.write_str("is not an object"),
            LineFault::Missing(name) => write!(f, "'{name}' is missing"),
            LineFault::Wrong { name, expected } => write!(f, "'{name}' {expected}"),
            LineFault::UnknownMember(name) => write!(f, "there is no member '{name}'"),
            LineFault::Key(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line<'a>(key: &'a str, value: &'a str, version: u64, expires_at_ms: u64) -> Line<'a> {
        Line {
            key: Key::new(key).unwrap(),
            value: value.into(),
            version: (version > 0).then_some(Version(version)),
            expires_at_ms: (expires_at_ms > 0).then_some(expires_at_ms),
        }
    }

    #[track_caller]
    fn check(body: &str, expected: &[Line<'_>]) {
        assert_eq!(parse(body.as_bytes()).as_deref(), Ok(expected), "{body}");
    }

    #[track_caller]
    fn check_refused(body: impl AsRef<[u8]>, number: usize, fault: &str) {
        let body = body.as_ref();
        let Err(BodyError::Line(error)) = parse(body) else {
            panic!("{}", String::from_utf8_lossy(body))
        };
        assert_eq!(error.to_string(), format!("line {number}: {fault}"));
        assert_eq!(error.line, number);
    }

    #[test]
    fn lines_are_read() {
        check("", &[]);
        check("\u{feff}", &[]);
        check(" \n\t\r\n\n", &[]);
        let a = r#"{"key":"a","value":1}"#;
        check(a, &[line("a", "1", 0, 0)]);
        check(&format!("{a}\n"), &[line("a", "1", 0, 0)]);
        check(
            &format!("\u{feff}{a}\r\n \r\n\n{a}\r\n"),
            &[line("a", "1", 0, 0), line("a", "1", 0, 0)],
        );
        check(
            r#"{"key":"a/é","value": {"b":[1 ,2.50e+1,"\u0041"]} ,"version":5,"expires_at_ms":7}"#,
            &[line("a/é", r#"{"b":[1 ,2.50e+1,"\u0041"]}"#, 5, 7)],
        );
        check(
            r#"{"expires_at_ms":null,"version":null,"value":null,"key":"\ud83d\udd11"}"#,
            &[line("🔑", "null", 0, 0)],
        );
        check(r#"{"key":"a","key":"b","value":1,"v\u0061lue":2}"#, &[line("b", "2", 0, 0)]);
        check(
            r#"{"key":"a","value":1,"version":4611686018427387904}"#,
            &[line("a", "1", 1 << 62, 0)],
        );
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        check(&format!(r#"{{"key":"a","value":{deep}}}"#), &[line("a", &deep, 0, 0)]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let good = r#"{"key":"a","value":1}"#;
        let behind = |bad: &str| format!("{good}\n\n{bad}\n{good}");
        let check = |bad: &str, fault: &str| check_refused(behind(bad), 3, fault);
        check("x", "is not JSON: Expecting value, character 0");
        check(r#"{"key":"a","value":NaN}"#, "is not JSON: Expecting value, character 19");
        check(r#"{"key":"a","value":1"#, "is not JSON: Expecting ',' delimiter, character 20");
        check("[]", "is not an object");
        check("\u{feff}{}", "is not JSON: Expecting value, character 0");
        check("{}", "'key' is missing");
        check(r#"{"key":"a"}"#, "'value' is missing");
        check(r#"{"value":1}"#, "'key' is missing");
        check(r#"{"key":5,"value":1}"#, "'key' is not a string");
        check(r#"{"key":"\ud800","value":1}"#, "'key' is not a string");
        check(r#"{"key":"","value":1}"#, "Key is empty");
        check(r#"{"key":"\u0000","value":1}"#, "Key holds a NUL character");
        check(
            &format!(r#"{{"key":"{}","value":1}}"#, "k".repeat(1025)),
            "Key is longer than 1024 bytes",
        );
        for version in ["-1", "1.0", "1e3", "\"1\"", "true", "[]", "4611686018427387905", "1e400"] {
            let bad = format!(r#"{{"key":"a","value":1,"version":{version}}}"#);
            check(&bad, &format!("'version' {VERSION}"));
        }
        for time in ["-1", "1.5", "\"1\"", "18446744073709551616"] {
            let bad = format!(r#"{{"key":"a","value":1,"expires_at_ms":{time}}}"#);
            check(&bad, &format!("'expires_at_ms' {EXPIRES}"));
        }
        check(r#"{"key":"a","value":1,"ttl":5}"#, "there is no member 'ttl'");
        check(r#"{"key":"a","value":1,"\ud800":5}"#, r#"there is no member '"\ud800"'"#);
        check(r#"{"key":"a","value":1,"folded":1}"#, "'folded' is neither true nor false");
        check(
            "{\"key\":\"a\",\"value\":[\r1],\"folded\":true}",
            "'value' is not folded, although 'folded' says so",
        );
        check_refused(b"\n{\"key\":\"\xff\",\"value\":1}", 2, "is not UTF-8");
    }

    #[test]
    fn a_folded_value_is_the_same_json_in_one_line() {
        let value = "{\r\n\t\"a\": [\n1,\r2 ]\r\n}";
        let mut folded = Vec::new();
        fold(&mut folded, value.as_bytes());
        let folded = String::from_utf8(folded).unwrap();
        assert!(!folded.contains('\n'));
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&folded), read(value));
        check(
            &format!(r#"{{"key":"a","value":{folded},"folded":true}}"#),
            &[line("a", value, 0, 0)],
        );
    }

    proptest! {
        #[test]
        fn what_is_folded_unfolds(value in "[a\r\n\t \"é]*") {
            let mut folded = Vec::new();
            fold(&mut folded, value.as_bytes());
            let folded = String::from_utf8(folded).unwrap();
            prop_assert!(!folded.contains('\n'));
            prop_assert_eq!(unfold(&folded), Some(value));
        }

        #[test]
        fn no_bytes_are_too_much(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }
    }
}
