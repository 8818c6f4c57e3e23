//! Histories of a key that works, made by running one; and what one edit makes of them.

use std::sync::Arc;

use fastrand::Rng;
use proptest::prelude::*;

use super::budget::Budget;
use super::check;
use super::check::{Engine, Part, decide};
use super::operation::{Condition, Op, Operation, Outcome, Refusal, Seen, Value};
use super::oracle::is_linearizable;
use super::verdict::{Limits, Verdict};

#[derive(Debug, Clone, Copy)]
struct Plan {
    operations: usize,
    clients: usize,
    /// How many values there are; 0 if every write has its own.
    values: usize,
    /// Puts and gets alone.
    is_plain: bool,
    has_versions: bool,
    unknown_percent: u32,
}

struct Client {
    operation: Operation,
    seen: Option<Seen>,
}

fn run(plan: Plan, rng: &mut Rng) -> Vec<Operation> {
    let mut held: Option<(Value, u64)> = None;
    let mut last_version = 0;
    let mut clients: Vec<Option<Client>> = (0..plan.clients).map(|_| None).collect();
    let mut history = Vec::new();
    let (mut now, mut called) = (0, 0);
    while history.len() < plan.operations {
        // Moments repeat, for clocks do.
        now += u64::from(rng.u8(..3) > 0);
        let at = rng.usize(..plan.clients);
        let Some(mut client) = clients[at].take() else {
            if called < plan.operations {
                let op = choose(plan, held.as_ref(), called, rng);
                called += 1;
                let operation = Operation {
                    process: u64::try_from(called).unwrap(),
                    key: Arc::from("k"),
                    op,
                    outcome: Outcome::Unknown,
                    called_ns: now,
                    returned_ns: now,
                };
                clients[at] = Some(Client { operation, seen: None });
            }
            continue;
        };
        let is_lost = rng.u32(..100) < plan.unknown_percent;
        match (client.seen.take(), is_lost) {
            (None, true) | (Some(_), true) => history.push(client.operation),
            (None, false) => {
                client.seen = Some(apply(&client.operation.op, &mut held, &mut last_version));
                clients[at] = Some(client);
            }
            (Some(seen), false) => {
                let seen = if plan.has_versions { seen } else { without_version(seen) };
                client.operation.outcome = Outcome::Ok(seen);
                client.operation.returned_ns = now;
                history.push(client.operation);
            }
        }
    }
    history
}

fn choose(plan: Plan, held: Option<&(Value, u64)>, called: usize, rng: &mut Rng) -> Op {
    let number = if plan.values == 0 { called } else { rng.usize(..plan.values) };
    let value = Arc::from(number.to_string());
    let condition = Condition::None;
    match rng.u8(..if plan.is_plain { 6 } else { 11 }) {
        0..3 => Op::Get,
        3..6 => Op::Put { value, condition },
        6 => Op::Delete { condition },
        7 => Op::Put { value, condition: Condition::Absent },
        8 => {
            let version = held.map_or(1, |(_, version)| *version);
            let is_known = plan.has_versions && plan.unknown_percent == 0;
            let condition = if is_known { Condition::Version(version) } else { Condition::Present };
            Op::Put { value, condition }
        }
        _ => Op::Cas { expected: held.map(|(value, _)| value.clone()), value },
    }
}

fn apply(op: &Op, held: &mut Option<(Value, u64)>, last_version: &mut u64) -> Seen {
    let version = held.as_ref().map(|(_, version)| *version);
    let refusal = version.map_or(Refusal::Absent, Refusal::Version);
    let (holds, value) = match op {
        Op::Get => {
            return match held {
                Some((value, version)) => {
                    Seen::Found { value: value.clone(), version: Some(*version) }
                }
                None => Seen::Absent,
            };
        }
        Op::Delete { .. } => {
            return held.take().map_or(Seen::Absent, |_| Seen::Done { version: None });
        }
        Op::Put { value, condition } => {
            let holds = match condition {
                Condition::None => true,
                Condition::Absent => version.is_none(),
                Condition::Present => version.is_some(),
                Condition::Version(asked) => version == Some(*asked),
                Condition::NotVersion(asked) => version != Some(*asked),
            };
            (holds, value)
        }
        Op::Cas { expected, value } => {
            (held.as_ref().map(|(value, _)| value) == expected.as_ref(), value)
        }
        Op::Append { .. } | Op::Add { .. } => panic!("not chosen"),
    };
    if !holds {
        return Seen::Refused(refusal);
    }
    *last_version += 1;
    *held = Some((value.clone(), *last_version));
    Seen::Done { version: Some(*last_version) }
}

