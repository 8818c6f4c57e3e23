//! SIGTERM and SIGINT: what runs is finished, what idles is closed, and the exit code is 0.

use rustix::process::Signal;
use tests::{Launch, Stopped, checker, kv, request};

const STORED: &str = r#"{"success":true,"message":"Value stored successfully"}"#;

/// What a graceful stop takes at most when nothing runs: less than the time that it would wait
/// for requests.
const STOP_SECS_MAX: u64 = 9;

#[track_caller]
fn check_graceful(stopped: &Stopped, last_line: &str) {
    assert_eq!(stopped.code, 0, "{:#?}", stopped.log);
    assert!(stopped.took.as_secs() < STOP_SECS_MAX, "{:?}", stopped.took);
    assert!(stopped.log.last().is_some_and(|line| line.ends_with(last_line)), "{:#?}", stopped.log);
}

#[test]
fn an_idle_program_ends_at_once() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        for (program, last_line) in
            [(kv as fn() -> Launch, " stopped with 2 keys"), (checker, " stopped")]
        {
            let server = program().start();
            let mut idle: Vec<_> = (0..10).map(|_| server.connect()).collect();
            for (client, key) in idle.iter_mut().zip(["a", "b"]) {
                let body = format!(r#"{{"key":"{key}","value":1}}"#);
                client.request("PUT", &format!("/keys/{key}"), &[], Some(&body));
            }
            server.signal(signal);
            server.log().wait_for(&format!("stopping on {name}"));
            for client in &mut idle {
                client.expect_close();
            }
            check_graceful(&server.wait(), last_line);
        }
    }
}

/// The two parts of a request, cut within its body.
fn halves() -> (String, String) {
    let whole = request("PUT", "/keys/a", &[], Some(r#"{"key":"a","value":1}"#));
    let (first, second) = whole.split_at(whole.len() - 5);
    (first.to_owned(), second.to_owned())
}

#[test]
fn a_request_on_its_way_is_answered() {
    // With one worker, an answer to another connection shows that the half has been read.
    let server = kv().env("WORKERS", "1").start();
    let (first, second) = halves();
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write(&first);
    }
    server.get("/health").assert_json(200, r#"{"status":"healthy"}"#);
    server.signal(Signal::TERM);
    server.log().wait_for("stopping on SIGTERM");
    for client in &mut clients {
        let answer = client.send(&second);
        answer.assert_json(200, STORED);
        assert_eq!(answer.header("Connection"), Some("close"));
    }
    check_graceful(&server.wait(), " stopped with 1 keys");
}

/// Ctrl-C again is somebody in a hurry; a supervisor sends SIGTERM to the process and to its group,
/// and means it once.
#[test]
fn a_second_ctrl_c_ends_at_once_and_a_second_sigterm_changes_nothing() {
    let begin = || {
        let server = kv().env("WORKERS", "1").start();
        let mut client = server.connect();
        client.write(halves().0);
        server.get("/health");
        server.signal(Signal::TERM);
        server.log().wait_for("stopping on SIGTERM");
        (server, client)
    };
    let (server, _client) = begin();
    server.signal(Signal::INT);
    let stopped = server.wait();
    assert_eq!(stopped.code, 130);
    assert!(stopped.took.as_secs() < STOP_SECS_MAX, "{:?}", stopped.took);

    let (server, mut client) = begin();
    server.signal(Signal::TERM);
    client.send(halves().1).assert_json(200, STORED);
    check_graceful(&server.wait(), " stopped with 1 keys");
}
