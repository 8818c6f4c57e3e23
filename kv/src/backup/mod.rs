//! `kv export` and `kv import`: everything that a running kv keeps, to a file and back.
//!
//! Both need the same small memory whatever the size. Each call has a connection of its own, for a
//! client that finds its kept connection dead sends again.

mod export;
mod import;

use std::fmt::{self, Display, Formatter};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use common::client;
use common::config::secret::Secret;
use common::text::io_error;
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder};

pub use export::export;
pub use import::import;

/// What is moved, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The running kv, without a slash at the end.
    pub url: String,
    /// The token that it asks for.
    pub token: Option<Secret>,
    /// The file; the standard input or output if there is none.
    pub file: Option<PathBuf>,
    /// Bytes of the longest line that is sent: what that kv takes as a body, `MAX_BODY`.
    pub line_bytes_max: usize,
}

/// Why a transfer has come to nothing, or not to its end.
#[derive(Debug)]
pub enum TransferError {
    /// The file, or what stands for it, cannot be read or written.
    File(String, io::Error),
    /// The service cannot be talked to.
    Call(String, ureq::Error),
    /// It answered something else than what was asked for.
    Refused {
        /// What was asked.
        url: String,
        /// The status of the answer.
        status: u16,
        /// What it says.
        error: String,
    },
    /// The export does not say where it ends, so nobody can know whether it is whole.
    Endless(String),
    /// The export broke off.
    BrokeOff {
        /// What was asked.
        url: String,
        /// Whole lines that had come.
        keys: u64,
        /// How that showed.
        error: String,
    },
    /// The import stopped at these lines of the file.
    Lines {
        /// The file.
        file: String,
        /// The first line, from 1, and the last.
        lines: (u64, u64),
        /// Why.
        reason: Box<str>,
        /// What had been done before.
        sum: Sum,
    },
}

/// What an import has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Keys in the file.
    pub read: u64,
    /// Those that the service did not have like that, or later.
    pub taken: u64,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For the head of an answer: the service takes a snapshot, or makes a step durable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// For the next bytes, in either direction.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Of an answer that is no export.
const ANSWER_BODY_BYTES_MAX: u64 = 64 << 10;
const BUFFER_BYTES: usize = 64 << 10;

const USER_AGENT: &str = concat!("kv/", env!("CARGO_PKG_VERSION"));

/// A connection for each call. Nothing limits the whole, for an export may take hours.
fn agent() -> Agent {
    client::config(USER_AGENT)
        .accept("*/*")
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .timeout_per_read(Some(STALL_TIMEOUT))
        .timeout_per_write(Some(STALL_TIMEOUT))
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_send_request(Some(STALL_TIMEOUT))
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .build()
        .into()
}

impl Transfer {
    fn authorized<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        let request = request.header("Connection", "close");
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.expose())),
            None => request,
        }
    }

    /// The file's name, or what stands for it.
    fn file_name(&self, standard: &str) -> String {
        self.file.as_ref().map_or_else(|| standard.to_owned(), |file| file.display().to_string())
    }
}

/// The text of a short answer.
fn text(response: &mut Response<Body>) -> Result<String, ureq::Error> {
    let body = response.body_mut().with_config().limit(ANSWER_BODY_BYTES_MAX).read_to_vec()?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// What a refusal says, as kv words it; all of it when it is not kv's.
fn error_in(text: &str) -> String {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    let error = answer["detail"]["error"].as_str().unwrap_or(text);
    common::text::escaped(error).to_string()
}

/// A line for whoever watches; nobody is left to hear of a standard error that cannot be written.
fn say(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

impl Display for TransferError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::File(file, error) => write!(f, "{file}: {}", io_error(error)),
            TransferError::Call(url, error) => write!(f, "{url}: {error}"),
            TransferError::Refused { url, status, error } => {
                write!(f, "{url} answered {status}: {error}")
            }
            TransferError::Endless(url) => write!(
                f,
                "{url} does not say where its answer ends, so it may not be whole: \
                 is there a proxy in between that speaks HTTP/1.0?"
            ),
            TransferError::BrokeOff { url, keys, error } => {
                write!(f, "{url} broke off after {keys} keys, this is no backup: {error}")
            }
            TransferError::Lines { file, lines: (first, last), reason, sum } => {
                if first == last {
                    write!(f, "{file}, line {first}: {reason}")?;
                } else {
                    write!(f, "{file}, lines {first} to {last}: {reason}")?;
                }
                write!(f, " (before that, {sum}; it can be run again)")
            }
        }
    }
}

impl Display for Sum {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys read, {} taken", self.read, self.taken)
    }
}

impl std::error::Error for TransferError {}
