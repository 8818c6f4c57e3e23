//! The history of one key, made ready for the search.
//!
//! What makes it easier, and changes no verdict:
//! - An unknown operation without which a value or a version that was seen could not have been
//!   there did happen, and had returned when the first observer did.
//! - What depends on one write cannot have been called before it; what comes before a write of a
//!   higher version has returned when that one does.
//! - An unknown write that satisfies nobody's guard is dropped: the last of such a kind can be
//!   taken out of any order.
//! - Values that nobody asks about are one value; so are, where texts are appended to, those that
//!   begin none that somebody asks about.

use std::collections::HashMap;
use std::ops::Range;

use super::draft::{self, Draft, Slots, Version};
use super::hashes::Seeded;
use super::model::{
    ABSENT, Effect, Guard, NO_SLOT, OTHER, State, Step, ValueGuard, Values, number_of,
};
use super::operation::{Operation, Value};

/// The time of a return that never came.
pub(super) const OPEN: u32 = u32::MAX;
/// Stands in `Call::operation` for the write of the start value.
pub(super) const START: u32 = u32::MAX;

/// An operation as an interval on a clock that ticks with every event.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Its place among the operations of the key.
    pub(super) operation: u32,
    pub(super) called: u32,
    pub(super) returned: u32,
    /// The ways in which it may have happened; all set the same value and need the same.
    pub(super) steps: Range<u32>,
    /// Calls of the same class have the same steps.
    pub(super) class: u32,
    pub(super) is_required: bool,
}

/// One key's history.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) values: Values,
    pub(super) initial: State,
    /// Those that have to be in the order, by the time of their calls.
    pub(super) required: Vec<Call>,
    /// Those that may be in it.
    pub(super) optional: Vec<Call>,
    pub(super) steps: Vec<Step>,
    pub(super) slots: usize,
    pub(super) classes: usize,
    /// Whether some effect depends on the state.
    pub(super) is_dynamic: bool,
}

/// What was read and not yet made easier.
struct Draw {
    drafts: Vec<Draft>,
    calls: Vec<Call>,
    initial: State,
}

/// Reads a key's operations. `None`: the ways in which they may have happened are more than
/// `steps_max`.
pub(super) fn problem(
    operations: &[&Operation],
    initial: Option<&Value>,
    absent_is_empty: bool,
    steps_max: usize,
) -> Option<Problem> {
    let mut values = Values::new(absent_is_empty);
    let slots = Slots::new(operations);
    let mut draw = draw(operations, initial, &slots, &mut values);
    let steps = choose_steps(&mut draw, slots.count(), steps_max)?;
    let is_dynamic = steps.iter().any(|step| step.effect.depends());
    let mut problem = Problem {
        values,
        initial: draw.initial,
        required: draw.calls,
        optional: Vec::new(),
        steps,
        slots: slots.count(),
        classes: 0,
        is_dynamic,
    };
    problem.resolve_numbers();
    problem.require_what_was_seen();
    let (required, optional) =
        std::mem::take(&mut problem.required).into_iter().partition(|call| call.is_required);
    (problem.required, problem.optional) = (required, optional);
    problem.drop_what_satisfies_nobody();
    problem.merge_values();
    Some(problem)
}

fn draw(
    operations: &[&Operation],
    initial: Option<&Value>,
    slots: &Slots,
    values: &mut Values,
) -> Draw {
    let mut initial = draft::initial(initial, values);
    let mut drafts = Vec::with_capacity(operations.len());
    let mut calls = Vec::with_capacity(operations.len());
    let mut events = Vec::with_capacity(operations.len() * 2);
    let call = |operation, is_required| Call {
        operation,
        called: 0,
        returned: OPEN,
        steps: 0..0,
        class: 0,
        is_required,
    };
    if initial.value != ABSENT && slots.count() > 0 {
        let step = Step { guard: Guard::ANY, effect: Effect::Set(initial.value), slot: NO_SLOT };
        drafts.push(Draft { step, version: Version::Open, is_required: true });
        calls.push(Call { returned: 1, ..call(START, true) });
        initial.value = ABSENT;
    }
    for (at, operation) in operations.iter().enumerate() {
        if let Some(draft) = draft::draft(operation, slots, values) {
            // The high bit puts calls before returns of the same time.
            let place = number_of(calls.len());
            events.push((operation.called_ns, place));
            if draft.is_required {
                let returned_ns = operation.returned_ns.max(operation.called_ns);
                events.push((returned_ns, place | RETURN));
            }
            calls.push(call(number_of(at), draft.is_required));
            drafts.push(draft);
        }
    }
    // Records are mostly in order.
    #[expect(clippy::stable_sort_primitive, reason = "it makes use of runs")]
    events.sort();
    for (tick, (_, event)) in (2..).zip(&events) {
        let call = &mut calls[(event & !RETURN) as usize];
        if event & RETURN == 0 {
            call.called = tick;
        } else {
            call.returned = tick;
        }
    }
    Draw { drafts, calls, initial }
}

