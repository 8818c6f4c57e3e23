//! One key as an automaton: what its state is, what an operation asks of it, and what it makes of it.
//!
//! Invariant: whether two states differ is whether their numbers do; a text is interned once.

use std::collections::HashMap;
use std::sync::Arc;

use super::hashes::Seeded;
use super::operation::Value;

/// The number of no value.
pub(super) const ABSENT: u32 = 0;
/// The number of every value that is present and that nobody asks about.
pub(super) const OTHER: u32 = 1;
/// The number of every version that nobody has seen.
pub(super) const UNSEEN: u32 = 0;
/// A write whose version nobody has seen fills no slot.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// What a key holds. The versions that somebody has seen are numbered in their order, as slots;
/// each has one write, which comes after that of the slot before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) value: u32,
    /// One more than the slot, or [`UNSEEN`].
    pub(super) version: u32,
    /// How many slots have been filled.
    pub(super) filled: u32,
}

/// What an operation asks of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ValueGuard {
    Any,
    Never,
    Is(u32),
    Not(u32),
    Present,
    /// A whole number, this one; absent counts as 0.
    Number(u32),
    /// Not absent, and no whole number to which this one can be added.
    NotAddable(u32),
}

/// What an operation asks of the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum VersionGuard {
    Any,
    Is(u32),
    Not(u32),
    /// There is a value, of a version that nobody has seen.
    Unseen,
}

/// What an operation asks of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Guard {
    pub(super) value: ValueGuard,
    pub(super) version: VersionGuard,
}

/// What an operation makes of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    None,
    Set(u32),
    Append(u32),
    /// The addend, by its place among the numbers.
    Add(u32),
}

/// One way in which an operation may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Step {
    pub(super) guard: Guard,
    pub(super) effect: Effect,
    /// The slot that it fills, or [`NO_SLOT`].
    pub(super) slot: u32,
}

/// The texts and numbers of one key's history.
#[derive(Debug)]
pub(super) struct Values {
    ids: HashMap<Value, u32, Seeded>,
    texts: Vec<Value>,
    numbers: Vec<i64>,
    places: HashMap<i64, u32>,
    appended: HashMap<(u32, u32), u32>,
    /// The texts that somebody asks about, sorted; none while that does not matter.
    asked: Option<Vec<Value>>,
    made_bytes: usize,
}

impl Guard {
    pub(super) const ANY: Guard = Guard { value: ValueGuard::Any, version: VersionGuard::Any };

    pub(super) fn accepts(&self, state: State, values: &Values) -> bool {
        let value_holds = match self.value {
            ValueGuard::Any => true,
            ValueGuard::Never => false,
            ValueGuard::Is(value) => state.value == value,
            ValueGuard::Not(value) => state.value != value,
            ValueGuard::Present => state.value != ABSENT,
            ValueGuard::Number(at) => {
                values.number(state.value) == Some(values.numbers[at as usize])
            }
            ValueGuard::NotAddable(at) => {
                state.value != ABSENT && values.sum(state.value, at).is_none()
            }
        };
        value_holds
            && match self.version {
                VersionGuard::Any => true,
                VersionGuard::Is(slot) => state.version == slot + 1,
                VersionGuard::Not(slot) => state.version != slot + 1,
                VersionGuard::Unseen => state.value != ABSENT && state.version == UNSEEN,
            }
    }

    /// The value without which it does not hold.
    pub(super) fn needed(&self) -> Option<u32> {
        match self.value {
            ValueGuard::Is(value) => Some(value),
            ValueGuard::Any
            | ValueGuard::Never
            | ValueGuard::Not(_)
            | ValueGuard::Present
            | ValueGuard::Number(_)
            | ValueGuard::NotAddable(_) => None,
        }
    }

    /// The slot without which it does not hold.
    pub(super) fn needed_slot(&self) -> Option<u32> {
        match self.version {
            VersionGuard::Is(slot) => Some(slot),
            VersionGuard::Any | VersionGuard::Not(_) | VersionGuard::Unseen => None,
        }
    }
}

impl Effect {
    /// The value that is there afterwards, where it is the same after every state.
    pub(super) fn set(self) -> Option<u32> {
        match self {
            Effect::Set(value) => Some(value),
            Effect::None | Effect::Append(_) | Effect::Add(_) => None,
        }
    }

    /// Whether what is there afterwards depends on what was there.
    pub(super) fn depends(self) -> bool {
        match self {
            Effect::Append(_) | Effect::Add(_) => true,
            Effect::None | Effect::Set(_) => false,
        }
    }
}

impl Step {
    /// It sees, and changes nothing.
    pub(super) fn is_pure(&self) -> bool {
        self.effect == Effect::None
    }

