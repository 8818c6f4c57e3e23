//! The tree on the disk, and what can be seen of it: fjall, opened as this store needs it.
//!
//! Invariant: nobody reads but from a `View`, which never changes; the commit thread makes the next
//! one when a group of writes is as safe as was promised.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::text::{escaped, io_error};
use fjall::compaction::Leveled;
use fjall::config::PinningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::CACHE_PART;
use super::audit::{Audit, AuditError, Cut, audit};
use super::directory::{Directory, DirectoryError, Room};
use super::journal::{self, Journal};
use super::manifest::{self, ManifestError};
use super::record::{self, STATE_KEY, State};
use crate::key::Key;
use crate::store::entry::Entry;
use crate::store::{Refused, Version};

/// The one keyspace.
const KEYSPACE: &str = "kv";
/// What a memtable takes at least, and which part of the disk's reserve at most: it is written as a
/// table when the disk is full, too.
const MEMTABLE_BYTES_MIN: u64 = 1 << 20;
const MEMTABLE_PART: u64 = 4;
/// Bytes of a table; while one is written, its index and its filter are in memory.
const TABLE_BYTES: u64 = 16 << 20;
/// Bytes of journals that are kept, the least that fjall takes.
const JOURNALS_BYTES_MAX: u64 = 64 << 20;
/// From this length on fjall begins another one.
const JOURNAL_BYTES: u64 = 64_000_001;
/// How long that may take.
const NEW_JOURNAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Where a disk has less room, the last journal goes on, for a table would be written too.
const NEW_JOURNAL_ROOM: u64 = 16 << 20;
/// Where a disk has less room, it is not filled with zeros.
const FILL_ROOM: u64 = 64 << 20;
/// Bytes of a record in the journal beside its key and its value.
const RECORD_BYTES: u64 = 21;
/// Bytes of a batch in the journal beside its records.
const BATCH_BYTES: u64 = 26;
/// Where more journals wait for their tables, at a start, the last one goes on: fjall stops
/// writers at 4.
const JOURNALS_MAX: usize = 2;
/// One thread writes tables, one merges them.
const THREADS: usize = 2;
/// Open tables.
const FILES_MAX: usize = 64;

/// The open tree.
pub(super) struct Tree {
    database: Database,
    keyspace: Keyspace,
    journal: Journal,
    /// Bytes that have been written to it since it was last filled.
    written: u64,
}

/// How the memory is shared out.
#[derive(Clone, Copy)]
struct Memory {
    /// Writes that are gathered before they become a table. The more they are, the less often they
    /// are merged, and the fewer syncs wait for a table's. A tree keeps what it was made with.
    memtable_bytes: u64,
    /// Blocks of tables.
    blocks_bytes: u64,
}

/// The tree as it was at one moment.
pub(super) struct View {
    keyspace: Keyspace,
    snapshot: Snapshot,
    pub(super) state: State,
}

/// Why the store cannot open.
#[derive(Debug)]
pub enum OpenError {
    /// The data directory cannot be used.
    Directory(DirectoryError),
    /// A file cannot be read or written.
    Io(PathBuf, io::Error),
    /// A file is damaged at this byte, with writes behind it that were acknowledged.
    Damaged(PathBuf, u64),
    /// A file is not what it was written as.
    Broken(PathBuf),
    /// Two files belong together and do not fit.
    Mismatch(PathBuf, PathBuf),
    /// The tree cannot be read, and what fjall says of it.
    Tree(PathBuf, String),
    /// There is no thread to be had.
    Thread(io::Error),
}