fn without_version(seen: Seen) -> Seen {
    match seen {
        Seen::Done { .. } => Seen::Done { version: None },
        Seen::Found { value, .. } => Seen::Found { value, version: None },
        Seen::Refused(Refusal::Version(_)) => Seen::Refused(Refusal::Unseen),
        other @ (Seen::Absent | Seen::Refused(_)) => other,
    }
}

/// Lets one get see what another put has written.
fn edit(history: &mut [Operation], rng: &mut Rng) {
    let values: Vec<Value> = history
        .iter()
        .filter_map(|operation| match &operation.op {
            Op::Put { value, .. } | Op::Cas { value, .. } => Some(value.clone()),
            Op::Get | Op::Delete { .. } | Op::Append { .. } | Op::Add { .. } => None,
        })
        .collect();
    let gets: Vec<&mut Operation> =
        history.iter_mut().filter(|operation| operation.op == Op::Get).collect();
    if let (Some(get), Some(value)) = (rng.choice(gets), rng.choice(values)) {
        get.outcome = Outcome::Ok(Seen::Found { value, version: None });
        get.returned_ns = get.returned_ns.max(get.called_ns);
    }
}

fn plans(operations: usize) -> impl Strategy<Value = Plan> {
    let numbers = (1..8_usize, 0..5_usize, any::<bool>(), any::<bool>(), 0..30_u32);
    numbers.prop_map(move |(clients, values, is_plain, has_versions, unknown_percent)| Plan {
        operations,
        clients,
        values,
        is_plain,
        has_versions,
        unknown_percent,
    })
}

fn engines(history: &[Operation]) -> [bool; 2] {
    let part: Vec<&Operation> = history.iter().collect();
    let limits = Limits::default();
    let budget = Budget::new(limits.time, limits.memory_bytes_max);
    [Engine::Any, Engine::Search].map(|engine| {
        decide(&part, &limits, &budget, engine).expect("a verdict in time") == Part::Linearizable
    })
}

proptest! {
    #[test]
    fn what_a_key_does_is_linearizable(plan in plans(300), seed in any::<u64>()) {
        let history = run(plan, &mut Rng::with_seed(seed));
        prop_assert_eq!(engines(&history), [true; 2]);
    }

    #[test]
    fn a_value_that_nobody_wrote_is_found(plan in plans(100), seed in any::<u64>()) {
        let mut history = run(plan, &mut Rng::with_seed(seed));
        let get = history.iter_mut().find(|operation| operation.op == Op::Get);
        if let Some(get) = get {
            let value = Arc::from("phantom");
            get.outcome = Outcome::Ok(Seen::Found { value, version: None });
            prop_assert_eq!(engines(&history), [false; 2]);
            let verdict = check(&history, &Limits::default());
            prop_assert!(matches!(verdict, Verdict::NotLinearizable(_)));
        }
    }

    #[test]
    fn both_engines_agree_on_what_one_edit_made(plan in plans(60), seed in any::<u64>()) {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan { values: 0, is_plain: true, has_versions: false, ..plan };
        let mut history = run(plan, &mut rng);
        edit(&mut history, &mut rng);
        let [zones, search] = engines(&history);
        prop_assert_eq!(zones, search);
    }

    #[test]
    fn the_oracle_agrees_on_what_one_edit_made(plan in plans(8), seed in any::<u64>()) {
        let mut rng = Rng::with_seed(seed);
        let mut history = run(plan, &mut rng);
        prop_assert!(is_linearizable(&history, None));
        edit(&mut history, &mut rng);
        prop_assert_eq!(engines(&history), [is_linearizable(&history, None); 2]);
    }
}

#[test]
fn a_limit_gives_unknown() {
    let plan = Plan {
        operations: 300,
        clients: 8,
        values: 3,
        is_plain: false,
        has_versions: false,
        unknown_percent: 20,
    };
    let history = run(plan, &mut Rng::with_seed(1));
    let reason = |limits: Limits| check(&history, &limits).to_string();
    let time = Limits { time: std::time::Duration::ZERO, ..Limits::default() };
    assert_eq!(reason(time), "unknown");
    assert_eq!(reason(Limits { memory_bytes_max: 1_000, ..Limits::default() }), "unknown");
}
