//! The store of the servers that are checked: one map behind one lock, with a fault or without.
//!
//! It shares nothing with kv: two that make the same mistake would find each other right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::fault::Fault;

/// How long the two steps of a torn one are apart.
pub(super) const TEAR: Duration = Duration::from_micros(300);
const CACHED: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_millis(2);
const COMES_BACK: Duration = Duration::from_millis(5);
const COMES_BACK_LATE: Duration = Duration::from_secs(1);
const HEAD_CACHED: Duration = Duration::from_millis(100);
const KEY_CUT_BYTES: usize = 256;
const LARGE_BYTES: usize = 20_000;
const PREFIX_COMES_BACK: Duration = Duration::from_millis(300);
/// Keys that a store keeps that evicts others.
const KEPT: usize = 1_500;

/// A value with its version and its time.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Shared, for a batch copies everything.
    pub(super) value: Arc<str>,
    pub(super) version: u64,
    pub(super) expires: Option<Instant>,
}

/// What has to hold for a write.
#[derive(Debug, Clone, Default)]
pub(super) struct Condition {
    /// `If-Match`: one of these.
    pub(super) matches: Option<Vec<Asked>>,
    /// `If-None-Match`: none of these.
    pub(super) differs: Option<Vec<Asked>>,
}

/// What a condition asks for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    /// `*`: that the key is there.
    Any,
    /// An entity tag, without its quotes.
    Tag { text: String, is_weak: bool },
}

/// Why a write was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The condition did not hold; the current version.
    Condition(Option<u64>),
    NotAnInteger,
    Invalid,
    Absent,
}

/// Everything that is kept.
#[derive(Debug, Default)]
pub(super) struct State {
    entries: BTreeMap<String, Entry>,
    pub(super) version: u64,
    calls: u64,
    cache: BTreeMap<String, (Instant, Option<Entry>)>,
    late: Vec<(Instant, String, Entry)>,
    ghosts: Vec<(Instant, String, Entry)>,
    /// What has expired, where a fault remembers it.
    expired: BTreeMap<String, Entry>,
    pub(super) deleted: BTreeSet<String>,
}

/// The store.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) fault: Option<Fault>,
    state: Mutex<State>,
}

impl Store {
    pub(super) fn new(fault: Option<Fault>) -> Store {
        Store { fault, state: Mutex::default() }
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// The state, in which nothing is expired.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_alive = |entry: &Entry| entry.expires.is_none_or(|expires| expires > now);
        if self.has(Fault::ExpiredIsMatched) {
            let expired = state.entries.iter().filter(|(_, entry)| !is_alive(entry));
            let expired: Vec<_> =
                expired.map(|(key, entry)| (key.clone(), entry.clone())).collect();
            state.expired.extend(expired);
        }
        state.entries.retain(|_, entry| is_alive(entry));
        let (due, late) =
            std::mem::take(&mut state.late).into_iter().partition(|late| late.0 <= now);
        let (back, ghosts) =
            std::mem::take(&mut state.ghosts).into_iter().partition(|ghost| ghost.0 <= now);
        (state.late, state.ghosts) = (late, ghosts);
        let due: Vec<(Instant, String, Entry)> = due;
        let back: Vec<(Instant, String, Entry)> = back;
        for (_, key, entry) in due.into_iter().chain(back) {
            state.entries.insert(key, entry);
        }
        state
    }

