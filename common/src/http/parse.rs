//! One request head, from bytes to what it means. Pure: no I/O, no state.
//!
//! RFC 9112, read strictly: what two readers could read in two ways is refused, for a request
//! that a proxy and this server frame differently smuggles another one past the proxy.

use std::mem::MaybeUninit;

use http::Method;
use httparse::Header;

use super::limits::{HEADERS_MAX, Refusal};
use super::{Headers, Limits};

/// Room for the header fields of one head.
pub(super) type Fields<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

/// A parsed head.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) headers: Headers<'a>,
    pub(super) framing: Framing,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
}

/// How long the body is (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; 0 without a `Content-Length`.
    Length(usize),
    /// Until the last chunk.
    Chunked,
}

/// The versions that are spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// The bytes that a `Host` may have (RFC 3986, section 3.2), and what is no ASCII.
const IN_HOST: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "it is below 256")]
        let ascii = byte as u8;
        allowed[byte] = ascii.is_ascii_alphanumeric()
            || byte >= 0x80
            || matches!(
                ascii,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
                    | b':'
                    | b'['
                    | b']'
            );
        byte += 1;
    }
    allowed
};

/// The head's fields that decide about framing and the connection, collected in one pass.
#[derive(Default)]
struct Control<'b> {
    hosts: usize,
    host: &'b [u8],
    length: Option<&'b [u8]>,
    lengths: usize,
    coding: Option<&'b [u8]>,
    codings: usize,
    close: bool,
    keep_alive: bool,
    expect: Option<&'b [u8]>,
}

/// Parses a whole head, from its request line to the empty line.
pub(super) fn head<'a, 'b: 'a>(
    bytes: &'b [u8],
    fields: &'a mut Fields<'b>,
    limits: &Limits,
) -> Result<Head<'a>, Refusal> {
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, fields) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(Refusal::Malformed("The request head is malformed")),
        Err(error) => return Err(refusal(error, bytes)),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Refusal::Malformed("The request line is malformed"));
    };
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    Head::new(method, target, version, parsed.headers, limits)
}

impl<'a> Head<'a> {
    /// What the parts of a head mean together, once each is well formed.
    pub(super) fn new(
        method: &str,
        target: &'a str,
        version: Version,
        fields: &'a [Header<'a>],
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        if target.len() > limits.target_bytes_max {
            return Err(Refusal::TargetTooLong(limits.target_bytes_max));
        }
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| Refusal::Malformed("The method is malformed"))?;
        let (path, query) = split_target(&method, target)?;
        let control = Control::collect(fields);
        control.check_host(version)?;
        Ok(Head {
            framing: control.framing(version, limits)?,
            expects_continue: control.expects_continue(version)?,
            keep_alive: control.keeps_alive(version),
            method,
            path,
            query,
            headers: Headers::new(fields),
            version,
        })
    }
}

/// What a parse error means to the client.
fn refusal(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::HeaderName => Refusal::Malformed("A header name is malformed"),
        httparse::Error::HeaderValue => Refusal::Malformed("A header value is malformed"),
        httparse::Error::NewLine => Refusal::Malformed("A line of the head ends in a bare CR"),
        httparse::Error::TooManyHeaders => Refusal::TooManyHeaders(HEADERS_MAX),
        httparse::Error::Version if names_http_version(bytes) => Refusal::UnknownVersion,
        httparse::Error::Version => Refusal::Malformed("The HTTP version is malformed"),
        httparse::Error::Token => Refusal::Malformed("The request line is malformed"),
        httparse::Error::Status => Refusal::Malformed("The request head is malformed"),
    }
}

/// Whether the request line is well formed but for its `HTTP/digit.digit` (RFC 9112, section 2.3).
fn names_http_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\r').find(|line| !line.trim_ascii().is_empty());
    let parts: Vec<&[u8]> = line.unwrap_or_default().split(|&byte| byte == b' ').take(4).collect();
    matches!(parts[..], [_, _, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]]
        if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// Origin-form, absolute-form and `*` (RFC 9112, section 3.2); CONNECT is for proxies.
fn split_target<'b>(
    method: &Method,
    target: &'b str,
) -> Result<(&'b str, Option<&'b str>), Refusal> {
    if target == "*" && method == Method::OPTIONS {
        return Ok((target, None));
    }
    let origin = if target.starts_with('/') { target } else { origin_of_absolute(target)? };
    let (path, query) = match memchr::memchr2(b'?', b'#', origin.as_bytes()) {
        Some(at) => (&origin[..at], Some(&origin[at..])),
        None => (origin, None),
    };
    if query.is_some_and(|query| query.contains('#')) {
        return Err(Refusal::Malformed("The request target has a fragment"));
    }
    Ok((if path.is_empty() { "/" } else { path }, query.map(|query| &query[1..])))
}

