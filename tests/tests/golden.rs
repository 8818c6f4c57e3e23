//! kv answers what the original in `FastAPI` answered.

use tests::{Case, golden, kv, recorded};

tests::on_every_store! {
    the_golden_cases_hold,
    the_recorded_cases_hold,
}

#[track_caller]
fn check(cases: &[Case], cases_min: usize) {
    assert!(cases.len() >= cases_min, "only {} cases", cases.len());
    let server = kv().start();
    let mut client = server.connect();
    for case in cases {
        case.play(&mut client);
    }
}

fn the_golden_cases_hold() {
    check(&golden(), 40);
}

fn the_recorded_cases_hold() {
    check(&recorded(), 500);
}
