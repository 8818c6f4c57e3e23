//! The dialect of etcd's JSON gateway: transactions out, answers in. Pure.
//!
//! The gateway is the protocol buffers' JSON mapping: bytes in base64, 64-bit integers in strings,
//! fields with their zero value left out.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A transaction on its way out: what has to hold, and what is done then and otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct Txn {
    compare: String,
    success: String,
    failure: String,
}

/// What a range asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<'a> {
    pub(super) key: &'a [u8],
    /// The first key behind the range; none for the one key.
    pub(super) end: Option<&'a [u8]>,
    /// Keys at most; 0 for all.
    pub(super) limit: usize,
    /// The revision whose state is asked for; 0 for the present one.
    pub(super) revision: u64,
    pub(super) only: Only,
}

/// What a range answers of each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Only {
    All,
    Keys,
    Count,
}

impl<'a> Range<'a> {
    /// One key, as it is now.
    pub(super) fn one(key: &'a [u8]) -> Self {
        Range { key, end: None, limit: 0, revision: 0, only: Only::All }
    }

    fn push(&self, out: &mut String) {
        out.push_str(r#"{"key":""#);
        STANDARD.encode_string(self.key, out);
        out.push('"');
        if let Some(end) = self.end {
            out.push_str(r#","range_end":""#);
            STANDARD.encode_string(end, out);
            out.push('"');
        }
        if self.limit > 0 {
            push_number(out, r#","limit":"#, self.limit as u64);
        }
        if self.revision > 0 {
            push_number(out, r#","revision":"#, self.revision);
        }
        out.push_str(match self.only {
            Only::All => "}",
            Only::Keys => r#","keys_only":true}"#,
            Only::Count => r#","count_only":true}"#,
        });
    }
}

impl Txn {
    /// Only if the key was last written at this revision; 0 if it is not there.
    pub(super) fn compare_revision(&mut self, key: &[u8], revision: u64) {
        separate(&mut self.compare);
        self.compare.push_str(r#"{"target":"MOD","result":"EQUAL","key":""#);
        STANDARD.encode_string(key, &mut self.compare);
        push_number(&mut self.compare, r#"","mod_revision":"#, revision);
        self.compare.push('}');
    }

    /// Then read.
    pub(super) fn range(&mut self, range: &Range<'_>) {
        push_range(&mut self.success, range);
    }

    /// Otherwise read.
    pub(super) fn otherwise(&mut self, range: &Range<'_>) {
        push_range(&mut self.failure, range);
    }

    /// Then write; the lease, if it is not 0, has the key removed when it ends.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8], lease: u64) {
        separate(&mut self.success);
        self.success.push_str(r#"{"request_put":{"key":""#);
        STANDARD.encode_string(key, &mut self.success);
        self.success.push_str(r#"","value":""#);
        STANDARD.encode_string(value, &mut self.success);
        self.success.push('"');
        if lease > 0 {
            push_number(&mut self.success, r#","lease":"#, lease);
        }
        self.success.push_str("}}");
    }

    /// Then remove the key, or all up to the end.
    pub(super) fn delete(&mut self, key: &[u8], end: Option<&[u8]>) {
        separate(&mut self.success);
        self.success.push_str(r#"{"request_delete_range":{"key":""#);
        STANDARD.encode_string(key, &mut self.success);
        self.success.push('"');
        if let Some(end) = end {
            self.success.push_str(r#","range_end":""#);
            STANDARD.encode_string(end, &mut self.success);
            self.success.push('"');
        }
        self.success.push_str("}}");
    }

    /// The body of the request.
    pub(super) fn body(&self) -> String {
        let Txn { compare, success, failure } = self;
        format!(r#"{{"compare":[{compare}],"success":[{success}],"failure":[{failure}]}}"#)
    }
}

fn push_range(out: &mut String, range: &Range<'_>) {
    separate(out);
    out.push_str(r#"{"request_range":"#);
    range.push(out);
    out.push('}');
}

fn separate(out: &mut String) {
    if !out.is_empty() {
        out.push(',');
    }
}

fn push_number(out: &mut String, before: &str, number: u64) {
    out.push_str(before);
    out.push('"');
    out.push_str(itoa::Buffer::new().format(number));
    out.push('"');
}

/// Bytes in base64, as JSON text.
pub(super) fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", STANDARD.encode(bytes))
}

/// The first key behind all that begin with `prefix`, which is UTF-8: so no byte of it is the
/// largest, and adding to the last one is enough.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

/// What came of a transaction.
#[derive(serde::Deserialize)]
pub(super) struct TxnAnswer<'a> {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) succeeded: bool,
    #[serde(default, borrow)]
    pub(super) responses: Vec<OpAnswer<'a>>,
}

/// What every answer begins with.
#[derive(serde::Deserialize, Default)]
pub(super) struct Header {
    #[serde(default)]
    pub(super) revision: Int,
}

/// What came of one operation of a transaction.
#[derive(serde::Deserialize)]
pub(super) struct OpAnswer<'a> {
    #[serde(default, borrow, rename = "response_range")]
    pub(super) range: Option<RangeAnswer<'a>>,
    #[serde(default, rename = "response_delete_range")]
    pub(super) delete: Option<DeleteAnswer>,
}

/// What a range found.
#[derive(serde::Deserialize, Default)]
pub(super) struct RangeAnswer<'a> {
    #[serde(default, borrow)]
    pub(super) kvs: Vec<KeyValue<'a>>,
    #[serde(default)]
    pub(super) more: bool,
    #[serde(default)]
    pub(super) count: Int,
}

/// What a removal removed.
#[derive(serde::Deserialize)]
pub(super) struct DeleteAnswer {
    #[serde(default)]
    pub(super) deleted: Int,
}

/// A key as etcd keeps it.
#[derive(serde::Deserialize)]
pub(super) struct KeyValue<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default, borrow)]
    value: Cow<'a, str>,
    #[serde(default)]
    pub(super) create_revision: Int,
    #[serde(default)]
    pub(super) mod_revision: Int,
    #[serde(default)]
    pub(super) lease: Int,
}

impl KeyValue<'_> {
    /// Key and value; none if they are not in base64.
    pub(super) fn decode(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((self.key()?, STANDARD.decode(self.value.as_bytes()).ok()?))
    }

    pub(super) fn key(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.key.as_bytes()).ok()
    }
}

/// What came of asking for a lease.
#[derive(serde::Deserialize)]
pub(super) struct LeaseAnswer {
    #[serde(rename = "ID")]
    pub(super) id: Int,
}

/// What came of a login.
#[derive(serde::Deserialize)]
pub(super) struct AuthAnswer {
    pub(super) token: String,
}

/// How much a node keeps.
#[derive(serde::Deserialize)]
pub(super) struct StatusAnswer {
    #[serde(default, rename = "dbSizeInUse")]
    pub(super) bytes_in_use: Int,
}

/// A refusal, or a failure.
#[derive(serde::Deserialize)]
pub(super) struct ErrorAnswer<'a> {
    #[serde(default, borrow)]
    pub(super) message: Cow<'a, str>,
    #[serde(default)]
    pub(super) code: u32,
}

/// A line of a watch.
#[derive(serde::Deserialize)]
pub(super) struct WatchLine<'a> {
    #[serde(default, borrow)]
    pub(super) result: Option<WatchResult<'a>>,
}

/// What has happened since the last line.
#[derive(serde::Deserialize)]
pub(super) struct WatchResult<'a> {
    #[serde(default)]
    pub(super) canceled: bool,
    /// The line goes on in the next one.
    #[serde(default)]
    pub(super) fragment: bool,
    #[serde(default, borrow)]
    pub(super) events: Vec<WatchEvent<'a>>,
}

