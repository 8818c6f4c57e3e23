//! One call to one node of the cluster, and a verdict on what came of it.
//!
//! Invariant: a call puts at most one request on the wire. Whether it is sent again, and to whom, is
//! for [`cluster`](super::cluster) to say.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use common::client::{self, Lookups};
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{Response, StatusCode};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Timeout};

use super::wire::ErrorAnswer;

/// How long a node may take to accept a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a call may take in all; an election takes one to two seconds.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of an answer; a page of a list is asked for in parts that stay far below.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Connections that are kept for the next call, a little more than there are threads.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// etcd itself keeps them open for ever.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long the address of a node is taken for what it was; one that moves is away for longer.
const LOOKUP_MAX: Duration = Duration::from_secs(1);

const USER_AGENT: &str = concat!("kv/", env!("CARGO_PKG_VERSION"));

/// Why a call has no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallError {
    /// The node was not reached, or is not of this store: nothing has been done.
    Unreached(Arc<str>),
    /// The node has answered with an older state than one that was seen before.
    Elsewhere(Arc<str>),
    /// The node, or the cluster behind it, did not answer well in time. What was asked for may have
    /// been done.
    Lost(Arc<str>),
    /// The cluster has too much to do, and has done nothing.
    Busy(Arc<str>),
    /// The token is no longer good, and nothing has been done.
    TokenExpired,
    /// The cluster has refused, and done nothing.
    Refused(Refusal),
    /// The answer is larger than what is read of one. Only of reads.
    AnswerTooLarge,
}

/// Why the cluster refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The quota of its disk is used up.
    NoSpace,
    /// There is no such lease.
    NoLease,
    /// The state at that revision has been compacted away.
    Compacted,
    /// The request is larger than etcd takes.
    TooLarge,
    /// The transaction has more operations than etcd takes.
    TooManyOps,
    /// The user may not, or there is none where one is needed.
    Denied(Arc<str>),
    /// Anything else.
    Other(Arc<str>),
}

impl CallError {
    /// In words, with the node for a subject.
    pub(super) fn reason(&self) -> Arc<str> {
        match self {
            CallError::Unreached(reason)
            | CallError::Elsewhere(reason)
            | CallError::Lost(reason)
            | CallError::Busy(reason) => Arc::clone(reason),
            CallError::TokenExpired => "refuses the user's token".into(),
            CallError::Refused(refusal) => format!("refuses: {refusal}").into(),
            CallError::AnswerTooLarge => "answers too much".into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoSpace => f.write_str("its quota is used up"),
            Refusal::NoLease => f.write_str("it has ended a lease"),
            Refusal::Compacted => f.write_str("it has compacted that revision"),
            Refusal::TooLarge => f.write_str("the request is too large"),
            Refusal::TooManyOps => f.write_str("the transaction has too many operations"),
            Refusal::Denied(text) | Refusal::Other(text) => f.write_str(text),
        }
    }
}

