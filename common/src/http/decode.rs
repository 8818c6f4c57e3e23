//! A connection's bytes, in whatever pieces they come, to requests. Pure: no I/O, no clock.
//!
//! The caller keeps the bytes of the unfinished request and gives them again with more behind
//! them; the decoder remembers how far it has looked, so that no byte is looked at twice but
//! once more when a body has arrived after its head.

use std::mem::MaybeUninit;

use super::chunked::Chunked;
use super::limits::Refusal;
use super::parse::{self, Framing, Head, Version};
use super::{Limits, Request};

/// How far the current request has come.
#[derive(Debug)]
pub(super) struct Decoder {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Looking for the empty line. Bytes before `scanned` hold whole lines only.
    Head { start: usize, scanned: usize },
    /// The head ends at `head_end`, the body at `end`.
    Length { start: usize, head_end: usize, end: usize },
    /// The head ends at `head_end`; chunks have been taken up to `taken`.
    Chunked { start: usize, head_end: usize, taken: usize, chunks: Chunked },
}

/// What a stretch of input came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Advance<T> {
    /// More bytes are needed. With `send_continue` the client waits for a 100 first.
    Incomplete { send_continue: bool },
    /// A request was handed over; it used so many bytes, and `value` is what came back.
    Complete { consumed: usize, value: T },
    /// The connection cannot go on.
    Refused(Refusal),
}

/// How to answer: what the head said about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// The body is left out of the answer.
    pub(super) head_only: bool,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
}

/// What an unfinished request waits for; each has a deadline of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    Head,
    Body,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder { stage: Stage::Head { start: 0, scanned: 0 } }
    }
}

impl Decoder {
    /// What the unfinished request waits for.
    pub(super) fn awaits(&self) -> Awaits {
        match self.stage {
            Stage::Head { .. } => Awaits::Head,
            Stage::Length { .. } | Stage::Chunked { .. } => Awaits::Body,
        }
    }

    /// Bytes of the unfinished request that the decoder itself holds.
    pub(super) fn buffered(&self) -> usize {
        match &self.stage {
            Stage::Head { .. } | Stage::Length { .. } => 0,
            Stage::Chunked { chunks, .. } => chunks.buffered(),
        }
    }

    /// Drops the bytes of `inbox` that the next `advance` need not see again, so that a body in
    /// many small chunks takes no more room than its content.
    pub(super) fn compact(&mut self, inbox: &mut Vec<u8>) {
        if let Stage::Chunked { head_end, taken, .. } = &mut self.stage {
            inbox.drain(*head_end..*taken);
            *taken = *head_end;
        }
    }

