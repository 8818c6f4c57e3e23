//! Histories of a register that works, as clients would have recorded them.

use std::collections::HashMap;
use std::sync::Arc;

use checker::history::{Condition, Op, Operation, Outcome, Refusal, Seen};
use fastrand::Rng;

/// What is made.
pub struct Plan {
    pub operations: usize,
    pub clients: usize,
    pub keys: usize,
    /// Puts and gets alone; else deletes, conditional puts and versions too.
    pub is_plain: bool,
    /// How many in a thousand have an unknown outcome.
    pub unknown_per_mille: u32,
}

struct Server {
    held: HashMap<usize, (Arc<str>, u64)>,
    version: u64,
}

/// Clients take turns at random: one calls, has its effect somewhere, and returns later.
pub fn history(plan: &Plan, rng: &mut Rng) -> Vec<Operation> {
    let mut server = Server { held: HashMap::new(), version: 0 };
    let keys: Vec<Arc<str>> = (0..plan.keys).map(|key| Arc::from(format!("key-{key}"))).collect();
    let mut open: Vec<Option<(usize, Operation, Option<Seen>, bool)>> = vec![None; plan.clients];
    let mut process: Vec<u64> = (0..plan.clients as u64).collect();
    let mut done = Vec::with_capacity(plan.operations);
    let (mut now_ns, mut made) = (0, 0);
    while done.len() < plan.operations {
        now_ns += 1;
        let client = rng.usize(..plan.clients);
        match open[client].take() {
            None if made < plan.operations => {
                let key = rng.usize(..plan.keys);
                let op = server.choose(plan, key, made, rng);
                made += 1;
                let operation = Operation {
                    process: process[client],
                    key: keys[key].clone(),
                    op,
                    outcome: Outcome::Unknown,
                    called_ns: now_ns,
                    returned_ns: u64::MAX,
                };
                let is_lost = rng.u32(..1_000) < plan.unknown_per_mille;
                open[client] = Some((key, operation, None, is_lost));
            }
            None => {}
            Some((key, operation, None, is_lost)) => {
                if is_lost && rng.bool() {
                    process[client] += plan.clients as u64;
                    done.push(operation);
                } else {
                    let seen = server.apply(key, &operation.op);
                    open[client] = Some((key, operation, Some(seen), is_lost));
                }
            }
            Some((_, operation, Some(_), true)) => {
                process[client] += plan.clients as u64;
                done.push(operation);
            }
            Some((_, mut operation, Some(seen), false)) => {
                operation.outcome = Outcome::Ok(seen);
                operation.returned_ns = now_ns;
                done.push(operation);
            }
        }
    }
    done.sort_by_key(|operation| operation.called_ns);
    done
}

impl Server {
    fn choose(&self, plan: &Plan, key: usize, at: usize, rng: &mut Rng) -> Op {
        let value = Arc::from(format!("\"value-{at}\""));
        if plan.is_plain {
            let is_get = rng.bool();
            let put = Op::Put { value, condition: Condition::None };
            return if is_get { Op::Get } else { put };
        }
        match rng.u32(..10) {
            0..4 => Op::Get,
            4..7 => Op::Put { value, condition: Condition::None },
            7 => Op::Delete { condition: Condition::None },
            8 => Op::Put { value, condition: Condition::Absent },
            _ => {
                let version = self.held.get(&key).map_or(0, |(_, version)| *version);
                Op::Put { value, condition: Condition::Version(version) }
            }
        }
    }

    fn apply(&mut self, key: usize, op: &Op) -> Seen {
        let held = self.held.get(&key).cloned();
        let version = held.as_ref().map(|(_, version)| *version);
        match op {
            Op::Get => match held {
                Some((value, version)) => Seen::Found { value, version: Some(version) },
                None => Seen::Absent,
            },
            Op::Put { value, condition } => {
                let holds = match condition {
                    Condition::None => true,
                    Condition::Absent => version.is_none(),
                    Condition::Version(asked) => version == Some(*asked),
                    other => panic!("not made: {other:?}"),
                };
                if !holds {
                    return Seen::Refused(version.map_or(Refusal::Absent, Refusal::Version));
                }
                self.version += 1;
                self.held.insert(key, (value.clone(), self.version));
                Seen::Done { version: Some(self.version) }
            }
            Op::Delete { .. } => {
                self.held.remove(&key).map_or(Seen::Absent, |_| Seen::Done { version: None })
            }
            other => panic!("not made: {other:?}"),
        }
    }
}

/// Takes the versions away.
pub fn without_versions(history: &mut [Operation]) {
    for operation in history {
        if let Outcome::Ok(Seen::Found { version, .. } | Seen::Done { version }) =
            &mut operation.outcome
        {
            *version = None;
        }
    }
}
