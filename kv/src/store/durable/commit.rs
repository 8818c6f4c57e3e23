//! The commit thread, which alone writes: it takes the steps that wait, works them out as one
//! group, has the disk keep what came of it, publishes that, and then has it answered.
//!
//! Invariants: with `Fsync::Always` nobody sees a step that the disk does not keep, be it by an
//! answer or by reading. After a sync that failed nothing is written any more, for nobody knows
//! what the disk keeps then (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::text::io_error;
use crossbeam_channel::Sender;

use super::answers::{Answerer, Pending, StepAnswer};
use super::audit::audit;
use super::directory::{Directory, Room};
use super::group::Group;
use super::queue::Incoming;
use super::tree::{OpenError, Tree, View, disk_error};
use super::{Fsync, Shared};
use crate::store::keeper::Tended;
use crate::store::{Batched, Imported, Op, Refused, Version};

/// Steps in one group.
const GROUP_STEPS_MAX: usize = 4096;
/// Bytes of keys and values in one group, unless a single step has more.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// How long a group waits for more steps, unless half a sync is less.
const GATHERING_MAX: Duration = Duration::from_micros(200);
/// Between two looks at the disk's room and at the background work.
const TICK: Duration = Duration::from_secs(1);
/// How long readers may keep a store from being opened anew.
const READERS_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the store is opened anew though its disk has room.
const RESUMES_MAX: u32 = 10;