    /// Looks on in `input`, which starts with the current request, and hands the request to
    /// `on_request` once it is whole.
    pub(super) fn advance<T>(
        &mut self,
        input: &[u8],
        limits: &Limits,
        on_request: impl FnOnce(&Request<'_>, Terms) -> T,
    ) -> Advance<T> {
        match self.step(input, limits, on_request) {
            Ok(advance) => advance,
            Err(refusal) => Advance::Refused(refusal),
        }
    }

    fn step<T>(
        &mut self,
        input: &[u8],
        limits: &Limits,
        on_request: impl FnOnce(&Request<'_>, Terms) -> T,
    ) -> Result<Advance<T>, Refusal> {
        match &mut self.stage {
            Stage::Head { start, scanned } => {
                let Some(head_end) = find_head_end(input, start, scanned, limits)? else {
                    return Ok(Advance::Incomplete { send_continue: false });
                };
                let start = *start;
                self.on_head(input, start, head_end, limits, on_request)
            }
            Stage::Length { end, .. } if input.len() < *end => {
                Ok(Advance::Incomplete { send_continue: false })
            }
            Stage::Length { start, head_end, end } => {
                let (start, head_end, end) = (*start, *head_end, *end);
                self.stage = Stage::Head { start: 0, scanned: 0 };
                let mut fields = [const { MaybeUninit::uninit() }; _];
                let head = parse::head(&input[start..head_end], &mut fields, limits)?;
                let value = deliver(head, &input[head_end..end], on_request);
                Ok(Advance::Complete { consumed: end, value })
            }
            Stage::Chunked { start, head_end, taken, chunks } => {
                *taken += chunks.push(&input[*taken..], limits)?;
                let Some(body) = chunks.finished() else {
                    return Ok(Advance::Incomplete { send_continue: false });
                };
                let (start, head_end, end) = (*start, *head_end, *taken);
                self.stage = Stage::Head { start: 0, scanned: 0 };
                let mut fields = [const { MaybeUninit::uninit() }; _];
                let head = parse::head(&input[start..head_end], &mut fields, limits)?;
                let value = deliver(head, &body, on_request);
                Ok(Advance::Complete { consumed: end, value })
            }
        }
    }

    /// The head is whole: the body may be there already, which is the common case.
    fn on_head<T>(
        &mut self,
        input: &[u8],
        start: usize,
        head_end: usize,
        limits: &Limits,
        on_request: impl FnOnce(&Request<'_>, Terms) -> T,
    ) -> Result<Advance<T>, Refusal> {
        let mut fields = [const { MaybeUninit::uninit() }; _];
        let head = parse::head(&input[start..head_end], &mut fields, limits)?;
        let expects_continue = head.expects_continue;
        match head.framing {
            Framing::Length(length) if input.len() - head_end >= length => {
                self.stage = Stage::Head { start: 0, scanned: 0 };
                let end = head_end + length;
                let value = deliver(head, &input[head_end..end], on_request);
                Ok(Advance::Complete { consumed: end, value })
            }
            Framing::Length(length) => {
                self.stage = Stage::Length { start, head_end, end: head_end + length };
                let send_continue = expects_continue && input.len() == head_end;
                Ok(Advance::Incomplete { send_continue })
            }
            Framing::Chunked => {
                let chunks = Chunked::new();
                self.stage = Stage::Chunked { start, head_end, taken: head_end, chunks };
                if input.len() > head_end {
                    return self.step(input, limits, on_request);
                }
                Ok(Advance::Incomplete { send_continue: expects_continue })
            }
        }
    }
}

fn deliver<T>(head: Head<'_>, body: &[u8], on_request: impl FnOnce(&Request<'_>, Terms) -> T) -> T {
    let terms = Terms {
        head_only: head.method == http::Method::HEAD,
        version: head.version,
        keep_alive: head.keep_alive,
    };
    let Head { method, path, query, headers, .. } = head;
    on_request(&Request { method, path, query, headers, body }, terms)
}

/// Room in a request line for the method and the version beside the target.
const LINE_EXTRA: usize = 64;

/// Finds the end of the empty line. Every line must end in CRLF (RFC 9112, section 2.2: a bare
/// LF may be read as a line's end, or not, so it is refused). Empty lines before the request
/// line are skipped.
fn find_head_end(
    input: &[u8],
    start: &mut usize,
    scanned: &mut usize,
    limits: &Limits,
) -> Result<Option<usize>, Refusal> {
    while let Some(at) = memchr::memchr(b'\n', &input[*scanned..]) {
        let (line_start, line_end) = (*scanned, *scanned + at);
        if line_end == line_start || input[line_end - 1] != b'\r' {
            return Err(Refusal::Malformed("A line of the head ends in a bare LF"));
        }
        let empty = line_end - line_start == 1;
        if line_start == *start && line_end - line_start > limits.target_bytes_max + LINE_EXTRA {
            return Err(Refusal::TargetTooLong(limits.target_bytes_max));
        }
        *scanned = line_end + 1;
        if *scanned > limits.head_bytes_max {
            return Err(Refusal::HeadTooLarge(limits.head_bytes_max));
        }
        if empty && line_start > *start {
            return Ok(Some(*scanned));
        }
        if empty {
            *start = *scanned;
        }
    }
    let in_request_line = *scanned == *start;
    if in_request_line && input.len() - *start > limits.target_bytes_max + LINE_EXTRA {
        return Err(Refusal::TargetTooLong(limits.target_bytes_max));
    }
    if input.len() > limits.head_bytes_max {
        return Err(Refusal::HeadTooLarge(limits.head_bytes_max));
    }
    if in_request_line {
        refuse_what_is_no_request(&input[*start..])?;
    }
    Ok(None)
}

/// A method starts with a token character; TLS and binary noise do not, and need not wait for
/// their deadline.
fn refuse_what_is_no_request(line: &[u8]) -> Result<(), Refusal> {
    match line.first() {
        Some(byte) if byte.is_ascii_graphic() || *byte == b'\r' => Ok(()),
        None => Ok(()),
        Some(_) => Err(Refusal::Malformed("The request line is malformed")),
    }
}
