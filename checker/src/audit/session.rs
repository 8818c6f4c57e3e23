//! One client's connection: a call goes out once, and what comes of it is certain or unknown.
//!
//! Invariant: a call puts at most one request on the wire (see `Connections::Kept`). When in
//! doubt the outcome is unknown, never "it did not happen".

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::client::Lookups;
use common::config::secret::Secret;
use http::{HeaderMap, Method, Request};
use ureq::Agent;

use super::call::Call;
use super::cancel::Cancel;
use super::wire::Wires;
use crate::client::{ANSWER_BODY_BYTES_MAX, Connections, config};

/// How long a call of a workflow may take, whole.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The service that is checked, and what it asks for.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its URL, without a slash at the end.
    pub url: String,
    /// Its token.
    pub token: Option<Secret>,
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body; bytes that are not UTF-8 show as U+FFFD.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The call certainly had no effect: nobody took the connection.
    Refused(String),
    /// It may have been carried out, or may yet be.
    Unknown(String),
}

/// What an answer, or none, says about the effect of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The answer tells what happened.
    Told,
    /// It certainly did not happen.
    None,
    /// It may have happened.
    Unknown,
}

/// One connection to the service, kept from call to call.
pub struct Session {
    agent: Agent,
    registered: Option<(Arc<Cancel>, u64)>,
    target: Arc<Target>,
}

impl Session {
    /// A session whose calls end when the run is cancelled.
    pub fn new(target: Arc<Target>, cancel: &Arc<Cancel>) -> Session {
        let agent = agent(CALL_TIMEOUT);
        let number = cancel.register(&agent);
        Session { agent, registered: Some((Arc::clone(cancel), number)), target }
    }

    /// A session that goes on after a cancel, to clean up; its calls have less time.
    pub fn to_clean_up(target: Arc<Target>, timeout: Duration) -> Session {
        Session { agent: agent(timeout), registered: None, target }
    }

    /// Sends once, and waits for the whole answer.
    pub fn send(&self, call: &Call) -> Result<Answer, Lost> {
        let response = match &call.body {
            Some(body) => self.agent.run(self.request(call, body.as_bytes())?),
            None if matches!(call.method, Method::GET | Method::HEAD | Method::DELETE) => {
                self.agent.run(self.request(call, ())?)
            }
            None => self.agent.run(self.request(call, &[][..])?),
        };
        let (parts, mut body) = response?.into_parts();
        let body = body.with_config().limit(ANSWER_BODY_BYTES_MAX).read_to_vec()?;
        let body = String::from_utf8(body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    fn request<B>(&self, call: &Call, body: B) -> Result<Request<B>, Lost> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri([&self.target.url, call.target.as_str()].concat());
        for (name, value) in &call.fields {
            request = request.header(*name, value);
        }
        if let Some(token) = &self.target.token {
            request = request.header("Authorization", format!("Bearer {}", token.expose()));
        }
        // Nothing has been sent.
        request.body(body).map_err(|error| Lost::Refused(error.to_string()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some((cancel, number)) = self.registered.take() {
            cancel.forget(number);
        }
    }
}

impl Answer {
    /// A header field as text.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The version in a strong `ETag`.
    pub fn version(&self) -> Option<u64> {
        self.field("etag")?.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
    }

    /// Whether the answer tells what happened.
    pub fn effect(&self) -> Effect {
        match self.status {
            400 | 401 | 413 | 415 | 422 | 431 => Effect::None,
            200..=499 => Effect::Told,
            _ => Effect::Unknown,
        }
    }
}

impl Lost {
    /// Whether the call may have had its effect.
    pub fn effect(&self) -> Effect {
        match self {
            Lost::Refused(_) => Effect::None,
            Lost::Unknown(_) => Effect::Unknown,
        }
    }

    /// What went wrong, in words.
    pub fn text(&self) -> &str {
        match self {
            Lost::Refused(text) | Lost::Unknown(text) => text,
        }
    }
}

impl From<ureq::Error> for Lost {
    fn from(error: ureq::Error) -> Lost {
        match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Lost::Refused("connection refused".to_owned())
            }
            error @ ureq::Error::HostNotFound => Lost::Refused(error.to_string()),
            ureq::Error::Timeout(_) => Lost::Unknown("no answer in time".to_owned()),
            error => Lost::Unknown(error.to_string()),
        }
    }
}

/// A session has one service, and looks its name up once.
fn agent(timeout: Duration) -> Agent {
    let lookups = Lookups::kept_for(Duration::MAX);
    Agent::with_parts(config(timeout, Connections::Kept), Wires, lookups)
}

/// Nanoseconds since the beginning of a run, on the clock that all its threads share.
pub fn ns_since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
