//! Clients that wait for a key to change, in this process or another.
//!
//! Who waits is registered first, and then the key is read; every event of the watch has the keys that
//! are waited for read again. A reading answers those only who were registered before it began: it
//! may be older than what the others know.
//!
//! Invariant: a key is read by one at a time; who wants it read meanwhile has it read again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::NEVER;
use super::pool::Queues;
use super::read::Read;
use crate::key::Key;
use crate::store::{Found, Refused, Wait, Waited, Waiter, unix_ms};

/// Between two looks at those who wait: for their time, and whether they are still there.
pub(super) const TICK: Duration = Duration::from_millis(20);

pub(super) struct Waiting {
    queues: Arc<Queues>,
    state: Mutex<State>,
    /// Somebody has begun to wait.
    begun: Condvar,
    count: AtomicUsize,
}

#[derive(Default)]
struct State {
    by_key: HashMap<Box<str>, OfKey>,
    /// Registrations so far.
    registered: u64,
}

#[derive(Default)]
struct OfKey {
    waiters: Vec<Waits>,
    is_read: bool,
    read_again: bool,
    /// When what was found there expires.
    expires_ms: Option<u64>,
}

struct Waits {
    wait: Wait,
    deadline_ms: u64,
    number: u64,
    waiter: Box<dyn Waiter>,
}

/// A moment before a reading: what the reading can answer.
#[derive(Clone, Copy)]
struct Since {
    registered: u64,
    now_ms: u64,
}

impl Waiting {
    pub(super) fn new(queues: &Arc<Queues>) -> Self {
        Waiting {
            queues: Arc::clone(queues),
            state: Mutex::default(),
            begun: Condvar::new(),
            count: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(super) fn register(
        self: &Arc<Self>,
        key: &Key<'_>,
        wait: Wait,
        deadline_ms: u64,
        waiter: Box<dyn Waiter>,
    ) {
        let mut state = self.lock();
        state.registered += 1;
        let number = state.registered;
        let of_key = state.by_key.entry(key.as_str().into()).or_default();
        of_key.waiters.push(Waits { wait, deadline_ms, number, waiter });
        self.count.fetch_add(1, Ordering::SeqCst);
        drop(state);
        self.begun.notify_all();
        self.read(key.as_str());
    }

    /// Waits until somebody waits.
    pub(super) fn until_some(&self) {
        let mut state = self.lock();
        while state.by_key.is_empty() {
            state = self.begun.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The key may have changed.
    pub(super) fn changed(self: &Arc<Self>, key: &str) {
        if self.len() > 0 && self.lock().by_key.contains_key(key) {
            self.read(key);
        }
    }

    /// Every key may have changed.
    pub(super) fn all_changed(self: &Arc<Self>) {
        self.read_those(|_| true);
    }

    /// Ends all waiting, as if its time was over.
    pub(super) fn release(self: &Arc<Self>) {
        let mut state = self.lock();
        for waits in state.by_key.values_mut().flat_map(|of_key| &mut of_key.waiters) {
            waits.deadline_ms = 0;
        }
        drop(state);
        self.all_changed();
    }

    /// Has the keys read whose waiters' time is over, or who seem to have left; and those that expire.
    pub(super) fn tick(self: &Arc<Self>) {
        let now_ms = unix_ms();
        self.read_those(|of_key| {
            of_key.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
                || of_key.waiters.iter().any(|waits| waits.is_over(now_ms))
        });
    }

    fn read_those(self: &Arc<Self>, which: impl Fn(&OfKey) -> bool) {
        let keys: Vec<Box<str>> = {
            let state = self.lock();
            let those = state.by_key.iter().filter(|(_, of_key)| which(of_key));
            those.map(|(key, _)| key.clone()).collect()
        };
        for key in keys {
            self.read(&key);
        }
    }

    /// Has the key read, and its waiters answered.
    fn read(self: &Arc<Self>, key: &str) {
        let mut state = self.lock();
        let since = Since { registered: state.registered, now_ms: unix_ms() };
        let Some(of_key) = state.by_key.get_mut(key) else { return };
        of_key.read_again = of_key.is_read;
        if std::mem::replace(&mut of_key.is_read, true) {
            return;
        }
        drop(state);
        let waiting = Arc::clone(self);
        let key = Key::kept(key).into_owned();
        let named = key.clone();
        let done = Box::new(move |outcome| waiting.answer(&named, &outcome, since));
        self.queues.read(Read { key, done });
    }

    fn answer(
        self: &Arc<Self>,
        key: &Key<'_>,
        found: &Result<Option<Found>, Refused>,
        since: Since,
    ) {
        let mut state = self.lock();
        let Some(of_key) = state.by_key.get_mut(key.as_str()) else { return };
        of_key.is_read = false;
        let read_again = std::mem::take(&mut of_key.read_again);
        of_key.expires_ms = match found {
            Ok(Some(found)) => Some(found.value.deadline_ms()).filter(|&at_ms| at_ms != NEVER),
            Ok(None) | Err(_) => None,
        };
        let mut due = Vec::new();
        let mut still = Vec::new();
        for waits in std::mem::take(&mut of_key.waiters) {
            match waits.answer(found, since) {
                Some(waited) => due.push((waited, waits.waiter)),
                None => still.push(waits),
            }
        }
        of_key.waiters = still;
        if of_key.waiters.is_empty() {
            state.by_key.remove(key.as_str());
        }
        self.count.fetch_sub(due.len(), Ordering::SeqCst);
        drop(state);
        for (waited, waiter) in due {
            waiter.answer(key, waited);
        }
        if read_again {
            self.read(key.as_str());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waits {
    fn is_over(&self, now_ms: u64) -> bool {
        self.deadline_ms <= now_ms || self.waiter.has_left()
    }

    fn answer(&self, found: &Result<Option<Found>, Refused>, since: Since) -> Option<Waited> {
        if self.number > since.registered {
            return None;
        }
        let is_over = self.is_over(since.now_ms);
        if is_over { Some(self.wait.end(found)) } else { self.wait.news(found) }
    }
}
