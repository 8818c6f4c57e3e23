//! What every store promises.
//!
//! - Each call is one atomic step, and the steps on a key are linearizable: a call takes effect
//!   at one point between its begin and the call of `done` (Herlihy and Wing, 1990). A batch is all
//!   or nothing, and one step.
//! - Every step that changes something gets a version, which only grows in the whole store and is
//!   never used again, not after a delete and not after a restart.
//! - A value is kept as the exact JSON text that came.
//! - An expired key does not exist: not in a read, a list, a condition or a count.
//! - `done` is called once, with the outcome, on any thread: at once by a store in memory, later
//!   by one that waits for a disk or a peer. No lock is held meanwhile.
//!
//! Nothing here needs what only a map in this process can do: no call is given a closure over the
//! kept data or hands out a reference to it.

mod clock;
mod durable;
mod entry;
mod etcd;
mod found;
mod keeper;
mod memory;
mod refused;
mod step;
mod table;
#[cfg(test)]
mod tests;
mod waiters;

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use durable::{Durable, Fsync, OpenError, Options, Statistics};
pub use etcd::{Etcd, EtcdUrl, Login, SCHEME, StartError, UrlError};
pub use found::{Found, Listed};
pub use memory::Memory;
pub use refused::Refused;

use common::http::Lane;

use crate::key::Key;
use entry::NEVER;

/// When a key was written, on the store's own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The version that a new store begins behind: the clock in microseconds, so that versions
    /// grow from one store to the next.
    fn of_the_clock() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Version(u64::try_from(since_epoch.as_micros()).unwrap_or_default())
    }
}

/// Unix time in milliseconds, as the clock has it now.
fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or_default()
}

/// The state of a key that a step asks for: preconditions of RFC 9110, section 13.1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// `If-Match`: the key must have one of these versions.
    pub if_match: Option<Versions>,
    /// `If-None-Match`: the key must have none of these versions.
    pub if_none_match: Option<Versions>,
}

/// Which versions a condition names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Versions {
    /// Any version, `*`.
    Any,
    /// One of these.
    OneOf(Vec<Version>),
}

/// What a counter has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incremented {
    /// The sum.
    pub value: i64,
    /// The version of the sum.
    pub version: Version,
}

/// One operation of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op<'a> {
    /// The key it is about.
    pub key: Key<'a>,
    /// What is done.
    pub action: Action<'a>,
    /// The state that the key must be in.
    pub condition: Condition,
}

/// What an operation does with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<'a> {
    /// Keeps a value, for so long if a time is given.
    Put(Cow<'a, str>, Option<Duration>),
    /// Reads.
    Get,
    /// Removes.
    Delete,
    /// Adds to the integer; an absent key counts as 0.
    Increment(i64),
}

/// What came of one operation of a batch.
#[derive(Clone)]
pub enum Done {
    /// The value is kept.
    Put,
    /// What was found.
    Get(Option<Found>),
    /// Whether there was something to remove.
    Delete(bool),
    /// The sum.
    Increment(i64),
}

/// What came of a batch.
pub struct Batched {
    /// The version of all that was written; the store's latest when nothing was.
    pub version: Version,
    /// What came of each operation, in order.
    pub results: Vec<Done>,
}

/// Which part of the keys to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Only keys that begin so.
    pub prefix: String,
    /// Only keys behind this one, in byte order.
    pub after: Option<String>,
    /// So many keys at most.
    pub limit: usize,
}

/// A part of the keys, in byte order.
pub struct Page {
    /// The keys with their values.
    pub entries: Vec<Listed>,
    /// Whether there may be more keys behind this one.
    pub more_after: Option<String>,
}

/// The keys of a store as they were at one moment, in byte order. Looking for the next one may
/// block: this is for a thread of its own.
pub type Export = Box<dyn Iterator<Item = Result<Listed, Refused>> + Send>;

/// A key on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported<'a> {
    /// The key.
    pub key: Key<'a>,
    /// Its value, which is valid JSON text.
    pub value: Cow<'a, str>,
    /// The version that it has, at most [`IMPORTED_VERSION_MAX`]; a new one if there is none.
    pub version: Option<Version>,
    /// When it expires, in milliseconds of Unix time, if it does.
    pub expires_at_ms: Option<u64>,
}

/// The largest version that is taken over; all that can be counted from there on is the store's.
pub const IMPORTED_VERSION_MAX: Version = Version(1 << 62);

/// What a client waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The versions that it knows. `None` waits for the key to appear.
    pub known: Option<Versions>,
    /// How long.
    pub timeout: Duration,
}

/// What came of waiting.
pub enum Waited {
    /// The key has a version that was not known.
    Changed(Found),
    /// The key is not there: it has gone, or has not appeared in time.
    Absent,
    /// The time is over, and the version is the same.
    Unchanged(Version),
    /// The store cannot tell.
    Failed(Refused),
}

/// Somebody who waits.
pub trait Waiter: Send + Sync + 'static {
    /// Whether nobody takes the answer any more.
    fn has_left(&self) -> bool;
    /// Takes the answer.
    fn answer(self: Box<Self>, key: &Key<'_>, waited: Waited);
}

/// Sums over the whole store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys that have a value.
    pub keys: usize,
    /// Bytes of memory that keys, values and their indexes need, near enough for a limit.
    pub bytes: usize,
    /// Keys that have expired and been removed since the start.
    pub expired: u64,
    /// Clients that wait for a key.
    pub waiters: usize,
    /// Steps since the start that have changed something.
    pub writes: u64,
    /// What a store on a disk counts beside that.
    pub disk: Option<DiskStats>,
}

