//! A look at the journals before fjall replays them.
//!
//! fjall takes whatever it cannot read for the end of a journal, and cuts the file there: after a
//! power cut that is right, after a flipped bit it would drop acknowledged writes without a word.
//! So the journals are read here first, by the same format (fjall 3, `src/journal/entry.rs`).
//!
//! What cannot be read is the end of a journal if nothing behind it says that it was ever synced:
//! then it is cut off, and said so. Otherwise it is damage, and the store does not open.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::journal;
use super::record::{STATE_KEY, State};
use crate::store::Version;

/// What the end of each batch ends with.
const MAGIC: &[u8] = b"FJL\x03";
const TAG_START: u8 = 1;
const TAG_ITEM: u8 = 2;
const TAG_END: u8 = 3;
const TAG_CLEAR: u8 = 4;

/// What the journals hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Audit {
    /// The version of the last whole group, if the journals hold one.
    pub(super) latest: Option<Version>,
    /// What was cut off.
    pub(super) cut: Option<Cut>,
}

/// An unfinished write that was removed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) path: PathBuf,
    /// Where the rest of the journal began.
    pub(super) at: u64,
    /// Bytes from there to the last one that is not zero.
    pub(super) bytes: u64,
}

/// Why the journals cannot be replayed.
#[derive(Debug)]
pub(super) enum AuditError {
    Io(PathBuf, io::Error),
    /// Bytes that were on the disk once cannot be read.
    Damaged {
        path: PathBuf,
        at: u64,
    },
}

/// A whole batch: how long it is and what it says.
struct Batch {
    length: usize,
    sequence: u64,
    state: Option<State>,
}

/// Reads all journals of the directory. Cuts off an unfinished end, and whatever is later than
/// `keep_to` if that is given: groups that were refused and must not come back.
pub(super) fn audit(directory: &Path, keep_to: Option<Version>) -> Result<Audit, AuditError> {
    let mut audit = Audit::default();
    let mut sequence = None;
    let listed = journal::numbered(directory);
    for (_, path) in listed.map_err(|error| AuditError::Io(directory.to_owned(), error))? {
        let failed = |error| AuditError::Io(path.clone(), error);
        let mut journal = Journal::open(&path).map_err(failed)?;
        while let Some(batch) = journal.batch(sequence).map_err(failed)? {
            // A journal is synced before the next one begins.
            if let Some(Cut { path, at, .. }) = audit.cut.take() {
                return Err(AuditError::Damaged { path, at });
            }
            let is_refused = |state: State| keep_to.is_some_and(|keep_to| state.version > keep_to);
            if batch.state.is_some_and(is_refused) {
                break;
            }
            audit.latest = batch.state.map(|state| state.version).or(audit.latest);
            sequence = Some(batch.sequence);
            journal.skip(batch.length);
        }
        let at = journal.at;
        let Some((rest, end)) = journal.rest().map_err(failed)? else { continue };
        if is_mark(rest, audit.latest) {
            continue;
        }
        let was_synced =
            |later: &Batch| later.state.is_none_or(|later| Some(later.synced) > audit.latest);
        if keep_to.is_none() && later_batches(rest).any(|later| was_synced(&later)) {
            return Err(AuditError::Damaged { path, at });
        }
        audit.cut = Some(Cut { path, at, bytes: end - at });
    }
    if let Some(Cut { path, at, .. }) = &audit.cut {
        journal::cut(path, *at).map_err(|error| AuditError::Io(path.clone(), error))?;
    }
    Ok(audit)
}

/// A journal, read from the front with no more of it in memory than a batch needs.
struct Journal {
    file: File,
    /// Where `window` begins.
    at: u64,
    window: Vec<u8>,
    /// What of `window` has been read already.
    used: usize,
    is_whole: bool,
}

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

