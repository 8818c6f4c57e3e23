//! What kv answers, byte for byte, and where its limits are.

use tests::{Client, Server, kv, request};

tests::on_every_store! {
    answers_byte_for_byte,
    head_is_get_without_the_body,
    a_value_comes_back_as_the_text_that_came,
    a_body_may_be_as_large_as_the_limit,
    a_key_is_what_its_escapes_stand_for,
    what_is_no_key_is_refused,
    a_page_of_another_origin_must_say_that_it_sends_json,
    a_slash_too_many_is_redirected,
}

const STORED: &str = r#"{"success":true,"message":"Value stored successfully"}"#;
const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

fn entry(key: &str, value: &str) -> String {
    format!(r#"{{"key":{},"value":{value}}}"#, serde_json::Value::from(key))
}

fn answers_byte_for_byte() {
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |method: &str, target: &str, body: Option<&str>, status: u16, answer: &str| {
        client.request(method, target, JSON, body).assert_json(status, answer);
    };
    let not_found = r#"{"detail":{"success":false,"error":"Key 'a' not found"}}"#;
    check("GET", "/health", None, 200, r#"{"status":"healthy"}"#);
    check("GET", "/keys/a", None, 404, not_found);
    check("DELETE", "/keys/a", None, 404, not_found);
    check("POST", "/keys/a", Some(r#"{"key":"a","value":1}"#), 201, STORED);
    check("GET", "/keys/a", None, 200, r#"{"success":true,"key":"a","value":1}"#);
    check("POST", "/keys/a", Some(r#"{"key":"a","value":2}"#), 201, STORED);
    check("PUT", "/keys/a", Some(r#"{"value":[3],"key":"a"}"#), 200, STORED);
    check("GET", "/keys/a", None, 200, r#"{"success":true,"key":"a","value":[3]}"#);
    check("GET", "/keys/a?b=c", None, 200, r#"{"success":true,"key":"a","value":[3]}"#);
    check(
        "PUT",
        "/keys/a",
        Some(r#"{"key":"b","value":4}"#),
        400,
        r#"{"detail":{"success":false,"error":"Key in path 'a' does not match key in body 'b'"}}"#,
    );
    check(
        "PUT",
        "/keys/a",
        Some(r#"{"key":"a"}"#),
        422,
        r#"{"detail":[{"type":"missing","loc":["body","value"],"msg":"Field required","input":{"key":"a"}}]}"#,
    );
    let deleted = r#"{"success":true,"message":"Key deleted successfully"}"#;
    check("DELETE", "/keys/a", None, 200, deleted);
    check("GET", "/keys/a", None, 404, not_found);
    check("GET", "/nope", None, 404, r#"{"detail":"Not Found"}"#);
    check("GET", "/keys/", None, 404, r#"{"detail":"Not Found"}"#);
    check("PATCH", "/keys/a", None, 405, r#"{"detail":"Method Not Allowed"}"#);
}

fn head_is_get_without_the_body() {
    let server = kv().start();
    let mut client = server.connect();
    client.request("PUT", "/keys/a", JSON, Some(&entry("a", "[1,2,3]")));
    let targets = ["/keys/a", "/keys/b", "/keys/%zz", "/health", "/health/", "/nope"];
    let pages = ["/", "/docs", "/docs/swagger-ui.css", "/docs/init.js", "/openapi.json", "/redoc"];
    for target in targets.into_iter().chain(pages) {
        let mut get = client.request("GET", target, &[], None);
        let mut head = client.request("HEAD", target, &[], None);
        for response in [&mut get, &mut head] {
            response.headers.retain(|(name, _)| name != "Date");
        }
        assert_eq!((head.status, &head.headers), (get.status, &get.headers), "{target}");
        assert_eq!(head.body, b"", "{target}");
    }
}

fn a_value_comes_back_as_the_text_that_came() {
    let server = kv().start();
    let mut client = server.connect();
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let digits = "1234567890".repeat(100);
    for value in [
        "null",
        "-0",
        "1e400",
        "1.500E+02",
        "123456789012345678901234567890",
        "9007199254740993",
        "0.1000000000000000055511151231257827",
        r#""\u0041\/\ud83d\ude00\n""#,
        r#""\ud800""#,
        "\"\u{7f}é漢😀\u{2028}\"",
        r#"{"b":1,"a":2,"b":3}"#,
        "[ 1 ,\t{ \"a\" :\r\n2 } ]",
        r#"{"key":"x","value":{"key":1}}"#,
        &deep,
        &digits,
    ] {
        client.request("POST", "/keys/k", JSON, Some(&entry("k", value))).assert_json(201, STORED);
        let found = format!(r#"{{"success":true,"key":"k","value":{value}}}"#);
        client.request("GET", "/keys/k", &[], None).assert_json(200, &found);
    }
}

/// A body of exactly so many bytes that stores a string under `k`.
fn body_of(bytes: usize) -> String {
    let frame = entry("k", r#""""#).len();
    entry("k", &format!(r#""{}""#, "x".repeat(bytes - frame)))
}

#[track_caller]
fn check_body_limit(server: &Server, max: usize) {
    let whole = body_of(max);
    let mut client = server.connect();
    client.request("PUT", "/keys/k", JSON, Some(&whole)).assert_json(200, STORED);
    let head = "PUT /keys/k HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = |body: &str| format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    client.send(chunked(&whole)).assert_json(200, STORED);
    let found = client.request("GET", "/keys/k", &[], None);
    assert_eq!(found.status, 200);

    let error = format!("The body is larger than {max} bytes");
    let refusal = format!(r#"{{"detail":{{"success":false,"error":"{error}"}}}}"#);
    let larger = body_of(max + 1);
    for request in [request("PUT", "/keys/k", JSON, Some(&larger)), chunked(&larger)] {
        let answer = server.connect().send(request);
        answer.assert_json(413, &refusal);
        assert_eq!(answer.header("Connection"), Some("close"));
    }
    assert_eq!(client.request("GET", "/keys/k", &[], None).body, found.body);
}

fn a_body_may_be_as_large_as_the_limit() {
    check_body_limit(&kv().start(), 1 << 20);
    check_body_limit(&kv().env("MAX_BODY", "100").start(), 100);
    check_body_limit(&kv().args("--max-body 300KB").start(), 300_000);
}

#[track_caller]
fn check_same_key(client: &mut Client, key: &str, targets: &[&str]) {
    for stored in targets {
        let body = entry(key, "1");
        client.request("PUT", stored, JSON, Some(&body)).assert_json(200, STORED);
        for read in targets {
            let found = format!(r#"{{"success":true,{}}}"#, body.trim_matches(['{', '}']));
            client.request("GET", read, &[], None).assert_json(200, &found);
        }
        assert_eq!(client.request("DELETE", stored, &[], None).status, 200);
    }
}

fn a_key_is_what_its_escapes_stand_for() {
    let server = kv().start();
    let mut client = server.connect();
    let targets = ["/keys/app/db/host", "/keys/app%2Fdb%2fhost", "/keys/%61pp/db%2Fhost"];
    check_same_key(&mut client, "app/db/host", &targets);
    check_same_key(&mut client, "/", &["/keys//", "/keys/%2F"]);
    check_same_key(&mut client, "a/", &["/keys/a/", "/keys/a%2f"]);
    check_same_key(&mut client, "é?#%", &["/keys/%C3%A9%3F%23%25", "/keys/é%3f%23%25?x"]);
    check_same_key(&mut client, "a+b", &["/keys/a+b", "/keys/a%2Bb"]);
    check_same_key(&mut client, "../x", &["/keys/../x", "/keys/%2e%2e/x"]);
    let longest = "k".repeat(1024);
    let escaped = "%6B".repeat(1024);
    let targets = [format!("/keys/{longest}"), format!("/keys/{escaped}")];
    check_same_key(&mut client, &longest, &[&targets[0], &targets[1]]);
}

fn what_is_no_key_is_refused() {
    let server = kv().start();
    let mut client = server.connect();
    let longer = "k".repeat(1025);
    let longer_escaped = "%F0%9F%98%80".repeat(256) + "x";
    let keys = ["%", "%4", "a%zz", "%+1", "%ff", "%C3", "%ED%A0%80", "%C0%AF", "%00", "a%00b"];
    for key in keys.into_iter().chain([longer.as_str(), &longer_escaped]) {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let body = matches!(method, "POST" | "PUT").then(|| entry("k", "1"));
            let target = format!("/keys/{key}");
            client.request(method, &target, JSON, body.as_deref()).assert_refused(400);
        }
    }
}

fn a_page_of_another_origin_must_say_that_it_sends_json() {
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |headers: &[(&str, &str)], status: u16| {
        for (method, stored) in [("POST", 201), ("PUT", 200)] {
            let answer = client.request(method, "/keys/k", headers, Some(&entry("k", "1")));
            match status {
                200 => answer.assert_json(stored, STORED),
                refused => answer.assert_refused(refused),
            }
        }
    };
    let origin = ("Origin", "http://elsewhere");
    check(&[], 200);
    check(&[("Content-Type", "application/x-www-form-urlencoded")], 200);
    check(&[("Content-Type", "text/plain")], 200);
    check(&[origin], 415);
    check(&[("Origin", "null")], 415);
    check(&[origin, ("Content-Type", "application/x-www-form-urlencoded")], 415);
    check(&[origin, ("Content-Type", "text/plain; a=application/json")], 415);
    check(&[origin, ("Content-Type", "multipart/form-data; boundary=x")], 415);
    check(&[origin, ("Content-Type", "application/jsonp")], 415);
    check(&[origin, ("Content-Type", "application/json")], 200);
    check(&[origin, ("Content-Type", "Application/JSON ; charset=utf-8")], 200);
    check(&[origin, ("Content-Type", "application/merge-patch+json")], 200);
}

fn a_slash_too_many_is_redirected() {
    let server = kv().start();
    let mut client = server.connect();
    for path in ["/health", "/docs", "/openapi.json", "/redoc", "/docs/init.js"] {
        for method in ["GET", "HEAD"] {
            let answer = client.request(method, &format!("{path}/"), &[], None);
            assert_eq!((answer.status, answer.header("Location")), (307, Some(path)), "{path}");
        }
        let answer = client.request("POST", &format!("{path}/"), &[], None);
        assert_eq!(answer.status, 405, "{path}");
    }
}
