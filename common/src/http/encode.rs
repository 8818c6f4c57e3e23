//! A response, to bytes (RFC 9112, section 4).

use std::cell::RefCell;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use super::decode::Terms;
use super::output::Output;
use super::parse::Version;
use super::{Body, FieldValue, Refusal, Response};

/// Sent when a client waits for it before it sends a body (RFC 9110, section 10.1.1).
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What most answers begin with, in one piece.
const JSON_FOUND: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json";
const JSON: &str = "application/json";
/// A date has 29 characters (RFC 9110, section 5.6.7).
const DATE_BYTES: usize = "\r\nDate: ".len() + 29 + "\r\n\r\n".len();

/// How a head says where the body ends (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// After so many bytes.
    Length(usize),
    /// There is none.
    Bodiless,
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// How the pieces of a streamed body are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As chunks (RFC 9112, section 7.1).
    Chunked,
    /// As they are: the connection's end is the body's, for HTTP/1.0 knows no chunks.
    UntilClose,
    /// Not at all: there is no body.
    Omitted,
}

/// Appends the response to `output`; gives back the buffer of its body, if it had one.
pub(super) fn response(
    output: &mut Output,
    response: Response,
    terms: Terms,
    now: Instant,
) -> Option<Vec<u8>> {
    let status = response.status;
    // RFC 9110, section 8.6: neither 204 nor 304 says a length here, for neither has a body.
    let bodiless = is_bodiless(status);
    let framing = if bodiless { Framing::Bodiless } else { Framing::Length(response.body.len()) };
    head(output.buffer(), &response, terms, framing, now);
    if bodiless || terms.head_only {
        return response.body.into_buffer();
    }
    match response.body {
        Body::Empty => None,
        Body::Static(bytes) => {
            output.buffer().extend_from_slice(bytes);
            None
        }
        Body::Bytes(bytes) => {
            output.buffer().extend_from_slice(&bytes);
            Some(bytes)
        }
        Body::Joined { before, shared, after } => {
            output.buffer().extend_from_slice(&before);
            output.share(shared);
            output.buffer().extend_from_slice(after);
            Some(before)
        }
    }
}

/// Appends the head of a response whose body comes in pieces; says how they are sent.
pub(super) fn stream_head(
    output: &mut Output,
    response: &Response,
    terms: Terms,
    now: Instant,
) -> Coding {
    let bodiless = is_bodiless(response.status);
    let (framing, coding) = match terms.version {
        _ if bodiless => (Framing::Bodiless, Coding::Omitted),
        Version::Http11 => (Framing::Chunked, Coding::Chunked),
        Version::Http10 => (Framing::UntilClose, Coding::UntilClose),
    };
    head(output.buffer(), response, terms, framing, now);
    if terms.head_only { Coding::Omitted } else { coding }
}

/// Appends a piece of a streamed body.
pub(super) fn piece(out: &mut Vec<u8>, coding: Coding, bytes: &[u8]) {
    match coding {
        // An empty chunk would be the last one.
        Coding::Chunked if !bytes.is_empty() => {
            // Cannot fail: the vector grows.
            let _ = write!(out, "{:x}\r\n", bytes.len());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Coding::UntilClose => out.extend_from_slice(bytes),
        Coding::Chunked | Coding::Omitted => {}
    }
}

/// Appends what tells the end of a streamed body.
pub(super) fn end(out: &mut Vec<u8>, coding: Coding) {
    match coding {
        Coding::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
        Coding::UntilClose | Coding::Omitted => {}
    }
}

fn is_bodiless(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

fn head(out: &mut Vec<u8>, response: &Response, terms: Terms, framing: Framing, now: Instant) {
    let status = response.status;
    if status == StatusCode::OK && response.content_type == Some(JSON) {
        out.extend_from_slice(JSON_FOUND);
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        if let Some(content_type) = response.content_type {
            field(out, "Content-Type", content_type);
        }
    }
    match framing {
        Framing::Length(length) => {
            out.extend_from_slice(b"\r\nContent-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        }
        Framing::Chunked => field(out, "Transfer-Encoding", "chunked"),
        Framing::Bodiless | Framing::UntilClose => {}
    }
    if let Some(tag) = response.entity_tag {
        out.extend_from_slice(b"\r\nETag: \"");
        out.extend_from_slice(itoa::Buffer::new().format(tag).as_bytes());
        out.push(b'"');
    }
    for (name, value) in &response.headers {
        match value {
            FieldValue::Static(text) => field(out, name, text),
            FieldValue::Text(text) => field(out, name, text),
            FieldValue::Number(number) => field(out, name, itoa::Buffer::new().format(*number)),
        }
    }
    match (terms.version, terms.keep_alive) {
        (_, false) => field(out, "Connection", "close"),
        (Version::Http10, true) => field(out, "Connection", "keep-alive"),
        (Version::Http11, true) => {}
    }
    date_and_end(out, now);
}

/// Appends the engine's own answer, after which the connection closes. The request's terms are
/// not known.
pub(super) fn refusal(output: &mut Output, refusal: Refusal, head_only: bool) {
    let terms = Terms { head_only, version: Version::Http11, keep_alive: false };
    response(output, refusal.response(), terms, Instant::now());
}

/// One field, with the line end before it, so that the last one needs none behind it.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    // A line end in a value would start a field of the client's choice.
    debug_assert!(!value.bytes().any(|byte| byte.is_ascii_control()), "{name}: {value:?}");
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        out.extend(value.bytes().filter(|byte| !byte.is_ascii_control()));
    } else {
        out.extend_from_slice(value.as_bytes());
    }
}

/// The `Date` field and the end of the head; formatted once a second on each thread. `now` spares
/// a look at the clock.
fn date_and_end(out: &mut Vec<u8>, now: Instant) {
    thread_local! {
        static CACHED: RefCell<(Option<Instant>, [u8; DATE_BYTES])> =
            const { RefCell::new((None, [b' '; DATE_BYTES])) };
    }
    CACHED.with_borrow_mut(|(good_until, block)| {
        if good_until.is_none_or(|until| now >= until) {
            let time = SystemTime::now();
            let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            let rest = Duration::from_nanos(u64::from(1_000_000_000 - since_epoch.subsec_nanos()));
            let text = format!("\r\nDate: {}\r\n\r\n", httpdate::fmt_http_date(time));
            for (to, from) in block.iter_mut().zip(text.bytes()) {
                *to = from;
            }
            *good_until = Some(now + rest);
        }
        out.extend_from_slice(block);
    });
}
