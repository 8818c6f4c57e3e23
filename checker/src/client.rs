//! One HTTP call to the kv service, with a verdict on what came of it.
//!
//! Invariant: a call puts at most one request on the wire. Each call has a connection of its own,
//! for a client that finds its pooled connection dead sends again, and an unseen second write
//! breaks what is being measured. Redirects and proxies are off for the same reason.

use std::fmt;
use std::time::Duration;

use common::client;
use common::config::secret::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;
use ureq::config::Config;
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder};

/// How long a call may take, from the look-up of the name to the last byte of the answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest body of an answer: twice what kv takes as the body of a request.
pub(crate) const ANSWER_BODY_BYTES_MAX: u64 = 2 * 1024 * 1024;
const ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Holds a whole head, of an answer as of a request.
const BUFFER_BYTES: usize = 2 * ANSWER_HEAD_BYTES_MAX;

/// How long a kept connection may be unused. Short, for a service that closes it in the moment it
/// is used again leaves a call whose outcome is unknown.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(2);

const USER_AGENT: &str = concat!("checker/", env!("CARGO_PKG_VERSION"));

/// Everything but the unreserved characters: RFC 3986, section 2.3.
pub(crate) const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client of one kv service.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base_url: String,
    token: Option<Secret>,
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code, whatever it says.
    pub status: u16,
    /// The body as text; bytes that are not UTF-8 show as U+FFFD.
    pub body: String,
}

/// Why there is no answer. The request may have been carried out all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The time for the call was over.
    TimedOut,
    /// Anything else that is no HTTP answer, in words.
    Failed(String),
}

impl Client {
    /// A client of the service at `base_url`; a call ends after `request_timeout`, answered or
    /// not. Nothing is sent yet: an unusable URL shows in the first call.
    pub fn new(base_url: &str, request_timeout: Duration) -> Self {
        Client {
            agent: agent(request_timeout, Connections::Fresh),
            base_url: base_url.trim_end_matches('/').to_owned(),
            token: None,
        }
    }

    /// The same client, showing this token with each call (RFC 6750, section 2.1).
    #[must_use]
    pub fn with_token(self, token: Option<Secret>) -> Self {
        Client { token, ..self }
    }

    /// `GET /keys/{key}`.
    pub fn get(&self, key: &str) -> Result<Answer, CallError> {
        read(self.once(self.agent.get(self.url(key))).call())
    }

    /// `DELETE /keys/{key}`.
    pub fn delete(&self, key: &str) -> Result<Answer, CallError> {
        read(self.once(self.agent.delete(self.url(key))).call())
    }

    /// `POST /keys/{key}` with the value.
    pub fn post(&self, key: &str, value: &Value) -> Result<Answer, CallError> {
        let request = self.once(self.agent.post(self.url(key))).content_type("application/json");
        read(request.send(Entry { key, value }.to_json()?))
    }

    /// `PUT /keys/{key}` with the value.
    pub fn put(&self, key: &str, value: &Value) -> Result<Answer, CallError> {
        let request = self.once(self.agent.put(self.url(key))).content_type("application/json");
        read(request.send(Entry { key, value }.to_json()?))
    }

    /// Says who asks, and that the connection will not be used again: RFC 9112, section 9.6.
    fn once<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        let request = request.header("Connection", "close");
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.expose())),
            None => request,
        }
    }

    fn url(&self, key: &str) -> String {
        format!("{}/keys/{}", self.base_url, utf8_percent_encode(key, ESCAPED))
    }
}

/// The body of a write.
#[derive(Serialize)]
struct Entry<'a> {
    key: &'a str,
    value: &'a Value,
}

impl Entry<'_> {
    fn to_json(&self) -> Result<Vec<u8>, CallError> {
        serde_json::to_vec(self).map_err(|error| CallError::Failed(error.to_string()))
    }
}

/// Whether an agent keeps its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// Each call has a connection of its own.
    Fresh,
    /// One connection is kept from call to call. The library looks whether it is still open before
    /// it sends, and never sends a request again when it turns out that it was not: such a call
    /// fails, and nobody knows whether it was carried out.
    Kept,
}

/// Every setting is given, so that no default of the library decides what a measurement means.
fn agent(request_timeout: Duration, connections: Connections) -> Agent {
    config(request_timeout, connections).into()
}

/// The same for an agent of other parts.
pub(crate) fn config(request_timeout: Duration, connections: Connections) -> Config {
    let (kept, idle_age) = match connections {
        Connections::Fresh => (0, Duration::ZERO),
        Connections::Kept => (1, CONNECTION_IDLE_MAX),
    };
    client::config(USER_AGENT)
        .accept("application/json")
        .max_response_header_size(ANSWER_HEAD_BYTES_MAX)
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .max_idle_connections(kept)
        .max_idle_connections_per_host(kept)
        .max_idle_age(idle_age)
        // One deadline for the whole call; a phase has none of its own.
        .timeout_global(Some(request_timeout))
        .build()
}

