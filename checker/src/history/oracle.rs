//! What linearizability means, as plainly as it can be written: every order is tried. Shares nothing
//! with the engines; for histories of a few operations.

use std::collections::BTreeSet;

use super::operation::{Condition, Op, Operation, Outcome, Refusal, Seen};

#[derive(Debug, Clone, PartialEq)]
struct State {
    value: Option<String>,
    /// `None`: one that no answer names.
    version: Option<u64>,
    /// The highest version that has been written and that some answer names.
    highest: Option<u64>,
}

/// Whether there is an order.
pub(super) fn is_linearizable(history: &[Operation], initial: Option<&str>) -> bool {
    let mut versions = BTreeSet::new();
    for operation in history {
        let named = match &operation.outcome {
            Outcome::Ok(Seen::Found { version, .. } | Seen::Done { version }) => *version,
            Outcome::Ok(Seen::Refused(Refusal::Version(version))) => Some(*version),
            Outcome::Ok(_) | Outcome::Failed | Outcome::Unknown => None,
        };
        versions.extend(named);
        if let Op::Put { condition, .. } | Op::Delete { condition } = operation.op
            && let Condition::Version(version) | Condition::NotVersion(version) = condition
        {
            versions.insert(version);
        }
    }
    let left: Vec<&Operation> =
        history.iter().filter(|operation| operation.outcome != Outcome::Failed).collect();
    let value = initial.map(String::from);
    let mut starts = vec![State { value: value.clone(), version: None, highest: None }];
    if value.is_some() {
        starts.extend(versions.iter().map(|version| State {
            value: value.clone(),
            version: Some(*version),
            highest: Some(*version),
        }));
    }
    starts.iter().any(|start| orders(&left, start, &versions))
}

fn orders(left: &[&Operation], state: &State, versions: &BTreeSet<u64>) -> bool {
    let is_optional = |operation: &&Operation| operation.outcome == Outcome::Unknown;
    if left.iter().all(is_optional) {
        return true;
    }
    let first_return = left
        .iter()
        .filter(|operation| !is_optional(operation))
        .map(|operation| operation.returned_ns)
        .min()
        .unwrap_or(u64::MAX);
    (0..left.len()).filter(|at| left[*at].called_ns <= first_return).any(|at| {
        let mut rest = left.to_vec();
        let operation = rest.remove(at);
        after(operation, state, versions).iter().any(|state| orders(&rest, state, versions))
    })
}

/// The states that may follow if `operation` happens in `state`.
fn after(operation: &Operation, state: &State, versions: &BTreeSet<u64>) -> Vec<State> {
    let seen = match &operation.outcome {
        Outcome::Ok(seen) => Some(seen),
        Outcome::Failed | Outcome::Unknown => None,
    };
    if let Some(Seen::Refused(refusal)) = seen {
        let told = match refusal {
            Refusal::Unseen => true,
            Refusal::Absent => state.value.is_none(),
            Refusal::Version(version) => state.value.is_some() && state.version == Some(*version),
        };
        return if told && written(&operation.op, state).is_none() {
            vec![state.clone()]
        } else {
            vec![]
        };
    }
    match (&operation.op, seen) {
        (Op::Get, Some(Seen::Found { value, version })) => {
            let same = state.value.as_deref() == Some(&**value);
            let same_version = version.is_none() || state.version == *version;
            if same && same_version { vec![state.clone()] } else { vec![] }
        }
        (Op::Get | Op::Delete { .. }, Some(Seen::Absent)) => {
            if state.value.is_none() {
                vec![state.clone()]
            } else {
                vec![]
            }
        }
        (Op::Get, _) => vec![state.clone()],
        (op, seen) => {
            let Some(value) = written(op, state) else {
                return vec![];
            };
            if let (Op::Add { .. }, Some(Seen::Found { value: shown, .. })) = (op, seen)
                && value.as_deref() != Some(&**shown)
            {
                return vec![];
            }
            let version = match seen {
                Some(Seen::Done { version } | Seen::Found { version, .. }) => *version,
                Some(Seen::Absent | Seen::Refused(_)) | None => None,
            };
            if value.is_none() {
                return vec![State { value, version: None, ..state.clone() }];
            }
            let grows = |version: &u64| state.highest.is_none_or(|highest| *version > highest);
            let with = |version: u64| State {
                value: value.clone(),
                version: Some(version),
                highest: Some(version),
            };
            if let Some(version) = version {
                return Some(version).filter(grows).map(with).into_iter().collect();
            }
            let mut states: Vec<State> = versions.iter().copied().filter(grows).map(with).collect();
            states.push(State { value, version: None, highest: state.highest });
            states
        }
    }
}

/// What is there after the write, if it goes.
#[expect(clippy::option_option, reason = "absence is a value, and a refusal is none")]
fn written(op: &Op, state: &State) -> Option<Option<String>> {
    let holds = |condition: &Condition| match condition {
        Condition::None => true,
        Condition::Absent => state.value.is_none(),
        Condition::Present => state.value.is_some(),
        Condition::Version(version) => state.value.is_some() && state.version == Some(*version),
        Condition::NotVersion(version) => state.value.is_none() || state.version != Some(*version),
    };
    let text = state.value.as_deref();
    match op {
        Op::Get => Some(state.value.clone()),
        Op::Put { value, condition } => holds(condition).then(|| Some(value.to_string())),
        Op::Delete { condition } => (text.is_some() && holds(condition)).then_some(None),
        Op::Cas { expected, value } => {
            (text == expected.as_deref()).then(|| Some(value.to_string()))
        }
        Op::Append { value } => Some(Some([text.unwrap_or_default(), value].concat())),
        Op::Add { by } => {
            let number: i64 = text.unwrap_or("0").parse().ok()?;
            number.checked_add(*by).map(|sum| Some(sum.to_string()))
        }
    }
}
