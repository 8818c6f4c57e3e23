//! The store in an etcd cluster: any number of processes in front of it, none of which keeps
//! anything.
//!
//! - Every step is one transaction of etcd, or reads and then one transaction that compares what was
//!   read; so a step is linearizable as etcd is, whoever takes it.
//! - No caller waits for the network: work goes to [`pool`], and the outcome comes from there.
//! - A write whose outcome is not known is never sent again. It is answered so, and may happen.
//! - A version is counted from etcd's revision: [`value`] and [`origin`].

mod call;
mod cluster;
mod lease;
mod origin;
mod pool;
mod probe;
mod put;
mod read;
mod step;
mod url;
mod value;
mod waiting;
mod walk;
mod watch;
mod wire;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::entry::NEVER;
use super::{
    Action, Batched, Condition, Done, Export, Found, Imported, Incremented, Op, Page, Refused,
    Selection, Stats, Store, Version, Wait, Waiter, unix_ms,
};
use crate::key::Key;
use cluster::Cluster;
use lease::Leases;
use origin::Origin;
use pool::{Queues, Work};
use probe::Counter;
use put::Put;
use read::Read;
pub use url::{EtcdUrl, Login, SCHEME, UrlError};
use waiting::Waiting;

/// Operations in a transaction, as etcd takes them unless `--max-txn-ops` says otherwise.
pub(super) const OPS_MAX: usize = 128;
/// Bytes of a request, as etcd takes them unless `--max-request-bytes` says otherwise, with room for
/// what is around keys and values.
pub(super) const REQUEST_BYTES_MAX: usize = (1536 << 10) - (24 << 10);

/// Values in an etcd cluster.
#[derive(Clone)]
pub struct Etcd {
    shared: Arc<Shared>,
    queues: Arc<Queues>,
    waiting: Arc<Waiting>,
    counter: Arc<Counter>,
}

/// What all threads of the store use.
struct Shared {
    cluster: Cluster,
    /// What every key begins with in etcd.
    prefix: Box<[u8]>,
    record_key: Box<[u8]>,
    origin: RwLock<Option<Origin>>,
    leases: Leases,
    /// The latest time that was used, in milliseconds of Unix time.
    clock_ms: AtomicU64,
    /// Steps of this process that have changed something.
    writes: AtomicU64,
    stats: Mutex<probe::Counted>,
}

/// Why there is no use in serving.
#[derive(Debug)]
pub enum StartError {
    /// A thread could not be started.
    Thread(io::Error),
    /// This node refuses, and waiting will not change it.
    Refused(String),
}

impl Etcd {
    /// A store in that cluster. When no node answers it begins all the same, and is not ready until
    /// one does.
    ///
    /// # Errors
    /// A node refuses the user, or speaks TLS only; or there is no room for the threads.
    pub fn start(url: &EtcdUrl) -> Result<Self, StartError> {
        let prefix = url.prefix.as_bytes();
        let shared = Arc::new(Shared {
            cluster: Cluster::new(url),
            prefix: prefix.into(),
            record_key: [prefix, b"\0kv"].concat().into(),
            origin: RwLock::new(None),
            leases: Leases::default(),
            clock_ms: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            stats: Mutex::default(),
        });
        probe::begin(&shared)?;
        let queues = Arc::new(Queues::start(&shared)?);
        let waiting = Arc::new(Waiting::new(&queues));
        watch::start(&shared, &waiting)?;
        let counter = Arc::new(Counter::start(&shared)?);
        Ok(Etcd { shared, queues, waiting, counter })
    }

    /// Takes one step on one key, from the threads of the pool.
    fn step(
        &self,
        op: Op<'static>,
        done: impl FnOnce(&Key<'_>, Result<Batched, Refused>) + Send + 'static,
    ) {
        let key = op.key.as_str().to_owned();
        let work: Work = Box::new(move |shared| {
            let outcome = shared.and_then(|shared| {
                shared.batch(std::slice::from_ref(&op)).map_err(|(_, refused)| refused)
            });
            done(&op.key, outcome);
        });
        self.queues.step(&key, work);
    }
}

impl Shared {
    /// Unix time in milliseconds, which does not go back here.
    fn now_ms(&self) -> u64 {
        let now_ms = unix_ms();
        now_ms.max(self.clock_ms.fetch_max(now_ms, Ordering::Relaxed))
    }

    /// What a key is called in etcd.
    fn name(&self, key: &str) -> Vec<u8> {
        [&*self.prefix, key.as_bytes()].concat()
    }