type Answer<T> = Box<dyn FnOnce(T) + Send>;
type BatchAnswer = Box<dyn FnOnce(&[Op<'_>], Result<Batched, (usize, Refused)>) + Send>;

/// What the thread is asked to do.
pub(super) enum Job {
    Step {
        op: Op<'static>,
        done: StepAnswer,
    },
    Batch {
        ops: Vec<Op<'static>>,
        done: BatchAnswer,
    },
    DeletePrefix {
        prefix: String,
        done: Answer<Result<usize, Refused>>,
    },
    Import {
        entries: Vec<Imported<'static>>,
        done: Answer<Result<usize, Refused>>,
    },
    /// Remove so many expired entries at most, with deadlines from the given one on.
    Sweep {
        from_ms: u64,
        entries_max: usize,
        done: Sender<usize>,
    },
    Stop,
}

pub(super) struct Committer {
    pub(super) jobs: Incoming,
    pub(super) shared: Arc<Shared>,
    pub(super) directory: Directory,
    pub(super) cache_bytes: u64,
    pub(super) fsync: Fsync,
    pub(super) tree: Option<Tree>,
    pub(super) health: Health,
    /// What was written first and is not synced yet.
    pub(super) unsynced_since: Option<Instant>,
    /// All up to here is on the disk.
    pub(super) synced: Version,
    pub(super) looked_at: Instant,
    pub(super) resumes: u32,
    pub(super) answerer: Answerer,
    /// Jobs that are likely to come soon.
    pub(super) expected: usize,
    /// What a sync takes, on average.
    pub(super) sync_mean: Duration,
}

/// Whether the store can write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    Well,
    /// The disk has no room but for removals.
    Low,
    /// A write failed, or what happens in the background, and the tree takes no more; it has to be
    /// opened anew when the disk has room.
    Suspended,
    /// Nothing is written any more before a restart, and why.
    ReadOnly(Arc<str>),
}

impl Health {
    /// What a client is told of it; nothing if all is well.
    pub(super) fn refusal(&self) -> Option<Refused> {
        match self {
            Health::Well => None,
            Health::Low | Health::Suspended => {
                Some(Refused::Unavailable("the disk is full, and nothing is written".into()))
            }
            Health::ReadOnly(reason) => Some(Refused::Unavailable(Arc::clone(reason))),
        }
    }
}

impl Drop for Committer {
    /// Without the thread nothing is written any more, and it is told why.
    fn drop(&mut self) {
        if thread::panicking() {
            self.set_health(Health::ReadOnly("the thread that writes has panicked".into()));
        }
    }
}

impl Committer {
    pub(super) fn run(mut self) {
        loop {
            let pause = self.pause();
            let job = self.jobs.next(pause);
            if job.is_some_and(|job| matches!(job, Job::Stop) || self.group(job)) {
                break;
            }
            self.sync_if_due();
            if self.looked_at.elapsed() >= TICK {
                self.look();
            }
        }
        self.sync();
        self.close();
    }

    /// What was refused must not come back: fjall still writes what is left in its buffers.
    fn close(&mut self) {
        let view = self.shared.published().take();
        self.tree = None;
        let (Health::Suspended, Some(view)) = (&self.health, view) else { return };
        let keep_to = view.state.version;
        drop(view);
        if let Err(error) = audit(&self.directory.data(), Some(keep_to)) {
            log::error!(
                "refused writes may come back at the next start: {}",
                OpenError::from(error)
            );
        }
    }

    fn pause(&self) -> Duration {
        let until_look = TICK.saturating_sub(self.looked_at.elapsed());
        match (self.fsync, self.unsynced_since) {
            (Fsync::Every(interval), Some(since)) => {
                until_look.min(interval.saturating_sub(since.elapsed()))
            }
            (Fsync::Every(_) | Fsync::Always, _) => until_look,
        }
    }

    /// Takes what waits, beginning with this job; true when the thread is to stop.
    fn group(&mut self, first: Job) -> bool {
        if self.health == Health::Suspended {
            self.resume();
        }
        let shared = Arc::clone(&self.shared);
        if let Some(are_slow) = shared.lookups.are_slow() {
            self.jobs.set_open(!are_slow);
        }
        let Ok(view) = shared.view() else {
            refuse(first, &self.refusal());
            return false;
        };
        let room = self.directory.room();
        self.note_room(room);
        let waiting = GROUP_STEPS_MAX.min(1 + self.jobs.len());
        let mut group = Group::new(&view, &shared.cache, shared.now_ms(), room, waiting);
        let began = Instant::now();
        let mut pending = Vec::with_capacity(waiting);
        let mut stop = false;
        let mut bytes = first.bytes();
        work(&mut group, first, &mut pending);
        // What cannot be written is refused alone, not with what only reads.
        let steps_max = if self.is_writing() { GROUP_STEPS_MAX } else { 1 };
        while pending.len() < steps_max && bytes < GROUP_BYTES_MAX && !stop {
            let Some(job) = self.next(pending.len(), began) else { break };
            stop = matches!(job, Job::Stop);
            bytes += job.bytes();
            work(&mut group, job, &mut pending);
        }
        let outcome = if group.is_empty() { Ok(()) } else { self.commit(&group) };
        let (count, is_kept) = (pending.len(), outcome.is_ok());
        let answered = self.answerer.answer(pending, outcome, self.jobs.len() > 0);
        self.expected = if answered { count } else { 0 };
        if let Some(tree) = &mut self.tree {
            tree.fill_journal(room);
        }
        if is_kept && shared.waiters.len() > 0 {
            for key in group.keys() {
                shared.wake(&key);
            }
        }
        stop
    }

    /// The next job of a group that `began` then and has so many, if one is there or soon will be.
    /// Whoever was answered with the last group has often sent the next request when that one's
    /// turn comes, and a group of all of them costs one sync instead of two.
    fn next(&mut self, jobs: usize, began: Instant) -> Option<Job> {
        loop {
            if let Some(job) = self.jobs.next_now() {
                return Some(job);
            }
            let is_worth_it = self.fsync == Fsync::Always && jobs < self.expected;
            if !is_worth_it || began.elapsed() >= GATHERING_MAX.min(self.sync_mean / 2) {
                return None;
            }
            thread::yield_now();
        }
    }

    fn is_writing(&self) -> bool {
        matches!(self.health, Health::Well | Health::Low)
    }

    fn refusal(&self) -> Refused {
        let refusal = self.health.refusal();
        refusal.unwrap_or_else(|| Refused::Unavailable("it is being opened".into()))
    }

    /// Has the disk keep what the group has come to, and publishes it.
    fn commit(&mut self, group: &Group<'_>) -> Result<(), Refused> {
        match &self.health {
            Health::Well | Health::Low => {}
            Health::Suspended => return Err(Refused::DiskFull),
            Health::ReadOnly(_) => return Err(self.refusal()),
        }
        let Some(tree) = &mut self.tree else { return Err(self.refusal()) };
        let (changes, state) = group.changes(self.synced);
        if let Err(error) = tree.write(changes) {
            return Err(self.write_failed(&error));
        }
        self.shared.counters.groups(group);
        self.unsynced_since.get_or_insert_with(Instant::now);
        if self.fsync == Fsync::Always && !self.sync() {
            return Err(self.refusal());
        }
        let view = self.tree.as_ref().map(Tree::view);
        match view {
            Some(Ok(view)) => self.shared.publish(view, group),
            Some(Err(refused)) => {
                // It is on the disk, and has to be cut off again.
                self.set_health(Health::Suspended);
                return Err(refused);
            }
            None => return Err(self.refusal()),
        }
        if self.fsync == Fsync::Always {
            self.synced = state.version;
        }
        Ok(())
    }

    /// Nothing of the group counts: what the journal may hold of it is cut off when the tree is
    /// opened anew.
    fn write_failed(&mut self, error: &fjall::Error) -> Refused {
        log::error!("a write failed, and none is taken until the store is opened anew: {error}");
        let is_full = disk_error(error).is_some_and(|error| {
            use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
            matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
        });
        let was_in_background = matches!(error, fjall::Error::Poisoned);
        if is_full || was_in_background {
            self.set_health(Health::Suspended);
            return Refused::DiskFull;
        }
        let reason = disk_error(error).map_or_else(|| format!("{error:?}"), io_error);
        self.set_health(Health::ReadOnly(format!("a write failed ({reason})").into()));
        self.refusal()
    }

    fn sync_if_due(&mut self) {
        if let (Fsync::Every(interval), Some(since)) = (self.fsync, self.unsynced_since)
            && since.elapsed() >= interval
        {
            self.sync();
        }
    }

    /// Has the disk keep all that was written; false when it does not.
    fn sync(&mut self) -> bool {
        let Some(since) = self.unsynced_since.filter(|_| self.is_writing()) else {
            return self.is_writing();
        };
        let Some(tree) = &self.tree else { return false };
        let started = Instant::now();
        self.unsynced_since = None;
        if let Err(error) = tree.sync() {
            // What happens in the background failed before, and no sync was tried.
            if matches!(error, fjall::Error::Poisoned) {
                log::error!("nothing is synced until the store is opened anew: {error}");
                self.unsynced_since = Some(since);
                self.set_health(Health::Suspended);
                return false;
            }
            log::error!("a sync failed, and nothing more is written before a restart: {error}");
            let reason = disk_error(&error).map_or_else(|| format!("{error:?}"), io_error);
            let reason = format!("the disk did not keep what was written ({reason})");
            self.set_health(Health::ReadOnly(reason.into()));
            return false;
        }
        let took = started.elapsed();
        self.sync_mean = (self.sync_mean * 7 + took) / 8;
        self.shared.counters.synced(took);
        if let (Fsync::Every(_), Ok(view)) = (self.fsync, self.shared.view()) {
            self.synced = view.state.version;
        }
        true
    }

    /// Looks after the disk, and at what goes on in the background.
    pub(super) fn look(&mut self) {
        self.looked_at = Instant::now();
        if self.health == Health::Suspended {
            self.resume();
        }
        self.note_room(self.directory.room());
        if let Some(tree) = &self.tree {
            self.shared.counters.note(tree.statistics());
        }
    }

    fn note_room(&mut self, room: Room) {
        match (&self.health, room.bytes) {
            (Health::Well, 0) => {
                log::error!("the disk is full: nothing but removals is written");
                self.set_health(Health::Low);
            }
            (Health::Low, 1..) => {
                log::warn!("the disk has room again: writing goes on");
                self.set_health(Health::Well);
            }
            (Health::Well | Health::Low | Health::Suspended | Health::ReadOnly(_), _) => {}
        }
    }

    fn set_health(&mut self, health: Health) {
        self.shared.set_health(&health);
        self.health = health;
    }

    /// Opens the tree anew if the disk has room, without what was refused.
    fn resume(&mut self) {
        if self.directory.room().bytes == 0 {
            self.resumes = 0;
            return;
        }
        if self.resumes == RESUMES_MAX {
            let reason = "writing in the background failed again and again, see the log";
            return self.set_health(Health::ReadOnly(reason.into()));
        }
        match self.reopen() {
            Ok(true) => {
                self.resumes += 1;
                log::warn!("the store was opened anew: writing goes on");
                self.set_health(Health::Well);
            }
            Ok(false) => log::warn!("the store cannot be opened anew while it is read"),
            Err(error) => {
                log::error!("the store cannot be opened anew: {error}");
                self.set_health(Health::ReadOnly(
                    "it could not be opened anew, see the log".into(),
                ));
            }
        }
    }

    /// False when somebody reads for too long.
    fn reopen(&mut self) -> Result<bool, OpenError> {
        let shared = Arc::clone(&self.shared);
        let mut published = shared.published();
        let Some(view) = published.take() else { return Ok(false) };
        let deadline = Instant::now() + READERS_TIMEOUT;
        while Arc::strong_count(&view) > 1 {
            if Instant::now() > deadline {
                *published = Some(view);
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(1));
        }
        let keep_to = view.state.version;
        drop(view);
        self.tree = None;
        let (tree, view, _) = Tree::open(&self.directory, self.cache_bytes, Some(keep_to))?;
        *published = Some(Arc::new(view));
        self.tree = Some(tree);
        // What was answered before a sync still waits for one; other groups were cut off.
        if self.fsync == Fsync::Always {
            self.unsynced_since = None;
        }
        Ok(true)
    }
}

impl Job {
    /// Bytes that it brings.
    fn bytes(&self) -> usize {
        let op_bytes = |op: &Op<'_>| match &op.action {
            crate::store::Action::Put(value, _) => value.len(),
            crate::store::Action::Get
            | crate::store::Action::Delete
            | crate::store::Action::Increment(_) => op.key.as_str().len(),
        };
        match self {
            Job::Step { op, .. } => op_bytes(op),
            Job::Batch { ops, .. } => ops.iter().map(op_bytes).sum(),
            Job::Import { entries, .. } => entries.iter().map(|entry| entry.value.len()).sum(),
            Job::DeletePrefix { .. } | Job::Sweep { .. } | Job::Stop => 0,
        }
    }
}