fn read(response: Result<Response<Body>, ureq::Error>) -> Result<Answer, CallError> {
    let mut response = response?;
    let body = response.body_mut().with_config().limit(ANSWER_BODY_BYTES_MAX).read_to_vec()?;
    Ok(Answer {
        status: response.status().as_u16(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

impl From<ureq::Error> for CallError {
    fn from(error: ureq::Error) -> Self {
        if let ureq::Error::Timeout(_) = error {
            CallError::TimedOut
        } else {
            CallError::Failed(error.to_string())
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::TimedOut => f.write_str("timed out"),
            CallError::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;
    use crate::fake::{Fake, Fault, Nobody};

    enum Want {
        Answer(u16, &'static str),
        TimedOut,
        /// The call fails with a text that holds this one.
        Failed(&'static str),
    }

    const SHORT: Duration = Duration::from_millis(500);
    /// Far more than a call takes that is not meant to time out.
    const LONG: Duration = Duration::from_secs(20);

    #[track_caller]
    fn check(fault: Fault, want: &Want) {
        let fake = Fake::with_fault(0, fault);
        let timeout = if let Want::TimedOut = want { SHORT } else { LONG };
        let client = Client::new(&fake.url(), timeout);
        let started = Instant::now();
        let outcome = client.post("k", &json!(1));
        let elapsed = started.elapsed();
        match (want, outcome) {
            (Want::Answer(status, body), Ok(answer)) => {
                assert_eq!(answer, Answer { status: *status, body: (*body).to_owned() });
            }
            (Want::TimedOut, Err(CallError::TimedOut)) if elapsed >= SHORT && elapsed < LONG => {}
            (Want::Failed(part), Err(CallError::Failed(text))) if text.contains(part) => {}
            (_, outcome) => panic!("{fault:?} gave {outcome:?} after {elapsed:?}"),
        }
        assert_eq!(fake.seen(), ["POST /keys/k"], "{fault:?}: sent once");
    }

    #[test]
    fn every_status_is_an_answer_and_is_not_followed() {
        check(Fault::Answers(200, "ok"), &Want::Answer(200, "ok"));
        check(Fault::Answers(204, ""), &Want::Answer(204, ""));
        check(Fault::Answers(301, "moved"), &Want::Answer(301, "moved"));
        check(Fault::Answers(302, ""), &Want::Answer(302, ""));
        check(Fault::Answers(307, "again"), &Want::Answer(307, "again"));
        check(Fault::Answers(404, "gone"), &Want::Answer(404, "gone"));
        check(Fault::Answers(500, "broken"), &Want::Answer(500, "broken"));
        check(Fault::Answers(503, ""), &Want::Answer(503, ""));
        check(Fault::Answers(999, "odd"), &Want::Answer(999, "odd"));
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        check(Fault::Writes(chunked), &Want::Answer(200, "ab"));
        check(
            Fault::Writes(b"HTTP/1.1 200 OK\r\n\r\nto the end"),
            &Want::Answer(200, "to the end"),
        );
        check(Fault::Writes(b"HTTP/1.1 200 OK\r\n\r\n\xff"), &Want::Answer(200, "\u{fffd}"));
        let continued = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nab";
        check(Fault::Writes(continued), &Want::Answer(200, "ab"));
    }

    #[test]
    fn a_connection_that_breaks_is_a_failure_and_nothing_is_sent_again() {
        check(Fault::Writes(b""), &Want::Failed("io: "));
        check(Fault::Writes(b"HTTP/1.1 200 OK\r\nContent-"), &Want::Failed("io: "));
        let short = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
        check(Fault::Writes(short), &Want::Failed("io: "));
        let half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc";
        check(Fault::Writes(half), &Want::Failed("io: "));
    }

    #[test]
    fn what_is_not_http_is_a_failure() {
        check(Fault::Writes(b"SSH-2.0-OpenSSH_9.9\r\n"), &Want::Failed(""));
        check(Fault::Writes(b"HTTP/1.1 2x0 OK\r\n\r\n"), &Want::Failed(""));
        check(Fault::Writes(b"HTTP/9.9 200 OK\r\n\r\n"), &Want::Failed(""));
        check(Fault::Writes(b"\0\0\0\0\0\0\0\0"), &Want::Failed(""));
        let length = b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n";
        check(Fault::Writes(length), &Want::Failed(""));
        let chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab";
        check(Fault::Writes(chunk), &Want::Failed(""));
        let huge = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nab";
        check(Fault::Writes(huge), &Want::Failed(""));
    }

    #[test]
    fn an_answer_without_end_is_a_failure() {
        check(Fault::Floods(b"HTTP/1.1 200 OK\r\n\r\n", b"a"), &Want::Failed("larger"));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(Fault::Floods(chunked, b"400\r\n"), &Want::Failed(""));
        check(Fault::Floods(chunked, b"a"), &Want::Failed(""));
        check(Fault::Floods(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), &Want::Failed("header"));
        check(Fault::Floods(b"HTTP/1.1 200 OK\r\nA: ", b"b"), &Want::Failed("header"));
        check(Fault::Floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), &Want::Failed("header"));
        check(Fault::Floods(b"", b"a"), &Want::Failed(""));
    }

    #[test]
    fn the_time_for_a_call_is_a_total() {
        check(Fault::IsSilent, &Want::TimedOut);
        check(
            Fault::Drips(b"HTTP/1.1 200 OK\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            &Want::TimedOut,
        );
        check(
            Fault::Drips(b"HTTP/1.1 200 OK\r\n\r\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            &Want::TimedOut,
        );
    }

    #[test]
    fn a_service_that_cannot_be_reached_is_a_failure() {
        let nobody = Nobody::new();
        for (url, want) in [
            (nobody.url(), "refused"),
            ("kv-service:8000".to_owned(), "http: "),
            ("/nowhere".to_owned(), "bad uri"),
            ("ftp://127.0.0.1".to_owned(), "bad uri"),
            ("http://".to_owned(), "http: "),
            (String::new(), "bad uri"),
            ("http://white space/".to_owned(), "http: "),
        ] {
            match Client::new(&url, LONG).get("k") {
                Err(CallError::Failed(text)) if text.contains(want) => {}
                outcome => panic!("{url:?} gave {outcome:?}"),
            }
        }
    }

    #[test]
    fn a_key_is_one_segment_of_the_path() {
        let fake = Fake::healthy();
        let client = Client::new(&format!("{}/", fake.url()), LONG);
        for (key, path) in [
            ("plain-._~09", "/keys/plain-._~09"),
            ("a/b", "/keys/a%2Fb"),
            ("a b+c", "/keys/a%20b%2Bc"),
            ("100%", "/keys/100%25"),
            ("q?x=1&y#z", "/keys/q%3Fx%3D1%26y%23z"),
            ("é🦀", "/keys/%C3%A9%F0%9F%A6%80"),
            ("\r\n\0", "/keys/%0D%0A%00"),
        ] {
            assert_eq!(client.put(key, &json!(null)).map(|answer| answer.status), Ok(200));
            assert_eq!(client.get(key).map(|answer| answer.status), Ok(200));
            assert_eq!(fake.keys(), [path], "{key:?}");
            assert_eq!(client.delete(key).map(|answer| answer.status), Ok(200));
            assert_eq!(client.delete(key).map(|answer| answer.status), Ok(404));
        }
    }

    #[test]
    fn a_request_says_who_asks_and_that_it_is_the_only_one() {
        let fake = Fake::healthy();
        let client = Client::new(&fake.url(), LONG);
        client.post("k", &json!(1)).unwrap();
        client.put("k", &json!(1)).unwrap();
        client.get("k").unwrap();
        client.delete("k").unwrap();
        for head in fake.heads() {
            let head = head.to_ascii_lowercase();
            let writes = head.starts_with('p');
            assert!(head.contains("\r\nuser-agent: checker/0.1.0\r\n"), "{head}");
            assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
            assert!(!head.contains("\r\nauthorization:"), "{head}");
            assert_eq!(head.contains("\r\ncontent-type: application/json\r\n"), writes, "{head}");
        }
        assert_eq!(fake.seen(), ["POST /keys/k", "PUT /keys/k", "GET /keys/k", "DELETE /keys/k"]);
    }

    #[test]
    fn a_token_goes_with_every_call() {
        let fake = Fake::healthy();
        let client = Client::new(&fake.url(), LONG).with_token(Secret::new("s3cret"));
        client.post("k", &json!(1)).unwrap();
        client.put("k", &json!(1)).unwrap();
        client.get("k").unwrap();
        client.delete("k").unwrap();
        assert_eq!(fake.heads().len(), 4);
        for head in fake.heads() {
            let lines = head
                .lines()
                .filter(|line| line.eq_ignore_ascii_case("authorization: bearer s3cret"));
            assert_eq!(lines.count(), 1, "{head}");
        }
        assert!(!format!("{client:?}").contains("s3cret"));
    }
}
