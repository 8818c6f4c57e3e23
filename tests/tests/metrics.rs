//! `/metrics`, as Prometheus would read it, and `/ready`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tests::{Client, Server, kv};

tests::on_every_store! {
    open_connections_are_those_that_are_open,
    no_client_can_add_a_time_series,
    ready_when_the_store_answers,
}

/// A scrape that is as quick as all of them have to be, on a machine that has better things to do
/// too.
const SCRAPES: usize = 20;
const SCRAPE_MAX: Duration = Duration::from_millis(20);

fn scrape(server: &Server) -> BTreeMap<String, f64> {
    read(&mut server.connect())
}

/// Samples by name and labels.
#[track_caller]
fn read(client: &mut Client) -> BTreeMap<String, f64> {
    let answer = client.request("GET", "/metrics", &[], None);
    assert_eq!(answer.status, 200);
    let content_type = answer.header("Content-Type");
    assert_eq!(content_type, Some("text/plain; version=0.0.4; charset=utf-8"));
    let samples = answer.text().lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    samples.map(sample).collect()
}

#[track_caller]
fn check(samples: &BTreeMap<String, f64>, name: &str, expected: f64) {
    let actual = samples.get(name).copied().unwrap_or_default();
    assert!((actual - expected).abs() < f64::EPSILON, "{name} is {actual}, not {expected}");
}

#[test]
fn what_happens_is_counted() {
    let server = kv().start();
    let mut client = server.connect();
    let put = r#"{"key":"a","value":1}"#;
    for (method, path, body) in [
        ("POST", "/keys/a", Some(put)),
        ("PUT", "/keys/a", Some(put)),
        ("PUT", "/keys/a", Some("{")),
        ("PUT", "/keys/a", Some(put)),
        ("GET", "/keys/a", None),
        ("GET", "/keys/b", None),
        ("HEAD", "/keys/a", None),
        ("GET", "/keys/%zz", None),
        ("GET", "/nowhere", None),
        ("BREW", "/keys/a", None),
        ("GET", "/health", None),
    ] {
        client.request(method, path, &[], body);
    }
    let refused = server.connect().send("GET / HTTP/3.0\r\nHost: a\r\n\r\n");
    assert_eq!(refused.status, 505);
    let samples = scrape(&server);
    for (route, method, status, count) in [
        ("/keys/{key}", "POST", 201, 1.0),
        ("/keys/{key}", "PUT", 200, 2.0),
        ("/keys/{key}", "PUT", 422, 1.0),
        ("/keys/{key}", "GET", 200, 1.0),
        ("/keys/{key}", "GET", 404, 1.0),
        ("/keys/{key}", "HEAD", 200, 1.0),
        ("/keys/{key}", "GET", 400, 1.0),
        ("unmatched", "GET", 404, 1.0),
        ("unmatched", "other", 405, 1.0),
        ("/health", "GET", 200, 1.0),
    ] {
        let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
        check(&samples, &format!("kv_http_requests_total{{{labels}}}"), count);
    }
    let gets = r#"{route="/keys/{key}",method="GET"}"#;
    check(&samples, &format!("kv_http_request_duration_seconds_count{gets}"), 3.0);
    check(&samples, r#"kv_http_refusals_total{reason="unknown_version"}"#, 1.0);
    check(&samples, r#"kv_http_refusals_total{reason="head_timeout"}"#, 0.0);
    check(&samples, "kv_keys", 1.0);
    check(&samples, "kv_writes_total", 3.0);
    check(&samples, "kv_waiters", 0.0);
    check(&samples, "kv_log_lines_lost_total", 0.0);
    check(&samples, concat!("kv_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0);
    for positive in ["kv_store_bytes", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(samples[positive] >= 1.0, "{positive} is {}", samples[positive]);
    }
}

fn open_connections_are_those_that_are_open() {
    let server = kv().start();
    let mut client = server.connect();
    let mut others: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for other in &mut others {
        other.request("GET", "/health", &[], None);
    }
    check(&read(&mut client), "kv_http_connections", 11.0);
    drop(others);
    let alone = || read(&mut client)["kv_http_connections"] < 1.5;
    let mut alone = alone;
    tests::eventually("end of the connections", || alone().then_some(()));
}

/// Whatever the labels are, they come from the service: a client cannot make more of them.
fn no_client_can_add_a_time_series() {
    let server = kv().start();
    let mut client = server.connect();
    let mut ask = |from: usize| {
        for number in from..from + 50 {
            client.request(&format!("M{number}"), &format!("/{number}"), &[], None);
            client.request("GET", &format!("/keys/{number}"), &[], None);
        }
        read(&mut client).len()
    };
    // The first scrape is in the second.
    ask(0);
    assert_eq!(ask(1_000), ask(2_000));
}

#[test]
fn a_scrape_is_quick() {
    let server = kv().start();
    let mut clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for client in &mut clients {
        for method in ["GET", "PUT", "POST", "DELETE", "HEAD", "BREW"] {
            client.request(method, "/keys/a", &[], None);
        }
    }
    let quickest = (0..SCRAPES).map(|_| {
        let started = Instant::now();
        read(&mut clients[0]);
        started.elapsed()
    });
    let quickest = quickest.min().expect("there are some");
    assert!(quickest < SCRAPE_MAX, "the quickest of {SCRAPES} took {quickest:?}");
}

fn ready_when_the_store_answers() {
    let server = kv().start();
    server.get("/ready").assert_json(200, r#"{"status":"ready"}"#);
    let head = server.connect().request("HEAD", "/ready", &[], None);
    assert_eq!((head.status, head.body), (200, Vec::new()));
}