const RETURN: u32 = 1 << 31;

/// Gives every call the ways in which it may have happened: a write whose version the record does
/// not say has that of no slot, or of one that no other write is known to have.
fn choose_steps(draw: &mut Draw, slots: usize, steps_max: usize) -> Option<Vec<Step>> {
    let mut shown: Vec<Option<u32>> = vec![None; slots];
    let mut is_written = vec![false; slots];
    for Draft { step, version, .. } in &draw.drafts {
        if let Version::Slot(slot) = version {
            is_written[*slot as usize] = true;
        }
        if let (Some(slot), Some(value)) = (step.guard.needed_slot(), step.guard.needed()) {
            shown[slot as usize] = Some(value);
        }
    }
    let open: Vec<u32> = (0..slots).filter(|slot| !is_written[*slot]).map(number_of).collect();
    let windows = windows(draw, slots);
    let mut steps = Vec::with_capacity(draw.drafts.len());
    for (draft, call) in draw.drafts.iter().zip(&mut draw.calls) {
        let start = steps.len();
        match draft.version {
            Version::None => steps.push(draft.step),
            Version::Slot(slot) => steps.push(Step { slot, ..draft.step }),
            Version::Open => {
                steps.push(draft.step);
                // Both ends of the windows grow with the slots.
                let from = open.partition_point(|slot| windows[*slot as usize].until < call.called);
                let until =
                    open.partition_point(|slot| windows[*slot as usize].from < call.returned);
                let value = draft.step.effect.set();
                let is_possible = |slot: &&u32| {
                    let shown = shown[**slot as usize];
                    value.is_none() || shown.is_none() || value == shown
                };
                let possible = open[from..until.max(from)].iter().filter(is_possible);
                steps.extend(possible.map(|&slot| Step { slot, ..draft.step }));
            }
        }
        if steps.len() > steps_max.min(RETURN as usize) {
            return None;
        }
        call.steps = number_of(start)..number_of(steps.len());
    }
    Some(steps)
}

/// When a slot can have been filled.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Not before all that came with a lower slot had been called.
    from: u32,
    /// Before anything with this slot or a higher one had returned.
    until: u32,
}

fn windows(draw: &Draw, slots: usize) -> Vec<Window> {
    let mut windows = vec![Window { from: 0, until: OPEN }; slots];
    for (Draft { step, version, is_required }, call) in draw.drafts.iter().zip(&draw.calls) {
        if !is_required {
            continue;
        }
        let written = match version {
            Version::Slot(slot) => Some(*slot),
            Version::None | Version::Open => None,
        };
        for slot in written.into_iter().chain(step.guard.needed_slot()) {
            let slot = slot as usize;
            windows[slot].until = windows[slot].until.min(call.returned);
            if let Some(next) = windows.get_mut(slot + 1) {
                next.from = next.from.max(call.called);
            }
        }
    }
    for slot in 1..slots {
        windows[slot].from = windows[slot].from.max(windows[slot - 1].from);
    }
    for slot in (1..slots).rev() {
        windows[slot - 1].until = windows[slot - 1].until.min(windows[slot].until);
    }
    windows
}

impl Problem {
    pub(super) fn steps_of(&self, call: &Call) -> &[Step] {
        &self.steps[call.steps.start as usize..call.steps.end as usize]
    }

    /// The first way in which `call` may have happened; the others differ in the slot.
    pub(super) fn step_of(&self, call: &Call) -> &Step {
        &self.steps[call.steps.start as usize]
    }

