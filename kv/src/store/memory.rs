//! The in-memory store: one table behind one lock.
//!
//! Nothing here knows HTTP. Each method locks once, and what it takes out is dropped, and who
//! waits is told, when the lock is free again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::clock::Clock;
use super::keeper::{self, Keeper, Tended};
use super::table::{Garbage, Table};
use super::waiters::{Looked, Waiters};
use super::{
    Batched, Condition, Export, Found, Imported, Incremented, Listed, Op, Page, Refused, Selection,
    Stats, Store, Version, Wait, Waiter,
};
use crate::key::Key;

/// Values in memory; they go with the process. Clones share one table.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    table: RwLock<Table>,
    waiters: Waiters,
    keeper: Keeper,
    /// Entries that were removed after their time.
    expired: AtomicU64,
    clock: Clock,
}

impl Memory {
    /// An empty store that refuses writes which would need more than `bytes_max` in all. Its
    /// versions begin with the clock, in microseconds, so that they grow from one start to the
    /// next.
    ///
    /// # Errors
    /// There is no room for the thread that removes what has expired.
    pub fn new(bytes_max: usize) -> std::io::Result<Self> {
        let version = Version::of_the_clock();
        let (keeper, pokes) = Keeper::new();
        let shared = Arc::new(Shared {
            table: RwLock::new(Table::new(version, bytes_max)),
            waiters: Waiters::default(),
            keeper,
            expired: AtomicU64::new(0),
            clock: Clock::start(),
        });
        keeper::start(Arc::downgrade(&shared), pokes)?;
        Ok(Memory { shared })
    }
}

impl Shared {
    // A poisoned lock guards a whole table all the same: no step leaves it half changed.
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: &Key<'_>) -> Option<Found> {
        let table = self.read();
        // Most stores hold nothing that expires, and need not look at the clock.
        let now_ms = if table.next_deadline_ms().is_some() { self.now_ms() } else { 0 };
        table.get(key, now_ms)
    }

    /// Takes one step on the table. When the lock is free, those who wait for what the step has
    /// removed are told, and its garbage is dropped.
    fn step<T>(&self, step: impl FnOnce(&mut Table, u64, &mut Garbage) -> T) -> T {
        let mut garbage = Garbage::new();
        let mut table = self.write();
        // Not before the lock: a step must not act by an older time than one that came first.
        let now_ms = self.now_ms();
        let outcome = step(&mut table, now_ms, &mut garbage);
        drop(table);
        let expired = garbage.iter().filter(|entry| !entry.is_live(now_ms)).count();
        self.expired.fetch_add(expired as u64, Ordering::Relaxed);
        if self.waiters.len() > 0 {
            for entry in &garbage {
                self.wake(&Key::kept(&entry.key_text()));
            }
        }
        outcome
    }
}

impl Tended for Shared {
    fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn look(&self, key: &Key<'_>) -> Looked {
        Ok(self.find(key))
    }

    fn sweep(&self, entries_max: usize) -> usize {
        self.step(|table, now_ms, garbage| {
            table.sweep(now_ms, entries_max, garbage);
            garbage.len()
        })
    }

    fn next_deadline_ms(&self) -> Option<u64> {
        self.read().next_deadline_ms()
    }
}

