//! What one recorded operation asks of the state and makes of it.

use super::model::{
    ABSENT, Effect, Guard, NO_SLOT, State, Step, UNSEEN, ValueGuard, Values, VersionGuard,
    number_of,
};
use super::operation::{Condition, Op, Operation, Outcome, Refusal, Seen, Value};

/// An operation that is known to have happened, or may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft {
    /// Its slot is not filled in yet.
    pub(super) step: Step,
    pub(super) version: Version,
    /// Whether it certainly happened.
    pub(super) is_required: bool,
}

/// The version that a write got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// It has none: it is no write, or it leaves nothing behind.
    None,
    /// That of this slot.
    Slot(u32),
    /// The record does not say.
    Open,
}

/// The versions that somebody has seen, in their order; each has its place as a slot.
#[derive(Debug)]
pub(super) struct Slots(Vec<u64>);

impl Slots {
    pub(super) fn new(operations: &[&Operation]) -> Slots {
        let mut versions: Vec<u64> =
            operations.iter().flat_map(|operation| seen_versions(operation)).flatten().collect();
        versions.sort_unstable();
        versions.dedup();
        Slots(versions)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    fn of(&self, version: u64) -> Option<u32> {
        self.0.binary_search(&version).ok().map(number_of)
    }

    fn is(&self, version: u64) -> VersionGuard {
        self.of(version).map_or(VersionGuard::Unseen, VersionGuard::Is)
    }

    fn is_not(&self, version: u64) -> VersionGuard {
        self.of(version).map_or(VersionGuard::Any, VersionGuard::Not)
    }

    fn written(&self, version: Option<u64>) -> Version {
        version.and_then(|version| self.of(version)).map_or(Version::Open, Version::Slot)
    }

    fn holds(&self, condition: Condition) -> Guard {
        let (value, version) = match condition {
            Condition::None => (ValueGuard::Any, VersionGuard::Any),
            Condition::Absent => (ValueGuard::Is(ABSENT), VersionGuard::Any),
            Condition::Present => (ValueGuard::Present, VersionGuard::Any),
            Condition::Version(version) => (ValueGuard::Any, self.is(version)),
            Condition::NotVersion(version) => (ValueGuard::Any, self.is_not(version)),
        };
        Guard { value, version }
    }

    fn fails(&self, condition: Condition) -> Guard {
        let (value, version) = match condition {
            Condition::None => (ValueGuard::Any, VersionGuard::Any),
            Condition::Absent => (ValueGuard::Present, VersionGuard::Any),
            Condition::Present => (ValueGuard::Is(ABSENT), VersionGuard::Any),
            Condition::Version(version) => (ValueGuard::Any, self.is_not(version)),
            Condition::NotVersion(version) => (ValueGuard::Any, self.is(version)),
        };
        Guard { value, version }
    }

    /// `guard`, and what the refusal told.
    fn refused(&self, guard: Guard, refusal: Refusal) -> Guard {
        match refusal {
            Refusal::Unseen => guard,
            Refusal::Absent => Guard { value: and_absent(guard.value), ..guard },
            Refusal::Version(version) => and_version(guard, self.is(version)),
        }
    }
}

/// The draft of `operation`; none if it is left out: it did not happen, or saw nothing.
pub(super) fn draft(operation: &Operation, slots: &Slots, values: &mut Values) -> Option<Draft> {
    match &operation.outcome {
        Outcome::Failed => None,
        Outcome::Unknown => {
            let (guard, effect) = done(&operation.op, slots, values);
            let version = match operation.op {
                Op::Get | Op::Delete { .. } => Version::None,
                Op::Put { .. } | Op::Cas { .. } | Op::Append { .. } | Op::Add { .. } => {
                    Version::Open
                }
            };
            let step = Step { guard, effect, slot: NO_SLOT };
            (!step.is_pure()).then_some(Draft { step, version, is_required: false })
        }
        Outcome::Ok(seen) => {
            let draft = seen_draft(&operation.op, seen, slots, values);
            let says_nothing = draft.step.is_pure() && draft.step.guard == Guard::ANY;
            (!says_nothing).then_some(draft)
        }
    }
}

/// The state before the history, as far as its value goes.
pub(super) fn initial(value: Option<&Value>, values: &mut Values) -> State {
    let value = value.map_or(ABSENT, |value| values.id(value));
    State { value, version: UNSEEN, filled: 0 }
}

/// The versions that were certainly those of a write: those of the answer, and the one that a
/// condition hit.
fn seen_versions(operation: &Operation) -> [Option<u64>; 2] {
    let Outcome::Ok(seen) = &operation.outcome else {
        return [None; 2];
    };
    let (is_delete, condition) = match operation.op {
        Op::Put { condition, .. } => (false, condition),
        Op::Delete { condition } => (true, condition),
        Op::Get | Op::Cas { .. } | Op::Append { .. } | Op::Add { .. } => (false, Condition::None),
    };
    let (shown, is_done) = match seen {
        Seen::Done { version } | Seen::Found { version, .. } => (*version, true),
        Seen::Refused(Refusal::Version(version)) => (Some(*version), false),
        Seen::Absent | Seen::Refused(Refusal::Unseen | Refusal::Absent) => (None, false),
    };
    let hit = match condition {
        Condition::Version(version) if is_done => Some(version),
        Condition::NotVersion(version) if !is_done => Some(version),
        Condition::None
        | Condition::Absent
        | Condition::Present
        | Condition::Version(_)
        | Condition::NotVersion(_) => None,
    };
    // What a delete leaves behind has no version.
    [shown.filter(|_| !(is_delete && is_done)), hit]
}

/// What an operation asks and makes if it is done.
fn done(op: &Op, slots: &Slots, values: &mut Values) -> (Guard, Effect) {
    let only = |value| Guard { value, ..Guard::ANY };
    match op {
        Op::Get => (Guard::ANY, Effect::None),
        Op::Put { value, condition } => (slots.holds(*condition), Effect::Set(values.id(value))),
        Op::Delete { condition } => {
            let guard = match slots.holds(*condition) {
                Guard { value: ValueGuard::Any, version } => {
                    Guard { value: ValueGuard::Present, version }
                }
                Guard { value: ValueGuard::Is(ABSENT), .. } => only(ValueGuard::Never),
                other => other,
            };
            (guard, Effect::Set(ABSENT))
        }
        Op::Cas { expected, value } => {
            let expected = expected.as_ref().map_or(ABSENT, |expected| values.id(expected));
            (only(ValueGuard::Is(expected)), Effect::Set(values.id(value)))
        }
        Op::Append { value } => (Guard::ANY, Effect::Append(values.id(value))),
        Op::Add { by } => (Guard::ANY, Effect::Add(values.number_at(*by))),
    }
}

fn seen_draft(op: &Op, seen: &Seen, slots: &Slots, values: &mut Values) -> Draft {
    let observed = |guard| {
        let step = Step { guard, effect: Effect::None, slot: NO_SLOT };
        Draft { step, version: Version::None, is_required: true }
    };
    match (op, seen) {
        (Op::Get, Seen::Found { value, version }) => {
            let version = version.map_or(VersionGuard::Any, |version| slots.is(version));
            observed(Guard { value: ValueGuard::Is(values.id(value)), version })
        }
        (Op::Get, Seen::Done { .. }) => observed(Guard::ANY),
        (Op::Get, Seen::Refused(refusal)) => observed(slots.refused(Guard::ANY, *refusal)),
        (Op::Get | Op::Delete { condition: Condition::None }, Seen::Absent) => {
            observed(Guard { value: ValueGuard::Is(ABSENT), ..Guard::ANY })
        }
        (_, Seen::Absent) => observed(slots.refused(undone(op, slots, values), Refusal::Absent)),
        (_, Seen::Refused(refusal)) => observed(slots.refused(undone(op, slots, values), *refusal)),
        (Op::Add { by }, Seen::Found { value, version }) => {
            let before = value.parse::<i64>().ok().and_then(|sum| sum.checked_sub(*by));
            let guard = before
                .map_or(ValueGuard::Never, |number| ValueGuard::Number(values.number_at(number)));
            let guard = Guard { value: guard, ..Guard::ANY };
            let step = Step { guard, effect: Effect::Set(values.id(value)), slot: NO_SLOT };
            Draft { step, version: slots.written(*version), is_required: true }
        }
        (_, Seen::Done { version } | Seen::Found { version, .. }) => {
            let (guard, effect) = done(op, slots, values);
            let version = match (op, slots.written(*version)) {
                (Op::Delete { .. }, _) => Version::None,
                (_, version) => version,
            };
            Draft { step: Step { guard, effect, slot: NO_SLOT }, version, is_required: true }
        }
    }
}

/// What the state is if the operation was refused.
fn undone(op: &Op, slots: &Slots, values: &mut Values) -> Guard {
    let only = |value| Guard { value, ..Guard::ANY };
    match op {
        Op::Get | Op::Append { .. } => Guard::ANY,
        Op::Put { condition, .. } | Op::Delete { condition } => slots.fails(*condition),
        Op::Cas { expected: Some(expected), .. } => only(ValueGuard::Not(values.id(expected))),
        Op::Cas { expected: None, .. } => only(ValueGuard::Present),
        Op::Add { by } => only(ValueGuard::NotAddable(values.number_at(*by))),
    }
}

fn and_absent(guard: ValueGuard) -> ValueGuard {
    match guard {
        ValueGuard::Any | ValueGuard::Is(ABSENT) => ValueGuard::Is(ABSENT),
        ValueGuard::Not(value) if value != ABSENT => ValueGuard::Is(ABSENT),
        ValueGuard::Number(_)
        | ValueGuard::Is(_)
        | ValueGuard::Not(_)
        | ValueGuard::Present
        | ValueGuard::NotAddable(_)
        | ValueGuard::Never => ValueGuard::Never,
    }
}

fn and_version(guard: Guard, seen: VersionGuard) -> Guard {
    let contradicts = match (guard.version, seen) {
        (VersionGuard::Not(refused), VersionGuard::Is(seen)) => refused == seen,
        (VersionGuard::Is(asked), VersionGuard::Is(seen)) => asked != seen,
        (VersionGuard::Any | VersionGuard::Unseen, _)
        | (_, VersionGuard::Any | VersionGuard::Not(_) | VersionGuard::Unseen) => false,
    };
    let value = if contradicts { ValueGuard::Never } else { guard.value };
    Guard { value, version: seen }
}