    /// The key as this server takes it.
    pub(super) fn key(&self, key: &str) -> String {
        match self.fault {
            Some(Fault::FoldedKeys) => key.to_lowercase(),
            Some(Fault::CutKeys) => key.get(..KEY_CUT_BYTES).unwrap_or(key).to_owned(),
            _ => key.to_owned(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.read(key, self.has(Fault::StaleRead).then_some(CACHED))
    }

    /// What HEAD tells of.
    pub(super) fn head(&self, key: &str) -> Option<Entry> {
        self.read(key, self.has(Fault::StaleHead).then_some(HEAD_CACHED))
    }

    fn read(&self, key: &str, cache: Option<Duration>) -> Option<Entry> {
        let mut state = self.lock();
        let found = state.entries.get(key).cloned();
        if let Some(time) = cache {
            let cached = state.cache.get(key).filter(|(since, _)| since.elapsed() < time);
            if let Some((_, entry)) = cached {
                return entry.clone();
            }
            state.cache.insert(key.to_owned(), (Instant::now(), found.clone()));
        }
        state.calls += 1;
        if found.is_none() && self.has(Fault::PhantomRead) && state.calls.is_multiple_of(50) {
            return Some(Entry { value: "\"phantom\"".into(), version: 1, expires: None });
        }
        found
    }

    pub(super) fn put(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        condition: &Condition,
    ) -> Result<u64, Refused> {
        let mut state = self.lock();
        let known = state.entries.get(key).or_else(|| state.expired.get(key));
        condition.check(self.fault, known)?;
        let is_torn = (self.has(Fault::TornCompareAndSet) && condition.matches.is_some())
            || (self.has(Fault::TornCreate) && condition.differs.is_some());
        if is_torn {
            drop(state);
            thread::sleep(TEAR);
            state = self.lock();
        }
        Ok(state.put(self.fault, key, value, ttl))
    }

    pub(super) fn delete(&self, key: &str, condition: &Condition) -> Result<(), Refused> {
        let mut state = self.lock();
        if !self.has(Fault::ConditionIgnored) {
            condition.check(self.fault, state.entries.get(key))?;
        }
        if self.has(Fault::TornDelete) && condition.matches.is_some() {
            drop(state);
            thread::sleep(TEAR);
            state = self.lock();
        }
        if !state.entries.contains_key(key) {
            return if self.has(Fault::DeletesAbsent) { Ok(()) } else { Err(Refused::Absent) };
        }
        state.delete(self.fault, key);
        Ok(())
    }

    pub(super) fn add(&self, key: &str, by: i64) -> Result<(i64, u64), Refused> {
        let mut state = self.lock();
        let sum = state.sum(self.fault, key, by)?;
        if self.has(Fault::LostIncrement) {
            drop(state);
            thread::sleep(TEAR);
            state = self.lock();
        }
        let ttl = state.left(key);
        let before = state.entries.get(key).map(|entry| entry.version);
        let version = state.put(self.fault, key, &sum.to_string(), ttl);
        if self.has(Fault::IncrementKeepsVersion)
            && let Some((entry, before)) = state.entries.get_mut(key).zip(before)
        {
            entry.version = before;
        }
        Ok((sum, version))
    }
}

impl State {
    pub(super) fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Everything, to take a refused batch back.
    pub(super) fn snapshot(&self) -> (BTreeMap<String, Entry>, u64) {
        (self.entries.clone(), self.version)
    }

    pub(super) fn restore(&mut self, (entries, version): (BTreeMap<String, Entry>, u64)) {
        (self.entries, self.version) = (entries, version);
    }

    pub(super) fn put(
        &mut self,
        fault: Option<Fault>,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
    ) -> u64 {
        self.calls += 1;
        let version = self.next_version(fault, key);
        let old = self.entries.get(key).and_then(|entry| entry.expires);
        let expires = match (ttl, fault) {
            (Some(ttl), _) => Some(Instant::now() + ttl),
            (None, Some(Fault::ExpiryStays)) => old,
            (None, _) => None,
        };
        let value = changed(fault, value).into();
        let entry = Entry { value, version, expires };
        self.deleted.remove(key);
        match fault {
            Some(Fault::LostWrite) if self.calls.is_multiple_of(100) => {}
            Some(Fault::LostLargeOverwrite)
                if entry.value.len() > LARGE_BYTES
                    && self.entries.contains_key(key)
                    && version.is_multiple_of(2) => {}
            Some(Fault::LateWrite) => {
                self.late.push((Instant::now() + LATE, key.to_owned(), entry));
            }
            _ => {
                self.entries.insert(key.to_owned(), entry);
            }
        }
        if fault == Some(Fault::Evicts) && self.entries.len() > KEPT {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.version);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.entries.remove(&key);
            }
        }
        version
    }

    pub(super) fn delete(&mut self, fault: Option<Fault>, key: &str) -> bool {
        self.calls += 1;
        if fault == Some(Fault::DroppedDelete) && self.calls.is_multiple_of(3) {
            return true;
        }
        if fault == Some(Fault::ListKeepsDeleted) {
            self.deleted.insert(key.to_owned());
        }
        let removed = self.entries.remove(key);
        let comes_back = match fault {
            Some(Fault::ResurrectedDelete) => Some(COMES_BACK),
            Some(Fault::ComesBackLate) => Some(COMES_BACK_LATE),
            _ => None,
        };
        if let Some(entry) = removed.clone()
            && let Some(after) = comes_back.filter(|_| self.calls.is_multiple_of(20))
        {
            self.ghosts.push((Instant::now() + after, key.to_owned(), entry));
        }
        removed.is_some()
    }

