//! The durable store: what was acknowledged survives a crash.
//!
//! Workers read from the last published view of the tree; whatever changes something goes to the
//! commit thread, which has it answered (see `commit`). So no worker waits for a sync.

mod answers;
mod audit;
#[cfg(test)]
mod audit_tests;
mod cache;
mod commit;
mod counters;
mod directory;
mod group;
mod journal;
mod lookups;
mod manifest;
mod queue;
mod record;
mod tree;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::http::Lane;
use crossbeam_channel::bounded;

use self::answers::Answerer;
use self::cache::Cache;
use self::commit::{Committer, Health, Job};
use self::counters::Counters;
use self::directory::Directory;
use self::lookups::Lookups;
use self::queue::Queue;
use self::tree::{Tree, View};
use super::clock::Clock;
use super::entry::{Entry, NEVER};
use super::keeper::{self, Keeper, Tended};
use super::waiters::{Looked, Waiters};
use super::{
    Action, Batched, Condition, Done, Export, Found, Imported, Incremented, Listed, Op, Page,
    Refused, Selection, Stats, Store, Version, Wait, Waiter, step,
};
use crate::key::Key;

pub use self::tree::{OpenError, Statistics};

/// How the store keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory that holds it.
    pub directory: PathBuf,
    /// When the disk is made to keep what was written.
    pub fsync: Fsync,
    /// Bytes of what is read, and of what is written until it is in a table, that are kept in
    /// memory.
    pub cache_bytes: u64,
}

/// So much of the cache is for single entries, and so much at most for a memtable; the rest is for
/// blocks of tables.
const CACHE_PART: u64 = 4;

/// When the disk is made to keep what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before a write is answered.
    Always,
    /// This long after it was answered, at most.
    Every(Duration),
}

impl fmt::Display for Fsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fsync::Always => f.write_str("always"),
            Fsync::Every(interval) => write!(f, "every {interval:?}"),
        }
    }
}

/// Values on a disk. Clones share one store.
#[derive(Clone)]
pub struct Durable {
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

struct Shared {
    jobs: Queue,
    published: RwLock<Option<Arc<View>>>,
    cache: Cache,
    lookups: Lookups,
    health: Mutex<Option<Refused>>,
    waiters: Waiters,
    keeper: Keeper,
    counters: Counters,
    clock: Clock,
    /// There is nothing with an earlier deadline any more.
    swept_to_ms: AtomicU64,
}

impl Durable {
    /// Opens the store, or makes it in an empty directory.
    ///
    /// # Errors
    /// The directory is not fit for it, or what is in it is damaged.
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let directory = Directory::open(&options.directory)?;
        let (tree, view, cut) = Tree::open(&directory, options.cache_bytes, None)?;
        if let Some(cut) = cut {
            log::warn!(
                "{}: cut off {} bytes of an unfinished write at byte {}",
                cut.path.display(),
                cut.bytes,
                cut.at
            );
        }
        let (jobs, incoming) = Queue::new();
        let (keeper, pokes) = Keeper::new();
        let synced = view.state.version;
        let shared = Arc::new(Shared {
            jobs,
            published: RwLock::new(Some(Arc::new(view))),
            cache: Cache::new(options.cache_bytes / CACHE_PART),
            lookups: Lookups::default(),
            health: Mutex::new(None),
            waiters: Waiters::default(),
            keeper,
            counters: Counters::default(),
            clock: Clock::start(),
            swept_to_ms: AtomicU64::new(0),
        });
        let mut committer = Committer {
            jobs: incoming,
            shared: Arc::clone(&shared),
            directory,
            cache_bytes: options.cache_bytes,
            fsync: options.fsync,
            tree: Some(tree),
            health: Health::Well,
            unsynced_since: None,
            synced,
            looked_at: Instant::now(),
            resumes: 0,
            answerer: Answerer::start().map_err(OpenError::Thread)?,
            expected: 0,
            sync_mean: Duration::ZERO,
        };
        committer.look();
        let thread = std::thread::Builder::new().name("commit".to_owned());
        let thread = thread.spawn(move || committer.run()).map_err(OpenError::Thread)?;
        keeper::start(Arc::downgrade(&shared), pokes).map_err(OpenError::Thread)?;
        Ok(Durable { shared, thread: Arc::new(Mutex::new(Some(thread))) })
    }
}

