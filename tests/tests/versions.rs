//! Entity tags and conditions, alone and in races.

#![allow(clippy::unwrap_used, reason = "each function is a test, of every store")]

use std::sync::Barrier;
use std::thread;

use tests::{Client, Response, Server, Store, current, kv};

tests::on_every_store! {
    versions_grow_with_every_write,
    conditions_on_writes,
    conditions_on_deletes,
    conditions_on_reads,
    a_condition_does_not_hide_a_fault,
    of_many_creators_one_wins,
    a_chain_of_compare_and_set_loses_nothing,
}

const PRESENT: &str = "/keys/present?raw";
const ABSENT: &str = "/keys/absent?raw";

/// The version that an answer names.
#[track_caller]
fn version(answer: &Response) -> u64 {
    let tag = answer.header("ETag").unwrap_or_else(|| panic!("no tag: {}", answer.text()));
    let digits = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{tag}"))
}

#[track_caller]
fn put(client: &mut Client, target: &str, value: &str) -> u64 {
    let answer = client.request("PUT", target, &[], Some(value));
    assert_eq!(answer.status, 200, "{}", answer.text());
    version(&answer)
}

fn versions_grow_with_every_write() {
    let server = kv().start();
    let mut client = server.connect();
    let mut last = 0;
    let mut grew = |answer: &Response| {
        assert!(version(answer) > last, "{} after {last}", version(answer));
        last = version(answer);
    };
    for key in ["a", "b", "a"] {
        let (target, body) = (format!("/keys/{key}"), format!(r#"{{"key":"{key}","value":1}}"#));
        grew(&client.request("POST", &target, &[], Some(&body)));
        grew(&client.request("PUT", &target, &[], Some(&body)));
        let written = client.request("POST", &format!("/incr/{key}"), &[], None);
        grew(&written);
        for method in ["GET", "HEAD"] {
            let read = client.request(method, &target, &[], None);
            assert_eq!(version(&read), version(&written));
        }
        client.request("DELETE", &target, &[], None);
        grew(&client.request("PUT", &target, &[], Some(&body)));
    }
}

/// Sends the request to a key that is there and to one that is not, each made anew. In a field,
/// `V` is the version of the key that is there.
#[track_caller]
fn check(server: &Server, method: &str, fields: &[(&str, &str)], present: u16, absent: u16) {
    let mut client = server.connect();
    let current = put(&mut client, PRESENT, "1");
    client.request("DELETE", ABSENT, &[], None);
    let (name_only, body) = match method {
        "POST" | "PUT" => ("keys", Some("2")),
        "INCR" => ("incr", None),
        _ => ("keys", None),
    };
    let sent_method = if method == "INCR" { "POST" } else { method };
    let values: Vec<_> =
        fields.iter().map(|(_, value)| value.replace('V', &current.to_string())).collect();
    let fields: Vec<_> =
        fields.iter().zip(&values).map(|((name, _), value)| (*name, value.as_str())).collect();
    for (target, status) in [(PRESENT, present), (ABSENT, absent)] {
        let answer = client.request(sent_method, &target.replace("keys", name_only), &fields, body);
        let what = format!("{method} {target} {fields:?}: {}", answer.text());
        assert_eq!(answer.status, status, "{what}");
        match status {
            304 => assert_eq!((version(&answer), answer.text()), (current, ""), "{what}"),
            412 if target == PRESENT => assert_eq!(version(&answer), current, "{what}"),
            404 | 412 => assert_eq!(answer.header("ETag"), None, "{what}"),
            _ => {}
        }
        if status >= 400 && method != "HEAD" {
            answer.assert_refused(status);
        }
    }
    let changes = (present < 300) && !matches!(method, "GET" | "HEAD");
    let after = client.request("GET", PRESENT, &[], None);
    assert_eq!(after.header("ETag") != Some(&format!("\"{current}\"")), changes, "{method}");
}

fn conditions_on_writes() {
    let server = kv().start();
    for (method, done) in [("POST", 201), ("PUT", 200), ("INCR", 200)] {
        let check = |fields: &[(&str, &str)], present, absent| {
            check(&server, method, fields, present, absent);
        };
        check(&[], done, done);
        check(&[("If-Match", "*")], done, 412);
        check(&[("If-Match", "\"V\"")], done, 412);
        check(&[("if-match", "\"7\", \"V\"")], done, 412);
        check(&[("If-Match", "\"7\""), ("If-Match", "\"V\"")], done, 412);
        check(&[("If-Match", "\"7\"")], 412, 412);
        check(&[("If-Match", "\"0V\"")], 412, 412);
        check(&[("If-Match", "\"V \"")], 400, 400);
        check(&[("If-Match", "W/\"V\"")], 412, 412);
        check(&[("If-Match", "V")], 400, 400);
        check(&[("If-None-Match", "*")], 412, done);
        check(&[("If-None-Match", "\"V\"")], 412, done);
        check(&[("If-None-Match", "W/\"V\"")], 412, done);
        check(&[("If-None-Match", "\"7\", \"abc\"")], done, done);
        check(&[("If-None-Match", "*, \"V\"")], 400, 400);
        check(&[("If-None-Match", "\"V\""), ("If-None-Match", "*")], 400, 400);
        check(&[("If-Match", "\"V\""), ("If-None-Match", "\"7\"")], done, 412);
        check(&[("If-Match", "*"), ("If-None-Match", "*")], 412, 412);
        check(&[("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")], done, done);
    }
}

/// A key that is not there is 404, whatever the condition: RFC 9110, section 13.2.1.
fn conditions_on_deletes() {
    let server = kv().start();
    let check = |fields: &[(&str, &str)], present| check(&server, "DELETE", fields, present, 404);
    check(&[], 200);
    check(&[("If-Match", "*")], 200);
    check(&[("If-Match", "\"V\"")], 200);
    check(&[("If-Match", "\"7\"")], 412);
    check(&[("If-Match", "W/\"V\"")], 412);
    check(&[("If-None-Match", "*")], 412);
    check(&[("If-None-Match", "W/\"V\"")], 412);
    check(&[("If-None-Match", "\"7\"")], 200);
}

fn conditions_on_reads() {
    let server = kv().start();
    for method in ["GET", "HEAD"] {
        let check = |fields: &[(&str, &str)], present| check(&server, method, fields, present, 404);
        check(&[], 200);
        check(&[("If-None-Match", "\"V\"")], 304);
        check(&[("If-None-Match", "W/\"V\"")], 304);
        check(&[("If-None-Match", "*")], 304);
        check(&[("If-None-Match", "\"7\""), ("If-None-Match", "\"V\"")], 304);
        check(&[("If-None-Match", "\"7\"")], 200);
        check(&[("If-Match", "\"V\"")], 200);
        check(&[("If-Match", "*")], 200);
        check(&[("If-Match", "\"7\"")], 412);
        check(&[("If-Match", "W/\"V\"")], 412);
        check(&[("If-Match", "\"7\""), ("If-None-Match", "\"V\"")], 412);
        check(&[("If-Match", "\"V\""), ("If-None-Match", "\"V\"")], 304);
        check(&[("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")], 200);
    }
}

/// What is wrong with the request itself comes before its conditions.
fn a_condition_does_not_hide_a_fault() {
    let server = kv().start();
    let mut client = server.connect();
    let fields = [("If-Match", "\"7\"")];
    assert_eq!(client.request("PUT", "/keys/a", &fields, Some("{")).status, 422);
    assert_eq!(client.request("PUT", "/keys/a?ttl=0&raw", &fields, Some("1")).status, 422);
    assert_eq!(client.request("PUT", "/keys/%zz", &fields, Some("1")).status, 400);
    let other = r#"{"key":"b","value":1}"#;
    assert_eq!(client.request("PUT", "/keys/a", &fields, Some(other)).status, 400);
}

fn of_many_creators_one_wins() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 1000;
    let server = kv().start();
    let barrier = Barrier::new(WRITERS);
    let wins = |writer: usize| {
        let mut client = server.connect();
        let create = |round: usize| {
            barrier.wait();
            let target = format!("/keys/{round}?raw");
            let fields = [("If-None-Match", "*")];
            let answer = client.request("PUT", &target, &fields, Some(&writer.to_string()));
            assert!(matches!(answer.status, 200 | 412), "{}", answer.text());
            answer.status == 200
        };
        (0..ROUNDS).map(create).collect::<Vec<_>>()
    };
    let wins: Vec<Vec<bool>> = thread::scope(|scope| {
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || wins(writer))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let mut client = server.connect();
    for round in 0..ROUNDS {
        let won: Vec<_> = wins.iter().map(|wins| wins[round]).collect();
        let kept = client.request("GET", &format!("/keys/{round}?raw"), &[], None);
        let winner: usize = kept.text().parse().unwrap();
        let expected: Vec<_> = (0..WRITERS).map(|writer| writer == winner).collect();
        assert_eq!(won, expected, "round {round}");
    }
}

fn a_chain_of_compare_and_set_loses_nothing() {
    const CLIENTS: usize = 8;
    // Each step is two requests over a network and a disk there, and most of them come too late.
    let steps_each = if current() == Store::Etcd { 50 } else { 1250 };
    let server = kv().start();
    put(&mut server.connect(), "/keys/chain?raw", "0");
    let run = || {
        let mut client = server.connect();
        let mut done = 0;
        while done < steps_each {
            let read = client.request("GET", "/keys/chain?raw", &[], None);
            let next = read.text().parse::<usize>().unwrap() + 1;
            let fields = [("If-Match", read.header("ETag").unwrap())];
            let answer = client.request("PUT", "/keys/chain?raw", &fields, Some(&next.to_string()));
            assert!(matches!(answer.status, 200 | 412), "{}", answer.text());
            done += usize::from(answer.status == 200);
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(run);
        }
    });
    let last = server.get("/keys/chain?raw");
    assert_eq!(last.text(), (CLIENTS * steps_each).to_string());
}