/// A key that was written or removed.
#[derive(serde::Deserialize)]
pub(super) struct WatchEvent<'a> {
    #[serde(borrow)]
    pub(super) kv: KeyValue<'a>,
}

/// A 64-bit integer: a string, as protocol buffers write it, or a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Int(pub(super) u64);

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntVisitor)
    }
}

struct IntVisitor;

impl Visitor<'_> for IntVisitor {
    type Value = Int;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer of 64 bits, in a string or not")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Int, E> {
        text.parse().map(Int).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Int, E> {
        Ok(Int(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_json() {
        let mut txn = Txn::default();
        assert_eq!(txn.body(), r#"{"compare":[],"success":[],"failure":[]}"#);
        txn.compare_revision(b"a", 0);
        txn.compare_revision(b"b", 7);
        txn.range(&Range { limit: 3, only: Only::Keys, ..Range::one(b"a") });
        txn.put(b"b", b"1", 0);
        txn.put(b"c", b"2", 5);
        txn.delete(b"a", Some(b"b"));
        txn.otherwise(&Range { end: Some(b"b"), revision: 9, ..Range::one(b"a") });
        let expected = concat!(
            r#"{"compare":[{"target":"MOD","result":"EQUAL","key":"YQ==","mod_revision":"0"},"#,
            r#"{"target":"MOD","result":"EQUAL","key":"Yg==","mod_revision":"7"}],"#,
            r#""success":[{"request_range":{"key":"YQ==","limit":"3","keys_only":true}},"#,
            r#"{"request_put":{"key":"Yg==","value":"MQ=="}},"#,
            r#"{"request_put":{"key":"Yw==","value":"Mg==","lease":"5"}},"#,
            r#"{"request_delete_range":{"key":"YQ==","range_end":"Yg=="}}],"#,
            r#""failure":[{"request_range":{"key":"YQ==","range_end":"Yg==","revision":"9"}}]}"#,
        );
        assert_eq!(txn.body(), expected);
    }

    #[test]
    fn an_answer_is_read() {
        let text = r#"{"header":{"cluster_id":"1","revision":"3"},"succeeded":true,"responses":[
            {"response_range":{"header":{"revision":"2"},"kvs":[{"key":"YQ==",
              "create_revision":"2","mod_revision":"2","version":"1","value":"MQ==","lease":"4"}],
              "more":true,"count":"1"}},
            {"response_put":{"header":{"revision":3}}},
            {"response_delete_range":{"deleted":"5"}}]}"#;
        let answer: TxnAnswer<'_> = serde_json::from_str(text).unwrap();
        assert!(answer.succeeded);
        assert_eq!(answer.header.revision, Int(3));
        let range = answer.responses[0].range.as_ref().unwrap();
        let kv = &range.kvs[0];
        assert_eq!(kv.decode(), Some((b"a".to_vec(), b"1".to_vec())));
        assert_eq!((kv.mod_revision, kv.lease, range.more), (Int(2), Int(4), true));
        assert_eq!(answer.responses[2].delete.as_ref().unwrap().deleted, Int(5));
        // What is zero is left out.
        let answer: TxnAnswer<'_> = serde_json::from_str(r#"{"header":{}}"#).unwrap();
        assert!(!answer.succeeded && answer.responses.is_empty());
    }

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(end_of(b"kv/"), b"kv0");
        assert_eq!(end_of("\u{e9}".as_bytes()), [0xc3, 0xaa]);
    }
}
