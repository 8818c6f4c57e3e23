//! Little memory, few threads, and the stop with requests under way.

use std::time::Duration;

use rustix::process::Signal;
use tests::{kv, request};

use crate::HEALTHY;

/// Started with these limits, kv serves, or ends by itself and says why.
#[track_caller]
fn check_starts_or_says_why(program: &str, args: &[&str], why: impl Fn(&str) -> bool) -> bool {
    // It serves until `timeout` ends it.
    let launch = kv().through(program, args).through("/usr/bin/timeout", &["3"]);
    let finished = launch.run();
    let serves = finished.stderr.contains(" listening on ");
    assert_eq!(serves, finished.code == Some(124), "{args:?}: {finished:?}");
    assert!(serves || why(&finished.stderr), "{args:?}: {finished:?}");
    serves
}

#[test]
fn little_memory_and_few_threads() {
    // The least with which the loader and the program get as far as to the arguments.
    let limit = |kib: u64| format!("--as={}", kib << 10);
    let starts = |kib: &u64| {
        let version = kv().args("--version").through("/usr/bin/prlimit", &[&limit(*kib)]).run();
        version.code == Some(0)
    };
    let least_kib = (1 << 10..64 << 10).step_by(512).find(starts).expect("some memory suffices");
    let mut limits = (least_kib..64 << 10).step_by(512);
    // Just below what a thread takes it is the standard library that ends the program, in more
    // lines than one.
    let why = |stderr: &str| stderr.contains("cannot") || stderr.contains("memory allocation of");
    let serves = |kib| check_starts_or_says_why("/usr/bin/prlimit", &[&limit(kib)], why);
    assert!(limits.any(serves), "64 MiB are not enough");

    // Root has no limit of threads, and anybody else has other programs that count: a user who is
    // nobody has none.
    let root = rustix::process::geteuid().is_root();
    let user = ["--reuid=1234567", "--regid=1234567", "--clear-groups", "/usr/bin/prlimit"];
    let one_line =
        |stderr: &str| stderr.starts_with("error: cannot") && stderr.lines().count() == 1;
    for threads in 1..=4 {
        let limit = format!("--nproc={threads}");
        if root {
            let args = [&user[..], &[&limit]].concat();
            check_starts_or_says_why("/usr/bin/setpriv", &args, one_line);
        } else {
            check_starts_or_says_why("/usr/bin/prlimit", &[&limit], one_line);
        }
    }
}

/// The two parts of a write, cut within its body.
fn halves(key: &str) -> (String, String) {
    let body = format!(r#"{{"key":"{key}","value":1}}"#);
    let whole = request("PUT", &format!("/keys/{key}"), &[], Some(&body));
    let (first, second) = whole.split_at(whole.len() - body.len() / 2);
    (first.to_owned(), second.to_owned())
}

#[test]
fn two_hundred_requests_in_flight_are_answered_at_the_stop() {
    let server = kv().env("WORKERS", "1").start();
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.write(halves(&index.to_string()).0);
    }
    // The only worker has turned to all of them.
    server.get("/health").assert_json(200, HEALTHY);
    server.signal(Signal::TERM);
    server.log().wait_for("stopping on SIGTERM");
    for (index, client) in clients.iter_mut().enumerate() {
        let answer = client.send(halves(&index.to_string()).1);
        assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    }
    let stopped = server.wait();
    assert_eq!(stopped.code, 0);
    assert!(stopped.log.last().unwrap().ends_with(" stopped with 200 keys"), "{:?}", stopped.log);
}

/// The one test that takes ten seconds: the time is no setting.
#[test]
fn a_client_that_never_finishes_does_not_hold_up_the_stop() {
    let server = kv().start();
    let mut client = server.connect();
    client.write(halves("a").0);
    server.get("/health");
    server.signal(Signal::TERM);
    let stopped = server.wait();
    assert_eq!(stopped.code, 0);
    assert!(stopped.took < Duration::from_secs(15), "{:?}", stopped.took);
    assert!(stopped.log.iter().any(|line| line.contains("1 connections were cut off by the stop")));
    client.expect_close();
}

/// Deadlines were not kept during a stop: a client that had been refused and did not close, or
/// was overdue, held it up for the whole ten seconds.
#[test]
fn deadlines_hold_during_a_stop() {
    let server = kv().env("HEAD_TIMEOUT", "1s").start();
    let mut refused = server.connect();
    refused.write("GET\r\n\r\n");
    let mut overdue = server.connect();
    overdue.write("GET /health HTTP/1.1\r\n");
    server.get("/health");
    server.signal(Signal::TERM);
    refused.read().assert_refused(400);
    overdue.read().assert_refused(408);
    let stopped = server.wait();
    assert_eq!(stopped.code, 0);
    assert!(!stopped.log.iter().any(|line| line.contains("cut off")), "{:#?}", stopped.log);
}
