//! Every engine against the oracle, on histories of a few operations.

use std::sync::Arc;

use proptest::prelude::*;

use super::budget::Budget;
use super::check;
use super::check::{Engine, Part, decide};
use super::operation::{Condition, Op, Operation, Outcome, Refusal, Seen};
use super::oracle::is_linearizable;
use super::verdict::{Limits, Verdict};

/// Numbers from which an operation is made, small ones first: cases shrink towards them.
type Seed = (u8, u8, u8, u8, u64, u64);

/// Which operations a history has.
#[derive(Debug, Clone, Copy)]
enum Flavor {
    /// Puts of different values, and gets.
    Unique,
    Register,
    Cas,
    Keys,
    Versions,
    /// As `Versions`, but unknown writes depend on versions that nobody has seen.
    UnseenVersions,
    Numbers,
    Texts,
}

fn operations(flavor: Flavor, seeds: &[Seed]) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (process, &(kind, value, other, outcome, called_ns, length)) in (0..).zip(seeds) {
        let unique = u8::try_from(process).unwrap();
        let (op, outcome) = match flavor {
            Flavor::Unique => {
                register(kind, if kind.is_multiple_of(2) { value } else { unique }, outcome)
            }
            Flavor::Register => register(kind, value % 3, outcome),
            Flavor::Cas => cas(kind, value % 3, other % 3, outcome),
            Flavor::Keys => keys(kind, value % 3, other % 3, outcome),
            Flavor::Versions => versions(kind, value % 3, u64::from(other % 4), outcome, false),
            Flavor::UnseenVersions => {
                versions(kind, value % 3, u64::from(other % 4), outcome, true)
            }
            Flavor::Numbers => numbers(kind, value, other, outcome),
            Flavor::Texts => texts(kind, value, other, outcome),
        };
        let returned_ns = called_ns + length;
        let key = Arc::from("k");
        operations.push(Operation { process, key, op, outcome, called_ns, returned_ns });
    }
    operations
}

fn text(number: u8) -> Arc<str> {
    Arc::from(number.to_string())
}

const DONE: Outcome = Outcome::Ok(Seen::Done { version: None });

fn found(value: u8) -> Outcome {
    Outcome::Ok(Seen::Found { value: text(value), version: None })
}

fn put(value: u8, condition: Condition) -> Op {
    Op::Put { value: text(value), condition }
}

fn done_or_unknown(outcome: u8) -> Outcome {
    if outcome < 3 { DONE } else { Outcome::Unknown }
}

fn register(kind: u8, value: u8, outcome: u8) -> (Op, Outcome) {
    if kind.is_multiple_of(2) {
        let seen = if outcome == 0 { Outcome::Ok(Seen::Absent) } else { found(value) };
        return (Op::Get, seen);
    }
    (put(value, Condition::None), done_or_unknown(outcome))
}

fn cas(kind: u8, value: u8, other: u8, outcome: u8) -> (Op, Outcome) {
    if kind < 4 {
        return register(kind, value, outcome);
    }
    let op = Op::Cas { expected: Some(text(other)), value: text(value) };
    let outcome = match outcome {
        0 => Outcome::Ok(Seen::Refused(Refusal::Unseen)),
        1 | 2 => DONE,
        _ => Outcome::Unknown,
    };
    (op, outcome)
}

fn keys(kind: u8, value: u8, other: u8, outcome: u8) -> (Op, Outcome) {
    let refused = |refusal| match outcome {
        0 | 1 => DONE,
        2 => Outcome::Ok(Seen::Refused(refusal)),
        _ => Outcome::Unknown,
    };
    match kind {
        0..4 => register(kind, value, outcome),
        4 => {
            let outcome =
                if outcome == 2 { Outcome::Ok(Seen::Absent) } else { refused(Refusal::Unseen) };
            (Op::Delete { condition: Condition::None }, outcome)
        }
        5 => (put(value, Condition::Absent), refused(Refusal::Unseen)),
        6 => (put(value, Condition::Present), refused(Refusal::Absent)),
        _ => cas(4, value, other, outcome),
    }
}

