use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::Deserialize;

use super::batch::OpFault;
use super::*;
use crate::key::Key;
use crate::store::{Action, Condition, Op, Version, Versions};

const GOLDEN: &str = include_str!("../../../tests/data/golden-kv.json");
const RECORDED: &str = include_str!("../../../tests/data/recorded-kv.json");

/// A recorded exchange with the original.
#[derive(Deserialize)]
struct Case<'a> {
    name: &'a str,
    #[serde(borrow)]
    setup: Vec<Request<'a>>,
    request: Request<'a>,
    response: Response<'a>,
}

#[derive(Deserialize)]
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    #[serde(borrow)]
    body: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    status: u16,
    #[serde(borrow)]
    json: &'a RawValue,
}

impl Request<'_> {
    fn is_write(&self) -> bool {
        matches!(self.method, "POST" | "PUT") && self.path.starts_with("/keys/")
    }

    fn is_read(&self) -> bool {
        self.method == "GET" && self.path.starts_with("/keys/")
    }

    fn parse(&self) -> Result<Put<'_>, BodyError<'_>> {
        parse(self.body.as_deref().unwrap_or_default().as_bytes())
    }
}

/// JSON by content: members in any order, numbers exact and however they are written.
#[derive(Debug, PartialEq)]
enum Json {
    Word(String),
    Number { negative: bool, digits: String, exponent: i64 },
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    fn read(text: &str) -> Json {
        match text.trim_start().as_bytes()[0] {
            b'{' => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap();
                Json::Object(
                    members.into_iter().map(|(name, raw)| (name, Json::read(raw.get()))).collect(),
                )
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).unwrap();
                Json::Array(items.into_iter().map(|raw| Json::read(raw.get())).collect())
            }
            b'"' => Json::Text(serde_json::from_str(text).unwrap()),
            b'-' | b'0'..=b'9' => Json::number(text.trim()),
            _ => Json::Word(text.trim().to_owned()),
        }
    }

    fn number(text: &str) -> Json {
        let unsigned = text.trim_start_matches('-');
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let shift = i64::try_from(all.len() - digits.len()).unwrap()
            - i64::try_from(fraction.len()).unwrap();
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Json::Number { negative: false, digits, exponent: 0 };
        }
        let exponent = exponent.parse::<i64>().unwrap() + shift;
        Json::Number { negative: text.starts_with('-'), digits, exponent }
    }

    fn member(&self, name: &str) -> &Json {
        match self {
            Json::Object(members) => &members[name],
            Json::Word(_) | Json::Number { .. } | Json::Text(_) | Json::Array(_) => {
                panic!("no object: {self:?}")
            }
        }
    }

    fn text(&self) -> &str {
        match self {
            Json::Text(text) => text,
            Json::Word(_) | Json::Number { .. } | Json::Array(_) | Json::Object(_) => {
                panic!("no string: {self:?}")
            }
        }
    }
}

/// Holds `parse` to a recorded answer; false if that does not come from a body.
#[track_caller]
fn check_recorded(case: &Case) -> bool {
    let Case { name, setup, request, response } = case;
    let answer = Json::read(response.json.get());
    match response.status {
        422 => {
            let error = request.parse().expect_err(name);
            assert_eq!(answer, Json::read(&error.detail()), "{name}: {:?}", request.body);
        }
        400 if request.is_write() => {
            let key = request.parse().expect(name).key;
            let error = answer.member("detail").member("error").text();
            assert!(error.ends_with(&format!(" key in body '{key}'")), "{name}: {error} for {key}");
        }
        200 | 201 if request.is_write() => {
            request.parse().expect(name);
        }
        200 if request.is_read() => {
            let key = answer.member("key").text();
            let stored = setup.iter().rev().filter_map(|request| request.parse().ok());
            let put = stored.into_iter().find(|put| put.key == key).expect(name);
            assert_eq!(*answer.member("value"), Json::read(put.value), "{name}: {}", put.value);
        }
        _ => return false,
    }
    true
}

#[test]
fn recorded_answers_are_kept() {
    for (file, compared_min) in [(GOLDEN, 30), (RECORDED, 450)] {
        let cases: Vec<Case> = serde_json::from_str(file).unwrap();
        let compared = cases.iter().filter(|case| check_recorded(case)).count();
        assert!(compared >= compared_min, "only {compared} answers come from a body");
    }
}

#[track_caller]
fn check(body: impl AsRef<[u8]>, key: &str, value: &str) {
    let put = parse(body.as_ref()).unwrap();
    assert_eq!((&*put.key, put.value), (key, value));
}