/// The agent for all calls, which keeps connections.
pub(super) fn agent() -> Agent {
    let config = client::config(USER_AGENT)
        .input_buffer_size(64 << 10)
        .output_buffer_size(64 << 10)
        .max_idle_connections(IDLE_CONNECTIONS_MAX * 4)
        .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
        .max_idle_age(IDLE_MAX)
        .timeout_global(Some(CALL_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .build();
    Agent::with_parts(config, DefaultConnector::default(), Lookups::kept_for(LOOKUP_MAX))
}

/// Sends the body to the path and gives what came back: the whole answer, in one text.
pub(super) fn call(
    agent: &Agent,
    node: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
    timeout: Duration,
) -> Result<Vec<u8>, CallError> {
    let mut request = agent.post(format!("http://{node}{path}"));
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request.header(CONTENT_TYPE, "application/json");
    let request = request.config().timeout_global(Some(timeout)).build();
    let (status, bytes) = request.send(body).map_err(failed).and_then(read)?;
    if status == StatusCode::OK { Ok(bytes) } else { Err(refused(status, &bytes)) }
}

/// Opens a watch; its lines are read for as long as there comes one within `silence`.
pub(super) fn stream(
    agent: &Agent,
    node: &str,
    token: Option<&str>,
    body: &str,
    silence: Duration,
) -> Result<impl Read + use<>, CallError> {
    let mut request = agent.post(format!("http://{node}/v3/watch"));
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request.header(CONTENT_TYPE, "application/json");
    let request = request.config().timeout_global(None).timeout_per_read(Some(silence));
    let response = request.build().send(body).map_err(failed)?;
    if response.status() == StatusCode::OK {
        // What is read is bounded line by line.
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    } else {
        let (status, bytes) = read(response)?;
        Err(refused(status, &bytes))
    }
}

/// Whether the node answers to the first bytes of TLS, as one does that answers nothing else.
pub(super) fn speaks_tls(node: &str) -> bool {
    // A record of a handshake that ends before it has begun: RFC 8446, section 5.1.
    const HELLO: [u8; 9] = [22, 3, 1, 0, 4, 1, 0, 0, 0];
    const ALERT: u8 = 21;
    let answer = || -> io::Result<u8> {
        let mut stream = TcpStream::connect(node)?;
        stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        stream.write_all(&HELLO)?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first[0])
    };
    answer().is_ok_and(|first| first == ALERT)
}

fn read(mut response: Response<Body>) -> Result<(StatusCode, Vec<u8>), CallError> {
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    match body.read_to_vec() {
        Ok(bytes) => Ok((response.status(), bytes)),
        Err(ureq::Error::BodyExceedsLimit(_)) => Err(CallError::AnswerTooLarge),
        Err(error) => Err(CallError::Lost(words(&error))),
    }
}

/// A connection that was refused has taken no request, nor has one that was never there.
fn failed(error: ureq::Error) -> CallError {
    let reason = words(&error);
    match error {
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => CallError::Unreached(reason),
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            CallError::Unreached(reason)
        }
        _ => CallError::Lost(reason),
    }
}

fn words(error: &ureq::Error) -> Arc<str> {
    match error {
        ureq::Error::Timeout(Timeout::Connect) => "does not accept a connection in time".into(),
        ureq::Error::Timeout(_) => "does not answer in time".into(),
        ureq::Error::Io(error) => common::text::io_error(error).as_str().into(),
        other => other.to_string().into(),
    }
}

/// What an answer that is not 200 says: the codes are gRPC's.
fn refused(status: StatusCode, bytes: &[u8]) -> CallError {
    let Ok(ErrorAnswer { message, code }) = serde_json::from_slice(bytes) else {
        return CallError::Lost(format!("answers {status}").into());
    };
    let text: Arc<str> = Arc::from(&*message);
    match code {
        UNAUTHENTICATED => CallError::TokenExpired,
        INVALID if message.contains("request is too large") => {
            CallError::Refused(Refusal::TooLarge)
        }
        INVALID if message.contains("too many operations") => {
            CallError::Refused(Refusal::TooManyOps)
        }
        INVALID if message.contains("revision of auth store is old") => CallError::TokenExpired,
        INVALID if message.contains("user name is empty") || message.contains("authentication") => {
            CallError::Refused(Refusal::Denied(text))
        }
        EXHAUSTED if message.contains("database space exceeded") => {
            CallError::Refused(Refusal::NoSpace)
        }
        EXHAUSTED if message.contains("too many requests") => CallError::Busy(text),
        NOT_FOUND if message.contains("lease") => CallError::Refused(Refusal::NoLease),
        OUT_OF_RANGE if message.contains("compacted") => CallError::Refused(Refusal::Compacted),
        FORBIDDEN => CallError::Refused(Refusal::Denied(text)),
        INVALID | NOT_FOUND | OUT_OF_RANGE | FAILED_PRECONDITION | UNIMPLEMENTED => {
            CallError::Refused(Refusal::Other(text))
        }
        // Time-outs, a leader that has changed, a node that stops, and what is not known.
        _ => CallError::Lost(text),
    }
}

/// The status codes of gRPC.
const INVALID: u32 = 3;
const NOT_FOUND: u32 = 5;
const FORBIDDEN: u32 = 7;
const EXHAUSTED: u32 = 8;
const FAILED_PRECONDITION: u32 = 9;
const OUT_OF_RANGE: u32 = 11;
const UNIMPLEMENTED: u32 = 12;
const UNAUTHENTICATED: u32 = 16;
