//! Request lines, header fields and framing: what is one request, and what is none.

use tests::{Server, checker, kv, request};

use crate::{
    Expected::{self, Closed, Kept, Refused},
    check, smuggled,
};

/// The request line, or what stands in its place.
#[track_caller]
fn check_line(server: &Server, line: &str, expected: Expected) {
    check(server, format!("{line}\r\nHost: test\r\n\r\n"), expected);
}

#[test]
fn methods() {
    let server = kv().start();
    let check = |line: &str, expected| check_line(&server, line, expected);
    check("GET /health HTTP/1.1", Kept(200));
    check("HEAD /health HTTP/1.1", Kept(200));
    check("POST /health HTTP/1.1", Kept(405));
    check("OPTIONS /health HTTP/1.1", Kept(405));
    check("TRACE /health HTTP/1.1", Kept(405));
    check("BREW /health HTTP/1.1", Kept(405));
    check("!#$%&'*+-.^_`|~09aZ /health HTTP/1.1", Kept(405));
    // Methods are case-sensitive (RFC 9110, section 9.1).
    check("get /health HTTP/1.1", Kept(405));
    check("CONNECT test:80 HTTP/1.1", Refused(400));
    check("G(T /health HTTP/1.1", Refused(400));
    check("G\u{e9}T /health HTTP/1.1", Refused(400));
    check("G\0T /health HTTP/1.1", Refused(400));
    check(" /health HTTP/1.1", Refused(400));
}

#[test]
fn request_targets() {
    let server = kv().start();
    let check = |target: &str, expected| {
        check_line(&server, &format!("GET {target} HTTP/1.1"), expected);
    };
    check("/health", Kept(200));
    check("/health?", Kept(200));
    check("/health?a=b&c=%20?/", Kept(200));
    check("http://test/health", Kept(200));
    check("HTTP://other:80/health?a", Kept(200));
    check("https://test/health", Kept(200));
    // The page is at `/docs`, and `/` leads there.
    check("http://test", Kept(307));
    check("http:///health", Refused(400));
    check("ftp://test/health", Refused(400));
    check("health", Refused(400));
    check("test:80", Refused(400));
    check("*", Refused(400));
    check("/health#a", Refused(400));
    check("/he alth", Refused(400));
    check("/he\talth", Refused(400));
    check("/he\0alth", Refused(400));
    check("/he\u{7f}alth", Refused(400));
    check("//health", Kept(404));
    check("/./health", Kept(404));
    check("/keys/../health", Kept(404));
    check("/keys/%00", Kept(400));
    check("/keys/%zz", Kept(400));
    check("/keys/\u{e9}", Kept(404));
    // The longest target there may be is longer than a key.
    check(&format!("/keys/{}", "a".repeat((8 << 10) - 6)), Kept(400));
    check(&format!("/keys/{}", "a".repeat((8 << 10) - 5)), Refused(414));
    check(&format!("/{}", "a".repeat(100_000)), Refused(414));
}

/// RFC 9110, section 9.3.7: `*` is the server in general, so the answer is what any of its paths
/// takes; a ping for whoever asks.
#[test]
fn options_for_the_server() {
    let ask = |server: &Server| check(server, request("OPTIONS", "*", &[], None), Kept(204));
    let answer = ask(&kv().start());
    assert_eq!(answer.header("Allow"), Some("DELETE, GET, HEAD, OPTIONS, POST, PUT"));
    let answer = ask(&checker().start());
    assert_eq!(answer.header("Allow"), Some("GET, HEAD, OPTIONS, POST"));
    check_line(&kv().start(), "PUT * HTTP/1.1", Refused(400));
}