/// Works a job out, and keeps its answer until the group is kept.
fn work(group: &mut Group<'_>, job: Job, pending: &mut Vec<Pending>) {
    match job {
        Job::Step { op, done } => {
            let outcome = group.step(&op);
            pending.push(Pending::Step { op, outcome, done });
        }
        Job::Batch { ops, done } => {
            let outcome = group.batch(&ops);
            pending.push(Pending::Other(Box::new(move |kept| {
                done(&ops, kept.map_err(|refused| (0, refused)).and(outcome));
            })));
        }
        Job::DeletePrefix { prefix, done } => {
            let outcome = group.delete_prefix(&prefix);
            pending.push(Pending::Other(Box::new(move |kept| done(kept.and(outcome)))));
        }
        Job::Import { entries, done } => {
            let outcome = group.import(&entries);
            pending.push(Pending::Other(Box::new(move |kept| done(kept.and(outcome)))));
        }
        Job::Sweep { from_ms, entries_max, done } => {
            let found = group.sweep(from_ms, entries_max);
            pending.push(Pending::Other(Box::new(move |kept| {
                // Who asked may have gone.
                let _ = done.send(kept.and(found).unwrap_or_default());
            })));
        }
        Job::Stop => {}
    }
}

/// Answers a job that cannot even be worked out.
fn refuse(job: Job, refused: &Refused) {
    match job {
        Job::Step { op, done } => done(&op, Err(refused.clone())),
        Job::Batch { ops, done } => done(&ops, Err((0, refused.clone()))),
        Job::DeletePrefix { done, .. } | Job::Import { done, .. } => done(Err(refused.clone())),
        Job::Sweep { done, .. } => {
            let _ = done.send(0);
        }
        Job::Stop => {}
    }
}

impl Shared {
    /// From here on the view is what is read: that to which the group has led.
    fn publish(&self, view: View, group: &Group<'_>) {
        let mut published = self.published();
        let before = published.replace(Arc::new(view));
        for (key, now) in group.outcomes() {
            match now {
                Some(entry) => self.cache.replace(entry.clone()),
                None => self.cache.remove(key),
            }
        }
        drop(published);
        drop(before);
    }
}
