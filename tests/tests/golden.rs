//! kv answers what the original in `FastAPI` answered.

use tests::{Case, golden, kv, recorded};

#[track_caller]
fn check(cases: &[Case], cases_min: usize) {
    assert!(cases.len() >= cases_min, "only {} cases", cases.len());
    let server = kv().start();
    let mut client = server.connect();
    for case in cases {
        case.play(&mut client);
    }
}

#[test]
fn the_golden_cases_hold() {
    check(&golden(), 40);
}

#[test]
fn the_recorded_cases_hold() {
    check(&recorded(), 500);
}
