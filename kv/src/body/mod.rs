//! The body of a write, `{"key":…,"value":…}` or the value alone, or exactly the answer that the
//! `FastAPI` original gives to one that is not that.
//!
//! Pure: bytes in, borrowed text or an error out. An ordinary body is read by `serde_json` in one
//! pass and copies nothing; only a body that it refused is scanned again, by `python_json`, for
//! the message and position that Python would report.
//!
//! As in the original the last of duplicate members wins, other members are ignored, names may be
//! written with escapes, and a UTF-8 byte order mark may stand in front.
//!
//! Deliberate differences from the original:
//!
//! - `NaN`, `Infinity` and `-Infinity` are not JSON: "Expecting value" where they stand.
//! - A number may have any size and a value any depth. The original answers 400 past 4,300 digits
//!   or about a thousand levels.
//! - The body is UTF-8 (RFC 8259, section 8.1). The original also takes UTF-16, UTF-32, and
//!   surrogates encoded as UTF-8.
//! - A key with a lone surrogate is `string_unicode`, and a refused input that holds one, or a
//!   number beyond a double, is sent back as it came. The original answers 500.
//! - A value that holds one of these is kept as it came. The original stores the number as infinity
//!   and reads it back as `null`; it answers 500 to a read of the surrogate.
//!
//! Invariant: time and memory are linear in the body, and the call stack does not grow with its
//! depth.

pub mod batch;
pub mod lines;
mod object;
mod python_json;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::{self, Write};

use object::{Object, TakeMember};
use serde_json::value::RawValue;

pub use batch::BatchError;
pub use lines::LineError;
pub use python_json::SyntaxError;

/// A key and the value to store under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put<'a> {
    /// The key, decoded; borrowed unless it was written with escapes.
    pub key: Cow<'a, str>,
    /// The value as the exact JSON text that came, without white space around it.
    pub value: &'a str,
}

/// Why a body is not what it should be. [`BodyError::NotUtf8`] is a bad request (400), everything else
/// is unprocessable (422).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError<'a> {
    /// The body is not UTF-8.
    NotUtf8,
    /// There is no body.
    Empty,
    /// The body is not JSON.
    Syntax(SyntaxError),
    /// The body is JSON, but not an object; `input` is its text.
    NotObject {
        /// The body's JSON text.
        input: &'a str,
    },
    /// One or both members are missing or wrong, `key` first.
    Members(Vec<MemberError<'a>>),
    /// The body is JSON, but no batch.
    Batch(BatchError<'a>),
    /// One of the body's lines is not what it should be.
    Line(LineError<'a>),
}

/// What is wrong with one member of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberError<'a> {
    /// `key` or `value`.
    pub name: &'static str,
    /// What is wrong with it.
    pub fault: Fault,
    /// The JSON text that was looked at: the member's, or the whole body's if it is missing.
    pub input: &'a str,
}

/// The ways in which a member can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not there.
    Missing,
    /// It is not a string.
    NotString,
    /// It is a string with a lone surrogate, so no Unicode text.
    NotUnicode,
}

/// Reads the body of a POST or PUT.
pub fn parse(body: &[u8]) -> Result<Put<'_>, BodyError<'_>> {
    let text = text(body)?;
    match serde_json::from_str::<Object<Members>>(text) {
        Ok(Object(members)) => members.into_put(text),
        Err(_) => Err(match python_json::check(text) {
            Err(error) => BodyError::Syntax(error),
            Ok(()) => BodyError::NotObject { input: text },
        }),
    }
}

/// Reads a body that is a value alone: its exact JSON text, without white space around it.
pub fn parse_value(body: &[u8]) -> Result<&str, BodyError<'_>> {
    let text = text(body)?;
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => Ok(value.get()),
        Err(_) => Err(python_json::check(text)
            .map_or_else(BodyError::Syntax, |()| BodyError::NotObject { input: text })),
    }
}