/// Sums over a store on a disk, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Groups of steps that were written as one.
    pub commits: u64,
    /// How often the disk was made to keep what was written.
    pub syncs: u64,
    /// What that took in all.
    pub sync_time: Duration,
    /// What happens in the background, as of some moment of the last second.
    pub statistics: Statistics,
}

/// Keeps values under keys. `done` gets the key back, so that a store that answers at once copies
/// none.
pub trait Store: Send + Sync + 'static {
    /// Reads a key.
    fn get(
        &self,
        key: &Key<'_>,
        done: impl FnOnce(&Key<'_>, Result<Option<Found>, Refused>) + Send + 'static,
    );

    /// Keeps `value`, which is valid JSON text, in place of what was there; for `ttl`, or until it
    /// is removed.
    fn put(
        &self,
        key: &Key<'_>,
        value: &str,
        ttl: Option<Duration>,
        condition: &Condition,
        done: impl FnOnce(Result<Version, Refused>) + Send + 'static,
    );

    /// Removes a key; says whether it had a value.
    fn delete(
        &self,
        key: &Key<'_>,
        condition: &Condition,
        done: impl FnOnce(&Key<'_>, Result<bool, Refused>) + Send + 'static,
    );

    /// Adds to the integer that the key holds and keeps when it expires; an absent key counts as
    /// 0.
    fn increment(
        &self,
        key: &Key<'_>,
        by: i64,
        condition: &Condition,
        done: impl FnOnce(&Key<'_>, Result<Incremented, Refused>) + Send + 'static,
    );

    /// Does all operations in order as one step, each seeing those before it; or none, and says
    /// which one refused.
    fn batch(
        &self,
        ops: &[Op<'_>],
        done: impl FnOnce(&[Op<'_>], Result<Batched, (usize, Refused)>) + Send + 'static,
    );

    /// Lists keys. Every key that is there from the first page to the last is seen once.
    fn list(
        &self,
        selection: &Selection,
        done: impl FnOnce(Result<Page, Refused>) + Send + 'static,
    );

    /// Removes every key that begins so, as one step; says how many had a value.
    fn delete_prefix(
        &self,
        prefix: &str,
        done: impl FnOnce(Result<usize, Refused>) + Send + 'static,
    );

    /// Everything that is kept, as it is at one moment.
    fn export(&self) -> Result<Export, Refused>;

    /// Takes over keys as one step; says how many. A key that is there with the same or a later
    /// version stays as it is, and what has expired is left out, so the same import twice
    /// does no more than once.
    fn import(
        &self,
        entries: &[Imported<'_>],
        done: impl FnOnce(Result<usize, Refused>) + Send + 'static,
    );

    /// Answers the waiter as soon as the key is in a state that it does not know, or its time is
    /// over.
    fn wait(&self, key: &Key<'_>, wait: Wait, waiter: Box<dyn Waiter>);

    /// Ends all waiting now, as if its time was over.
    fn release_waiters(&self);

    /// Says whether the store reads and writes.
    fn ready(&self, done: impl FnOnce(Result<(), Refused>) + Send + 'static);

    /// Takes over connections whose clients do nothing but write, if it has a thread that answers
    /// them all.
    fn attach(&self, lane: Box<dyn Lane>) {
        drop(lane);
    }

    /// Sums over the whole store.
    fn stats(&self) -> Stats;

    /// Keeps what is not kept yet. Nothing is asked of the store afterwards.
    fn close(&self);
}

impl Condition {
    /// Whether a key with this version, or without a value, is in a state that is asked for.
    pub fn holds(&self, current: Option<Version>) -> bool {
        self.if_match.as_ref().is_none_or(|versions| versions.contain(current))
            && !self.if_none_match.as_ref().is_some_and(|versions| versions.contain(current))
    }
}

impl Op<'_> {
    /// The same operation with all that it names its own.
    pub fn to_owned(&self) -> Op<'static> {
        let action = match &self.action {
            Action::Put(value, ttl) => Action::Put(Cow::Owned(value.to_string()), *ttl),
            Action::Get => Action::Get,
            Action::Delete => Action::Delete,
            Action::Increment(by) => Action::Increment(*by),
        };
        Op { key: self.key.clone().into_owned(), action, condition: self.condition.clone() }
    }

    /// How long what it writes is kept, if that is limited.
    pub fn ttl(&self) -> Option<Duration> {
        match &self.action {
            Action::Put(_, ttl) => *ttl,
            Action::Get | Action::Delete | Action::Increment(_) => None,
        }
    }
}

impl Imported<'_> {
    /// When it expires, if it is to take the place of what is there: of a key with this version, or
    /// without a value. None for what is known already, and for what has expired.
    fn deadline_if_news(&self, current: Option<Version>, now_ms: u64) -> Option<u64> {
        let known = self.version.is_some_and(|version| current >= Some(version));
        let deadline_ms = self.expires_at_ms.map_or(NEVER, |at_ms| at_ms.min(NEVER - 1));
        (!known && now_ms < deadline_ms).then_some(deadline_ms)
    }

    /// The same key with all that it names its own.
    pub fn to_owned(&self) -> Imported<'static> {
        let Imported { key, value, version, expires_at_ms } = self;
        Imported {
            key: key.clone().into_owned(),
            value: Cow::Owned(value.to_string()),
            version: *version,
            expires_at_ms: *expires_at_ms,
        }
    }
}

impl Versions {
    /// Whether the current version is one of these; none is not.
    pub fn contain(&self, current: Option<Version>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Versions::Any, Some(_)) => true,
            (Versions::OneOf(versions), Some(current)) => versions.contains(&current),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
