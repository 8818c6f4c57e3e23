//! Every limit of the engine by name, and what a client is told when it meets one.

use std::time::Duration;

use http::StatusCode;

use super::Response;

/// Every limit of the engine. `Default` gives the documented defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections at once. Lowered at the start to what the descriptor limit allows.
    pub connections_max: usize,
    /// Bytes of a request's head: request line and header fields (431 past it).
    pub head_bytes_max: usize,
    /// Bytes of a request target (414 past it).
    pub target_bytes_max: usize,
    /// Bytes of a request's body without its transfer coding (413 past it).
    pub body_bytes_max: usize,
    /// Bytes of unfinished requests and of answers that wait for their clients, in all connections
    /// together. Past it a request is refused (503), and an answer that cannot leave is dropped
    /// with its connection.
    pub buffered_bytes_max: usize,
    /// Requests of one connection that are answered in a row before the others get their turn.
    pub pipelined_max: usize,
    /// Bytes waiting for a client before its next request is begun.
    pub output_bytes_max: usize,
    /// From the first byte of a head to its end, whole (408 past it).
    pub head_timeout: Duration,
    /// From the end of a head to the end of its body, whole (408 past it).
    pub body_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// How long an answer may wait for its client to take the next byte.
    pub write_timeout: Duration,
    /// How long a graceful stop waits for the requests that are running.
    pub stop_timeout: Duration,
    /// Threads that read, call the service and write.
    pub workers: usize,
}

/// Header fields in one request (431 past it).
pub(super) const HEADERS_MAX: usize = 100;
/// Bytes of one chunk-size line, its extensions included.
pub(super) const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of all chunk extensions of a body together (RFC 9112, section 7.1.1).
pub(super) const CHUNK_EXTENSION_BYTES_MAX: usize = 16 << 10;
/// Bytes that are read and thrown away after a refusal, so that the answer arrives.
pub(super) const LINGER_BYTES_MAX: usize = 16 << 20;
/// How long that may take, whole.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 10_000,
            head_bytes_max: 16 << 10,
            target_bytes_max: 8 << 10,
            body_bytes_max: 1 << 20,
            buffered_bytes_max: 64 << 20,
            pipelined_max: 128,
            output_bytes_max: 256 << 10,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
            workers: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

/// Why the engine answers a request itself and closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are no request, or one that could be read two ways (400).
    Malformed(&'static str),
    /// The head took longer than its deadline (408).
    HeadTimeout,
    /// The body took longer than its deadline (408).
    BodyTimeout,
    /// The body is longer than the limit, in bytes (413).
    BodyTooLarge(usize),
    /// The request target is longer than the limit, in bytes (414).
    TargetTooLong(usize),
    /// An `Expect` other than `100-continue` (417).
    UnknownExpectation,
    /// More bytes of head than the limit (431).
    HeadTooLarge(usize),
    /// More header fields than the limit (431).
    TooManyHeaders(usize),
    /// A handler panicked or dropped its reply (500).
    Failed,
    /// A transfer coding other than `chunked` (501).
    UnknownTransferCoding,
    /// No room for another connection (503).
    TooManyConnections,
    /// No room for more unfinished requests (503).
    TooMuchBuffered,
    /// A version other than 1.0 and 1.1 (505).
    UnknownVersion,
}

impl Refusal {
    /// Names of all of them for the metrics, at the places that [`Refusal::reason`] gives.
    pub(crate) const REASONS: [&'static str; 13] = [
        "malformed",
        "head_timeout",
        "body_timeout",
        "body_too_large",
        "target_too_long",
        "unknown_expectation",
        "head_too_large",
        "too_many_headers",
        "failed",
        "unknown_transfer_coding",
        "too_many_connections",
        "too_much_buffered",
        "unknown_version",
    ];

    /// The place of its name.
    pub(crate) fn reason(self) -> usize {
        match self {
            Refusal::Malformed(_) => 0,
            Refusal::HeadTimeout => 1,
            Refusal::BodyTimeout => 2,
            Refusal::BodyTooLarge(_) => 3,
            Refusal::TargetTooLong(_) => 4,
            Refusal::UnknownExpectation => 5,
            Refusal::HeadTooLarge(_) => 6,
            Refusal::TooManyHeaders(_) => 7,
            Refusal::Failed => 8,
            Refusal::UnknownTransferCoding => 9,
            Refusal::TooManyConnections => 10,
            Refusal::TooMuchBuffered => 11,
            Refusal::UnknownVersion => 12,
        }
    }

    /// The status that says it.
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            Refusal::HeadTimeout | Refusal::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Refusal::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::TargetTooLong(_) => StatusCode::URI_TOO_LONG,
            Refusal::UnknownExpectation => StatusCode::EXPECTATION_FAILED,
            Refusal::HeadTooLarge(_) | Refusal::TooManyHeaders(_) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Refusal::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Refusal::UnknownTransferCoding => StatusCode::NOT_IMPLEMENTED,
            Refusal::TooManyConnections | Refusal::TooMuchBuffered => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::UnknownVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// The answer, in the shape that all errors of both programs have.
    pub fn response(self) -> Response {
        let error = match self {
            Refusal::Malformed(why) => why.to_owned(),
            Refusal::HeadTimeout => "The request head took too long".to_owned(),
            Refusal::BodyTimeout => "The request body took too long".to_owned(),
            Refusal::BodyTooLarge(max) => format!("The body is larger than {max} bytes"),
            Refusal::TargetTooLong(max) => format!("The request target is longer than {max} bytes"),
            Refusal::UnknownExpectation => "Only Expect: 100-continue is understood".to_owned(),
            Refusal::HeadTooLarge(max) => format!("The request head is larger than {max} bytes"),
            Refusal::TooManyHeaders(max) => format!("More than {max} header fields"),
            Refusal::Failed => "Internal Server Error".to_owned(),
            Refusal::UnknownTransferCoding => {
                "Only Transfer-Encoding: chunked is understood".to_owned()
            }
            Refusal::TooManyConnections => "Too many connections".to_owned(),
            Refusal::TooMuchBuffered => "Too many unfinished requests".to_owned(),
            Refusal::UnknownVersion => "Only HTTP/1.0 and HTTP/1.1 are spoken here".to_owned(),
        };
        let body = format!(r#"{{"detail":{{"success":false,"error":"{error}"}}}}"#);
        Response::json(self.status(), body)
    }
}