fn text(body: &[u8]) -> Result<&str, BodyError<'_>> {
    if body.is_empty() {
        return Err(BodyError::Empty);
    }
    let text = str::from_utf8(body).map_err(|_| BodyError::NotUtf8)?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

impl BodyError<'_> {
    /// The JSON text of the answer, `{"detail":…}`, in the shapes of `FastAPI` and pydantic.
    pub fn detail(&self) -> String {
        format!(r#"{{"detail":{}}}"#, Detail(self))
    }
}

struct Detail<'a>(&'a BodyError<'a>);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            BodyError::NotUtf8 => f.write_str(r#""There was an error parsing the body""#),
            BodyError::Empty => write!(
                f,
                r#"[{{"type":"missing","loc":["body"],"msg":"Field required","input":null}}]"#
            ),
            BodyError::Syntax(SyntaxError { message, offset }) => write!(
                f,
                r#"[{{"type":"json_invalid","loc":["body",{offset}],"msg":"JSON decode error","input":{{}},"ctx":{{"error":{}}}}}]"#,
                serde_json::Value::from(*message)
            ),
            BodyError::NotObject { input } => write!(
                f,
                r#"[{{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":{input}}}]"#
            ),
            BodyError::Batch(error) => {
                let text = serde_json::Value::from(error.to_string());
                write!(f, r#"{{"success":false,"error":{text}"#)?;
                if let BatchError::Op { index, .. } = error {
                    write!(f, r#","index":{index}"#)?;
                }
                f.write_char('}')
            }
            BodyError::Line(error) => {
                let text = serde_json::Value::from(error.to_string());
                write!(f, r#"{{"success":false,"error":{text},"line":{}}}"#, error.line)
            }
            BodyError::Members(errors) => {
                for (index, MemberError { name, fault, input }) in errors.iter().enumerate() {
                    f.write_char(if index == 0 { '[' } else { ',' })?;
                    let (kind, message) = fault.describe();
                    write!(
                        f,
                        r#"{{"type":"{kind}","loc":["body","{name}"],"msg":"{message}","input":{input}}}"#
                    )?;
                }
                f.write_char(']')
            }
        }
    }
}

impl Fault {
    /// Pydantic's `type` and `msg`.
    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Fault::Missing => ("missing", "Field required"),
            Fault::NotString => ("string_type", "Input should be a valid string"),
            Fault::NotUnicode => (
                "string_unicode",
                "Input should be a valid string, unable to parse raw data as a unicode string",
            ),
        }
    }
}

/// The JSON texts of the two members, of duplicates the last.
#[derive(Default)]
struct Members<'a> {
    key: Option<&'a str>,
    value: Option<&'a str>,
}

impl<'a> Members<'a> {
    fn into_put(self, body: &'a str) -> Result<Put<'a>, BodyError<'a>> {
        let key = match self.key {
            None => Err((Fault::Missing, body)),
            Some(text) if !text.starts_with('"') => Err((Fault::NotString, text)),
            Some(text) => decode(text).ok_or((Fault::NotUnicode, text)),
        };
        match (key, self.value) {
            (Ok(key), Some(value)) => Ok(Put { key, value }),
            (key, value) => {
                let key = key.err().map(|(fault, input)| MemberError { name: "key", fault, input });
                let value = value.is_none().then_some(MemberError {
                    name: "value",
                    fault: Fault::Missing,
                    input: body,
                });
                Err(BodyError::Members(key.into_iter().chain(value).collect()))
            }
        }
    }
}

impl<'a> TakeMember<'a> for Members<'a> {
    fn take(&mut self, name: Option<&str>, _: &'a str, text: &'a str) {
        match name {
            Some("key") => self.key = Some(text),
            Some("value") => self.value = Some(text),
            Some(_) | None => {}
        }
    }
}

/// The text of a JSON string; `None` if it has a lone surrogate. Copies only what has escapes.
fn decode(string: &str) -> Option<Cow<'_, str>> {
    if string.contains('\\') {
        return serde_json::from_str(string).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(string.trim_matches('"')))
}