#[test]
fn versions() {
    let server = kv().start();
    let check_version = |version: &str, expected| {
        check_line(&server, &format!("GET /health {version}"), expected);
    };
    check_version("HTTP/1.1", Kept(200));
    check_version("HTTP/1.0", Closed(200));
    check_version("HTTP/0.9", Refused(505));
    check_version("HTTP/1.2", Refused(505));
    check_version("HTTP/2.0", Refused(505));
    check_version("HTTP/9.9", Refused(505));
    check_version("http/1.1", Refused(400));
    check_version("HTTP/1", Refused(400));
    check_version("HTTP/1.1.1", Refused(400));
    check_version("HTTP/1.10", Refused(400));
    check_version("HTTP/01.1", Refused(400));
    check_version("HTTP 1.1", Refused(400));
    check_version("HTTPS/1.1", Refused(400));
    check_version("", Refused(400));
    // A client that begins with HTTP/2, and one that begins with TLS.
    check(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", Refused(505));
    check(&server, "\x16\x03\x01\x02\0\x01\0\x01\u{fc}", Refused(400));
}

#[test]
fn request_lines() {
    let server = kv().start();
    let check = |bytes: &str, expected| check(&server, bytes, expected);
    check("GET /health\r\nHost: a\r\n\r\n", Refused(400));
    check("GET /health HTTP/1.1 x\r\nHost: a\r\n\r\n", Refused(400));
    check("GET  /health HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400));
    check("GET /health  HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400));
    check("GET /health HTTP/1.1 \r\nHost: a\r\n\r\n", Refused(400));
    check("GET\t/health HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400));
    check(" GET /health HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400));
    check("GET /health HTTP/1.1\nHost: a\n\n", Refused(400));
    check("GET /health HTTP/1.1\r\nHost: a\n\r\n", Refused(400));
    check("GET /health HTTP/1.1\r\nHost: a\r\n\n", Refused(400));
    check("GET /health HTTP/1.1\rHost: a\r\r\n\r\n", Refused(400));
    check("GET /health HTTP/1.1\r\r\nHost: a\r\n\r\n", Refused(400));
    // Empty lines in front of it are skipped (RFC 9112, section 2.2), but not for ever.
    check("\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n", Kept(200));
    check("\r\n\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n", Kept(200));
    check("\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n", Refused(400));
    check(&"\r\n".repeat(10_000), Refused(431));
}

#[test]
fn hosts() {
    let server = kv().start();
    let check = |version: &str, fields: &str, expected| {
        check(&server, format!("GET /health HTTP/{version}\r\n{fields}\r\n"), expected);
    };
    check("1.1", "", Refused(400));
    check("1.0", "", Closed(200));
    check("1.1", "Host: test\r\n", Kept(200));
    check("1.1", "hOST:test:8000\r\n", Kept(200));
    check("1.1", "Host: [::1]:8000\r\n", Kept(200));
    check("1.1", "Host:\r\n", Kept(200));
    check("1.1", "Host: a\r\nHost: a\r\n", Refused(400));
    check("1.1", "Host: a\r\nA: b\r\nhost: b\r\n", Refused(400));
    check("1.0", "Host: a\r\nHost: b\r\n", Refused(400));
    check("1.1", "Host: a, b\r\n", Refused(400));
    check("1.1", "Host: a b\r\n", Refused(400));
    check("1.1", "Host: a/b\r\n", Refused(400));
    check("1.1", "Host: user@a\r\n", Refused(400));
    check("1.1", "Host: a\r\n b\r\n", Refused(400));
}

/// The head with these bytes among its fields.
#[track_caller]
fn check_field(server: &Server, field: impl AsRef<[u8]>, expected: Expected) {
    let head = "GET /health HTTP/1.1\r\nHost: test\r\n";
    check(server, [head.as_bytes(), field.as_ref(), b"\r\n\r\n"].concat(), expected);
}

#[test]
fn field_lines() {
    let server = kv().start();
    let check = |field: &[u8], expected| check_field(&server, field, expected);
    check(b"A: b", Kept(200));
    check(b"A:", Kept(200));
    check(b"A:b", Kept(200));
    check(b"A: \t b \t ", Kept(200));
    check(b"!#$%&'*+-.^_`|~09aZ: b", Kept(200));
    check(b"A: \"(),/:;<=>?@[\\]{}", Kept(200));
    check(b"A: \xe9\x80\xff", Kept(200));
    check(b"A: b\r\nA: c\r\na: d", Kept(200));
    check(b"A : b", Refused(400));
    check(b"A\t: b", Refused(400));
    check(b" A: b", Refused(400));
    check(b"A: b\r\n c", Refused(400));
    check(b"A: b\r\n\tc", Refused(400));
    check(b"A: b\r\n \r\nB: c", Refused(400));
    check(b"A", Refused(400));
    check(b"A b: c", Refused(400));
    check(b": b", Refused(400));
    check(b"A\0: b", Refused(400));
    check(b"A: b\0", Refused(400));
    check(b"A: \x01b", Refused(400));
    check(b"A: b\x7f", Refused(400));
    check(b"A: b\rc", Refused(400));
    check(b"A: b\r\rc: d", Refused(400));
    check(b"\xe9: b", Refused(400));
    check(b"(A): b", Refused(400));
    check(b"A: b\nC: d", Refused(400));
}

#[test]
fn many_and_long_fields() {
    let server = kv().start();
    // `Host` is one of the hundred.
    check_field(&server, ["A: b"; 99].join("\r\n"), Kept(200));
    check_field(&server, ["A: b"; 100].join("\r\n"), Refused(431));
    let head_bytes = |field: usize| format!("A: {}", "b".repeat(field));
    let others = "GET /health HTTP/1.1\r\nHost: test\r\nA: \r\n\r\n".len();
    check_field(&server, head_bytes((16 << 10) - others), Kept(200));
    check_field(&server, head_bytes((16 << 10) - others + 1), Refused(431));
    check_field(&server, head_bytes(1_000_000), Refused(431));
    check_field(&server, "A: b\r\n".repeat(100_000), Refused(431));
}

/// A write with these fields, and behind its head a write that would be smuggled.
#[track_caller]
fn check_framing(server: &Server, version: &str, fields: &str, expected: Expected) {
    let head = format!("PUT /keys/a HTTP/{version}\r\nHost: test\r\n{fields}\r\n\r\n");
    check(server, head + &smuggled(), expected);
}

#[test]
fn framing_that_reads_two_ways_is_refused() {
    let server = kv().start();
    let check = |fields: &str, status| check_framing(&server, "1.1", fields, Refused(status));
    check("Content-Length: 5\r\nTransfer-Encoding: chunked", 400);
    check("Transfer-Encoding: chunked\r\nContent-Length: 5", 400);
    check("Content-Length: 0\r\nTransfer-Encoding: chunked", 400);
    check("Content-Length: x\r\nTransfer-Encoding: chunked", 400);
    check("Content-Length: 5\r\nContent-Length: 6", 400);
    check("Content-Length: 5\r\nContent-Length: 5", 400);
    check("Content-Length: 5\r\ncontent-length: 0", 400);
    check("Content-Length: 5, 5", 400);
    check("Content-Length: +5", 400);
    check("Content-Length: -5", 400);
    check("Content-Length: 5x", 400);
    check("Content-Length: 0x5", 400);
    check("Content-Length: 5 5", 400);
    check("Content-Length: 5.0", 400);
    check("Content-Length: five", 400);
    check("Content-Length: \"5\"", 400);
    check("Content-Length: ٥", 400);
    check("Content-Length:", 400);
    check("Content-Length : 5", 400);
    check("Content-Length: 5\r\n 6", 400);
    check("Content-Length: 1048577", 413);
    check("Content-Length: 100000000000", 413);
    check("Content-Length: 9223372036854775808", 413);
    check("Content-Length: 18446744073709551615", 413);
    check("Content-Length: 18446744073709551616", 413);
    check(&format!("Content-Length: {}", "9".repeat(1000)), 413);
    check("Transfer-Encoding: gzip", 501);
    check("Transfer-Encoding: identity", 501);
    check("Transfer-Encoding:", 501);
    check("Transfer-Encoding: gzip, chunked", 501);
    check("Transfer-Encoding: chunked, gzip", 400);
    check("Transfer-Encoding: chunked, identity", 400);
    check("Transfer-Encoding: chunked, chunked", 400);
    check("Transfer-Encoding: , chunked", 400);
    check("Transfer-Encoding: chunked,", 400);
    check("Transfer-Encoding: xchunked", 400);
    check("Transfer-Encoding: \"chunked\"", 400);
    check("Transfer-Encoding: chunked;q=1", 400);
    check("Transfer-Encoding: \x0bchunked", 400);
    check("Transfer-Encoding : chunked", 400);
    check("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400);
    check("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400);
    check("Transfer-Encoding:\r\n chunked", 400);
    check_framing(&server, "1.0", "Transfer-Encoding: chunked", Refused(400));
    check_framing(&server, "1.0", "Content-Length: 5\r\nContent-Length: 6", Refused(400));
    assert_eq!(server.get("/keys/smuggled").status, 404);
}

#[test]
fn a_body_is_not_a_request() {
    let server = kv().start();
    let length = smuggled().len();
    check_framing(&server, "1.1", &format!("Content-Length: {length}"), Kept(422));
    check_framing(&server, "1.1", &format!("content-LENGTH:\t000{length}"), Kept(422));
    check_framing(&server, "1.0", &format!("Content-Length: {length}"), Closed(422));
    // Nothing says what a body means to GET, HEAD and DELETE, but it is one.
    for (method, status) in [("GET", 404), ("HEAD", 404), ("DELETE", 404), ("PATCH", 405)] {
        check(&server, request(method, "/keys/a", &[], Some(&smuggled())), Kept(status));
    }
    let head = "GET /keys/a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: CHUNKED\r\n\r\n";
    let chunked = format!("{head}{length:x}\r\n{}\r\n0\r\n\r\n", smuggled());
    check(&server, chunked, Kept(404));
    assert_eq!(server.get("/keys/smuggled").status, 404);
}

#[test]
fn chunks() {
    let server = kv().start();
    let head = "PUT /keys/a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let content = r#"{"key":"a","value":1}"#;
    let check = |chunks: &str, expected| {
        check(&server, format!("{head}{chunks}"), expected);
    };
    let with_size = |line: &str| format!("{line}\r\n{content}\r\n0\r\n\r\n");
    check(&with_size("15"), Kept(200));
    check(&with_size("00000000000000000015"), Kept(200));
    check(&with_size("15;a=b;c=\"d e\";f"), Kept(200));
    check(&with_size("15 ; a"), Kept(200));
    check("0\r\n\r\n", Kept(422));
    check(&format!("15\r\n{content}\r\n0\r\nA: b\r\nContent-Length: 5\r\n\r\n"), Kept(200));

    let check = |chunks: &str, status| check(&format!("{chunks}{}", smuggled()), Refused(status));
    check(&with_size("+15"), 400);
    check(&with_size("-15"), 400);
    check(&with_size("0x15"), 400);
    check(&with_size(" 15"), 400);
    check(&with_size("15 "), 400);
    check(&with_size("15 a"), 400);
    check(&with_size("1g"), 400);
    check(&with_size(""), 400);
    check(&with_size(";a"), 400);
    check(&with_size("15;\0"), 400);
    check(&with_size("15;a\rb"), 400);
    check(&with_size(&format!("15;{}", "a".repeat(300))), 400);
    check(&format!("15\n{content}\r\n0\r\n\r\n"), 400);
    check(&format!("15;a\n{content}\r\n0\r\n\r\n"), 400);
    check(&format!("15\r{content}\r\n0\r\n\r\n"), 400);
    check(&format!("14\r\n{content}\r\n0\r\n\r\n"), 400);
    check(&format!("15\r\n{content}\n0\r\n\r\n"), 400);
    check(&format!("15\r\n{content}0\r\n\r\n"), 400);
    check(&format!("15\r\n{content}\r\n0\r\nA b\r\n\r\n"), 400);
    check(&format!("15\r\n{content}\r\n0\r\n A: b\r\n\r\n"), 400);
    check(&format!("15\r\n{content}\r\n0\r\n: b\r\n\r\n"), 400);
    check(&format!("15\r\n{content}\r\n0\r\nA: b\n\r\n"), 400);
    check(&format!("15\r\n{content}\r\n0\r\n\n"), 400);
    check(&format!("15\r\n{content}\r\n0\r\n{}", "A: b\r\n".repeat(5000)), 431);
    check("100001\r\n", 413);
    check("FFFFFFFFFFFFFFFF\r\n", 413);
    check("10000000000000015\r\n", 413);
    check(&format!("{}\r\n", "F".repeat(200)), 413);
    assert_eq!(server.get("/keys/smuggled").status, 404);
}