#[test]
fn values_keep_their_text() {
    check(r#"{"key":"k","value":1}"#, "k", "1");
    check("{\"key\":\"k\",\"value\": \t[ 1 ,\n2 ]\r\n }", "k", "[ 1 ,\n2 ]");
    check(r#"{"key":"k","value":-0}"#, "k", "-0");
    check(r#"{"key":"k","value":1e400}"#, "k", "1e400");
    check(r#"{"key":"k","value":1.500E+02}"#, "k", "1.500E+02");
    check(r#"{"key":"k","value":"\u0041\/"}"#, "k", r#""\u0041\/""#);
    check(r#"{"key":"k","value":{"b":1,"a":2,"b":3}}"#, "k", r#"{"b":1,"a":2,"b":3}"#);
    check(r#"{"key":"k","value":"\ud800"}"#, "k", r#""\ud800""#);
    check(r#"{"key":"k","value":{"\udc00":1}}"#, "k", r#"{"\udc00":1}"#);
    let digits = "7".repeat(5000);
    check(format!(r#"{{"key":"k","value":{digits}}}"#), "k", &digits);
}

#[test]
fn members_are_found_however_they_are_written() {
    check(r#"{"key":1,"key":"k","value":1,"value":2}"#, "k", "2");
    check(r#"{"value":1,"\u006be\u0079":"k"}"#, "k", "1");
    check(r#"{"\ud800":0,"key":"k","k\ud800ey":1,"value":2}"#, "k", "2");
    check(r#"{"key":"","value":1}"#, "", "1");
    check(r#"{"key":"\"","value":1}"#, "\"", "1");
    check(r#"{"key":"\ud83d\ude00\n\u0000","value":1}"#, "😀\n\0", "1");
    check("\u{feff}{\"key\":\"\u{feff}\",\"value\":1}", "\u{feff}", "1");
}

#[test]
fn a_plain_key_is_not_copied() {
    let put = parse(br#"{"key":"plain","value":1}"#).unwrap();
    assert!(matches!(put.key, Cow::Borrowed("plain")));
}

#[track_caller]
fn check_refused(body: impl AsRef<[u8]>, detail: &str) {
    let error = parse(body.as_ref()).unwrap_err();
    assert_eq!(error.detail(), format!(r#"{{"detail":{detail}}}"#));
}

#[track_caller]
fn check_syntax(body: impl AsRef<[u8]>, message: &'static str, offset: usize) {
    let error = BodyError::Syntax(SyntaxError { message, offset });
    assert_eq!(parse(body.as_ref()), Err(error));
}

#[test]
fn text_that_is_not_utf8_is_a_bad_request() {
    let detail = r#""There was an error parsing the body""#;
    check_refused(b"\xff", detail);
    check_refused(b"{\"key\":\"\xc3\",\"value\":1}", detail);
    check_refused(b"{\"key\":\"k\",\"value\":\"\xed\xa0\x80\"}", detail);
    check_refused(b"\xff\xfe{\0}\0", detail);
}

/// The original answers 500 to each of these, or stores what is not JSON.
#[test]
fn deliberate_differences() {
    check_syntax(r#"{"key":"k","value":NaN}"#, "Expecting value", 19);
    check_syntax(r#"{"key":"k","value":[1,-Infinity]}"#, "Expecting value", 22);
    check_syntax("Infinity", "Expecting value", 0);
    check_refused(
        r#"{"key":"a\ud800","value":1}"#,
        r#"[{"type":"string_unicode","loc":["body","key"],"msg":"Input should be a valid string, unable to parse raw data as a unicode string","input":"a\ud800"}]"#,
    );
    check_refused(
        r#"{"key":1e400,"value":1}"#,
        r#"[{"type":"string_type","loc":["body","key"],"msg":"Input should be a valid string","input":1e400}]"#,
    );
    check_refused(
        r#"["\udc00"]"#,
        r#"[{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":["\udc00"]}]"#,
    );
}

/// On a stack of 128 KiB, where a frame for each level would not fit.
#[test]
fn depth_costs_no_stack() {
    const LEVELS: usize = 400_000;
    let depths = || {
        let deep = "[".repeat(LEVELS) + &"]".repeat(LEVELS);
        check(format!(r#"{{"key":"k","value":{deep}}}"#), "k", &deep);
        check_syntax("[".repeat(LEVELS), "Expecting value", LEVELS);
        check_syntax("[{\"\":".repeat(LEVELS), "Expecting value", 5 * LEVELS);
        assert_eq!(parse(deep.as_bytes()), Err(BodyError::NotObject { input: &deep }));
    };
    thread::Builder::new().stack_size(128 * 1024).spawn(depths).unwrap().join().unwrap();
}

#[track_caller]
fn check_batch(ops: &str, expected: Op<'_>) {
    let body = format!(r#"{{"x":[{{}}],"ops":[{ops}]}}"#);
    assert_eq!(batch::parse(body.as_bytes()), Ok(vec![expected]), "{ops}");
}

#[track_caller]
fn check_batch_refused(body: &str, error: &BatchError<'_>) {
    match batch::parse(body.as_bytes()) {
        Err(BodyError::Batch(refused)) => assert_eq!(refused, *error, "{body}"),
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn operations_are_read() {
    let op = |action, condition| Op { key: Key::new("k").unwrap(), action, condition };
    let put = |value: &'static str, ttl| Action::Put(value.into(), ttl);
    let always = Condition::default;
    let at = |version| Condition {
        if_match: Some(Versions::OneOf(vec![Version(version)])),
        if_none_match: None,
    };
    let absent = Condition { if_match: None, if_none_match: Some(Versions::Any) };
    check_batch(r#"{"op":"get","key":"k"}"#, op(Action::Get, always()));
    check_batch(r#"{"\u006fp":"g\u0065t","key":"\u006b"}"#, op(Action::Get, always()));
    check_batch(r#"{"op":"delete","key":"k","if_version":7}"#, op(Action::Delete, at(7)));
    check_batch(r#"{"op":"incr","key":"k"}"#, op(Action::Increment(1), always()));
    check_batch(r#"{"op":"incr","key":"k","by":-5}"#, op(Action::Increment(-5), always()));
    check_batch(r#"{"op":"put","key":"k","value": [ 1.0 ]}"#, op(put("[ 1.0 ]", None), always()));
    let ttl = |millis| Some(Duration::from_millis(millis));
    check_batch(r#"{"op":"put","key":"k","value":1,"ttl":2}"#, op(put("1", ttl(2000)), always()));
    let op_with = r#"{"op":"put","key":"k","value":null,"ttl":"5ms","if_version":null}"#;
    check_batch(op_with, op(put("null", ttl(5)), absent));
}

#[test]
fn a_body_that_is_no_batch_is_told_apart() {
    let not_object = |index| BatchError::Op { index, fault: OpFault::NotObject };
    check_batch_refused("[]", &BatchError::NoOps);
    check_batch_refused(r#"{"ops":{"op":"get","key":"k"}}"#, &BatchError::NoOps);
    check_batch_refused(r#"{"ops":[]}"#, &BatchError::Count(0));
    check_batch_refused(r#"{"ops":[[]]}"#, &not_object(0));
    check_batch_refused(r#"{"ops":[{"op":"get","key":"k"},1e999]}"#, &not_object(1));
    // The last of duplicates counts, also when another one has the wrong type.
    check_batch_refused(r#"{"ops":1,"ops":[]}"#, &BatchError::Count(0));
    check_batch_refused(r#"{"ops":[],"ops":1}"#, &BatchError::NoOps);
    let many = vec![r#"{"op":"get","key":"k"}"#; 1001].join(",");
    check_batch_refused(&format!(r#"{{"ops":[{many}]}}"#), &BatchError::Count(1001));
    let syntax = SyntaxError { message: "Expecting value", offset: 8 };
    assert_eq!(batch::parse(br#"{"ops":[}"#), Err(BodyError::Syntax(syntax)));
    assert_eq!(batch::parse(b""), Err(BodyError::Empty));
}

const TOKENS: &[&str] = &[
    "", "\"", "\\", "{", "}", "[", "]", ":", ",", "-", "0", "1", ".", "e", "+", "null", "nul",
    "\\u", "\\ud800", "\\x", " ", "\n", "\u{b}", "\0", "é", "😀", "NaN",
];

fn any_json() -> impl Strategy<Value = String> {
    const STRINGS: &[&str] = &["\"\"", "\"é😀\"", r#""\u00e9\ud800\n""#, r#""key""#, r#""value""#];
    const OTHERS: &[&str] = &["null", "true", "false", "0", "-1", "10.50", "1e400", "-0E-1"];
    let leaf = prop_oneof![select(STRINGS), select(OTHERS)].prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let member =
            (select(STRINGS), inner.clone()).prop_map(|(name, value)| format!("{name} :{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec(member, 0..4)
                .prop_map(|items| format!("{{{}}}", items.join("\n,"))),
        ]
    })
}

proptest! {
    #[test]
    fn the_scanner_accepts_json(text in any_json()) {
        prop_assert_eq!(python_json::check(&text), Ok(()));
    }

    #[test]
    fn the_scanner_accepts_what_serde_accepts(
        text in any_json(),
        edits in prop::collection::vec((any::<Index>(), any::<bool>(), select(TOKENS)), 1..4),
    ) {
        let mut characters: Vec<String> = text.chars().map(String::from).collect();
        for (at, removes, token) in edits {
            let at = at.index(characters.len());
            let character = if removes { String::new() } else { characters[at].clone() };
            characters[at] = format!("{token}{character}");
        }
        let text = characters.concat();
        let accepted = serde_json::from_str::<&RawValue>(&text).is_ok();
        match python_json::check(&text) {
            Ok(()) => prop_assert!(accepted, "{}", text),
            Err(error) => {
                prop_assert!(!accepted, "{}: {:?}", text, error);
                prop_assert!(error.offset <= text.chars().count(), "{}: {:?}", text, error);
            }
        }
    }
}