fn versions(kind: u8, value: u8, version: u64, outcome: u8, unseen: bool) -> (Op, Outcome) {
    let conditional = |done: Option<u64>| match outcome {
        0 => Outcome::Ok(Seen::Done { version: done }),
        1 => Outcome::Ok(Seen::Refused(Refusal::Unseen)),
        2 => Outcome::Ok(Seen::Refused(Refusal::Version(u64::from(value)))),
        _ if unseen => Outcome::Unknown,
        _ => Outcome::Ok(Seen::Done { version: None }),
    };
    match kind {
        0 | 1 => {
            let shown = if outcome == 0 { None } else { Some(version) };
            (Op::Get, Outcome::Ok(Seen::Found { value: text(value), version: shown }))
        }
        2 => keys(4, value, 0, outcome),
        3 => {
            let seen = if outcome == 0 { None } else { Some(version) };
            (put(value, Condition::None), Outcome::Ok(Seen::Done { version: seen }))
        }
        4 => (put(value, Condition::None), done_or_unknown(outcome)),
        5 => (put(value, Condition::Version(version)), conditional(Some(version + 1))),
        6 => {
            let condition = Condition::Version(version);
            let outcome = match conditional(None) {
                Outcome::Unknown if !unseen => DONE,
                other => other,
            };
            (Op::Delete { condition }, outcome)
        }
        _ => (put(value, Condition::NotVersion(version)), conditional(None)),
    }
}

fn numbers(kind: u8, value: u8, other: u8, outcome: u8) -> (Op, Outcome) {
    let by = i64::from(other % 3) - 1;
    match kind {
        0..3 => register(kind, value, outcome),
        3 => keys(4, value, other, outcome),
        4 => (Op::Add { by }, done_or_unknown(outcome)),
        5 => (
            Op::Put { value: Arc::from("x"), condition: Condition::None },
            done_or_unknown(outcome),
        ),
        6 => (Op::Add { by }, Outcome::Ok(Seen::Refused(Refusal::Unseen))),
        _ => (Op::Add { by }, found(value)),
    }
}

fn texts(kind: u8, value: u8, other: u8, outcome: u8) -> (Op, Outcome) {
    let part = if value == 7 { Arc::from("") } else { text(value % 2) };
    match kind {
        0..3 => {
            let all = ["0", "1", "00", "01", "10", "11", "010", ""];
            let value = Arc::from(all[usize::from(other) % all.len()]);
            (Op::Get, Outcome::Ok(Seen::Found { value, version: None }))
        }
        3 => keys(4, value, other, outcome),
        4 => register(1, value % 2, outcome),
        _ => (Op::Append { value: part }, done_or_unknown(outcome)),
    }
}

fn limits(initial: Option<&str>) -> Limits {
    Limits { initial: initial.map(Arc::from), ..Limits::default() }
}

#[track_caller]
fn agree(history: &[Operation], initial: Option<&str>, unseen: bool) {
    let expected = is_linearizable(history, initial);
    let part: Vec<&Operation> = history.iter().collect();
    let limits = limits(initial);
    let budget = Budget::new(limits.time, limits.memory_bytes_max);
    for engine in [Engine::Any, Engine::Search] {
        let found = decide(&part, &limits, &budget, engine).unwrap() == Part::Linearizable;
        // Which of the versions that nobody has seen a write got is not followed up.
        assert!(found == expected || unseen && found, "{engine:?}: {found}, oracle: {expected}");
    }
    if let Verdict::NotLinearizable(example) = check(history, &limits) {
        let initial = example.initial.as_deref();
        assert!(!is_linearizable(&example.operations, initial), "{example:#?}");
        let longest: Vec<_> =
            example.longest.iter().map(|at| example.operations[*at].clone()).collect();
        assert!(longest.len() < example.operations.len() || unseen, "{example:#?}");
    }
}

fn seeds() -> impl Strategy<Value = Vec<Seed>> {
    prop::collection::vec((0..8_u8, 0..8_u8, 0..8_u8, 0..5_u8, 0..14_u64, 0..7_u64), 1..8)
}

macro_rules! agrees {
    ($($name:ident: $flavor:expr, $initial:expr;)*) => {
        proptest! {
            $(
                #[test]
                fn $name(seeds in seeds()) {
                    let unseen = matches!($flavor, Flavor::UnseenVersions);
                    agree(&operations($flavor, &seeds), $initial, unseen);
                }
            )*
        }
    };
}

agrees! {
    unique: Flavor::Unique, None;
    unique_from_a_value: Flavor::Unique, Some("0");
    register_: Flavor::Register, None;
    register_from_a_value: Flavor::Register, Some("1");
    cas_: Flavor::Cas, None;
    cas_from_a_value: Flavor::Cas, Some("0");
    keys_: Flavor::Keys, None;
    keys_from_a_value: Flavor::Keys, Some("0");
    versions_: Flavor::Versions, None;
    versions_from_a_value: Flavor::Versions, Some("0");
    unseen_versions: Flavor::UnseenVersions, None;
    numbers_: Flavor::Numbers, None;
    numbers_from_a_value: Flavor::Numbers, Some("1");
    texts_: Flavor::Texts, None;
    texts_from_a_value: Flavor::Texts, Some("0");
}
