//! How a connection goes on: its options, expectations, answers without a body, and its end.

use std::net::Shutdown;

use tests::{Response, kv, request};

use crate::{
    Expected::{Closed, Kept, Refused},
    HEALTHY, check, check_health, smuggled,
};

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