    /// It neither sees nor has a place among the versions.
    pub(super) fn is_blind(&self) -> bool {
        self.guard == Guard::ANY && self.slot == NO_SLOT
    }

    /// The state after it, if it can happen.
    pub(super) fn apply(&self, state: State, values: &mut Values) -> Option<State> {
        let in_turn = self.slot == NO_SLOT || self.slot == state.filled;
        if !in_turn || !self.guard.accepts(state, values) {
            return None;
        }
        let value = match self.effect {
            Effect::None => return Some(state),
            Effect::Set(value) => value,
            Effect::Append(text) => values.append(state.value, text),
            Effect::Add(at) => {
                let sum = values.sum(state.value, at)?;
                values.make(&sum.to_string())
            }
        };
        let filled = if self.slot == NO_SLOT { state.filled } else { self.slot + 1 };
        let is_versioned = self.slot != NO_SLOT && value != ABSENT;
        Some(State { value, version: if is_versioned { filled } else { UNSEEN }, filled })
    }
}

impl Values {
    /// `absent_is_empty`: whether absent and the empty text are the same.
    pub(super) fn new(absent_is_empty: bool) -> Values {
        let empty: Value = Arc::from("");
        let mut ids = HashMap::default();
        if absent_is_empty {
            ids.insert(empty.clone(), ABSENT);
        }
        let texts = vec![empty.clone(), empty];
        Values {
            ids,
            texts,
            numbers: Vec::new(),
            places: HashMap::new(),
            appended: HashMap::new(),
            asked: None,
            made_bytes: 0,
        }
    }

    pub(super) fn id(&mut self, text: &Value) -> u32 {
        if let Some(&id) = self.ids.get(&**text) {
            return id;
        }
        let id = number_of(self.texts.len());
        self.texts.push(text.clone());
        self.ids.insert(text.clone(), id);
        id
    }

    /// The place of a number, the same for the same one.
    pub(super) fn number_at(&mut self, number: i64) -> u32 {
        *self.places.entry(number).or_insert_with(|| {
            self.numbers.push(number);
            number_of(self.numbers.len() - 1)
        })
    }

    pub(super) fn count(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn number_of(&self, at: u32) -> i64 {
        self.numbers[at as usize]
    }

    /// The values that are a number, absent among those that are 0.
    pub(super) fn by_number(&self) -> HashMap<i64, Vec<u32>> {
        let mut values: HashMap<i64, Vec<u32>> = HashMap::from([(0, vec![ABSENT])]);
        for (id, text) in self.texts.iter().enumerate().skip(OTHER as usize + 1) {
            if let Ok(number) = text.parse() {
                values.entry(number).or_default().push(number_of(id));
            }
        }
        values
    }

    /// From now on a text that begins none of `asked` is [`OTHER`], whatever is appended to it.
    pub(super) fn ask(&mut self, asked: &[bool]) {
        let texts = self.texts.iter().zip(asked).filter(|(_, is_asked)| **is_asked);
        let mut texts: Vec<Value> = texts.map(|(text, _)| text.clone()).collect();
        texts.sort_unstable();
        self.asked = Some(texts);
    }

    /// Whether nobody asks about the text or about any that begins with it.
    pub(super) fn leads_nowhere(&self, text: &str) -> bool {
        let Some(asked) = &self.asked else {
            return false;
        };
        let next = asked.partition_point(|asked| **asked < *text);
        // The empty text may be the same as absence.
        !text.is_empty() && asked.get(next).is_none_or(|next| !next.starts_with(text))
    }

    pub(super) fn text(&self, id: u32) -> &str {
        &self.texts[id as usize]
    }

    /// The bytes of the texts that the search has made.
    pub(super) fn made_bytes(&self) -> usize {
        self.made_bytes
    }

    fn number(&self, value: u32) -> Option<i64> {
        if value == ABSENT { Some(0) } else { self.texts[value as usize].parse().ok() }
    }

    fn sum(&self, value: u32, at: u32) -> Option<i64> {
        self.number(value)?.checked_add(self.numbers[at as usize])
    }

    fn append(&mut self, value: u32, text: u32) -> u32 {
        if let Some(&id) = self.appended.get(&(value, text)) {
            return id;
        }
        if value == OTHER {
            return OTHER;
        }
        let both = [self.text(value), self.text(text)].concat();
        let id = if self.leads_nowhere(&both) { OTHER } else { self.make(&both) };
        self.appended.insert((value, text), id);
        self.made_bytes += ENTRY_BYTES;
        id
    }

    fn make(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        self.made_bytes += text.len() + ENTRY_BYTES;
        self.id(&Value::from(text))
    }
}

/// About what an entry of the tables takes beside its text.
const ENTRY_BYTES: usize = 96;

/// A history has at most 2^31 events; its operations and values are fewer.
pub(super) fn number_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