impl Tree {
    /// Opens the tree in the directory; makes it if there is none. Groups later than `keep_to` are
    /// cut off, if that is given.
    pub(super) fn open(
        directory: &Directory,
        cache_bytes: u64,
        keep_to: Option<Version>,
    ) -> Result<(Tree, View, Option<Cut>), OpenError> {
        let memory = Memory::shared_out(cache_bytes, directory.reserve());
        directory.ensure(|path| create(path, memory))?;
        let path = directory.data();
        manifest::check(&path)?;
        let Audit { cut, .. } = audit(&path, keep_to)?;
        let opened = open(&path, memory).map_err(|error| OpenError::of(&path, &error));
        let viewed = |tree: Tree| {
            let view = tree.view();
            let failed = |refused: Refused| OpenError::Tree(path.clone(), refused.to_string());
            view.map(|view| (tree, view)).map_err(failed)
        };
        let (tree, view) = opened.and_then(viewed).or_else(|error| {
            // fjall does not say which file it is.
            manifest::damaged_table(&path)?;
            Err(error)
        })?;
        // While readers wait for a store that is opened anew, there is no time for it.
        if keep_to.is_some()
            || directory.room().bytes < NEW_JOURNAL_ROOM
            || tree.database.journal_count() > JOURNALS_MAX
        {
            return Ok((tree, view, cut));
        }
        let state = view.state;
        drop(view);
        let tree = tree.with_new_journal(&path, memory, state)?;
        let (tree, view) = viewed(tree)?;
        Ok((tree, view, cut))
    }

    /// The same tree with another journal, or with the last one where that cannot be begun.
    fn with_new_journal(
        mut self,
        path: &Path,
        memory: Memory,
        state: State,
    ) -> Result<Self, OpenError> {
        let failed = |error| OpenError::of(path, &error);
        let last = self.journal.path();
        let unusable = |error| OpenError::Io(last.clone(), error);
        let length = last.metadata().map_err(unusable)?.len();
        let begun = match self.sync() {
            Ok(()) => self.begin_journal(state),
            // What goes on in the background has failed, and is tried again.
            Err(error @ fjall::Error::Poisoned) => Err(error),
            Err(error) => return Err(failed(error)),
        };
        let Err(error) = begun else { return Ok(self) };
        log::warn!("{}: the last journal goes on: {error}", path.display());
        drop(self);
        // Nobody knows what the disk has of the mark.
        if let Err(error) = journal::cut(&last, length)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(unusable(error));
        }
        open(path, memory).map_err(failed)
    }

    /// Has fjall begin another journal, when all is synced. One that was there when it was opened
    /// would be appended to: each sync would change the file's length, and could not be cheap.
    ///
    /// fjall goes on to the next journal when a memtable is full and a journal has reached its
    /// length. So the length is set, the state is written once more behind it, where nobody misses
    /// it, and the memtable said to be full. After an error nothing may be written any more: it
    /// would be behind that gap.
    fn begin_journal(&mut self, state: State) -> Result<(), fjall::Error> {
        let journals = self.database.journal_count();
        self.journal.lengthen(JOURNAL_BYTES)?;
        let state = State { synced: state.version, ..state };
        let mut mark = Changes::default();
        mark.store(STATE_KEY, &state.encode());
        self.write(mark)?;
        self.keyspace.rotate_memtable()?;
        let deadline = Instant::now() + NEW_JOURNAL_TIMEOUT;
        // A new name in the directory is not enough: fjall may have failed behind it. It counts the
        // old journal then, until all of it is in a table.
        let has_begun = |tree: &Self| {
            tree.database.journal_count() > journals
                || matches!(tree.journal.path().try_exists(), Ok(false))
        };
        while !has_begun(self) {
            if Instant::now() > deadline {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            thread::sleep(Duration::from_millis(1));
            // Says whether fjall has failed, and waits while it is at it.
            self.database.persist(PersistMode::Buffer)?;
        }
        Ok(())
    }

    /// Writes a group, so far that a crash of this process does not lose it.
    pub(super) fn write(&mut self, changes: Changes) -> Result<(), fjall::Error> {
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for (key, value) in changes.records {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        self.written += BATCH_BYTES + changes.bytes;
        batch.commit()
    }

    /// Fills the journal for the next groups, where the disk has enough room.
    pub(super) fn fill_journal(&mut self, room: Room) {
        if room.bytes >= FILL_ROOM {
            self.journal.wrote(std::mem::take(&mut self.written));
        }
    }

    /// Has the disk keep all that was written. After an error nobody knows what it keeps.
    pub(super) fn sync(&self) -> Result<(), fjall::Error> {
        self.database.persist(PersistMode::SyncData)?;
        // The kernel reports an error once, and what happens in the background may have been told
        // instead: then the tree takes nothing more, and this says so.
        self.database.persist(PersistMode::Buffer)
    }

    /// What can be read now.
    pub(super) fn view(&self) -> Result<View, Refused> {
        let (keyspace, snapshot) = (self.keyspace.clone(), self.database.snapshot());
        let stored = snapshot.get(&keyspace, STATE_KEY).map_err(|error| refused(&error))?;
        let state = stored.and_then(|stored| State::decode(&stored));
        let state = state.ok_or_else(|| Refused::Damaged("it has no state".into()))?;
        Ok(View { keyspace, snapshot, state })
    }

    /// What the background work has done.
    pub(super) fn statistics(&self) -> Statistics {
        Statistics {
            disk_bytes: self.database.disk_space().unwrap_or_default(),
            journals: self.database.journal_count(),
            tables: self.keyspace.table_count(),
            compactions: self.database.compactions_completed(),
        }
    }
}

/// What the background work has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes of journals and tables; a journal is counted with the room that is set aside for it.
    pub disk_bytes: u64,
    /// Journals that are kept.
    pub journals: usize,
    /// Tables that are kept.
    pub tables: usize,
    /// Merges of tables since the start.
    pub compactions: usize,
}

