//! The journal that is being written, filled with zeros ahead of what is written.
//!
//! fjall gives a journal its length when it makes it, but no blocks. A sync of bytes that have none
//! yet has the file system give out blocks and commit that too, which takes as long again as the
//! data. So the blocks are written ahead of time, many at once: what `wal_init_zero` does to the
//! write-ahead log of `PostgreSQL`.
//!
//! Invariant: only zeros that nobody has written are overwritten with zeros, and only by the one
//! thread that writes to the journal, between two writes. What a reader finds is the same with
//! and without.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

/// Bytes that are filled at once. The next sync writes them too, and has to stay short.
const CHUNK_BYTES: u64 = 1 << 20;
/// More is filled when so many are left.
const LEFT_MIN: u64 = CHUNK_BYTES / 4;
/// After so many bytes nothing is filled: beside them the blocks cost little, and zeros are written
/// to the disk, too.
const MANY_BYTES: u64 = 64 << 10;
/// Bytes that are read and written at once.
const PAGE_BYTES: usize = 64 << 10;
/// Where nothing can be filled, it is tried again after so many bytes: there is another journal by
/// then.
const RETRY_BYTES: u64 = 64 << 20;

/// The last journal of a directory.
pub(super) struct Journal {
    directory: PathBuf,
    number: u64,
    /// Filled bytes that are likely to be unused.
    left: u64,
}

impl Journal {
    /// The last journal in the directory; the first one if there is none yet.
    pub(super) fn last(directory: &Path) -> io::Result<Self> {
        let number = numbered(directory)?.pop().map_or(0, |(number, _)| number);
        Ok(Journal { directory: directory.to_owned(), number, left: 0 })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.jnl", self.number))
    }

    /// Makes it as long as that, unless it is longer: what it holds may go on behind that.
    pub(super) fn lengthen(&self, length: u64) -> io::Result<()> {
        let file = File::options().write(true).open(self.path())?;
        if file.metadata()?.len() < length { file.set_len(length) } else { Ok(()) }
    }

    /// Goes on to the next journal; says whether there is one.
    fn follow(&mut self) -> bool {
        let next = self.number + 1;
        let exists = self.directory.join(format!("{next}.jnl")).exists();
        if exists {
            (self.number, self.left) = (next, 0);
        }
        exists
    }

    /// A group of so many bytes has been written: makes sure that the next ones are filled. Where
    /// that does not work a sync takes longer, and that is all.
    pub(super) fn wrote(&mut self, bytes: u64) {
        while self.follow() {}
        self.left = self.left.saturating_sub(bytes);
        if self.left >= LEFT_MIN || bytes > MANY_BYTES {
            return;
        }
        self.left = match self.fill() {
            Ok(Some(filled)) => self.left + filled,
            Ok(None) => RETRY_BYTES,
            Err(error) => {
                log::debug!("{} is not filled: {error}", self.path().display());
                RETRY_BYTES
            }
        };
    }

    /// Fills a chunk, and says how many bytes that were; nothing when no more can be filled.
    fn fill(&mut self) -> io::Result<Option<u64>> {
        // It does not stay open: fjall removes it, and its room is to be free then.
        let file = match File::options().read(true).write(true).open(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *self = Journal::last(&self.directory)?;
                return Ok(Some(0));
            }
            file => file?,
        };
        let length = file.metadata()?.len();
        if length == 0 {
            // It is being made.
            return Ok(Some(0));
        }
        let from = rustix::fs::seek(&file, SeekFrom::Hole(0))?;
        let to = length.min(from.saturating_add(CHUNK_BYTES));
        let mut page = vec![0; PAGE_BYTES];
        let mut at = from;
        while at < to {
            let count = usize::try_from(to - at).map_or(PAGE_BYTES, |left| left.min(PAGE_BYTES));
            let page = &mut page[..count];
            // Whatever a file system calls a hole: what is written here must not get lost.
            file.read_exact_at(page, at)?;
            if page.iter().any(|byte| *byte != 0) {
                return Err(io::Error::other(format!("byte {at} is in no hole")));
            }
            file.write_all_at(page, at)?;
            at += count as u64;
        }
        Ok((from < to).then_some(to - from))
    }
}

/// Cuts off what a journal has from that byte on, also on the disk.
pub(super) fn cut(path: &Path, at: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(at)?;
    file.sync_all()
}

