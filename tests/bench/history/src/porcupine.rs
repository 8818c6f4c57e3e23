//! The cas-register as porcupine-rs wants it.

use checker::history::{Op, Operation, Outcome, Seen};
use porcupine_rs::Model;

/// A register of small numbers; -1 is absent.
#[derive(Debug, Clone)]
pub struct Register;

/// An operation with what it saw; `None` for an unknown one.
#[derive(Debug, Clone)]
pub enum Step {
    Read(i32),
    Write(i32),
    Cas(i32, i32, Option<bool>),
}

impl Model for Register {
    type State = i32;
    type Op = Step;
    type Metadata = ();

    fn init() -> i32 {
        -1
    }

    fn step(state: &i32, op: &Step) -> (bool, i32) {
        match *op {
            Step::Read(seen) => (*state == seen, *state),
            Step::Write(value) => (true, value),
            Step::Cas(old, new, done) => {
                let hits = *state == old;
                (done.is_none_or(|done| done == hits), if hits { new } else { *state })
            }
        }
    }
}

/// The same history.
pub fn history(operations: &[Operation]) -> Vec<porcupine_rs::Operation<Register>> {
    let number = |text: &str| text.parse().expect("the logs hold numbers");
    operations
        .iter()
        .filter_map(|operation| {
            let op = match (&operation.op, &operation.outcome) {
                (_, Outcome::Failed) | (Op::Get, Outcome::Unknown) => return None,
                (Op::Get, Outcome::Ok(Seen::Found { value, .. })) => Step::Read(number(value)),
                (Op::Get, Outcome::Ok(_)) => Step::Read(-1),
                (Op::Put { value, .. }, _) => Step::Write(number(value)),
                (Op::Cas { expected, value }, outcome) => {
                    let done = match outcome {
                        Outcome::Unknown => None,
                        Outcome::Ok(seen) => Some(matches!(seen, Seen::Done { .. })),
                        Outcome::Failed => return None,
                    };
                    Step::Cas(expected.as_deref().map_or(-1, number), number(value), done)
                }
                (op, _) => panic!("not in the logs: {op:?}"),
            };
            let is_open = operation.outcome == Outcome::Unknown;
            let returned = if is_open { 1 << 40 } else { operation.returned_ns };
            Some(porcupine_rs::Operation {
                client_id: u32::try_from(operation.process).ok(),
                call_time: i64::try_from(operation.called_ns).expect("lines are few"),
                return_time: i64::try_from(returned).expect("lines are few"),
                op,
                metadata: None,
            })
        })
        .collect()
}
