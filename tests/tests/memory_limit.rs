//! `MAX_MEMORY`: a full store refuses what would grow it, and nothing else.

use tests::{Client, Response, Server, kv};

const LIMIT_BYTES: usize = 64 << 10;
const VALUE_BYTES: usize = 1000;

fn limited() -> Server {
    kv().env("MAX_MEMORY", "64KiB").start()
}

fn put(client: &mut Client, key: &str, value_bytes: usize) -> Response {
    let value = "x".repeat(value_bytes);
    let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
    client.request("PUT", &format!("/keys/{key}"), &[], Some(&body))
}

/// A refusal that names the limit.
#[track_caller]
fn check_full(answer: &Response) {
    let error = format!("The store is full: its limit is {LIMIT_BYTES} bytes");
    let body = format!(r#"{{"detail":{{"success":false,"error":"{error}"}}}}"#);
    answer.assert_json(507, &body);
}

/// Puts keys until the store is full; says how many it took.
#[track_caller]
fn fill(client: &mut Client) -> usize {
    let (index, refusal) = (0..LIMIT_BYTES)
        .map(|index| (index, put(client, &format!("k{index}"), VALUE_BYTES)))
        .find(|(_, answer)| answer.status != 200)
        .expect("an end");
    check_full(&refusal);
    // What is counted beside the bytes themselves is no more than a fifth of them here.
    assert!((LIMIT_BYTES / VALUE_BYTES * 4 / 5..LIMIT_BYTES / VALUE_BYTES).contains(&index));
    index
}

fn status(client: &mut Client, method: &str, path: &str) -> u16 {
    client.request(method, path, &[], None).status
}

#[test]
fn a_full_store_changes_nothing_and_goes_on() {
    let server = limited();
    let mut client = server.connect();
    let taken = fill(&mut client);
    let before = client.request("GET", "/keys/k0", &[], None);
    let larger = put(&mut client, "k0", VALUE_BYTES * 3);
    check_full(&larger);
    let after = client.request("GET", "/keys/k0", &[], None);
    assert_eq!((before.body, before.status), (after.body, 200));
    assert_eq!(status(&mut client, "GET", &format!("/keys/k{taken}")), 404);
    for index in 0..taken {
        assert_eq!(status(&mut client, "GET", &format!("/keys/k{index}")), 200);
    }
    assert_eq!(status(&mut client, "GET", "/ready"), 200);
}

#[test]
fn deletions_and_smaller_values_make_room_at_once() {
    let server = limited();
    let mut client = server.connect();
    fill(&mut client);
    for round in 0..100 {
        check_full(&put(&mut client, "new", VALUE_BYTES));
        assert_eq!(status(&mut client, "DELETE", "/keys/k0"), 200);
        assert_eq!(put(&mut client, "new", VALUE_BYTES).status, 200, "round {round}");
        check_full(&put(&mut client, "k0", VALUE_BYTES));
        // The same size and a smaller one are taken when nothing else is.
        assert_eq!(put(&mut client, "k1", VALUE_BYTES).status, 200);
        assert_eq!(put(&mut client, "new", 1).status, 200);
        assert_eq!(put(&mut client, "k0", VALUE_BYTES - 100).status, 200, "round {round}");
        assert_eq!(status(&mut client, "DELETE", "/keys/new"), 200);
        assert_eq!(put(&mut client, "k0", VALUE_BYTES).status, 200, "round {round}");
    }
}

#[test]
fn an_empty_store_counts_nothing() {
    let server = limited();
    let mut client = server.connect();
    let taken = fill(&mut client);
    for index in 0..taken {
        assert_eq!(status(&mut client, "DELETE", &format!("/keys/k{index}")), 200);
    }
    let metrics = client.request("GET", "/metrics", &[], None);
    assert!(metrics.text().contains("\nkv_store_bytes 0\n"), "{}", metrics.text());
    assert_eq!(fill(&mut client), taken);
}

#[test]
fn a_value_larger_than_the_limit_is_refused_by_an_empty_store() {
    let server = limited();
    let mut client = server.connect();
    check_full(&put(&mut client, "a", LIMIT_BYTES));
    assert_eq!(status(&mut client, "GET", "/keys/a"), 404);
    assert_eq!(put(&mut client, "a", 1).status, 200);
}

#[test]
fn a_limit_that_is_none_stops_the_start() {
    for text in ["0", "64M", "-1", "lots"] {
        let finished = kv().env("MAX_MEMORY", text).run();
        let error = format!("error: MAX_MEMORY: '{text}' is not a size");
        assert!(finished.stderr.starts_with(&error), "{}", finished.stderr);
        assert_eq!(finished.code, Some(64));
    }
}
