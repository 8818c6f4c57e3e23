//! The checker against a real kv: one that is well, one that dies, and one that hangs.

use std::thread;

use rustix::process::Signal;
use tests::{Json, Launch, ReservedPort, Response, Server, checker, kv};

const TESTS: [&str; 2] = ["deletion", "overwrite"];

fn checking(url: &str) -> Launch {
    checker().env("KV_SERVICE_URL", url)
}

#[track_caller]
fn run(server: &Server, test: &str) -> Response {
    server.connect().request("POST", &format!("/test/{test}"), &[], None)
}

#[track_caller]
fn assert_passed(answer: &Response, test: &str) {
    let details = r#"{"steps_executed":4,"all_assertions_passed":true}"#;
    let passed = format!(r#"{{"success":true,"test_name":"test_{test}","details":{details}}}"#);
    answer.assert_json(200, &passed);
}

/// The error of a run that failed at this step.
#[track_caller]
fn assert_failed(answer: &Response, test: &str, steps: &[&str]) -> String {
    let json = answer.json();
    let (Json::String(error), Json::String(step)) = (json.at(&["error"]), json.at(&["step"]))
    else {
        panic!("{json}");
    };
    assert!(steps.contains(&step.as_str()), "{json}");
    assert_ne!(error, "");
    let quoted = serde_json::Value::from(error.as_str());
    let failed = format!(
        r#"{{"success":false,"test_name":"test_{test}","error":{quoted},"step":"{step}"}}"#
    );
    answer.assert_json(200, &failed);
    error.clone()
}

#[test]
fn both_tests_pass_and_leave_no_key() {
    let kv = kv().start();
    let server = checking(&kv.url()).start();
    for test in TESTS {
        assert_passed(&run(&server, test), test);
    }
    server.get("/health").assert_json(200, r#"{"status":"healthy"}"#);
    let status =
        format!(r#"{{"status":"Test client is running","kv_service_url":"{}"}}"#, kv.url());
    server.get("/test/status").assert_json(200, &status);
    let log = kv.stop().log;
    assert!(log.last().is_some_and(|line| line.ends_with("stopped with 0 keys")), "{log:#?}");
}

#[test]
fn twenty_runs_at_once_do_not_disturb_each_other() {
    let kv = kv().start();
    let server = checking(&kv.url()).start();
    thread::scope(|scope| {
        for test in TESTS.repeat(10) {
            let server = &server;
            scope.spawn(move || assert_passed(&run(server, test), test));
        }
    });
    let log = kv.stop().log;
    assert!(log.last().is_some_and(|line| line.ends_with("stopped with 0 keys")), "{log:#?}");
}

#[test]
fn a_kv_that_is_not_there_is_a_failed_step() {
    let port = ReservedPort::new();
    let server = checking(&format!("http://127.0.0.1:{}", port.number())).start();
    for test in TESTS {
        let error = assert_failed(&run(&server, test), test, &["unknown"]);
        assert!(error.contains("Connection refused"), "{error}");
    }
    // It is as good as new when kv comes.
    let _kv = kv().start_at(&port);
    for test in TESTS {
        assert_passed(&run(&server, test), test);
    }
}

#[test]
fn a_kv_that_is_killed_is_a_failed_step() {
    let kv = kv().start();
    let server = checking(&kv.url()).start();
    let (passed, seen) = crossbeam_channel::bounded(0);
    thread::scope(|scope| {
        for test in TESTS.repeat(2) {
            let (server, passed) = (&server, passed.clone());
            scope.spawn(move || {
                loop {
                    let answer = run(server, test);
                    if answer.json().at(&["success"]) == &Json::Word("false".to_owned()) {
                        assert_failed(&answer, test, &["unknown"]);
                        return;
                    }
                    assert_passed(&answer, test);
                    // Nobody listens any more once kv is killed.
                    let _ = passed.send(());
                }
            });
        }
        for _ in 0..20 {
            seen.recv().unwrap();
        }
        drop(seen);
        kv.signal(Signal::KILL);
    });
    server.get("/health").assert_json(200, r#"{"status":"healthy"}"#);
    assert_eq!(server.stop().code, 0);
}

#[test]
fn a_kv_that_hangs_is_a_timeout() {
    let kv = kv().start();
    let server = checking(&kv.url()).start();
    kv.signal(Signal::STOP);
    thread::scope(|scope| {
        for test in TESTS {
            let server = &server;
            scope.spawn(move || {
                let error = assert_failed(&run(server, test), test, &["connection"]);
                assert_eq!(error, "Timeout connecting to KV service");
            });
        }
    });
    kv.signal(Signal::CONT);
    for test in TESTS {
        assert_passed(&run(&server, test), test);
    }
}