    fn unavailable(&self) -> Refused {
        Refused::Unavailable(self.cluster.why_not())
    }
}

impl Store for Etcd {
    fn get(
        &self,
        key: &Key<'_>,
        done: impl FnOnce(&Key<'_>, Result<Option<Found>, Refused>) + Send + 'static,
    ) {
        let key = key.clone().into_owned();
        let named = key.clone();
        let done = Box::new(move |outcome| done(&named, outcome));
        self.queues.read(Read { key, done });
    }

    fn put(
        &self,
        key: &Key<'_>,
        value: &str,
        ttl: Option<Duration>,
        condition: &Condition,
        done: impl FnOnce(Result<Version, Refused>) + Send + 'static,
    ) {
        let key = key.clone().into_owned();
        if *condition == Condition::default() {
            let value = value.to_owned();
            return self.queues.put(Put { key, value, ttl, done: Box::new(done) });
        }
        let action = Action::Put(value.to_owned().into(), ttl);
        let op = Op { key, action, condition: condition.clone() };
        self.step(op, move |_, outcome| done(outcome.map(|batched| batched.version)));
    }

    fn delete(
        &self,
        key: &Key<'_>,
        condition: &Condition,
        done: impl FnOnce(&Key<'_>, Result<bool, Refused>) + Send + 'static,
    ) {
        let key = key.clone().into_owned();
        let op = Op { key, action: Action::Delete, condition: condition.clone() };
        self.step(op, move |key, outcome| {
            done(key, outcome.map(|batched| matches!(*batched.results, [Done::Delete(true)])));
        });
    }

    fn increment(
        &self,
        key: &Key<'_>,
        by: i64,
        condition: &Condition,
        done: impl FnOnce(&Key<'_>, Result<Incremented, Refused>) + Send + 'static,
    ) {
        let key = key.clone().into_owned();
        let op = Op { key, action: Action::Increment(by), condition: condition.clone() };
        self.step(op, move |key, outcome| {
            let sum = |batched: Batched| match *batched.results {
                [Done::Increment(value)] => Ok(Incremented { value, version: batched.version }),
                _ => Err(Refused::NotAnInteger),
            };
            done(key, outcome.and_then(sum));
        });
    }

    fn batch(
        &self,
        ops: &[Op<'_>],
        done: impl FnOnce(&[Op<'_>], Result<Batched, (usize, Refused)>) + Send + 'static,
    ) {
        let ops: Vec<Op<'static>> = ops.iter().map(Op::to_owned).collect();
        let first = ops.first().map(|op| op.key.as_str().to_owned()).unwrap_or_default();
        let work: Work = Box::new(move |shared| {
            let outcome =
                shared.map_err(|refused| (0, refused)).and_then(|shared| shared.batch(&ops));
            done(&ops, outcome);
        });
        self.queues.step(&first, work);
    }

    fn list(
        &self,
        selection: &Selection,
        done: impl FnOnce(Result<Page, Refused>) + Send + 'static,
    ) {
        let (selection, shared) = (selection.clone(), Arc::clone(&self.shared));
        self.queues.walk(Box::new(move |admitted| {
            done(admitted.and_then(|_| shared.list(&selection)));
        }));
    }

    fn delete_prefix(
        &self,
        prefix: &str,
        done: impl FnOnce(Result<usize, Refused>) + Send + 'static,
    ) {
        let (prefix, shared) = (prefix.to_owned(), Arc::clone(&self.shared));
        self.queues.walk(Box::new(move |admitted| {
            done(admitted.and_then(|_| shared.delete_prefix(&prefix)));
        }));
    }

    fn export(&self) -> Result<Export, Refused> {
        Ok(Box::new(self.shared.export()))
    }

    fn import(
        &self,
        entries: &[Imported<'_>],
        done: impl FnOnce(Result<usize, Refused>) + Send + 'static,
    ) {
        let entries: Vec<Imported<'static>> = entries.iter().map(Imported::to_owned).collect();
        self.queues.walk(Box::new(move |shared| {
            done(shared.and_then(|shared| shared.import(&entries)));
        }));
    }

    fn wait(&self, key: &Key<'_>, wait: Wait, waiter: Box<dyn Waiter>) {
        let timeout_ms = u64::try_from(wait.timeout.as_millis()).unwrap_or(NEVER);
        let deadline_ms = self.shared.now_ms().saturating_add(timeout_ms);
        self.waiting.register(key, wait, deadline_ms, waiter);
    }

    fn release_waiters(&self) {
        self.waiting.release();
    }

    fn ready(&self, done: impl FnOnce(Result<(), Refused>) + Send + 'static) {
        // Every node is probed all the time.
        let is_ready = self.shared.origin().is_some() && self.shared.cluster.well_node().is_some();
        done(if is_ready { Ok(()) } else { Err(self.shared.unavailable()) });
    }

    fn stats(&self) -> Stats {
        self.counter.want();
        let counted = *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner);
        Stats {
            keys: counted.keys,
            bytes: counted.bytes,
            // etcd removes them, and tells nobody.
            expired: 0,
            waiters: self.waiting.len(),
            writes: self.shared.writes.load(Ordering::Relaxed),
            disk: None,
        }
    }

    // What is acknowledged is kept by etcd.
    fn close(&self) {}
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        StartError::Thread(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Thread(error) => write!(f, "cannot start a thread: {error}"),
            StartError::Refused(reason) => write!(f, "cannot use the store in etcd: {reason}"),
        }
    }
}

impl std::error::Error for StartError {}