    /// Whether some guard asks whether values are numbers.
    fn is_numeric(&self) -> bool {
        self.steps.iter().any(|step| match step.guard.value {
            ValueGuard::Number(_) | ValueGuard::NotAddable(_) => true,
            ValueGuard::Any
            | ValueGuard::Never
            | ValueGuard::Is(_)
            | ValueGuard::Not(_)
            | ValueGuard::Present => false,
        })
    }

    /// Asks for the value instead of the number where only one value is that number.
    fn resolve_numbers(&mut self) {
        if self.is_dynamic || !self.is_numeric() {
            return;
        }
        let by_number = self.values.by_number();
        for step in &mut self.steps {
            if let ValueGuard::Number(at) = step.guard.value {
                step.guard.value = match by_number.get(&self.values.number_of(at)) {
                    None => ValueGuard::Never,
                    Some(values) if values.len() == 1 => ValueGuard::Is(values[0]),
                    Some(_) => step.guard.value,
                };
            }
        }
    }

    /// For every value, and for every slot: the only call that can be its source.
    fn sources(&self) -> (Vec<Source>, Vec<Source>) {
        let mut values = vec![Source::None; self.values.count()];
        let mut slots = vec![Source::None; self.slots];
        values[self.initial.value as usize] = Source::Many;
        for (at, call) in self.required.iter().enumerate() {
            if let Some(value) = self.step_of(call).effect.set() {
                values[value as usize].add(at);
            }
            for step in self.steps_of(call).iter().filter(|step| step.slot != NO_SLOT) {
                slots[step.slot as usize].add(at);
            }
        }
        if self.is_dynamic {
            values.fill(Source::Many);
        }
        (values, slots)
    }

    /// Requires the unknown calls without which something that was seen could not have been, and
    /// narrows the intervals of what depends on each other.
    fn require_what_was_seen(&mut self) {
        let (values, slots) = self.sources();
        let mut waiting: Vec<usize> =
            (0..self.required.len()).filter(|at| self.required[*at].is_required).collect();
        while let Some(at) = waiting.pop() {
            for source in self.sources_of(at, &values, &slots) {
                if !self.required[source].is_required {
                    self.required[source].is_required = true;
                    waiting.push(source);
                }
            }
        }
        let is_sole = |source: &Source| matches!(source, Source::One(_));
        for slot in (0..self.slots).filter(|slot| is_sole(&slots[*slot])) {
            if let Source::One(at) = slots[slot] {
                let steps = &mut self.required[at].steps;
                let all = &self.steps[steps.start as usize..steps.end as usize];
                let place = all.iter().position(|step| step.slot == number_of(slot));
                if let Some(place) = place {
                    let start = steps.start + number_of(place);
                    *steps = start..start + 1;
                }
            }
        }
        self.narrow(&values, &slots);
    }

    fn sources_of(
        &self,
        at: usize,
        values: &[Source],
        slots: &[Source],
    ) -> impl Iterator<Item = usize> + use<> {
        let guard = self.step_of(&self.required[at]).guard;
        let value = guard.needed().map(|value| values[value as usize]);
        let slot = guard.needed_slot().map(|slot| slots[slot as usize]);
        [value, slot].into_iter().flatten().filter_map(|source| match source {
            Source::One(at) => Some(at),
            Source::None | Source::Many => None,
        })
    }

    fn narrow(&mut self, values: &[Source], slots: &[Source]) {
        for _ in 0..NARROWINGS {
            for at in 0..self.required.len() {
                for source in self.sources_of(at, values, slots) {
                    self.order(source, at);
                }
                let call = &self.required[at];
                let next = self.step_of(call).guard.needed_slot().map(|slot| slot as usize + 1);
                if let Some(Source::One(next)) = next.and_then(|next| slots.get(next).copied())
                    && call.is_required
                {
                    self.order(at, next);
                }
            }
            let mut before = None;
            for source in slots {
                if let Source::One(at) = *source {
                    if let Some(before) = before {
                        self.order(before, at);
                    }
                    before = Some(at);
                }
            }
            for source in slots.iter().rev() {
                if let Source::One(at) = *source {
                    if let Some(before) = before {
                        self.order(at, before);
                    }
                    before = Some(at);
                }
            }
        }
    }

