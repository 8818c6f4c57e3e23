//! Clients that wait for a key to change.
//!
//! Who waits is registered first and looks at the key afterwards; who writes does so first and looks
//! for waiters afterwards. So one of the two sees the other, and no change is missed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Found, Refused, Wait, Waited, Waiter};
use crate::key::Key;

type ByKey = HashMap<Box<str>, Vec<Waiting>>;
/// The state that a key was found in.
pub(super) type Looked = Result<Option<Found>, Refused>;

#[derive(Default)]
pub(super) struct Waiters {
    by_key: Mutex<ByKey>,
    count: AtomicUsize,
}

struct Waiting {
    wait: Wait,
    deadline_ms: u64,
    waiter: Box<dyn Waiter>,
}

/// An answer that is due, given when no lock is held.
struct Due {
    waited: Waited,
    waiter: Box<dyn Waiter>,
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Registers the waiter. The caller has to call `wake` for the key then.
    pub(super) fn register(
        &self,
        key: &Key<'_>,
        wait: Wait,
        deadline_ms: u64,
        waiter: Box<dyn Waiter>,
    ) {
        let mut by_key = self.lock();
        by_key.entry(key.as_str().into()).or_default().push(Waiting { wait, deadline_ms, waiter });
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// Answers those who wait for the key and do not know the state that `look` finds it in.
    pub(super) fn wake(&self, key: &Key<'_>, look: impl Fn(&Key<'_>) -> Looked) {
        if self.len() > 0 {
            answer(key, self.take(key, |waiting, found| waiting.wait.news(found), look));
        }
    }

    /// Answers those whose time is over at `now_ms`, and those who seem to have left: a client that
    /// has closed its side only is still told, and for one that has gone it makes no difference.
    pub(super) fn expire(&self, now_ms: u64, look: impl Fn(&Key<'_>) -> Looked) {
        self.end(|waiting| waiting.deadline_ms <= now_ms || waiting.waiter.has_left(), look);
    }

    /// Answers all, as if their time was over.
    pub(super) fn release(&self, look: impl Fn(&Key<'_>) -> Looked) {
        self.end(|_| true, look);
    }

    fn end(&self, is_over: impl Fn(&Waiting) -> bool, look: impl Fn(&Key<'_>) -> Looked) {
        let keys: Vec<Box<str>> = {
            let by_key = self.lock();
            let over = by_key.iter().filter(|(_, waiting)| waiting.iter().any(&is_over));
            over.map(|(key, _)| key.clone()).collect()
        };
        for key in &keys {
            let key = Key::kept(key);
            let over = |waiting: &Waiting, found: &Looked| {
                is_over(waiting).then(|| waiting.wait.end(found))
            };
            answer(&key, self.take(&key, over, &look));
        }
    }

    /// Takes out those of the key's waiters for whom there is an answer.
    fn take(
        &self,
        key: &Key<'_>,
        answer: impl Fn(&Waiting, &Looked) -> Option<Waited>,
        look: impl Fn(&Key<'_>) -> Looked,
    ) -> Vec<Due> {
        let mut by_key = self.lock();
        let Some(waiting) = by_key.get_mut(key.as_str()) else { return Vec::new() };
        let found = look(key);
        let mut due = Vec::new();
        let mut still = Vec::new();
        for waiting in waiting.drain(..) {
            match answer(&waiting, &found) {
                Some(waited) => due.push(Due { waited, waiter: waiting.waiter }),
                None => still.push(waiting),
            }
        }
        *waiting = still;
        if waiting.is_empty() {
            by_key.remove(key.as_str());
        }
        self.count.fetch_sub(due.len(), Ordering::SeqCst);
        due
    }

    fn lock(&self) -> MutexGuard<'_, ByKey> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(key: &Key<'_>, due: Vec<Due>) {
    for Due { waited, waiter } in due {
        waiter.answer(key, waited);
    }
}

impl Wait {
    /// The answer that a key in this state gives, if it gives one before the time is over.
    pub(super) fn news(&self, looked: &Looked) -> Option<Waited> {
        match (&self.known, looked) {
            (_, Err(refused)) => Some(Waited::Failed(refused.clone())),
            (Some(known), Ok(Some(found))) if known.contain(Some(found.version())) => None,
            (_, Ok(Some(found))) => Some(Waited::Changed(found.clone())),
            (Some(_), Ok(None)) => Some(Waited::Absent),
            (None, Ok(None)) => None,
        }
    }

    /// The answer when the time is over.
    pub(super) fn end(&self, looked: &Looked) -> Waited {
        match (self.news(looked), looked) {
            (Some(waited), _) => waited,
            (None, Ok(Some(found))) => Waited::Unchanged(found.version()),
            (None, _) => Waited::Absent,
        }
    }
}
