//! The threads that wait for the cluster, so that no worker has to.
//!
//! Each kind of work has a queue of its own, so that none waits behind a slower kind: reads and
//! writes without a condition, which travel together; steps that read first, in order by key, so
//! that those on one key do not get in each other's way; and what walks over many keys.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::Shared;
use super::put::{self, Put};
use super::read::{self, Read};
use crate::store::Refused;

/// Requests that wait in a queue. More than connections are open is never needed.
const QUEUE_MAX: usize = 16_384;
/// Threads that read. While one waits for an answer, what arrives gathers for the other.
const READ_THREADS: usize = 2;
/// Threads that write without reading.
const PUT_THREADS: usize = 1;
/// Threads that read, decide and write.
const STEP_THREADS: usize = 8;
/// Threads that walk over many keys.
const WALK_THREADS: usize = 2;

/// A piece of work; it is given the reason if it is not to be done.
pub(super) type Work = Box<dyn FnOnce(Result<&Shared, Refused>) + Send>;

/// How work reaches the threads.
pub(super) struct Queues {
    reads: Sender<Read>,
    puts: Sender<Put>,
    steps: Box<[Sender<Work>]>,
    walks: Sender<Work>,
    hasher: RandomState,
}

impl Queues {
    /// Starts the threads, which live as long as the process.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (reads, read_queue) = bounded(QUEUE_MAX);
        for _ in 0..READ_THREADS {
            let (shared, queue) = (Arc::clone(shared), read_queue.clone());
            spawn("etcd-read", move || read::serve(&shared, &queue))?;
        }
        let (puts, put_queue) = bounded(QUEUE_MAX);
        for _ in 0..PUT_THREADS {
            let (shared, queue) = (Arc::clone(shared), put_queue.clone());
            spawn("etcd-put", move || put::serve(&shared, &queue))?;
        }
        let mut steps = Vec::with_capacity(STEP_THREADS);
        for _ in 0..STEP_THREADS {
            let (sender, queue) = bounded(QUEUE_MAX);
            let shared = Arc::clone(shared);
            spawn("etcd-step", move || work(&shared, &queue))?;
            steps.push(sender);
        }
        let (walks, walk_queue) = bounded(QUEUE_MAX);
        for _ in 0..WALK_THREADS {
            let (shared, queue) = (Arc::clone(shared), walk_queue.clone());
            spawn("etcd-walk", move || work(&shared, &queue))?;
        }
        let hasher = RandomState::new();
        Ok(Queues { reads, puts, steps: steps.into(), walks, hasher })
    }

    pub(super) fn read(&self, read: Read) {
        if let Err(full) = self.reads.try_send(read) {
            (full.into_inner().done)(Err(too_many()));
        }
    }

    pub(super) fn put(&self, put: Put) {
        if let Err(full) = self.puts.try_send(put) {
            (full.into_inner().done)(Err(too_many()));
        }
    }

    /// Steps on the same key are taken in the order in which they came.
    pub(super) fn step(&self, key: &str, work: Work) {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default();
        send(&self.steps[hash % self.steps.len()], work);
    }

    pub(super) fn walk(&self, work: Work) {
        send(&self.walks, work);
    }
}

fn send(queue: &Sender<Work>, work: Work) {
    if let Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) = queue.try_send(work) {
        work(Err(too_many()));
    }
}

fn too_many() -> Refused {
    Refused::Unavailable(format!("{QUEUE_MAX} requests wait for etcd already").into())
}

fn work(shared: &Shared, queue: &Receiver<Work>) {
    for work in queue {
        work(Ok(shared));
    }
}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