/// What a group of writes changes: records to store, and to remove.
#[derive(Default)]
pub(super) struct Changes {
    records: Vec<(fjall::Slice, Option<fjall::Slice>)>,
    /// What they take in the journal, more or less.
    bytes: u64,
}

impl Changes {
    pub(super) fn with_capacity(records: usize) -> Self {
        Changes { records: Vec::with_capacity(records), bytes: 0 }
    }

    pub(super) fn store(&mut self, key: &[u8], value: &[u8]) {
        self.bytes += RECORD_BYTES + (key.len() + value.len()) as u64;
        self.records.push((key.into(), Some(value.into())));
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.bytes += RECORD_BYTES + key.len() as u64;
        self.records.push((key.into(), None));
    }
}

impl View {
    /// The entry under a user's key, expired or not.
    pub(super) fn find(&self, key: &[u8]) -> Result<Option<Entry>, Refused> {
        let stored = self.snapshot.get(&self.keyspace, key).map_err(|error| refused(&error))?;
        stored.map(|stored| record::decode(key, &stored)).transpose()
    }

    /// The entries of users' keys from this one on, expired or not.
    pub(super) fn entries(
        &self,
        from: std::ops::Bound<&[u8]>,
    ) -> impl Iterator<Item = Result<Entry, Refused>> + use<> {
        let range = (from, std::ops::Bound::Unbounded);
        self.snapshot.range::<&[u8], _>(&self.keyspace, range).map(|guard| {
            let (key, stored) = guard.into_inner().map_err(|error| refused(&error))?;
            record::decode(&key, &stored)
        })
    }

    /// The keys whose deadline is between these two, in its order.
    pub(super) fn expiries(
        &self,
        from_ms: u64,
        to_ms: u64,
    ) -> impl Iterator<Item = Result<(u64, Key<'static>), Refused>> + use<> {
        let range = record::expiries(from_ms, to_ms);
        self.snapshot.range::<Vec<u8>, _>(&self.keyspace, range).map(|guard| {
            let key = guard.key().map_err(|error| refused(&error))?;
            let (deadline_ms, key) = record::decode_expiry(&key)
                .ok_or_else(|| Refused::Damaged("the order of expiry holds no key".into()))?;
            Ok((deadline_ms, key.into_owned()))
        })
    }
}

impl Memory {
    /// What a cache of so many bytes leaves beside its entries, on a disk with that reserve.
    fn shared_out(cache_bytes: u64, reserve_bytes: u64) -> Self {
        let part = cache_bytes / CACHE_PART;
        let memtable_bytes = part.min(reserve_bytes / MEMTABLE_PART).max(MEMTABLE_BYTES_MIN);
        let blocks_bytes = (cache_bytes - part).saturating_sub(memtable_bytes);
        Memory { memtable_bytes, blocks_bytes }
    }
}

/// Makes an empty tree.
fn create(path: &Path, memory: Memory) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(path, &error);
    let mut tree = open(path, memory).map_err(failed)?;
    let version = Version::of_the_clock();
    let mut changes = Changes::default();
    changes.store(STATE_KEY, &State { version, synced: version, keys: 0 }.encode());
    tree.write(changes).map_err(failed)?;
    tree.database.persist(PersistMode::SyncAll).map_err(failed)
}

