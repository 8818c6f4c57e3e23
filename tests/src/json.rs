//! JSON by content: members in any order, of duplicate members the last, numbers exact and
//! however they are written.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde_json::value::RawValue;

/// A JSON text by content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`, `true` or `false`.
    Word(String),
    /// The digits without zeros at either end, and the power of ten behind them.
    Number {
        /// Below zero.
        negative: bool,
        /// Empty for zero.
        digits: String,
        /// The power of ten.
        exponent: i64,
    },
    /// A string without its escapes.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads a JSON text.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let raw: &RawValue = serde_json::from_str(text).unwrap_or_else(|error| {
            panic!("{error} in {text:?}");
        });
        Json::of(raw)
    }

    /// Reads what serde has found to be JSON.
    #[track_caller]
    pub fn of(raw: &RawValue) -> Self {
        const CHECKED: &str = "it has been checked";
        let text = raw.get().trim_ascii();
        match text.as_bytes().first() {
            Some(b'{') => {
                let members: BTreeMap<String, &RawValue> =
                    serde_json::from_str(text).expect(CHECKED);
                let members = members.into_iter().map(|(name, value)| (name, Json::of(value)));
                Json::Object(members.collect())
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).expect(CHECKED);
                Json::Array(items.into_iter().map(Json::of).collect())
            }
            Some(b'"') => Json::String(serde_json::from_str(text).expect(CHECKED)),
            Some(b'-' | b'0'..=b'9') => Json::number(text),
            _ => Json::Word(text.to_owned()),
        }
    }

    /// What is at the end of this path of member names.
    #[track_caller]
    pub fn at(&self, path: &[&str]) -> &Json {
        path.iter().fold(self, |json, name| match json {
            Json::Object(members) if members.contains_key(*name) => &members[*name],
            other => panic!("no {name} in {other}"),
        })
    }

    fn number(text: &str) -> Self {
        let unsigned = text.trim_start_matches('-');
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let count = |text: &str| i64::try_from(text.len()).expect("it is in memory");
        let shift = count(&all) - count(digits) - count(fraction);
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Json::Number { negative: false, digits, exponent: 0 };
        }
        let exponent = exponent.parse::<i64>().expect("a small exponent") + shift;
        Json::Number { negative: text.starts_with('-'), digits, exponent }
    }
}

impl Display for Json {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let comma = |index: usize| if index == 0 { "" } else { "," };
        let quoted = |text: &String| serde_json::Value::from(text.as_str()).to_string();
        match self {
            Json::Word(word) => f.write_str(word),
            Json::Number { digits, .. } if digits.is_empty() => f.write_str("0"),
            Json::Number { negative, digits, exponent } => {
                write!(f, "{}{digits}e{exponent}", if *negative { "-" } else { "" })
            }
            Json::String(text) => f.write_str(&quoted(text)),
            Json::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", comma(index))?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{}:{value}", comma(index), quoted(name))?;
                }
                f.write_str("}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(left: &str, right: &str, equal: bool) {
        assert_eq!(Json::parse(left) == Json::parse(right), equal, "{left} and {right}");
    }

    #[test]
    fn json_is_compared_by_content() {
        check("1.5", "1.500", true);
        check("100.0", "1E2", true);
        check("-0", "0.0", true);
        check("25e-1", "2.5", true);
        check("123456789012345678901234567890", "123456789012345678901234567891", false);
        check("1", "-1", false);
        check("1e400", "1e401", false);
        check(r#"{"a":1,"b":2}"#, r#" { "b" : 2 , "a" : 1.0 } "#, true);
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#, true);
        check(r#"{"a":1,"a":2}"#, r#"{"a":1}"#, false);
        check("[1,2]", "[2,1]", false);
        check(r#""\u0041\/""#, r#""A/""#, true);
        check("null", "false", false);
        check("\"1\"", "1", false);
    }
}
