//! `?raw`: the value alone, both ways.

use tests::kv;

tests::on_every_store! {
    a_raw_value_is_the_text_that_came,
    the_flag_can_be_written_out,
    what_is_not_json_is_refused_as_in_other_bodies,
    a_raw_error_has_the_usual_shape,
}

const STORED: &str = r#"{"success":true,"message":"Value stored successfully"}"#;

fn a_raw_value_is_the_text_that_came() {
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |body: &str, value: &str| {
        for (method, status) in [("POST", 201), ("PUT", 200)] {
            client.request(method, "/keys/a?raw", &[], Some(body)).assert_json(status, STORED);
            client.request("GET", "/keys/a?raw", &[], None).assert_json(200, value);
            let framed = format!(r#"{{"success":true,"key":"a","value":{value}}}"#);
            client.request("GET", "/keys/a", &[], None).assert_json(200, &framed);
            let head = client.request("HEAD", "/keys/a?raw", &[], None);
            assert_eq!(head.header("Content-Length"), Some(value.len().to_string().as_str()));
        }
    };
    check("1", "1");
    check("null", "null");
    check(" \t[ 1 ,\n2 ]\r\n", "[ 1 ,\n2 ]");
    check("\u{feff}true", "true");
    check(r#"{"key":"b","value":1}"#, r#"{"key":"b","value":1}"#);
    check(r#""\ud800\u0041""#, r#""\ud800\u0041""#);
    check("1.500E+02", "1.500E+02");
    check(r#"{"b":1,"a":2,"b":3}"#, r#"{"b":1,"a":2,"b":3}"#);
    let large = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    check(&large, &large);
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    check(&deep, &deep);
}

fn the_flag_can_be_written_out() {
    let server = kv().start();
    let mut client = server.connect();
    client.request("PUT", "/keys/a?raw", &[], Some("1"));
    let framed = r#"{"success":true,"key":"a","value":1}"#;
    let mut check = |query: &str, body: &str| {
        client.request("GET", &format!("/keys/a?{query}"), &[], None).assert_json(200, body);
    };
    for query in ["raw", "raw=", "raw=1", "raw=true", "x=y&raw&z", "%72aw"] {
        check(query, "1");
    }
    for query in ["", "raw=0", "raw=false", "RAW", "raws"] {
        check(query, framed);
    }
    for query in ["raw=yes", "raw=2", "raw=null", "raw=%zz"] {
        for (method, body) in [("GET", None), ("PUT", Some("1")), ("POST", Some("1"))] {
            let answer = client.request(method, &format!("/keys/a?{query}"), &[], body);
            answer.assert_refused(422);
            assert!(answer.text().contains("Parameter raw"), "{}", answer.text());
        }
    }
}

fn what_is_not_json_is_refused_as_in_other_bodies() {
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |body: Option<&str>, detail: &str| {
        for method in ["POST", "PUT"] {
            let answer = client.request(method, "/keys/a?raw", &[], body);
            answer.assert_json(422, &format!(r#"{{"detail":[{detail}]}}"#));
        }
    };
    let missing = r#"{"type":"missing","loc":["body"],"msg":"Field required","input":null}"#;
    check(None, missing);
    check(Some(""), missing);
    let mut check_syntax = |body: &str, message: &str, offset: usize| {
        let detail = format!(
            r#"{{"type":"json_invalid","loc":["body",{offset}],"msg":"JSON decode error","input":{{}},"ctx":{{"error":"{message}"}}}}"#
        );
        check(Some(body), &detail);
    };
    check_syntax(" ", "Expecting value", 1);
    check_syntax("hello", "Expecting value", 0);
    check_syntax("1 2", "Extra data", 2);
    check_syntax("[1,]", "Expecting value", 3);
    check_syntax("NaN", "Expecting value", 0);
    check_syntax("\"é", "Unterminated string starting at", 0);
    let not_utf8 = b"PUT /keys/a?raw HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n\"\xff\"";
    client.send(not_utf8).assert_json(400, r#"{"detail":"There was an error parsing the body"}"#);
    assert_eq!(server.get("/keys/a").status, 404);
}

fn a_raw_error_has_the_usual_shape() {
    let server = kv().start();
    server.get("/keys/a?raw").assert_refused(404);
    server.get("/keys/%zz?raw").assert_refused(400);
    let answer =
        server.connect().request("PUT", "/keys/a?raw", &[("Origin", "http://x")], Some("1"));
    answer.assert_refused(415);
}
