//! One call as data: what is sent, and how to send the same with `curl`.

use std::borrow::Cow;
use std::fmt::Write;

use http::Method;
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::client::ESCAPED;

/// The longest body that a `curl` line shows whole.
const CURL_BODY_BYTES_MAX: usize = 1_024;

/// A request to the service, without its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query, encoded.
    pub target: String,
    /// Header fields that matter.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Option<String>,
}

impl Call {
    /// A call with this method to an encoded path.
    pub fn new(method: Method, target: impl Into<String>) -> Call {
        Call { method, target: target.into(), fields: Vec::new(), body: None }
    }

    /// `GET /keys/{key}`.
    pub fn get(key: &str) -> Call {
        Call::new(Method::GET, path("/keys/", key))
    }

    /// `HEAD /keys/{key}`.
    pub fn head(key: &str) -> Call {
        Call::new(Method::HEAD, path("/keys/", key))
    }

    /// `DELETE /keys/{key}`.
    pub fn delete(key: &str) -> Call {
        Call::new(Method::DELETE, path("/keys/", key))
    }

    /// `PUT /keys/{key}` of a value, which is JSON text.
    pub fn put(key: &str, value: &str) -> Call {
        Call::new(Method::PUT, path("/keys/", key)).body(entry(key, value))
    }

    /// `POST /keys/{key}` of a value, which is JSON text.
    pub fn post(key: &str, value: &str) -> Call {
        Call::new(Method::POST, path("/keys/", key)).body(entry(key, value))
    }

    /// `POST /incr/{key}`.
    pub fn incr(key: &str, by: i64) -> Call {
        Call::new(Method::POST, path("/incr/", key)).query("by", &by.to_string())
    }

    /// `POST /batch` of operations that are JSON.
    pub fn batch(ops: &[Value]) -> Call {
        let body = serde_json::json!({ "ops": ops }).to_string();
        Call::new(Method::POST, "/batch").body(body)
    }

    /// `GET /keys`: the keys with this prefix.
    pub fn list(prefix: &str) -> Call {
        Call::new(Method::GET, "/keys").query("prefix", prefix)
    }

    /// `DELETE /keys`: the keys with this prefix.
    pub fn delete_prefix(prefix: &str) -> Call {
        Call::new(Method::DELETE, "/keys").query("prefix", prefix)
    }

    /// The same with one more parameter of the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Call {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target += name;
        self.target.push('=');
        self.target.extend(utf8_percent_encode(value, ESCAPED));
        self
    }

    /// The same with one more header field.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Call {
        self.fields.push((name, value.into()));
        self
    }

    /// The same with this body, sent as JSON.
    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Call {
        self.body = Some(body.into());
        self.field("Content-Type", "application/json")
    }

    /// The key that a complete answer has to name; none if it names no key.
    pub fn key_in_answer(&self) -> Option<String> {
        if self.method != Method::GET {
            return None;
        }
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let is_raw = query.split('&').any(|pair| pair == "raw" || pair.starts_with("raw="));
        let encoded = path.strip_prefix("/keys/").filter(|_| !is_raw)?;
        percent_decode_str(encoded).decode_utf8().ok().map(Cow::into_owned)
    }

    /// The command line that sends it. A token is not shown: it is read from `$KV_TOKEN`.
    pub fn curl(&self, base_url: &str, has_token: bool) -> String {
        // With -X HEAD curl would wait for a body.
        let mut line = match self.method {
            Method::HEAD => "curl -I".to_owned(),
            _ => format!("curl -i -X {}", self.method),
        };
        if has_token {
            line += " -H \"Authorization: Bearer $KV_TOKEN\"";
        }
        // Writing to a string cannot fail.
        for (name, value) in &self.fields {
            let _ = write!(line, " -H {}", shell_quoted(&format!("{name}: {value}")));
        }
        match &self.body {
            Some(body) if body.len() > CURL_BODY_BYTES_MAX => {
                let _ = write!(line, " -d '…{} bytes…'", body.len());
            }
            Some(body) => {
                let _ = write!(line, " --data-raw {}", shell_quoted(body));
            }
            None => {}
        }
        let _ = write!(line, " {}", shell_quoted(&format!("{base_url}{}", self.target)));
        line
    }
}

/// A key as it stands in a path: one segment.
pub fn path(before: &str, key: &str) -> String {
    let mut path = before.to_owned();
    path.extend(utf8_percent_encode(key, ESCAPED));
    path
}

/// The body of a write; the value is JSON text.
pub fn entry(key: &str, value: &str) -> String {
    format!("{{\"key\":{},\"value\":{value}}}", Value::from(key))
}

/// One word for a POSIX shell, fit for a terminal.
fn shell_quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/%=,".contains(&byte);
    if text.bytes().all(is_plain) && !text.is_empty() {
        return text.to_owned();
    }
    format!("'{}'", common::text::escaped(text).to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(call: &Call, curl: &str) {
        assert_eq!(call.curl("http://h:1", false), curl);
    }

    #[test]
    fn a_call_is_a_curl_line() {
        check(&Call::get("a b/é"), "curl -i -X GET http://h:1/keys/a%20b%2F%C3%A9");
        check(
            &Call::put("it's", "[1]").query("ttl", "1s").field("If-Match", "\"1\""),
            concat!(
                r#"curl -i -X PUT -H 'Content-Type: application/json' -H 'If-Match: "1"' "#,
                r#"--data-raw '{"key":"it'\''s","value":[1]}' 'http://h:1/keys/it%27s?ttl=1s'"#,
            ),
        );
        check(
            &Call::list("p/").query("limit", "2"),
            "curl -i -X GET 'http://h:1/keys?prefix=p%2F&limit=2'",
        );
        check(&Call::incr("n", -2), "curl -i -X POST 'http://h:1/incr/n?by=-2'");
        check(&Call::head("n"), "curl -I http://h:1/keys/n");
    }

    #[test]
    fn the_answer_to_a_get_names_its_key() {
        let named = |call: &Call| call.key_in_answer();
        assert_eq!(named(&Call::get("a/b é%2F")).as_deref(), Some("a/b é%2F"));
        assert_eq!(named(&Call::get("k").query("wait", "1s")).as_deref(), Some("k"));
        assert_eq!(named(&Call::get("k").query("wait", "1s").query("raw", "")), None);
        assert_eq!(named(&Call::head("k")), None);
        assert_eq!(named(&Call::list("k")), None);
        assert_eq!(named(&Call::delete("k")), None);
    }

    #[test]
    fn no_curl_line_holds_a_token_or_forges_a_line() {
        let line = Call::get("k").field("A", "b\n\u{1b}[2J").curl("http://h", true);
        let fields = r#"-H "Authorization: Bearer $KV_TOKEN" -H 'A: b\n\u{1b}[2J'"#;
        assert_eq!(line, format!("curl -i -X GET {fields} http://h/keys/k"));
        let line = Call::put("k", &"1".repeat(9_999)).curl("http://h", false);
        assert!(line.contains("-d '…10019 bytes…'"), "{line}");
    }
}
