//! Both workflows against a kv in which one request goes wrong.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::deletion::DELETION;
use super::overwrite::OVERWRITE;
use super::*;
use crate::fake::{Fake, Fault, Nobody};

const SHORT: Duration = Duration::from_secs(1);
/// Far more than a call takes that is not meant to time out.
const LONG: Duration = Duration::from_secs(20);

const NO_ANSWER: &str = "io: Peer disconnected";
const SLOW: (&str, &str) = ("connection", "Timeout connecting to KV service");

/// The `nth` request goes wrong: the run fails with `step` and `error`, and its key is gone.
/// What came of a run.
fn run(workflow: &Workflow, client: &Client) -> Report {
    let mut came_of_it = None;
    workflow.run(client, |report| came_of_it = Some(report));
    came_of_it.expect("a run reports")
}

#[track_caller]
fn check(workflow: &Workflow, nth: usize, fault: Fault, (step, error): (&'static str, &str)) {
    let fake = Fake::with_fault(nth, fault);
    let timeout = if (step, error) == SLOW { SHORT } else { LONG };
    let report = run(workflow, &Client::new(&fake.url(), timeout));
    let failure = Failure { step, error: error.to_owned() };
    let test_name = workflow.test_name;
    assert_eq!(report, Report { test_name, verdict: Err(failure) }, "{nth} {fault:?}");
    assert_eq!(fake.keys(), [""; 0], "{nth} {fault:?}: the key stays behind");
    let seen = fake.seen();
    assert_eq!(seen.len(), nth + 2, "{nth} {fault:?}: one request more, which cleans up: {seen:?}");
    assert!(seen[nth + 1].starts_with("DELETE "), "{nth} {fault:?}: {seen:?}");
}

/// The methods of a run that passes, in order.
#[track_caller]
fn check_passes(workflow: &Workflow, methods: &[&str]) {
    let fake = Fake::healthy();
    let report = run(workflow, &Client::new(&fake.url(), LONG));
    let test_name = workflow.test_name;
    assert_eq!(report, Report { test_name, verdict: Ok(Passed { steps_executed: 4 }) });
    let seen = fake.seen();
    let of_key: Vec<_> = seen.iter().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(of_key.iter().map(|(method, _)| *method).collect::<Vec<_>>(), methods);
    assert!(of_key.iter().all(|(_, path)| *path == of_key[0].1), "one key: {seen:?}");
    assert!(of_key[0].1.starts_with(&format!("/keys/{test_name}_")), "{seen:?}");
    assert_eq!(fake.keys(), [""; 0]);
}

#[test]
fn a_healthy_service_passes_without_a_needless_request() {
    check_passes(&DELETION, &["POST", "GET", "DELETE", "GET"]);
    check_passes(&OVERWRITE, &["POST", "GET", "PUT", "GET", "DELETE"]);
}

#[test]
fn a_wrong_status_fails_the_step_with_the_answer() {
    for (nth, step) in ["store", "retrieve", "delete"].into_iter().enumerate() {
        check(&DELETION, nth, Fault::Answers(500, "it broke"), (step, "it broke"));
        check(&DELETION, nth, Fault::Answers(404, ""), (step, ""));
        check(&DELETION, nth, Fault::Answers(204, ""), (step, ""));
        check(&DELETION, nth, Fault::Answers(302, "elsewhere"), (step, "elsewhere"));
    }
    check(&DELETION, 1, Fault::Answers(201, "odd"), ("retrieve", "odd"));
    check(&DELETION, 2, Fault::Answers(202, "later"), ("delete", "later"));
    let steps = ["store_original", "retrieve_original", "overwrite", "verify_new"];
    for (nth, step) in steps.into_iter().enumerate() {
        check(&OVERWRITE, nth, Fault::Answers(503, "{\"a\":1}"), (step, "{\"a\":1}"));
        check(&OVERWRITE, nth, Fault::Answers(204, ""), (step, ""));
        check(&OVERWRITE, nth, Fault::Answers(307, "é"), (step, "é"));
    }
    check(&OVERWRITE, 2, Fault::Answers(201, "created"), ("overwrite", "created"));
}

#[test]
fn a_key_that_is_not_absent_still_exists() {
    for status in [200, 204, 302, 410, 500] {
        let want = ("verify_deletion", "Key still exists");
        check(&DELETION, 3, Fault::Answers(status, "whatever"), want);
    }
}

#[test]
fn another_value_is_a_mismatch() {
    let mut deep = "[".repeat(10_000);
    deep.insert_str(0, "{\"value\":");
    let bodies: [&'static str; 8] = [
        "",
        "not JSON",
        "{}",
        "[]",
        "{\"value\":null}",
        "{\"value\":{}}",
        "{\"success\":true,\"value\":\"Value\"}",
        deep.leak(),
    ];
    for body in bodies {
        check(&DELETION, 1, Fault::Answers(200, body), ("retrieve", "Value mismatch"));
        let original = ("retrieve_original", "Original value mismatch");
        check(&OVERWRITE, 1, Fault::Answers(200, body), original);
        check(&OVERWRITE, 3, Fault::Answers(200, body), ("verify_new", "New value mismatch"));
    }
}

#[test]
fn no_answer_in_time_is_a_connection_failure() {
    let drip = Fault::Drips(b"HTTP/1.1 200 OK\r\n\r\naaaaaaaaaaaaaaaa");
    thread::scope(|scope| {
        for nth in 0..4 {
            scope.spawn(move || check(&DELETION, nth, Fault::IsSilent, SLOW));
            scope.spawn(move || check(&OVERWRITE, nth, Fault::IsSilent, SLOW));
            scope.spawn(move || check(&DELETION, nth, drip, SLOW));
        }
    });
}

#[test]
fn a_connection_that_breaks_is_unknown() {
    for nth in 0..4 {
        check(&DELETION, nth, Fault::Writes(b""), ("unknown", NO_ANSWER));
        check(&OVERWRITE, nth, Fault::Writes(b""), ("unknown", NO_ANSWER));
        let half = Fault::Writes(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12");
        check(&DELETION, nth, half, ("unknown", NO_ANSWER));
    }
    let not_http = ("unknown", "protocol: http parse fail: invalid HTTP version");
    check(&DELETION, 0, Fault::Writes(b"220 mail ESMTP\r\n"), not_http);
}

#[test]
fn a_service_that_is_not_there_is_unknown() {
    let nobody = Nobody::new();
    for workflow in [&DELETION, &OVERWRITE] {
        let report = run(workflow, &Client::new(&nobody.url(), LONG));
        let error = "io: Connection refused (os error 111)".to_owned();
        assert_eq!(report.verdict, Err(Failure { step: "unknown", error }));
    }
}

/// The value that a service gives back in place of `{"n":1,"x":[1.5,"é",null]}`.
#[track_caller]
fn check_holds(body: &str, want: bool) {
    let answer = Answer { status: 200, body: body.to_owned() };
    assert_eq!(holds(&answer, &json!({"n": 1, "x": [1.5, "é", null]})), want, "{body}");
}

#[test]
fn a_value_is_the_same_json_and_no_less() {
    check_holds(r#"{"value":{"n":1,"x":[1.5,"é",null]}}"#, true);
    check_holds(r#"{"success":true,"key":"k","value":{"x": [1.5, "\u00e9", null], "n": 1}}"#, true);
    check_holds(r#"{"value":{"n":1.0,"x":[1.5,"é",null]}}"#, false);
    check_holds(r#"{"value":{"n":"1","x":[1.5,"é",null]}}"#, false);
    check_holds(r#"{"value":{"n":true,"x":[1.5,"é",null]}}"#, false);
    check_holds(r#"{"value":{"n":1,"x":[1.5,"e\u0301",null]}}"#, false);
    check_holds(r#"{"value":{"n":1,"x":[1.5,null,"é"]}}"#, false);
    check_holds(r#"{"value":{"n":1,"x":[1.5,"é"]}}"#, false);
    check_holds(r#"{"value":{"n":1,"x":[1.5,"é",null],"y":null}}"#, false);
    check_holds(r#"{"value":"{\"n\":1,\"x\":[1.5,\"é\",null]}"}"#, false);
    check_holds(r#"{"n":1,"x":[1.5,"é",null]}"#, false);
    let twice = r#"{"value":{"n":1,"x":[1.5,"é",null]},"value":{"n":1,"x":[1.5,"é",null]}}"#;
    check_holds(twice, false);
    check_holds(r#"{"value":{"n":1,"x":[1.5,"é",null]}} and more"#, false);
}

#[test]
fn runs_at_once_do_not_disturb_each_other() {
    const THREADS: usize = 8;
    const RUNS: usize = 4;
    let fake = Fake::healthy();
    let client = Client::new(&fake.url(), LONG);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for workflow in [&DELETION, &OVERWRITE].repeat(RUNS) {
                    let report = run(workflow, &client);
                    assert_eq!(report.verdict, Ok(Passed { steps_executed: 4 }));
                }
            });
        }
    });
    let seen = fake.seen();
    let keys: BTreeSet<_> = seen.iter().filter_map(|line| line.strip_prefix("POST ")).collect();
    assert_eq!(keys.len(), THREADS * RUNS * 2, "each run has a key of its own");
    assert_eq!(fake.keys(), [""; 0]);
}

#[test]
fn a_run_that_panics_leaves_no_key() {
    static PANICS: Workflow = Workflow {
        test_name: "test_panics",
        steps: &[
            Step { name: "store", call: Call::Post(|_| json!(1)), expect: Expect::Status(&[201]) },
            Step { name: "panic", call: Call::Put(|_| panic!("on purpose")), expect: STORED },
        ],
    };
    const STORED: Expect = Expect::Status(&[200]);
    let fake = Fake::healthy();
    let client = Client::new(&fake.url(), LONG);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(&PANICS, &client)));
    assert!(outcome.is_err());
    assert_eq!(fake.seen().len(), 2, "the store and its removal");
    assert_eq!(fake.keys(), [""; 0]);
}

#[test]
fn a_key_that_cannot_be_removed_does_not_change_the_verdict() {
    for fault in [Fault::Answers(500, "no"), Fault::Writes(b""), Fault::IsSilent] {
        let fake = Fake::with_fault(4, fault);
        let report = run(&OVERWRITE, &Client::new(&fake.url(), SHORT));
        assert_eq!(report.verdict, Ok(Passed { steps_executed: 4 }), "{fault:?}");
        assert_eq!(fake.seen().len(), 5, "{fault:?}: tried once");
    }
}
