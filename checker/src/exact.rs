//! JSON by content, with exact numbers: `1e2` is `100`, and `9007199254740993` is not
//! `9007199254740992`.
//!
//! Invariant: members stand in any order, and an object that has one twice is no value at all, for
//! two readers would read two different ones. Texts are compared by their UTF-16 code units, so that
//! half of a surrogate pair, which no UTF-8 can hold, is no other character.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Deeper values are not compared. serde's own limit is 128.
const DEPTH_MAX: usize = 120;

/// A JSON text by content.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exact {
    /// `null`, `true` or `false`.
    Word(String),
    /// Digits without zeros at either end, and the power of ten behind them.
    Number {
        negative: bool,
        digits: String,
        exponent: i64,
    },
    Text(Text),
    Array(Vec<Exact>),
    Object(BTreeMap<Text, Exact>),
}

/// Whether two JSON texts have the same content. What is no JSON is like nothing.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let read = |text| Exact::of(serde_json::from_str(text).ok()?, DEPTH_MAX);
    matches!((read(one), read(other)), (Some(one), Some(other)) if one == other)
}

impl Exact {
    fn of(raw: &RawValue, depth: usize) -> Option<Exact> {
        let depth = depth.checked_sub(1)?;
        let text = raw.get().trim_ascii();
        Some(match text.as_bytes().first()? {
            b'{' => {
                let Members(members) = serde_json::from_str(text).ok()?;
                let members = members.into_iter();
                let read = |(name, value): (Text, _)| Some((name, Exact::of(value, depth)?));
                Exact::Object(members.map(read).collect::<Option<_>>()?)
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let items = items.into_iter().map(|item| Exact::of(item, depth));
                Exact::Array(items.collect::<Option<_>>()?)
            }
            b'"' => Exact::Text(serde_json::from_str(text).ok()?),
            b'-' | b'0'..=b'9' => Exact::number(text)?,
            _ => Exact::Word(text.to_owned()),
        })
    }

    fn number(text: &str) -> Option<Exact> {
        let unsigned = text.trim_start_matches('-');
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_end_matches('0');
        let count = |text: &str| i64::try_from(text.len()).ok();
        let shift = count(&all)? - count(digits)? - count(fraction)?;
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Exact::Number { negative: false, digits, exponent: 0 });
        }
        let exponent = exponent.parse::<i64>().ok()?.checked_add(shift)?;
        Some(Exact::Number { negative: text.starts_with('-'), digits, exponent })
    }
}

/// A text as `serde_json` gives it for bytes: UTF-8, and half a surrogate pair like any other code
/// point (WTF-8). Two are the same when their code units are, for a whole pair is always joined.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Text(Vec<u8>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl Visitor<'_> for Reading {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(bytes.to_owned()))
            }
        }
        deserializer.deserialize_bytes(Reading)
    }
}

/// The members of an object, none twice.
struct Members<'a>(BTreeMap<Text, &'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, want: bool) {
        assert_eq!(same(one, other), want, "{one} {other}");
        assert_eq!(same(other, one), want, "{other} {one}");
    }

    #[test]
    fn numbers_are_exact_and_written_in_any_way() {
        check("100", "1e2", true);
        check("1.50", "15E-1", true);
        check("0", "-0.0e9", true);
        check("9007199254740993", "9007199254740992", false);
        check("123456789012345678901234567890", "123456789012345680000000000000", false);
        check("1e400", "1e400", true);
        check("1e400", "1e401", false);
        check("1", "-1", false);
        check("1", "\"1\"", false);
        check("1", "true", false);
        check("1e99999999999999999999", "1e99999999999999999999", false);
    }

    #[test]
    fn content_counts_and_not_how_it_is_written() {
        check(r#"{"a":[1,{}],"b":null}"#, r#" { "b" : null , "a" : [ 1 , { } ] } "#, true);
        check(r#""é\n""#, r#""\u00e9\u000a""#, true);
        check("\"\u{e9}\"", "\"e\u{301}\"", false);
        check(r#""\ud83e\udd80""#, "\"🦀\"", true);
        check(r#""\ud800""#, r#""\uD800""#, true);
        check(r#""\ud800""#, r#""\ud801""#, false);
        check(r#""\ud800""#, r#""\ufffd""#, false);
        check(r#""\udc00\ud800""#, r#""\udc00\ud800""#, true);
        check(r#""\ud83e\udd80\ud83e""#, "\"🦀\\ud83e\"", true);
        check(r#"{"\ud800":1}"#, r#"{"\ud800":1}"#, true);
        check(r#"{"\ud800":1}"#, r#"{"\ud801":1}"#, false);
        check(r#""\ud80""#, r#""\ud80""#, false);
        check("[1,2]", "[2,1]", false);
        check("{\"a\":1}", "{\"a\":1,\"b\":null}", false);
        check("null", "false", false);
        check(r#"{"a":1,"a":1}"#, r#"{"a":1,"a":1}"#, false);
        check("", "", false);
        check("nul", "nul", false);
        check("[1", "[1", false);
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        check(&nested(100), &nested(100), true);
        check(&nested(100), &nested(99), false);
        check(&nested(100_000), &nested(100_000), false);
    }
}