    /// Once it is deleted, this key comes back, when nobody looks any more.
    pub(super) fn comes_back(&mut self, key: &str) {
        if let Some(entry) = self.entries.get(key).cloned() {
            self.ghosts.push((Instant::now() + PREFIX_COMES_BACK, key.to_owned(), entry));
        }
    }

    pub(super) fn sum(&self, fault: Option<Fault>, key: &str, by: i64) -> Result<i64, Refused> {
        let value = self.entries.get(key).map_or("0", |entry| &*entry.value);
        let value: i64 = value.parse().map_err(|_| Refused::NotAnInteger)?;
        if fault == Some(Fault::WrappedIncrement) {
            return Ok(value.wrapping_add(by));
        }
        value.checked_add(by).ok_or(Refused::NotAnInteger)
    }

    /// How long a key has.
    pub(super) fn left(&self, key: &str) -> Option<Duration> {
        let expires = self.entries.get(key)?.expires?;
        Some(expires.saturating_duration_since(Instant::now()))
    }

    /// Keys with this prefix behind this one.
    pub(super) fn keys(&self, prefix: &str, behind: Option<&str>) -> Vec<String> {
        let mut keys: BTreeSet<&String> = self.entries.keys().collect();
        keys.extend(&self.deleted);
        let is_behind = |key: &&&String| behind.is_none_or(|behind| key.as_str() > behind);
        let with_prefix = keys.iter().filter(|key| key.starts_with(prefix));
        with_prefix.filter(is_behind).map(|key| (*key).clone()).collect()
    }

    fn next_version(&mut self, fault: Option<Fault>, key: &str) -> u64 {
        self.version += 1;
        match fault {
            Some(Fault::VersionReused) => {
                self.entries.get(key).map_or(1, |entry| entry.version + 1)
            }
            Some(Fault::VersionGoesBack) => {
                self.version * 2
                    - if self.version.is_multiple_of(2) { 0 } else { 7.min(self.version) }
            }
            _ => self.version,
        }
    }
}

impl Condition {
    pub(super) fn check(&self, fault: Option<Fault>, entry: Option<&Entry>) -> Result<(), Refused> {
        let current = entry.map(|entry| entry.version);
        let meets = |all: &[Asked], is_strong| {
            current
                .is_some_and(|current| all.iter().any(|one| one.is_met(fault, current, is_strong)))
        };
        let matches = self.matches.as_ref().is_none_or(|all| meets(all, true));
        let differs = !self.differs.as_ref().is_some_and(|all| meets(all, false));
        let is_enough = fault == Some(Fault::FirstConditionOnly) && self.matches.is_some();
        let holds = matches && (differs || is_enough);
        if holds { Ok(()) } else { Err(Refused::Condition(current)) }
    }
}

/// A number as a double.
pub(super) fn rounded(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() && value.len() > 15 => format!("{number:e}"),
        _ => value.to_owned(),
    }
}

impl Asked {
    pub(super) fn version(version: u64) -> Asked {
        Asked::Tag { text: version.to_string(), is_weak: false }
    }

    fn is_met(&self, fault: Option<Fault>, current: u64, is_strong: bool) -> bool {
        let Asked::Tag { text, is_weak } = self else { return true };
        let current = current.to_string();
        match fault {
            Some(Fault::PrefixMatches) if is_strong && !text.is_empty() => {
                current.starts_with(text)
            }
            Some(Fault::WeakMatches) => current == *text,
            _ => current == *text && !(is_strong && *is_weak),
        }
    }
}

/// A value as a server with this fault keeps it.
fn changed(fault: Option<Fault>, value: &str) -> String {
    const CUT: usize = 65_536;
    match fault {
        Some(Fault::RoundedNumber) => rounded(value),
        Some(Fault::LostLineBreak) => value.replace("\\r\\n", "\\n"),
        Some(Fault::LostEscape) => value.replace("\\n", "n"),
        Some(Fault::NormalizedText) => value.replace("e\u{301}", "\u{e9}"),
        Some(Fault::CutValue) if value.len() > CUT && value.is_ascii() => {
            format!("{}\"", &value[..CUT])
        }
        _ => value.to_owned(),
    }
}