/// The journals in a directory, in their order.
pub(super) fn numbered(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| is_journal) {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use tempfile::TempDir;

    use super::*;

    /// What `st_blocks` counts in.
    const BLOCK_BYTES: u64 = 512;

    /// A journal with some bytes, and a length as fjall gives it.
    fn directory(bytes: &[u8], length: u64) -> TempDir {
        let directory = TempDir::new().unwrap();
        let journal = File::create(directory.path().join("7.jnl")).unwrap();
        journal.write_all_at(bytes, 0).unwrap();
        journal.set_len(length).unwrap();
        directory
    }

    fn allocated(directory: &TempDir, name: &str) -> u64 {
        fs::metadata(directory.path().join(name)).unwrap().blocks() * BLOCK_BYTES
    }

    #[test]
    fn what_is_written_stays_and_what_follows_has_blocks() {
        let bytes = [3; 5000];
        let directory = directory(&bytes, 8 * CHUNK_BYTES);
        let path = directory.path().join("7.jnl");
        let before = fs::read(&path).unwrap();
        let mut journal = Journal::last(directory.path()).unwrap();
        journal.wrote(bytes.len() as u64);
        assert!(allocated(&directory, "7.jnl") > CHUNK_BYTES);
        // Enough is left.
        journal.wrote(1000);
        assert!(allocated(&directory, "7.jnl") < CHUNK_BYTES + CHUNK_BYTES / 2);
        // Large groups do without.
        journal.wrote(CHUNK_BYTES);
        assert!(allocated(&directory, "7.jnl") < CHUNK_BYTES + CHUNK_BYTES / 2);
        for _ in 0..8 * CHUNK_BYTES / MANY_BYTES {
            journal.wrote(MANY_BYTES);
        }
        assert!(allocated(&directory, "7.jnl") >= 8 * CHUNK_BYTES);
        assert!(fs::read(&path).unwrap() == before);
    }

    #[test]
    fn a_journal_that_is_appended_to_is_left_alone() {
        let directory = directory(&[3; 5000], 5000);
        let mut journal = Journal::last(directory.path()).unwrap();
        for _ in 0..3 {
            journal.wrote(5000);
        }
        assert_eq!(fs::metadata(journal.path()).unwrap().len(), 5000);
    }

    #[test]
    fn the_next_journal_is_followed() {
        let directory = directory(&[3; 5000], 5000);
        let mut journal = Journal::last(directory.path()).unwrap();
        journal.wrote(5000);
        assert!(!journal.follow());
        // It has no length yet.
        let next = File::create(directory.path().join("8.jnl")).unwrap();
        journal.wrote(5000);
        next.set_len(4 * CHUNK_BYTES).unwrap();
        assert_eq!(allocated(&directory, "8.jnl"), 0);
        journal.wrote(5000);
        assert!(allocated(&directory, "8.jnl") >= CHUNK_BYTES);
    }

    #[test]
    fn a_journal_that_is_gone_is_no_error() {
        let directory = directory(&[3; 5000], CHUNK_BYTES);
        let mut journal = Journal::last(directory.path()).unwrap();
        fs::remove_file(journal.path()).unwrap();
        journal.wrote(5000);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        // Two later ones have come, and one of them has gone.
        let later = File::create(directory.path().join("9.jnl")).unwrap();
        later.set_len(4 * CHUNK_BYTES).unwrap();
        journal.wrote(5000);
        journal.wrote(5000);
        assert!(allocated(&directory, "9.jnl") >= CHUNK_BYTES);
    }

    #[test]
    fn a_journal_that_fjall_removes_gives_its_room_back() {
        let directory = directory(&[3; 5000], 4 * CHUNK_BYTES);
        let mut journal = Journal::last(directory.path()).unwrap();
        journal.wrote(5000);
        let path = journal.path();
        let is_open = |descriptor: io::Result<fs::DirEntry>| {
            fs::read_link(descriptor.unwrap().path()).is_ok_and(|file| file == path)
        };
        assert!(!fs::read_dir("/proc/self/fd").unwrap().any(is_open));
    }

    #[test]
    fn a_journal_is_never_cut() {
        let bytes = [3; 5000];
        let directory = directory(&bytes, 5000);
        let journal = Journal::last(directory.path()).unwrap();
        for length in [0, 100, 5000] {
            journal.lengthen(length).unwrap();
            assert_eq!(fs::read(journal.path()).unwrap(), bytes);
        }
        journal.lengthen(6000).unwrap();
        assert_eq!(fs::metadata(journal.path()).unwrap().len(), 6000);
    }
}