/// What follows the authority of `http://authority/path?query`; the path may be empty.
fn origin_of_absolute(target: &str) -> Result<&str, Refusal> {
    const REFUSED: Refusal = Refusal::Malformed("The request target is malformed");
    let (scheme, rest) = target.split_once("://").ok_or(REFUSED)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(REFUSED);
    }
    match rest.find(['/', '?', '#']).unwrap_or(rest.len()) {
        0 => Err(REFUSED),
        authority => Ok(&rest[authority..]),
    }
}

impl<'b> Control<'b> {
    fn collect(fields: &[Header<'b>]) -> Self {
        let mut control = Control::default();
        for field in fields {
            let (name, value) = (field.name, field.value);
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    control.hosts += 1;
                    control.host = value;
                }
                6 if name.eq_ignore_ascii_case("expect") => control.expect = Some(value),
                10 if name.eq_ignore_ascii_case("connection") => control.connection(value),
                14 if name.eq_ignore_ascii_case("content-length") => {
                    control.lengths += 1;
                    control.length = Some(value);
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    control.codings += 1;
                    control.coding = Some(value);
                }
                _ => {}
            }
        }
        control
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',') {
            let option = option.trim_ascii();
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9112, section 3.2: exactly one on 1.1, and none or one on 1.0.
    fn check_host(&self, version: Version) -> Result<(), Refusal> {
        match (version, self.hosts) {
            (Version::Http11, 0) => return Err(Refusal::Malformed("The Host header is missing")),
            (_, 0 | 1) => {}
            _ => return Err(Refusal::Malformed("More than one Host header")),
        }
        if self.host.iter().all(|&byte| IN_HOST[usize::from(byte)]) {
            Ok(())
        } else {
            Err(Refusal::Malformed("The Host header is malformed"))
        }
    }

    /// RFC 9112, section 6.
    fn framing(&self, version: Version, limits: &Limits) -> Result<Framing, Refusal> {
        match (self.coding, self.length) {
            (Some(_), Some(_)) => {
                Err(Refusal::Malformed("Content-Length and Transfer-Encoding together"))
            }
            (Some(coding), None) => self.chunked(coding, version),
            (None, Some(_)) if self.lengths > 1 => {
                Err(Refusal::Malformed("More than one Content-Length"))
            }
            (None, Some(length)) => content_length(length, limits.body_bytes_max),
            (None, None) => Ok(Framing::Length(0)),
        }
    }

    fn chunked(&self, coding: &[u8], version: Version) -> Result<Framing, Refusal> {
        if version == Version::Http10 {
            return Err(Refusal::Malformed("Transfer-Encoding in an HTTP/1.0 request"));
        }
        if self.codings > 1 {
            return Err(Refusal::Malformed("More than one Transfer-Encoding"));
        }
        let mut codings = coding.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let last = codings.next_back().unwrap_or_default();
        if !last.eq_ignore_ascii_case(b"chunked") {
            // A request whose last coding is not chunked has no end that one could find.
            return Err(if coding.to_ascii_lowercase().windows(7).any(|part| part == b"chunked") {
                Refusal::Malformed("chunked is not the last transfer coding")
            } else {
                Refusal::UnknownTransferCoding
            });
        }
        match codings.next() {
            None => Ok(Framing::Chunked),
            Some(first) if first.is_empty() || first.eq_ignore_ascii_case(b"chunked") => {
                Err(Refusal::Malformed("The Transfer-Encoding is malformed"))
            }
            Some(_) => Err(Refusal::UnknownTransferCoding),
        }
    }

    /// RFC 9110, section 10.1.1: a 1.0 client's expectation is ignored.
    fn expects_continue(&self, version: Version) -> Result<bool, Refusal> {
        match (version, self.expect) {
            (Version::Http10, _) | (_, None) => Ok(false),
            (Version::Http11, Some(value)) if value.eq_ignore_ascii_case(b"100-continue") => {
                Ok(true)
            }
            (Version::Http11, Some(_)) => Err(Refusal::UnknownExpectation),
        }
    }

    /// RFC 9112, section 9.3.
    fn keeps_alive(&self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }
}