impl Store for Memory {
    fn get(
        &self,
        key: &Key<'_>,
        done: impl FnOnce(&Key<'_>, Result<Option<Found>, Refused>) + Send + 'static,
    ) {
        let found = self.shared.find(key);
        done(key, Ok(found));
    }

    fn put(
        &self,
        key: &Key<'_>,
        value: &str,
        ttl: Option<Duration>,
        condition: &Condition,
        done: impl FnOnce(Result<Version, Refused>) + Send + 'static,
    ) {
        let outcome = self
            .shared
            .step(|table, now_ms, garbage| table.put(key, value, ttl, condition, now_ms, garbage));
        if let Some(ttl) = ttl {
            self.shared.expect(ttl);
        }
        if outcome.is_ok() {
            self.shared.wake(key);
        }
        done(outcome);
    }

    fn delete(
        &self,
        key: &Key<'_>,
        condition: &Condition,
        done: impl FnOnce(&Key<'_>, Result<bool, Refused>) + Send + 'static,
    ) {
        let outcome = self
            .shared
            .step(|table, now_ms, garbage| table.delete(key, condition, now_ms, garbage));
        done(key, outcome);
    }

    fn increment(
        &self,
        key: &Key<'_>,
        by: i64,
        condition: &Condition,
        done: impl FnOnce(&Key<'_>, Result<Incremented, Refused>) + Send + 'static,
    ) {
        let outcome = self
            .shared
            .step(|table, now_ms, garbage| table.increment(key, by, condition, now_ms, garbage));
        if outcome.is_ok() {
            self.shared.wake(key);
        }
        done(key, outcome);
    }

    fn batch(
        &self,
        ops: &[Op<'_>],
        done: impl FnOnce(&[Op<'_>], Result<Batched, (usize, Refused)>) + Send + 'static,
    ) {
        let outcome = self.shared.step(|table, now_ms, garbage| table.batch(ops, now_ms, garbage));
        if outcome.is_ok() {
            if let Some(ttl) = ops.iter().filter_map(Op::ttl).min() {
                self.shared.expect(ttl);
            }
            if self.shared.waiters.len() > 0 {
                for op in ops {
                    self.shared.wake(&op.key);
                }
            }
        }
        done(ops, outcome);
    }

    fn list(
        &self,
        selection: &Selection,
        done: impl FnOnce(Result<Page, Refused>) + Send + 'static,
    ) {
        let table = self.shared.read();
        let page = table.list(selection, self.shared.now_ms());
        drop(table);
        done(Ok(page));
    }

    fn delete_prefix(
        &self,
        prefix: &str,
        done: impl FnOnce(Result<usize, Refused>) + Send + 'static,
    ) {
        done(Ok(self.shared.step(|table, now_ms, garbage| {
            let (deleted, removed) = table.delete_prefix(prefix, now_ms);
            *garbage = removed;
            deleted
        })));
    }

    fn export(&self) -> Result<Export, Refused> {
        let table = self.shared.read();
        let entries = table.entries(self.shared.now_ms());
        drop(table);
        Ok(Box::new(entries.into_iter().map(|entry| Ok(Listed(entry)))))
    }

    fn import(
        &self,
        entries: &[Imported<'_>],
        done: impl FnOnce(Result<usize, Refused>) + Send + 'static,
    ) {
        let outcome =
            self.shared.step(|table, now_ms, garbage| table.import(entries, now_ms, garbage));
        if outcome.is_ok() {
            if entries.iter().any(|entry| entry.expires_at_ms.is_some()) {
                self.shared.expect(Duration::ZERO);
            }
            if self.shared.waiters.len() > 0 {
                for entry in entries {
                    self.shared.wake(&entry.key);
                }
            }
        }
        done(outcome);
    }

    fn wait(&self, key: &Key<'_>, wait: Wait, waiter: Box<dyn Waiter>) {
        self.shared.wait(key, wait, waiter);
    }

    fn release_waiters(&self) {
        self.shared.release_waiters();
    }

    fn ready(&self, done: impl FnOnce(Result<(), Refused>) + Send + 'static) {
        // A lock that is never given back would be the only reason why not.
        drop(self.shared.read());
        done(Ok(()));
    }

    fn stats(&self) -> Stats {
        let table = self.shared.read();
        Stats {
            keys: table.len(self.shared.now_ms()),
            bytes: table.bytes(),
            expired: self.shared.expired.load(Ordering::Relaxed),
            waiters: self.shared.waiters.len(),
            writes: table.writes(),
            disk: None,
        }
    }

    fn close(&self) {}
}