fn open(path: &Path, memory: Memory) -> Result<Tree, fjall::Error> {
    let database = Database::builder(path)
        .cache_size(memory.blocks_bytes)
        .worker_threads(THREADS)
        .max_cached_files(Some(FILES_MAX))
        .max_journaling_size(JOURNALS_BYTES_MAX)
        .manual_journal_persist(true)
        .open()?;
    // Of what is pinned the cache's limit knows nothing.
    let options = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(memory.memtable_bytes)
            .index_block_pinning_policy(PinningPolicy::all(false))
            .filter_block_pinning_policy(PinningPolicy::all(false))
            .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
    };
    let keyspace = database.keyspace(KEYSPACE, options)?;
    Ok(Tree { database, keyspace, journal: Journal::last(path)?, written: 0 })
}

/// What a client is told of an error while reading.
fn refused(error: &fjall::Error) -> Refused {
    log::error!("the store cannot be read: {error}");
    match disk_error(error) {
        Some(error) => {
            Refused::Unavailable(format!("it cannot be read: {}", io_error(error)).into())
        }
        None => Refused::Damaged(format!("{error:?}").into()),
    }
}

/// The operating system's error in fjall's.
pub(super) fn disk_error(error: &fjall::Error) -> Option<&io::Error> {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => Some(error),
        _ => None,
    }
}

impl OpenError {
    fn of(path: &Path, error: &fjall::Error) -> Self {
        match disk_error(error) {
            Some(error) => OpenError::Io(
                path.to_owned(),
                error.raw_os_error().map_or_else(
                    || io::Error::new(error.kind(), error.to_string()),
                    io::Error::from_raw_os_error,
                ),
            ),
            None => OpenError::Tree(path.to_owned(), format!("{error:?}")),
        }
    }
}

impl From<DirectoryError> for OpenError {
    fn from(error: DirectoryError) -> Self {
        OpenError::Directory(error)
    }
}

impl From<AuditError> for OpenError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Io(path, error) => OpenError::Io(path, error),
            AuditError::Damaged { path, at } => OpenError::Damaged(path, at),
        }
    }
}

impl From<ManifestError> for OpenError {
    fn from(error: ManifestError) -> Self {
        match error {
            ManifestError::Io(path, error) => OpenError::Io(path, error),
            ManifestError::Damaged(path) => OpenError::Broken(path),
            ManifestError::Mismatch(path, other) => OpenError::Mismatch(path, other),
        }
    }
}

impl std::error::Error for OpenError {}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &PathBuf| escaped(&path.to_string_lossy()).to_string();
        match self {
            OpenError::Directory(error) => error.fmt(f),
            OpenError::Io(path, error) => write!(f, "{}: {}", name(path), io_error(error)),
            OpenError::Damaged(path, at) => write!(
                f,
                "{} is damaged at byte {at}, before writes that were acknowledged: restore a \
                 backup, or a copy of this file",
                name(path)
            ),
            OpenError::Broken(path) => {
                write!(f, "{} is damaged: restore a backup, or a copy of this file", name(path))
            }
            OpenError::Mismatch(path, other) => write!(
                f,
                "{} and {} do not fit, one of them is damaged or missing: restore a backup, or \
                 copies of both",
                name(path),
                name(other)
            ),
            OpenError::Tree(path, reason) => {
                write!(f, "the data in {} cannot be opened: {}", name(path), escaped(reason))
            }
            OpenError::Thread(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cache_bytes: u64, reserve_bytes: u64, memtable_bytes: u64, blocks_bytes: u64) {
        let memory = Memory::shared_out(cache_bytes, reserve_bytes);
        assert_eq!((memory.memtable_bytes, memory.blocks_bytes), (memtable_bytes, blocks_bytes));
    }

    #[test]
    fn a_memtable_fits_the_cache_and_the_reserve() {
        const MIB: u64 = 1 << 20;
        check(32 * MIB, 32 * MIB, 8 * MIB, 16 * MIB);
        check(512 * MIB, 32 * MIB, 8 * MIB, 376 * MIB);
        check(32 * MIB, 8 * MIB, 2 * MIB, 22 * MIB);
        check(4 * MIB, 32 * MIB, MIB, 2 * MIB);
        check(0, 0, MIB, 0);
    }
}