/// Digits only; a number too large for any limit is too large, not malformed.
fn content_length(value: &[u8], body_bytes_max: usize) -> Result<Framing, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Malformed("The Content-Length is malformed"));
    }
    let length = value
        .iter()
        .try_fold(0usize, |sum, digit| sum.checked_mul(10)?.checked_add(usize::from(digit - b'0')));
    match length {
        Some(length) if length <= body_bytes_max => Ok(Framing::Length(length)),
        _ => Err(Refusal::BodyTooLarge(body_bytes_max)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a table expects of a head.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Expected {
        Taken,
        Refused(u16),
    }
    use Expected::{Refused, Taken};

    fn parse<T>(head: &str, look: impl FnOnce(&Head<'_>) -> T) -> Result<T, Refusal> {
        let mut fields = [const { MaybeUninit::uninit() }; _];
        super::head(head.as_bytes(), &mut fields, &Limits::default()).map(|head| look(&head))
    }

    #[track_caller]
    fn check(head: &str, expected: Expected) {
        let outcome = match parse(head, |_| ()) {
            Ok(()) => Taken,
            Err(refusal) => Refused(refusal.status().as_u16()),
        };
        assert_eq!(outcome, expected, "{head:?}");
    }

    #[track_caller]
    fn check_line(line: &str, expected: Expected) {
        check(&format!("{line}\r\nHost: h\r\n\r\n"), expected);
    }

    #[track_caller]
    fn check_fields(fields: &str, expected: Expected) {
        check(&format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n"), expected);
    }

    #[test]
    fn request_lines() {
        check_line("GET / HTTP/1.1", Taken);
        check_line("GET / HTTP/1.0", Taken);
        check_line("BREW / HTTP/1.1", Taken);
        check_line("OPTIONS * HTTP/1.1", Taken);
        check_line("GET http://h/a?b HTTP/1.1", Taken);
        check_line("GET HTTPS://h HTTP/1.1", Taken);
        check_line("GET /\u{e9} HTTP/1.1", Taken);
        check_line("GET / HTTP/2.0", Refused(505));
        check_line("GET / HTTP/0.9", Refused(505));
        check_line("PRI * HTTP/2.0", Refused(505));
        check_line("GET / HTTP/1.2", Refused(505));
        check_line("GET / http/1.1", Refused(400));
        check_line("GET / HTTP/1", Refused(400));
        check_line("GET / HTTP/1.1 x", Refused(400));
        check_line("GET /", Refused(400));
        check_line("GET  / HTTP/1.1", Refused(400));
        check_line("GET /  HTTP/1.1", Refused(400));
        check_line(" GET / HTTP/1.1", Refused(400));
        check_line("GET /a b HTTP/1.1", Refused(400));
        check_line("GET /\0 HTTP/1.1", Refused(400));
        check_line("GET /#a HTTP/1.1", Refused(400));
        check_line("GET /a?b#c HTTP/1.1", Refused(400));
        check_line("GET http://h#a HTTP/1.1", Refused(400));
        check_line("G(T / HTTP/1.1", Refused(400));
        check_line("GET * HTTP/1.1", Refused(400));
        check_line("GET a HTTP/1.1", Refused(400));
        check_line("GET http:///a HTTP/1.1", Refused(400));
        check_line("GET ftp://h/a HTTP/1.1", Refused(400));
        check_line("CONNECT h:80 HTTP/1.1", Refused(400));
        check_line(&format!("GET /{} HTTP/1.1", "a".repeat((8 << 10) - 1)), Taken);
        check_line(&format!("GET /{} HTTP/1.1", "a".repeat(8 << 10)), Refused(414));
    }

    #[test]
    fn hosts() {
        check("GET / HTTP/1.1\r\n\r\n", Refused(400));
        check("GET / HTTP/1.0\r\n\r\n", Taken);
        check("GET / HTTP/1.1\r\nHost:\r\n\r\n", Taken);
        check("GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n", Taken);
        check("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refused(400));
        check("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", Refused(400));
        check("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Refused(400));
        check("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Refused(400));
        check("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refused(400));
    }

    #[test]
    fn field_lines() {
        check_fields("A: b", Taken);
        check_fields("A:", Taken);
        check_fields("A: \u{e9}\t\u{f6}", Taken);
        check_fields("A : b", Refused(400));
        check_fields("A: b\r\n c", Refused(400));
        check_fields(" A: b", Refused(400));
        check_fields("A", Refused(400));
        check_fields(": b", Refused(400));
        check_fields("A\0: b", Refused(400));
        check_fields("A: b\0", Refused(400));
        check_fields("A: b\rc", Refused(400));
        check_fields("\u{e9}: b", Refused(400));
        check_fields(&"A: b\r\n".repeat(98), Refused(400));
        check_fields(&["A: b"; 99].join("\r\n"), Taken);
        check_fields(&["A: b"; 100].join("\r\n"), Refused(431));
    }

    #[test]
    fn framing_that_reads_two_ways_is_refused() {
        check_fields("Content-Length: 5", Taken);
        check_fields("Content-Length: 0005", Taken);
        check_fields("Content-Length: 5\r\nTransfer-Encoding: chunked", Refused(400));
        check_fields("Content-Length: 5\r\nContent-Length: 6", Refused(400));
        check_fields("Content-Length: 5\r\nContent-Length: 5", Refused(400));
        check_fields("Content-Length: 5, 5", Refused(400));
        check_fields("Content-Length: 5x", Refused(400));
        check_fields("Content-Length: +5", Refused(400));
        check_fields("Content-Length: -5", Refused(400));
        check_fields("Content-Length: 0x5", Refused(400));
        check_fields("Content-Length: 5 5", Refused(400));
        check_fields("Content-Length:", Refused(400));
        check_fields("Content-Length: 1048576", Taken);
        check_fields("Content-Length: 1048577", Refused(413));
        check_fields("Content-Length: 100000000000", Refused(413));
        check_fields("Content-Length: 18446744073709551615", Refused(413));
        check_fields("Content-Length: 18446744073709551616", Refused(413));
        check_fields(&format!("Content-Length: {}", "9".repeat(999)), Refused(413));
        check_fields("Transfer-Encoding: chunked", Taken);
        check_fields("Transfer-Encoding: Chunked", Taken);
        check_fields("Transfer-Encoding: gzip", Refused(501));
        check_fields("Transfer-Encoding: gzip, chunked", Refused(501));
        check_fields("Transfer-Encoding: identity", Refused(501));
        check_fields("Transfer-Encoding: xchunked", Refused(400));
        check_fields("Transfer-Encoding: chunked, gzip", Refused(400));
        check_fields("Transfer-Encoding: chunked, chunked", Refused(400));
        check_fields("Transfer-Encoding: , chunked", Refused(400));
        check_fields("Transfer-Encoding: chunked,", Refused(400));
        check_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Refused(400));
        check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refused(400));
    }

    #[track_caller]
    fn check_keep_alive(version: &str, fields: &str, expected: bool) {
        let head = format!("GET / {version}\r\nHost: h\r\n{fields}\r\n");
        assert_eq!(parse(&head, |head| head.keep_alive), Ok(expected), "{head:?}");
    }

    #[test]
    fn connections_are_kept_as_the_client_wishes() {
        check_keep_alive("HTTP/1.1", "", true);
        check_keep_alive("HTTP/1.1", "Connection: close\r\n", false);
        check_keep_alive("HTTP/1.1", "Connection: keep-alive, CLOSE\r\n", false);
        check_keep_alive("HTTP/1.1", "Connection: a\r\nConnection: b,close ,c\r\n", false);
        check_keep_alive("HTTP/1.1", "Connection: closed\r\n", true);
        check_keep_alive("HTTP/1.0", "", false);
        check_keep_alive("HTTP/1.0", "Connection: Keep-Alive\r\n", true);
        check_keep_alive("HTTP/1.0", "Connection: keep-alive\r\nConnection: close\r\n", false);
    }

    #[test]
    fn expectations() {
        let expects =
            |line: &str| parse(&format!("{line}\r\nHost: h\r\n\r\n"), |head| head.expects_continue);
        assert_eq!(expects("PUT / HTTP/1.1\r\nExpect: 100-Continue"), Ok(true));
        assert_eq!(expects("PUT / HTTP/1.0\r\nExpect: 100-continue"), Ok(false));
        assert_eq!(expects("PUT / HTTP/1.1\r\nExpect: x"), Err(Refusal::UnknownExpectation));
    }

    #[track_caller]
    fn check_target(target: &str, path: &str, query: Option<&str>) {
        let line = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let parts = parse(&line, |head| (head.path.to_owned(), head.query.map(str::to_owned)));
        assert_eq!(parts, Ok((path.to_owned(), query.map(str::to_owned))), "{target}");
    }

    #[test]
    fn targets_are_split_into_path_and_query() {
        check_target("/a/b", "/a/b", None);
        check_target("/a?", "/a", Some(""));
        check_target("/a?b=c?d", "/a", Some("b=c?d"));
        check_target("http://h:1/a?b", "/a", Some("b"));
        check_target("http://h", "/", None);
        check_target("http://h?q", "/", Some("q"));
        check_target("http://h/?q", "/", Some("q"));
        check_target("/http://h/a", "/http://h/a", None);
    }
}
