//! `If-Match` and `If-None-Match` (RFC 9110, sections 13.1.1 and 13.1.2), as the store's condition.
//!
//! Pure. A version's entity tag is its number in decimal; any other tag is that of no version, so
//! it matches nothing. Without these fields nothing is allocated.

use std::fmt;

use common::http::Headers;

use crate::store::{Condition, Version, Versions};

/// A field that is neither `*` nor a list of entity tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConditionError {
    /// The field's name.
    pub field: &'static str,
}

/// How tags are compared (RFC 9110, section 8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag matches nothing.
    Strong,
    /// A weak tag matches what the strong one does.
    Weak,
}

/// The condition that a request sets.
pub fn parse(headers: &Headers<'_>) -> Result<Condition, ConditionError> {
    Ok(Condition {
        if_match: versions(headers, "If-Match", Comparison::Strong)?,
        if_none_match: versions(headers, "If-None-Match", Comparison::Weak)?,
    })
}

fn versions(
    headers: &Headers<'_>,
    field: &'static str,
    comparison: Comparison,
) -> Result<Option<Versions>, ConditionError> {
    let mut lines = headers.all(field).peekable();
    let Some(first) = lines.next() else { return Ok(None) };
    if first == b"*" && lines.peek().is_none() {
        return Ok(Some(Versions::Any));
    }
    let mut versions = Vec::new();
    let mut tags = 0;
    for line in std::iter::once(first).chain(lines) {
        let mut rest = after_commas(line);
        while !rest.is_empty() {
            let (tag, after) = next_tag(rest).ok_or(ConditionError { field })?;
            versions.extend(tag.version(comparison));
            tags += 1;
            rest = after;
        }
    }
    if tags == 0 { Err(ConditionError { field }) } else { Ok(Some(Versions::OneOf(versions))) }
}

/// An entity tag: what is between its quotes.
struct Tag<'a> {
    is_weak: bool,
    opaque: &'a [u8],
}

impl Tag<'_> {
    /// The version with exactly this tag.
    fn version(&self, comparison: Comparison) -> Option<Version> {
        if self.is_weak && comparison == Comparison::Strong {
            return None;
        }
        let digits_only = self.opaque.iter().all(u8::is_ascii_digit);
        let is_canonical = self.opaque == b"0" || !self.opaque.starts_with(b"0");
        let text = str::from_utf8(self.opaque).ok()?;
        text.parse().ok().filter(|_| digits_only && is_canonical).map(Version)
    }
}

/// The tag that these bytes begin with, and what comes after it and its comma.
fn next_tag(bytes: &[u8]) -> Option<(Tag<'_>, &[u8])> {
    let strong = bytes.strip_prefix(b"W/");
    let quoted = strong.unwrap_or(bytes).strip_prefix(b"\"")?;
    let end = quoted.iter().position(|&byte| byte == b'"')?;
    let opaque = &quoted[..end];
    let after = quoted[end + 1..].trim_ascii_start();
    let is_whole = after.is_empty() || after.starts_with(b",");
    let is_tag = opaque.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..));
    let tag = Tag { is_weak: strong.is_some(), opaque };
    (is_whole && is_tag).then(|| (tag, after_commas(after)))
}

/// A list may have empty elements (RFC 9110, section 5.6.1.2).
fn after_commas(bytes: &[u8]) -> &[u8] {
    let is_content = |byte: &u8| !matches!(byte, b',' | b' ' | b'\t');
    &bytes[bytes.iter().position(is_content).unwrap_or(bytes.len())..]
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is neither * nor a list of entity tags such as \"1\", \"2\"", self.field)
    }
}

impl std::error::Error for ConditionError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both fields, as they are read from the same lines.
    fn read(lines: &[&str]) -> [Result<Option<Versions>, ConditionError>; 2] {
        ["If-Match", "If-None-Match"].map(|name| {
            let fields: Vec<_> = lines
                .iter()
                .map(|line| httparse::Header { name, value: line.as_bytes() })
                .collect();
            let condition = parse(&Headers::new(&fields))?;
            let Condition { if_match, if_none_match } = condition;
            Ok(if_match.or(if_none_match))
        })
    }

    fn one_of(versions: &[u64]) -> Versions {
        Versions::OneOf(versions.iter().copied().map(Version).collect())
    }

    #[track_caller]
    fn check(lines: &[&str], if_match: &Versions, if_none_match: &Versions) {
        let expected = [if_match, if_none_match].map(|versions| Ok(Some(versions.clone())));
        assert_eq!(read(lines), expected, "{lines:?}");
    }

    #[track_caller]
    fn check_refused(lines: &[&str]) {
        let expected = ["If-Match", "If-None-Match"].map(|field| Err(ConditionError { field }));
        assert_eq!(read(lines), expected, "{lines:?}");
    }

    #[test]
    fn tags_name_versions() {
        let check = |lines: &[&str], both: &Versions| check(lines, both, both);
        check(&["*"], &Versions::Any);
        check(&[r#""5""#], &one_of(&[5]));
        check(&[r#""5", "6""#], &one_of(&[5, 6]));
        check(&[r#""5","6"  ,"7""#], &one_of(&[5, 6, 7]));
        check(&[r#""5""#, r#""6", "7""#], &one_of(&[5, 6, 7]));
        check(&[r#",, "5" ,,	"6",, "#], &one_of(&[5, 6]));
        check(&["", r#""5""#], &one_of(&[5]));
        check(&[r#""0", "18446744073709551615""#], &one_of(&[0, u64::MAX]));
    }

    #[test]
    fn a_tag_of_no_version_matches_nothing() {
        let check = |line: &str| check(&[line], &one_of(&[]), &one_of(&[]));
        check(r#""""#);
        check(r#""abc""#);
        check(r#""*""#);
        check(r#""05""#);
        check(r#""+5""#);
        check(r#""-5""#);
        check(r#""5,6""#);
        check(r#""é\!~""#);
        check(r#""18446744073709551616""#);
    }

    #[test]
    fn weak_tags_do_not_match_strongly() {
        check(&[r#"W/"5""#], &one_of(&[]), &one_of(&[5]));
        check(&[r#"W/"5", "6""#], &one_of(&[6]), &one_of(&[5, 6]));
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        let check_refused_line = |line: &str| check_refused(&[line]);
        check_refused_line("");
        check_refused_line(",");
        check_refused_line("5");
        check_refused_line("'5'");
        check_refused_line(r#"""#);
        check_refused_line(r#""5"#);
        check_refused_line(r#"5""#);
        check_refused_line(r#""5" "6""#);
        check_refused_line(r#""5"6"#);
        check_refused_line(r#"w/"5""#);
        check_refused_line(r#"W/ "5""#);
        check_refused_line("W/5");
        check_refused_line(r#""a b""#);
        check_refused_line("\"\u{7f}\"");
        check_refused_line(r#"*, "5""#);
        check_refused_line("**");
        check_refused(&["*", "*"]);
        check_refused(&["*", r#""5""#]);
        check_refused(&[r#""5""#, "6"]);
    }

    #[test]
    fn no_field_is_no_condition() {
        assert_eq!(parse(&Headers::new(&[])), Ok(Condition::default()));
    }
}