impl Shared {
    fn published(&self) -> RwLockWriteGuard<'_, Option<Arc<View>>> {
        self.published.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What can be read now.
    fn view(&self) -> Result<Arc<View>, Refused> {
        self.read().clone().ok_or_else(|| {
            let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            health.clone().unwrap_or_else(|| Refused::Unavailable("it is closed".into()))
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Arc<View>>> {
        self.published.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry under a key, expired or not.
    fn entry(&self, key: &[u8]) -> Result<Option<Entry>, Refused> {
        let published = self.read();
        if let Some(entry) = self.cache.get(key) {
            return Ok(Some(entry));
        }
        drop(published);
        let view = self.view()?;
        let found = view.find(key)?;
        if let Some(entry) = &found {
            // Not worth waiting for, least of all while the view that is held here is waited for.
            if let Ok(published) = self.published.try_read()
                && published.as_ref().is_some_and(|published| Arc::ptr_eq(published, &view))
            {
                self.cache.put(entry.clone());
            }
        }
        Ok(found)
    }

    fn find(&self, key: &Key<'_>) -> Result<Option<Found>, Refused> {
        let entry = self.entry(key.as_str().as_bytes())?;
        let Some(entry) = entry else { return Ok(None) };
        let now_ms = if entry.deadline_ms() == NEVER { 0 } else { self.now_ms() };
        Ok(entry.is_live(now_ms).then(|| Found::of(entry, now_ms)))
    }

    fn set_health(&self, health: &Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health.refusal();
    }

    fn step(
        &self,
        key: &Key<'_>,
        action: Action<'_>,
        condition: &Condition,
        done: impl FnOnce(&Op<'_>, Result<(Done, Version), Refused>) + Send + 'static,
    ) {
        // The commit thread has to know what is there: finding it is work that the workers can
        // share, and that it need not wait for where it comes from the disk. It does so itself if
        // this fails.
        if self.published.try_read().is_ok() {
            let began = self.jobs.has_lane().then(Instant::now);
            let _ = self.entry(key.as_str().as_bytes());
            if let Some(began) = began {
                self.lookups.note(began.elapsed());
            }
        }
        let op = Op { key: key.clone(), action, condition: condition.clone() }.to_owned();
        self.jobs.send(Job::Step { op, done: Box::new(done) });
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
        self.find(key)
    }

    fn sweep(&self, entries_max: usize) -> usize {
        let from_ms = self.swept_to_ms.load(Ordering::Relaxed);
        let now_ms = self.now_ms();
        let due = self.view().map(|view| view.expiries(from_ms, now_ms).next().is_some());
        if due != Ok(true) {
            return 0;
        }
        let (done, swept) = bounded(1);
        self.jobs.send(Job::Sweep { from_ms, entries_max, done });
        let count = swept.recv().unwrap_or_default();
        if count < entries_max && self.health.lock().is_ok_and(|health| health.is_none()) {
            self.swept_to_ms.store(now_ms, Ordering::Relaxed);
        }
        count
    }

    fn next_deadline_ms(&self) -> Option<u64> {
        let view = self.view().ok()?;
        let from_ms = self.swept_to_ms.load(Ordering::Relaxed);
        let (deadline_ms, _) = view.expiries(from_ms, NEVER - 1).next()?.ok()?;
        // What is overdue could not be removed, and is tried again in a while.
        let now_ms = self.now_ms();
        Some(if deadline_ms > now_ms { deadline_ms } else { now_ms + SWEEP_AGAIN_MS })
    }
}

/// When removing what has expired is tried again.
const SWEEP_AGAIN_MS: u64 = 1_000;

impl Store for Durable {
    fn get(
        &self,
        key: &Key<'_>,
        done: impl FnOnce(&Key<'_>, Result<Option<Found>, Refused>) + Send + 'static,
    ) {
        let found = self.shared.find(key);
        done(key, found);
    }

    fn put(
        &self,
        key: &Key<'_>,
        value: &str,
        ttl: Option<Duration>,
        condition: &Condition,
        done: impl FnOnce(Result<Version, Refused>) + Send + 'static,
    ) {
        let action = Action::Put(value.into(), ttl);
        let shared = Arc::clone(&self.shared);
        self.shared.step(key, action, condition, move |_, outcome| {
            if let Some(ttl) = ttl.filter(|_| outcome.is_ok()) {
                shared.expect(ttl);
            }
            done(outcome.map(|(_, version)| version));
        });
    }

    fn delete(
        &self,
        key: &Key<'_>,
        condition: &Condition,
        done: impl FnOnce(&Key<'_>, Result<bool, Refused>) + Send + 'static,
    ) {
        self.shared.step(key, Action::Delete, condition, move |op, outcome| {
            done(&op.key, outcome.map(|(came, _)| matches!(came, Done::Delete(true))));
        });
    }

    fn increment(
        &self,
        key: &Key<'_>,
        by: i64,
        condition: &Condition,
        done: impl FnOnce(&Key<'_>, Result<Incremented, Refused>) + Send + 'static,
    ) {
        self.shared.step(key, Action::Increment(by), condition, move |op, outcome| {
            let sum = |came| match came {
                Done::Increment(sum) => sum,
                Done::Put | Done::Get(_) | Done::Delete(_) => 0,
            };
            done(&op.key, outcome.map(|(came, version)| Incremented { value: sum(came), version }));
        });
    }

    fn batch(
        &self,
        ops: &[Op<'_>],
        done: impl FnOnce(&[Op<'_>], Result<Batched, (usize, Refused)>) + Send + 'static,
    ) {
        let ops: Vec<Op<'static>> = ops.iter().map(Op::to_owned).collect();
        let shared = Arc::clone(&self.shared);
        let done = move |ops: &[Op<'_>], outcome: Result<Batched, (usize, Refused)>| {
            if let Some(ttl) = ops.iter().filter_map(Op::ttl).min().filter(|_| outcome.is_ok()) {
                shared.expect(ttl);
            }
            done(ops, outcome);
        };
        self.shared.jobs.send(Job::Batch { ops, done: Box::new(done) });
    }

    fn list(
        &self,
        selection: &Selection,
        done: impl FnOnce(Result<Page, Refused>) + Send + 'static,
    ) {
        let page = self.shared.view().and_then(|view| {
            let from = match selection.from() {
                std::ops::Bound::Included([]) => std::ops::Bound::Included(record::USER_KEYS),
                from => from,
            };
            step::page(selection, view.entries(from), self.shared.now_ms())
        });
        done(page);
    }

    fn delete_prefix(
        &self,
        prefix: &str,
        done: impl FnOnce(Result<usize, Refused>) + Send + 'static,
    ) {
        self.shared
            .jobs
            .send(Job::DeletePrefix { prefix: prefix.to_owned(), done: Box::new(done) });
    }

    fn export(&self) -> Result<Export, Refused> {
        let view = self.shared.view()?;
        let now_ms = self.shared.now_ms();
        let entries = view.entries(std::ops::Bound::Included(record::USER_KEYS));
        let live = entries.filter_map(move |entry| {
            // The tree is not opened anew before this is over.
            let _view = &view;
            match entry {
                Ok(entry) if !entry.is_live(now_ms) => None,
                entry => Some(entry.map(Listed)),
            }
        });
        Ok(Box::new(live))
    }

    fn import(
        &self,
        entries: &[Imported<'_>],
        done: impl FnOnce(Result<usize, Refused>) + Send + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        let expires = entries.iter().any(|entry| entry.expires_at_ms.is_some());
        let entries = entries.iter().map(Imported::to_owned).collect();
        let done = move |outcome: Result<usize, Refused>| {
            if expires {
                shared.expect(Duration::ZERO);
            }
            done(outcome);
        };
        self.shared.jobs.send(Job::Import { entries, done: Box::new(done) });
    }

    fn wait(&self, key: &Key<'_>, wait: Wait, waiter: Box<dyn Waiter>) {
        self.shared.wait(key, wait, waiter);
    }

    fn release_waiters(&self) {
        self.shared.release_waiters();
    }

    fn attach(&self, lane: Box<dyn Lane>) {
        self.shared.jobs.attach(lane);
    }

    fn ready(&self, done: impl FnOnce(Result<(), Refused>) + Send + 'static) {
        let health = self.shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        done(health.map_or(Ok(()), Err));
    }

    fn stats(&self) -> Stats {
        let shared = &self.shared;
        let view = shared.view().ok();
        let from_ms = shared.swept_to_ms.load(Ordering::Relaxed);
        let dead = view.as_ref().map_or(0, |view| view.expiries(from_ms, shared.now_ms()).count());
        let keys = view.map_or(0, |view| usize::try_from(view.state.keys).unwrap_or(usize::MAX));
        let mut stats = shared.counters.stats();
        stats.keys = keys.saturating_sub(dead);
        stats.waiters = shared.waiters.len();
        stats
    }

    fn close(&self) {
        self.shared.jobs.send(Job::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("the commit thread has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_store_whose_thread_has_panicked_is_not_ready() {
        let directory = TempDir::new().unwrap();
        let options = Options {
            directory: directory.path().to_owned(),
            fsync: Fsync::Always,
            cache_bytes: 1 << 20,
        };
        let store = Durable::open(&options).unwrap();
        let (key, none) = (Key::new("key").unwrap(), Condition::default());
        store.put(&key, "1", None, &none, |_| panic!("while it answers"));
        store.close();
        let (ready, is_ready) = channel();
        store.ready(move |result| ready.send(result).unwrap());
        let reason = "the thread that writes has panicked";
        assert_eq!(is_ready.recv().unwrap(), Err(Refused::Unavailable(reason.into())));
    }
}
