//! `POST /incr/{key}`

use std::thread;

use tests::{Client, kv};

tests::on_every_store! {
    a_counter_adds,
    what_is_no_integer_stays_as_it_is,
    a_sum_that_does_not_fit_is_refused,
    what_is_no_amount_is_refused,
    increments_by_many_add_up,
}

#[track_caller]
fn check(client: &mut Client, target: &str, sum: &str) {
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    let key = path.strip_prefix("/incr/").expect("a counter");
    let body = format!(r#"{{"success":true,"key":"{key}","value":{sum}}}"#);
    client.request("POST", target, &[], None).assert_json(200, &body);
    client.request("GET", &format!("/keys/{key}?raw"), &[], None).assert_json(200, sum);
}

fn a_counter_adds() {
    let server = kv().start();
    let mut client = server.connect();
    check(&mut client, "/incr/a", "1");
    check(&mut client, "/incr/a", "2");
    check(&mut client, "/incr/a?by=40", "42");
    check(&mut client, "/incr/a?by=-50", "-8");
    check(&mut client, "/incr/a?by=0", "-8");
    check(&mut client, "/incr/b/c?by=-0&x=y", "0");
    check(&mut client, "/incr/d?by=9223372036854775807", "9223372036854775807");
    check(&mut client, "/incr/e?by=-9223372036854775808", "-9223372036854775808");
    let answer = client.request("POST", "/incr/a", &[], Some("the body is not looked at"));
    assert_eq!(answer.status, 200);
}

fn what_is_no_integer_stays_as_it_is() {
    let server = kv().start();
    let mut client = server.connect();
    let values = ["\"1\"", "1.0", "1e2", "null", "[1]", "{}", "true", "9223372036854775808"];
    for value in values {
        client.request("PUT", "/keys/a?raw", &[], Some(value));
        let before = client.request("GET", "/keys/a?raw", &[], None);
        client.request("POST", "/incr/a", &[], None).assert_refused(409);
        let after = client.request("GET", "/keys/a?raw", &[], None);
        assert_eq!((after.text(), after.header("ETag")), (value, before.header("ETag")));
    }
}

fn a_sum_that_does_not_fit_is_refused() {
    let server = kv().start();
    let mut client = server.connect();
    for (value, by) in [
        ("9223372036854775807", "1"),
        ("1", "9223372036854775807"),
        ("-9223372036854775808", "-1"),
        ("-1", "-9223372036854775808"),
    ] {
        client.request("PUT", "/keys/a?raw", &[], Some(value));
        client.request("POST", &format!("/incr/a?by={by}"), &[], None).assert_refused(409);
        client.request("GET", "/keys/a?raw", &[], None).assert_json(200, value);
    }
}

fn what_is_no_amount_is_refused() {
    let server = kv().start();
    let mut client = server.connect();
    for by in ["", "x", "1.0", "1e2", "0x1", "9223372036854775808", "%zz"] {
        let answer = client.request("POST", &format!("/incr/a?by={by}"), &[], None);
        answer.assert_refused(422);
        assert!(answer.text().contains("Parameter by"), "{}", answer.text());
    }
    let other_origin = [("Origin", "http://elsewhere")];
    client.request("POST", "/incr/a", &other_origin, None).assert_refused(415);
    let own_origin = [("Origin", "http://test")];
    assert_eq!(client.request("POST", "/incr/b", &own_origin, None).status, 200);
    assert_eq!(client.request("GET", "/incr/a", &[], None).header("Allow"), Some("POST"));
    assert_eq!(server.get("/keys/a").status, 404);
}

fn increments_by_many_add_up() {
    const CLIENTS: i64 = 16;
    const EACH: i64 = 500;
    let server = kv().start();
    let count = |by: i64| {
        let mut client = server.connect();
        for _ in 0..EACH {
            let answer = client.request("POST", &format!("/incr/sum?by={by}"), &[], None);
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    thread::scope(|scope| {
        for by in 1..=CLIENTS {
            scope.spawn(move || count(by));
        }
    });
    let sum = EACH * CLIENTS * (CLIENTS + 1) / 2;
    server.get("/keys/sum?raw").assert_json(200, &sum.to_string());
}