    /// The call at `first` comes before the one at `second`, if both are there.
    fn order(&mut self, first: usize, second: usize) {
        let called = self.required[first].called;
        let Call { called: later, returned, is_required, .. } = &mut self.required[second];
        *later = called.max(*later);
        if *is_required {
            let returned = *returned;
            let first = &mut self.required[first].returned;
            *first = returned.min(*first);
        }
    }

    fn drop_what_satisfies_nobody(&mut self) {
        if self.is_dynamic {
            return; // What comes of an effect can depend on any write.
        }
        let mut optional = std::mem::take(&mut self.optional);
        for _ in 0..DROPS_MAX {
            let guards = self.guards(self.required.iter().chain(&optional));
            let before = optional.len();
            optional.retain(|call| {
                self.steps_of(call).iter().any(|step| self.may_satisfy(step, &guards))
            });
            if optional.len() == before {
                break;
            }
        }
        self.optional = optional;
    }

    /// The guards that ask for something, each once.
    fn guards<'a>(&self, calls: impl Iterator<Item = &'a Call>) -> Guards {
        let mut guards = Guards { values: vec![false; self.values.count()], others: Vec::new() };
        let mut others = std::collections::HashSet::new();
        for call in calls {
            let guard = self.step_of(call).guard;
            // What asks for a version that was seen is satisfied by none that was not.
            if guard == Guard::ANY || guard.needed_slot().is_some() {
                continue;
            }
            if let ValueGuard::Is(value) = guard.value {
                guards.values[value as usize] = true;
            } else {
                others.insert(guard);
            }
        }
        guards.others.extend(others);
        guards
    }

    fn may_satisfy(&self, step: &Step, guards: &Guards) -> bool {
        let Some(value) = step.effect.set() else {
            return !step.is_pure();
        };
        if step.slot != NO_SLOT || guards.values[value as usize] {
            return true;
        }
        let state = State { value, version: super::model::UNSEEN, filled: 0 };
        guards.others.iter().any(|guard| guard.accepts(state, &self.values))
    }

    fn merge_values(&mut self) {
        let is_summing = self.steps.iter().any(|step| matches!(step.effect, Effect::Add(_)));
        if is_summing || self.is_numeric() {
            return;
        }
        let mut is_asked = vec![false; self.values.count()];
        is_asked[ABSENT as usize] = true;
        for call in self.required.iter().chain(&self.optional) {
            if let ValueGuard::Is(value) | ValueGuard::Not(value) = self.step_of(call).guard.value {
                is_asked[value as usize] = true;
            }
        }
        if self.is_dynamic {
            self.values.ask(&is_asked);
        }
        let (values, is_dynamic) = (&self.values, self.is_dynamic);
        let is_other = |value: u32| {
            !is_asked[value as usize] && (!is_dynamic || values.leads_nowhere(values.text(value)))
        };
        for step in &mut self.steps {
            if let Effect::Set(value) = &mut step.effect
                && is_other(*value)
            {
                *value = OTHER;
            }
        }
        if is_other(self.initial.value) {
            self.initial.value = OTHER;
        }
    }

    /// Numbers the classes, and orders the calls by their times.
    pub(super) fn classify(&mut self) {
        let mut classes: HashMap<&[Step], u32, Seeded> = HashMap::default();
        for call in self.required.iter_mut().chain(&mut self.optional) {
            let next = number_of(classes.len());
            let steps = &self.steps[call.steps.start as usize..call.steps.end as usize];
            call.class = *classes.entry(steps).or_insert(next);
        }
        self.classes = classes.len();
        self.required.sort_by_key(|call| call.called);
        self.optional.sort_by_key(|call| call.called);
    }
}

/// How many rounds the unknown operations are dropped in; a round drops what only they asked for.
const DROPS_MAX: usize = 8;
/// How often the intervals are narrowed; once more narrows what depends on what depends on it.
const NARROWINGS: usize = 2;

struct Guards {
    values: Vec<bool>,
    others: Vec<Guard>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    None,
    One(usize),
    Many,
}

impl Source {
    fn add(&mut self, at: usize) {
        *self = match *self {
            Source::None => Source::One(at),
            Source::One(_) | Source::Many => Source::Many,
        };
    }
}
