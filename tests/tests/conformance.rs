//! RFC 9112 and 9110 as kv keeps them: what it takes, what it refuses, and that a connection is in
//! step afterwards, or closed.

use std::net::Shutdown;

use tests::{Client, Response, Server, checker, kv, request};

/// What a request comes to.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// This status, and the connection answers the next request.
    Kept(u16),
    /// This status, and the connection closes.
    Closed(u16),
    /// The engine's own answer in the shape of all refusals, and the connection closes.
    Refused(u16),
}
use Expected::{Closed, Kept, Refused};

const HEALTHY: &str = r#"{"status":"healthy"}"#;

/// A write that nobody sent as a request: it is the body, or behind the last request.
fn smuggled() -> String {
    request("PUT", "/keys/smuggled", &[], Some(r#"{"key":"smuggled","value":1}"#))
}

#[track_caller]
fn check_health(client: &mut Client) {
    client.request("GET", "/health", &[], None).assert_json(200, HEALTHY);
}

#[track_caller]
fn check(server: &Server, bytes: impl AsRef<[u8]>, expected: Expected) -> Response {
    let bytes = bytes.as_ref();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    let mut client = server.connect();
    client.write(bytes);
    let answer = if bytes.trim_ascii_start().starts_with(b"HEAD ") {
        client.read_head()
    } else {
        client.read()
    };
    let (Kept(status) | Closed(status) | Refused(status)) = expected;
    assert_eq!(answer.status, status, "{shown:?}: {}", answer.text());
    // The client has seen the end of the connection whenever it was announced.
    let closed = answer.header("Connection") == Some("close");
    match expected {
        Kept(_) => {
            assert!(!closed, "{shown:?}");
            check_health(&mut client);
        }
        Closed(_) => assert!(closed, "{shown:?}"),
        Refused(_) => {
            assert!(closed, "{shown:?}");
            answer.assert_refused(status);
        }
    }
    answer
}

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

#[test]
fn connection_options() {
    let server = kv().start();
    let check = |version: &str, fields: &str, expected| {
        let head = format!("GET /health HTTP/{version}\r\nHost: test\r\n{fields}\r\n");
        check(&server, head, expected).header("Connection").map(str::to_owned)
    };
    for fields in ["", "Connection: keep-alive\r\n", "Connection: closed, xclose\r\n"] {
        assert_eq!(check("1.1", fields, Kept(200)), None, "{fields}");
    }
    let closing = [
        "Connection: close\r\n",
        "connection:CLOSE\r\n",
        "Connection: keep-alive, close\r\n",
        "Connection: a ,\tclose ,b\r\n",
        "Connection: keep-alive\r\nA: b\r\nConnection: close\r\n",
        "Connection: close\r\nConnection: keep-alive\r\n",
    ];
    for fields in closing {
        check("1.1", fields, Closed(200));
        check("1.0", fields, Closed(200));
    }
    check("1.0", "", Closed(200));
    check("1.0", "Connection: upgrade\r\n", Closed(200));
    for fields in ["Connection: keep-alive\r\n", "Connection: a\r\nConnection: Keep-Alive\r\n"] {
        assert_eq!(check("1.0", fields, Kept(200)).as_deref(), Some("keep-alive"), "{fields}");
    }
}

/// RFC 9110, section 10.1.1.
#[test]
fn expectations() {
    let server = kv().start();
    let body = r#"{"key":"a","value":1}"#;
    let whole = |version: &str, expectation: &str| {
        let length = body.len();
        let fields = format!("Host: test\r\nExpect: {expectation}\r\nContent-Length: {length}");
        format!("PUT /keys/a HTTP/{version}\r\n{fields}\r\n\r\n{body}")
    };
    check(&server, whole("1.1", "100-continue"), Kept(200));
    check(&server, whole("1.1", "100-CONTINUE"), Kept(200));
    check(&server, whole("1.0", "100-continue"), Closed(200));
    check(&server, whole("1.0", "a miracle"), Closed(200));
    check(&server, whole("1.1", "a miracle"), Refused(417));
    check(&server, whole("1.1", "100-continue, a miracle"), Refused(417));
    check(&server, whole("1.1", ""), Refused(417));

    // A client that waits is told to go on, and not when its body is refused anyway.
    let mut client = server.connect();
    let text = whole("1.1", "100-continue");
    assert_eq!(client.send(text.strip_suffix(body).unwrap()).status, 100);
    client.send(body).assert_json(200, r#"{"success":true,"message":"Value stored successfully"}"#);
    let too_large = whole("1.1", "100-continue").replace("Length: 21", "Length: 1048577");
    check(&server, too_large.strip_suffix(body).unwrap(), Refused(413));
    let conflicting =
        whole("1.1", "100-continue").replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n");
    check(&server, conflicting.strip_suffix(body).unwrap(), Refused(400));
}

/// HEAD, 204 and 304 have no body (RFC 9110, sections 9.3.2, 15.3.5, 15.4.5). HEAD says how long
/// the body would be, the others say no length. The client refuses anything else.
#[test]
fn answers_without_a_body() {
    let server = kv().start();
    let mut client = server.connect();
    for path in ["/health", "/keys/none", "/keys/%zz", "/nothing", "/docs", "/openapi.json"] {
        let mut get = client.request("GET", path, &[], None);
        let head = client.request("HEAD", path, &[], None);
        assert_eq!(head.body, b"");
        assert_ne!(get.body, b"");
        get.body.clear();
        let without_date = |mut answer: Response| {
            answer.headers.retain(|(name, _)| name != "Date");
            answer
        };
        assert_eq!(without_date(head), without_date(get), "{path}");
    }
    let page = client.request("GET", "/docs/init.js", &[], None);
    let tag = page.header("ETag").unwrap();
    let fields = [("If-None-Match", tag)];
    for method in ["GET", "HEAD"] {
        let answer = client.request(method, "/docs/init.js", &fields, None);
        assert_eq!((answer.status, answer.header("Content-Length")), (304, None));
        assert_eq!(answer.header("Content-Type"), None);
    }
    let answer = client.request("OPTIONS", "*", &[], None);
    assert_eq!((answer.status, answer.header("Content-Length")), (204, None));
    check_health(&mut client);
}

/// The engine's own refusals came with a body to whatever had been asked. A client that has asked
/// with HEAD takes what follows the head for the next answer (RFC 9110, section 9.3.2).
#[test]
fn a_refused_head_request_is_answered_without_a_body() {
    let server = kv().start();
    for (fields, status) in [
        ("Host: a\r\nExpect: a miracle\r\n", 417),
        ("Host: a\r\nContent-Length: 1048577\r\n", 413),
        ("Host: a\r\nTransfer-Encoding: gzip\r\n", 501),
        ("Host: a\r\nHost: a\r\n", 400),
        ("", 400),
    ] {
        for before in ["", "\r\n", "\r\n\r\n"] {
            let bytes = format!("{before}HEAD /health HTTP/1.1\r\n{fields}\r\n");
            let answer = check(&server, bytes, Closed(status));
            assert_ne!(answer.header("Content-Length"), Some("0"));
        }
    }
    // This is no HEAD request; the fuzzer found that it was taken for one when it came at once.
    for before in [" ", "\n", "\t"] {
        let bytes = format!("{before}HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = server.connect();
        client.write(bytes);
        client.read().assert_refused(400);
    }
    let bytes = format!("HEAD /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000));
    check(&server, bytes, Closed(414));
}

/// Nothing is read as a request behind the last one, and the last answer arrives although bytes
/// come behind it (RFC 9112, section 9.6).
#[test]
fn nothing_is_answered_behind_the_last_request() {
    let server = kv().start();
    let last = request("GET", "/health", &[("Connection", "close")], None);
    let malformed = "GET /health HTTP/1.1\r\n\r\n";
    for (behind, count) in [("x".to_owned(), 1), (smuggled(), 1), (smuggled(), 10_000)] {
        let behind = behind.repeat(count);
        check(&server, format!("{last}{behind}"), Closed(200)).assert_json(200, HEALTHY);
        check(&server, format!("{malformed}{behind}"), Refused(400));
    }
    assert_eq!(server.get("/keys/smuggled").status, 404);
}

/// A client may say that it sends no more and still read (RFC 9112, section 9.6).
///
/// What came while an answer waited for its client was not looked at afterwards: the end of the
/// input then kept the connection open until it had idled for long enough.
#[test]
fn a_half_closed_connection_is_answered() {
    let server = kv().start();
    let large = "x".repeat(1_000_000);
    let body = format!(r#"{{"key":"large","value":"{large}"}}"#);
    assert_eq!(server.connect().request("PUT", "/keys/large", &[], Some(&body)).status, 200);
    let get = request("GET", "/keys/large", &[], None);
    for count in [1, 5].repeat(10) {
        let mut client = server.connect();
        client.write(get.repeat(count));
        client.stream().shutdown(Shutdown::Write).unwrap();
        for _ in 0..count {
            assert_eq!(client.read().body.len(), body.len() + r#""success":true,"#.len());
        }
        client.expect_close();
    }
    // Half a request is none.
    let mut client = server.connect();
    client.write(&get[..get.len() - 1]);
    client.stream().shutdown(Shutdown::Write).unwrap();
    client.expect_close();
}

/// A request that came while an answer waited for its client was not looked at afterwards, and got
/// its answer only when something else came, if ever.
#[test]
fn a_request_behind_an_answer_that_waits_is_answered() {
    /// More than the kernel keeps for a client that does not read.
    const ANSWERS: usize = 20;
    let server = kv().env("WORKERS", "1").start();
    let large = "x".repeat(1_000_000);
    let body = format!(r#"{{"key":"large","value":"{large}"}}"#);
    let get = request("GET", "/keys/large", &[], None);
    assert_eq!(server.connect().request("PUT", "/keys/large", &[], Some(&body)).status, 200);
    for _ in 0..5 {
        let mut client = server.connect();
        for _ in 0..ANSWERS {
            client.write(&get);
            // The only worker has turned to the request in front of this one.
            server.get("/health").assert_json(200, HEALTHY);
        }
        for _ in 0..ANSWERS {
            assert_eq!(client.read().status, 200);
        }
        check_health(&mut client);
    }
}