impl Journal {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Journal { file, at: 0, window: Vec::new(), used: 0, is_whole: false })
    }

    /// The batch that begins here, if there is a whole one.
    fn batch(&mut self, sequence: Option<u64>) -> io::Result<Option<Batch>> {
        loop {
            match batch(&self.window[self.used..]) {
                Ok(batch) => {
                    return Ok(Some(batch).filter(|batch| Some(batch.sequence) > sequence));
                }
                Err(Flaw::Short) if !self.is_whole => self.read_on()?,
                Err(Flaw::Short | Flaw::Bad) => return Ok(None),
            }
        }
    }

    fn skip(&mut self, length: usize) {
        self.used += length;
        self.at += length as u64;
    }

    /// All that follows, without the zeros that a journal is made of: some of them may be before
    /// it. Also where it ends.
    fn rest(&mut self) -> io::Result<Option<(&[u8], u64)>> {
        while !self.is_whole {
            if self.window[self.used..].iter().all(|byte| *byte == 0) {
                self.skip(self.window.len() - self.used);
            }
            self.read_on()?;
        }
        let rest = &self.window[self.used..];
        let last = rest.iter().rposition(|byte| *byte != 0);
        Ok(last.map(|last| (&rest[..=last], self.at + last as u64 + 1)))
    }

    fn read_on(&mut self) -> io::Result<()> {
        self.window.drain(..self.used);
        self.used = 0;
        let count = (&self.file).take(READ_BYTES as u64).read_to_end(&mut self.window)?;
        self.is_whole = count == 0;
        Ok(())
    }
}

/// Whether this is nothing but a mark that fjall was to begin another journal (see
/// `Tree::begin_journal`): a batch behind zeros that says again what the last one has said, and
/// that all of it was synced, as no group says of itself.
fn is_mark(rest: &[u8], latest: Option<Version>) -> bool {
    let begin = rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len());
    batch(&rest[begin..]).is_ok_and(|batch| {
        let is_of = |state: State| {
            state.synced == state.version && latest.is_none_or(|latest| state.version == latest)
        };
        begin + batch.length == rest.len() && batch.state.is_some_and(is_of)
    })
}

/// The whole batches behind a place that cannot be read.
fn later_batches(bytes: &[u8]) -> impl Iterator<Item = Batch> {
    memchr::memchr_iter(TAG_START, bytes).filter_map(|at| batch(&bytes[at..]).ok())
}

/// The batch that begins here.
fn batch(bytes: &[u8]) -> Result<Batch, Flaw> {
    let mut input = Input(bytes);
    input.expect(&[TAG_START])?;
    let items = input.u32()?;
    let sequence = input.u64()?;
    let mut checksum = Xxh3::new();
    let mut state = None;
    for _ in 0..items {
        let before = input.0;
        match input.u8()? {
            TAG_ITEM => {
                let (_value_type, _compression, _keyspace) =
                    (input.u8()?, input.u8()?, input.u64()?);
                let key_length = usize::from(input.u16()?);
                let (_length, stored_length) = (input.u32()?, input.u32()?);
                let key = input.take(key_length)?;
                let value = input.take(usize::try_from(stored_length).map_err(|_| Flaw::Bad)?)?;
                if key == STATE_KEY {
                    state = State::decode(value);
                }
            }
            TAG_CLEAR => {
                input.u64()?;
            }
            _ => return Err(Flaw::Bad),
        }
        checksum.update(&before[..before.len() - input.0.len()]);
    }
    input.expect(&[TAG_END])?;
    input.expect(&checksum.digest().to_le_bytes())?;
    input.expect(MAGIC)?;
    Ok(Batch { length: bytes.len() - input.0.len(), sequence, state })
}

/// Why bytes are no batch.
enum Flaw {
    /// They may be the beginning of one.
    Short,
    Bad,
}

/// Bytes from the front, in little-endian order.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Flaw::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Flaw::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn expect(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        if self.take(bytes.len())? == bytes { Ok(()) } else { Err(Flaw::Bad) }
    }

    fn u8(&mut self) -> Result<u8, Flaw> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, Flaw> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Flaw> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Flaw> {
        self.array().map(u64::from_le_bytes)
    }
}
