//! HTTP/1.1 as kv speaks it: connections, framing and pieces.

use tests::{Client, kv, request};

tests::on_every_store! {
    a_connection_is_kept_alive,
    pipelined_requests_are_answered_in_order,
    a_body_may_come_in_chunks,
    a_client_that_waits_for_100_gets_it,
    the_connection_ends_when_the_client_says_so,
    nothing_is_answered_behind_the_last_request,
    a_known_path_names_its_methods,
    a_request_may_be_cut_anywhere,
    a_request_may_come_byte_by_byte,
}

const STORED: &str = r#"{"success":true,"message":"Value stored successfully"}"#;

fn put(key: &str, value: &str) -> String {
    let body = format!(r#"{{"key":"{key}","value":{value}}}"#);
    request("PUT", &format!("/keys/{key}"), &[], Some(&body))
}

fn get(key: &str) -> String {
    request("GET", &format!("/keys/{key}"), &[], None)
}

fn a_connection_is_kept_alive() {
    let server = kv().start();
    let mut client = server.connect();
    for round in 0..1000 {
        client.send(put("a", &round.to_string())).assert_json(200, STORED);
        let answer = client.send(get("a"));
        answer.assert_json(200, &format!(r#"{{"success":true,"key":"a","value":{round}}}"#));
        assert_eq!(answer.header("Connection"), None);
        let date = answer.header("Date").expect("checked by the client");
        httpdate::parse_http_date(date).expect("a date of HTTP");
    }
}

fn pipelined_requests_are_answered_in_order() {
    const ROUNDS: usize = 50;
    let server = kv().start();
    let mut client = server.connect();
    let one_round = [
        put("a", "1"),
        get("a"),
        put("a", "2"),
        request("HEAD", "/keys/a", &[], None),
        get("a"),
        request("PATCH", "/keys/a", &[], None),
        request("DELETE", "/keys/a", &[], None),
        get("a"),
        get("%"),
        request("GET", "/health", &[], None),
    ]
    .concat();
    client.write(one_round.repeat(ROUNDS));
    for _ in 0..ROUNDS {
        client.read().assert_json(200, STORED);
        client.read().assert_json(200, r#"{"success":true,"key":"a","value":1}"#);
        client.read().assert_json(200, STORED);
        assert_eq!(client.read_head().status, 200);
        client.read().assert_json(200, r#"{"success":true,"key":"a","value":2}"#);
        client.read().assert_json(405, r#"{"detail":"Method Not Allowed"}"#);
        let deleted = r#"{"success":true,"message":"Key deleted successfully"}"#;
        client.read().assert_json(200, deleted);
        let not_found = r#"{"detail":{"success":false,"error":"Key 'a' not found"}}"#;
        client.read().assert_json(404, not_found);
        client.read().assert_refused(400);
        client.read().assert_json(200, r#"{"status":"healthy"}"#);
    }
}

fn a_body_may_come_in_chunks() {
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |chunks: &str| {
        let head = "PUT /keys/a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: Chunked\r\n\r\n";
        client.send(format!("{head}{chunks}")).assert_json(200, STORED);
        client.send(get("a")).assert_json(200, r#"{"success":true,"key":"a","value":[1]}"#);
    };
    check("15\r\n{\"key\":\"a\",\"value\":[1\r\n2\r\n]}\r\n0\r\n\r\n");
    check("9;x=\"y\"\r\n{\"key\":\"a\r\n00E\r\n\",\"value\":[1]}\r\n000\r\nTrailer: x\r\n\r\n");
    let bytes = r#"{"key":"a","value":[1]}"#.chars().map(|byte| format!("1\r\n{byte}\r\n"));
    check(&(bytes.collect::<String>() + "0\r\n\r\n"));
}

fn a_client_that_waits_for_100_gets_it() {
    const EXPECT: &[(&str, &str)] = &[("Expect", "100-continue")];
    let server = kv().start();
    let body = r#"{"key":"a","value":1}"#;
    let whole = request("PUT", "/keys/a", EXPECT, Some(body));
    let head = whole.strip_suffix(body).expect("it ends in the body");

    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.send(head).status, 100);
        client.send(body).assert_json(200, STORED);
    }
    client.send(&whole).assert_json(200, STORED);

    let too_large = request("PUT", "/keys/a", &[EXPECT[0], ("Content-Length", "1048577")], None);
    let answer = client.send(too_large);
    answer.assert_refused(413);
    assert_eq!(answer.header("Connection"), Some("close"));
    let unknown = request("PUT", "/keys/a", &[("Expect", "a miracle")], Some(body));
    server.connect().send(unknown).assert_refused(417);
}

fn the_connection_ends_when_the_client_says_so() {
    let server = kv().start();
    let check = |request: &str, connection: Option<&str>| {
        let mut client = server.connect();
        let answer = client.send(request);
        answer.assert_json(200, r#"{"status":"healthy"}"#);
        assert_eq!(answer.header("Connection"), connection, "{request}");
        if connection != Some("close") {
            client.send(request).assert_json(200, r#"{"status":"healthy"}"#);
        }
    };
    check("GET /health HTTP/1.1\r\nHost: a\r\n\r\n", None);
    check("GET /health HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", None);
    check("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Some("close"));
    check("GET /health HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", Some("close"));
    check("GET /health HTTP/1.0\r\n\r\n", Some("close"));
    check("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Some("keep-alive"));
    check("GET /health HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", Some("close"));
}

fn nothing_is_answered_behind_the_last_request() {
    let server = kv().start();
    let mut client = server.connect();
    let last = request("GET", "/health", &[("Connection", "close")], None);
    client.write(format!("{last}{}", get("a")));
    client.read().assert_json(200, r#"{"status":"healthy"}"#);
}

fn a_known_path_names_its_methods() {
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |methods: &[&str], paths: &[&str], allow: &str| {
        for path in paths {
            for method in methods {
                let answer = client.request(method, path, &[], None);
                answer.assert_json(405, r#"{"detail":"Method Not Allowed"}"#);
                assert_eq!(answer.header("Allow"), Some(allow), "{method} {path}");
            }
        }
    };
    let keys = ["/keys/a", "/keys/a/b", "/keys/%zz"];
    check(&["PATCH", "OPTIONS", "TRACE", "BREW", "get"], &keys, "DELETE, GET, HEAD, POST, PUT");
    let others = ["/health", "/docs", "/openapi.json", "/redoc", "/", "/docs/init.js"];
    check(&["POST", "PUT", "DELETE", "PATCH", "OPTIONS"], &others, "GET, HEAD");
}

/// With one worker, an answer on another connection shows that what was sent before has been
/// read: each piece is handled by itself.
fn handled(other: &mut Client) {
    other.send(request("GET", "/health", &[], None)).assert_json(200, r#"{"status":"healthy"}"#);
}

const CHUNKED: &str = "PUT /keys/b HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
                       5;x\r\n{\"key\r\n13\r\n\":\"b\",\"value\":\"é\"}\r\n0\r\nT: 1\r\n\r\n";

fn read_three(client: &mut Client) {
    client.read().assert_json(200, STORED);
    client.read().assert_json(200, STORED);
    client.read().assert_json(200, r#"{"success":true,"key":"b","value":"é"}"#);
}

fn a_request_may_be_cut_anywhere() {
    let server = kv().env("WORKERS", "1").env("LOG_LEVEL", "INFO").start();
    let (mut client, mut other) = (server.connect(), server.connect());
    let bytes = [&put("a", "[1, 2]"), CHUNKED, &get("b")].concat().into_bytes();
    for at in 0..bytes.len() {
        client.write(&bytes[..at]);
        handled(&mut other);
        client.write(&bytes[at..]);
        read_three(&mut client);
    }
}

fn a_request_may_come_byte_by_byte() {
    let server = kv().env("WORKERS", "1").start();
    let (mut client, mut other) = (server.connect(), server.connect());
    for byte in [&put("a", "[1, 2]"), CHUNKED, &get("b")].concat().into_bytes() {
        client.write([byte]);
        handled(&mut other);
    }
    read_three(&mut client);
}
