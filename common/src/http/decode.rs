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

impl Terms {
    pub(super) fn of(head: &Head<'_>) -> Self {
        Terms {
            head_only: head.method == http::Method::HEAD,
            version: head.version,
            keep_alive: head.keep_alive,
        }
    }
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
    let terms = Terms::of(&head);
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
        check_lengths(input, *start, line_start, line_end, limits)?;
        if line_end == line_start || input[line_end - 1] != b'\r' {
            return Err(Refusal::Malformed("A line of the head ends in a bare LF"));
        }
        let empty = line_end - line_start == 1;
        *scanned = line_end + 1;
        if empty && line_start > *start {
            return Ok(Some(*scanned));
        }
        if empty {
            *start = *scanned;
        }
    }
    check_lengths(input, *start, *scanned, input.len(), limits)?;
    Ok(None)
}

/// Checks the line from `line_start` to `line_end`, which need not be whole. What is refused does
/// not depend on the pieces in which the bytes come.
fn check_lengths(
    input: &[u8],
    start: usize,
    line_start: usize,
    line_end: usize,
    limits: &Limits,
) -> Result<(), Refusal> {
    if line_start == start {
        // A method starts with a visible character; TLS and binary noise do not, and need not
        // wait for their deadline.
        if input.get(start).is_some_and(|byte| !byte.is_ascii_graphic() && !b"\r\n".contains(byte))
        {
            return Err(Refusal::Malformed("The request line is malformed"));
        }
        if line_end - line_start > limits.target_bytes_max + LINE_EXTRA {
            return Err(Refusal::TargetTooLong(limits.target_bytes_max));
        }
    }
    if line_end >= limits.head_bytes_max {
        return Err(Refusal::HeadTooLarge(limits.head_bytes_max));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `input` in pieces of the given sizes, over and over, as a connection would, and says
    /// what came out: a line a request, then how it ended.
    fn decode(mut input: &[u8], pieces: &[usize]) -> String {
        let limits = Limits { body_bytes_max: 64, ..Limits::default() };
        let (mut decoder, mut inbox, mut seen) = (Decoder::default(), Vec::new(), String::new());
        for &piece in pieces.iter().cycle() {
            let bytes;
            (bytes, input) = input.split_at(piece.min(input.len()));
            if bytes.is_empty() {
                break;
            }
            inbox.extend_from_slice(bytes);
            while !inbox.is_empty() {
                let advance = decoder.advance(&inbox, &limits, |request, _| {
                    let body = String::from_utf8_lossy(request.body);
                    format!("{} {} {body}\n", request.method, request.path)
                });
                match advance {
                    Advance::Complete { consumed, value } => {
                        seen += &value;
                        inbox.drain(..consumed);
                    }
                    Advance::Incomplete { .. } => break,
                    Advance::Refused(refusal) => {
                        return seen + refusal.status().as_str();
                    }
                }
            }
            decoder.compact(&mut inbox);
        }
        if inbox.is_empty() { seen } else { seen + "unfinished" }
    }

    #[track_caller]
    fn check(input: &str, expected: &str) {
        for piece in [input.len().max(1), 1, 2, 3, 7] {
            let seen = decode(input.as_bytes(), &[piece]);
            assert_eq!(seen, expected, "{input:?} in pieces of {piece}");
        }
    }

    #[track_caller]
    fn check_chunks(chunks: &str, expected: &str) {
        let head = "PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&format!("{head}{chunks}"), expected);
    }

    #[test]
    fn requests_are_found_however_the_bytes_come() {
        let get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
        let put = "PUT /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz";
        check("", "");
        check(get, "GET /a \n");
        check(put, "PUT /b xyz\n");
        check(&format!("{put}{get}{put}{get}"), "PUT /b xyz\nGET /a \nPUT /b xyz\nGET /a \n");
        check(&format!("\r\n\r\n{get}\r\n{get}"), "GET /a \nGET /a \n");
        check(&format!("{get}GET /"), "GET /a \nunfinished");
        check(&put[..put.len() - 1], "unfinished");
    }

    #[test]
    fn heads_that_cannot_go_on_are_refused() {
        check("GET / HTTP/1.1\nHost: h\n\n", "400");
        check("GET / HTTP/1.1\r\nHost: h\n\r\n", "400");
        check("GET / HTTP/1.1\r\nHost: h\r\n\n", "400");
        check("\n", "400");
        check("\u{16}\u{3}\u{1}", "400");
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505");
        check(&format!("GET /{}", "a".repeat(9000)), "414");
        check(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(20_000)), "414");
        check(&format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(16 << 10)), "431");
        check(&format!("GET / HTTP/1.1\r\nHost: h\r\n{}", "A: b\r\n".repeat(4000)), "431");
        check(&"\r\n".repeat(9000), "431");
    }

    #[test]
    fn chunks() {
        check_chunks("3\r\nabc\r\n0\r\n\r\n", "PUT /c abc\n");
        check_chunks("0\r\n\r\n", "PUT /c \n");
        check_chunks("1\r\na\r\nA\r\n0123456789\r\n00\r\n\r\n", "PUT /c a0123456789\n");
        check_chunks("3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n", "PUT /c abc\n");
        check_chunks("3 ;a\r\nabc\r\n0\r\n\r\n", "PUT /c abc\n");
        check_chunks("3\r\nabc\r\n0\r\nA: b\r\nC: d\r\n\r\n", "PUT /c abc\n");
        check_chunks("0\r\n\r\nGET /a HTTP/1.0\r\n\r\n", "PUT /c \nGET /a \n");
        check_chunks("3\r\nab", "unfinished");
        check_chunks("3\r\nabc\r\n0\r\n", "unfinished");
        check_chunks("40\r\n", "unfinished");
        check_chunks("41\r\n", "413");
        check_chunks("3F\r\n", "unfinished");
        check_chunks(&format!("3F\r\n{}\r\n2\r\n", "a".repeat(63)), "413");
        check_chunks("FFFFFFFFFFFFFFFF\r\n", "413");
        check_chunks("FFFFFFFFFFFFFFFFF\r\n", "413");
        check_chunks("\r\n", "400");
        check_chunks("g\r\n", "400");
        check_chunks("+3\r\nabc\r\n0\r\n\r\n", "400");
        check_chunks("0x3\r\nabc\r\n0\r\n\r\n", "400");
        check_chunks(" 3\r\nabc\r\n0\r\n\r\n", "400");
        check_chunks("3 \r\nabc\r\n0\r\n\r\n", "400");
        check_chunks("3\nabc\r\n0\r\n\r\n", "400");
        check_chunks("3;a\nabc\r\n0\r\n\r\n", "400");
        check_chunks("3;a\rb\r\nabc\r\n0\r\n\r\n", "400");
        check_chunks("3;a\0\r\nabc\r\n0\r\n\r\n", "400");
        check_chunks("3\r\nabcd\r\n0\r\n\r\n", "400");
        check_chunks("3\r\nabc\n0\r\n\r\n", "400");
        check_chunks("3\r\nabc0\r\n\r\n", "400");
        check_chunks(&format!("3;{}", "a".repeat(300)), "400");
        check_chunks("0\r\nA b\r\n\r\n", "400");
        check_chunks("0\r\n: b\r\n\r\n", "400");
        check_chunks("0\r\nA: b\n\r\n", "400");
        check_chunks(&format!("0\r\n{}", "A: b\r\n".repeat(4000)), "431");
    }

    #[test]
    fn a_client_that_waits_is_told_to_go_on() {
        let go_on = |input: &str| {
            let advance =
                Decoder::default().advance(input.as_bytes(), &Limits::default(), |_, _| ());
            advance == Advance::Incomplete { send_continue: true }
        };
        let head = "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n";
        assert!(go_on(&format!("{head}Content-Length: 3\r\n\r\n")));
        assert!(go_on(&format!("{head}Transfer-Encoding: chunked\r\n\r\n")));
        assert!(!go_on(&format!("{head}Content-Length: 3\r\n\r\na")));
        assert!(!go_on(&format!("{head}Transfer-Encoding: chunked\r\n\r\n1")));
        assert!(!go_on(&format!("{head}\r\n")));
    }

    /// A body of a megabyte came with any amount of extensions, which nobody reads.
    #[test]
    fn extensions_of_all_chunks_have_a_limit() {
        let head = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(127));
        let advance = |chunks| {
            let input = format!("{head}{}", chunk.repeat(chunks));
            Decoder::default().advance(input.as_bytes(), &Limits::default(), |_, _| ())
        };
        assert_eq!(advance(128), Advance::Incomplete { send_continue: false });
        assert!(matches!(advance(129), Advance::Refused(Refusal::Malformed(_))));
    }

    /// A body in many small chunks with extensions must not be kept as it came.
    #[test]
    fn taken_chunks_are_dropped_from_the_inbox() {
        let head = b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (mut decoder, mut inbox) = (Decoder::default(), head.to_vec());
        for _ in 0..1000 {
            inbox.extend_from_slice(format!("1;{}\r\na\r\n", "x".repeat(9)).as_bytes());
            decoder.advance(&inbox, &Limits::default(), |_, _| ());
            decoder.compact(&mut inbox);
            assert_eq!(inbox.len(), head.len());
        }
        assert_eq!(decoder.buffered(), 1000);
    }

    /// Pieces that make requests, and pieces that break them, in any order.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let parts = prop_oneof![
            8 => Just("GET /a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
            4 => Just("PUT /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz".to_owned()),
            4 => Just(
                "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
            ),
            4 => Just("3;x=y\r\nabc\r\n".to_owned()),
            3 => Just("0\r\nA: b\r\n\r\n".to_owned()),
            3 => Just("0\r\n\r\n".to_owned()),
            1 => Just("GET /d HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n".to_owned()),
            1 => Just("Content-Length: 70\r\n\r\n".to_owned()),
            1 => (8000usize..18_000).prop_map(|length| "a".repeat(length)),
            1 => (1usize..3000).prop_map(|count| "A: b\r\n".repeat(count)),
            2 => "[\\x00-\\x7f]{0,5}",
            2 => "(\r|\n|\r\n| |:|;|/|HTTP/1\\.[01]|[0-9A-F]){1,4}",
        ];
        prop::collection::vec(parts, 1..8).prop_map(|parts| parts.concat().into_bytes())
    }

    proptest! {
        /// What comes out does not depend on how the bytes were cut on their way.
        #[test]
        fn pieces_make_no_difference(
            input in stream(),
            flip in any::<Option<(prop::sample::Index, u8)>>(),
            cuts in prop::collection::vec(1usize..9000, 1..20),
        ) {
            let mut input = input;
            if let Some((at, byte)) = flip {
                let at = at.index(input.len().max(1));
                if let Some(flipped) = input.get_mut(at) {
                    *flipped = byte;
                }
            }
            let whole = decode(&input, &[input.len().max(1)]);
            prop_assert_eq!(&decode(&input, &cuts), &whole);
            prop_assert_eq!(&decode(&input, &[1]), &whole);
        }
    }
}
