//! Journals as fjall writes them, damaged in all ways.

#![allow(
    clippy::needless_pass_by_value,
    clippy::cloned_ref_to_slice_refs,
    clippy::large_stack_arrays,
    reason = "tables that read well"
)]

use std::fs;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tempfile::TempDir;

use super::audit::{AuditError, Cut, audit};
use super::record::{STATE_KEY, State};
use crate::store::Version;

/// Groups with the versions 1 to 6; each knows that the one before is on the disk.
const GROUPS: u64 = 6;

struct Sample {
    directory: TempDir,
    journal: Vec<u8>,
    /// Where each group begins, and where the last one ends.
    begins: Vec<usize>,
}

/// What fjall writes to an empty directory's journal, without the zeros behind it.
fn written(directory: &Path, write: impl FnOnce(&Database, &Keyspace)) -> Vec<u8> {
    {
        let database = Database::builder(directory).worker_threads(1).open().unwrap();
        let keyspace = database.keyspace("kv", KeyspaceCreateOptions::default).unwrap();
        write(&database, &keyspace);
    }
    let mut journal = fs::read(directory.join("0.jnl")).unwrap();
    let length = journal.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    journal.truncate(length);
    journal
}

/// The groups with the versions 1 to `count`.
fn groups(database: &Database, keyspace: &Keyspace, count: u64) {
    for version in 1..=count {
        let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(keyspace, format!("key {version}"), "value ".repeat(100));
        batch.insert(keyspace, STATE_KEY, state(version, version - 1));
        batch.commit().unwrap();
    }
}

fn state(version: u64, synced: u64) -> [u8; 25] {
    State { version: Version(version), synced: Version(synced), keys: version }.encode()
}

/// Where each batch ends.
fn ends(journal: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memmem::find_iter(journal, b"FJL\x03").map(|at| at + 4)
}

/// What a start writes behind so many groups.
fn mark(version: u64) -> Vec<u8> {
    let mut journal = written(TempDir::new().unwrap().path(), |database, keyspace| {
        groups(database, keyspace, version);
        let mut batch = database.batch();
        batch.insert(keyspace, STATE_KEY, state(version, version));
        batch.commit().unwrap();
    });
    let begins: Vec<usize> = ends(&journal).collect();
    journal.split_off(begins[begins.len() - 2])
}

impl Sample {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let journal = written(directory.path(), |database, keyspace| {
            groups(database, keyspace, GROUPS);
        });
        let begins: Vec<usize> = std::iter::once(0).chain(ends(&journal)).collect();
        assert_eq!(begins.len() as u64, GROUPS + 1);
        Sample { directory, journal, begins }
    }

    fn path(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("{number}.jnl"))
    }

    /// What comes of these journals: the latest version, what was cut off, or where damage is.
    #[track_caller]
    fn check(&self, journals: &[Vec<u8>], keep_to: Option<u64>, expected: Expected) {
        for (number, bytes) in journals.iter().enumerate() {
            fs::write(self.path(number), bytes).unwrap();
        }
        let found = match audit(self.directory.path(), keep_to.map(Version)) {
            Ok(audit) => {
                let latest = audit.latest.map_or(0, |version| version.0);
                Expected::Kept(latest, audit.cut.map(|Cut { at, bytes, .. }| (at, bytes)))
            }
            Err(AuditError::Damaged { path, at }) => {
                let number = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                Expected::Damaged(number, at)
            }
            Err(AuditError::Io(path, error)) => panic!("{path:?}: {error}"),
        };
        assert_eq!(found, expected);
        for number in 0..journals.len() {
            fs::remove_file(self.path(number)).unwrap();
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Kept(u64, Option<(u64, u64)>),
    /// In which journal, and at which byte.
    Damaged(usize, u64),
}

#[test]
fn an_unfinished_end_is_cut_off() {
    let sample = Sample::new();
    let Sample { journal, begins, .. } = &sample;
    let (last, end) = (begins[5], begins[6]);
    sample.check(&[journal.clone()], None, Expected::Kept(6, None));
    sample.check(&[vec![]], None, Expected::Kept(0, None));
    sample.check(&[vec![0; 3 << 20]], None, Expected::Kept(0, None));
    let zeros = [journal.as_slice(), &[0; 3 << 20]].concat();
    sample.check(&[zeros], None, Expected::Kept(6, None));
    for length in last + 1..end {
        let cut = &journal[..length];
        let bytes = cut.iter().rposition(|byte| *byte != 0).unwrap() + 1 - last;
        let cut_off = Expected::Kept(5, Some((last as u64, bytes as u64)));
        sample.check(&[cut.to_vec()], None, cut_off);
    }
    // Bytes far behind the end, as a torn write leaves them.
    let mut far = [journal.as_slice(), &[0; 2 << 20]].concat();
    far.extend(b"xyz");
    let bytes = (2 << 20) + 3;
    sample.check(&[far], None, Expected::Kept(6, Some((end as u64, bytes))));
}

#[test]
fn a_flipped_bit_before_synced_groups_is_damage() {
    let sample = Sample::new();
    let Sample { journal, begins, .. } = &sample;
    for at in (0..journal.len()).step_by(7) {
        let mut flipped = journal.clone();
        flipped[at] ^= 1 << (at % 8);
        let group = begins.iter().rposition(|begin| *begin <= at).unwrap();
        let begin = begins[group] as u64;
        let expected = if group as u64 + 1 == GROUPS {
            Expected::Kept(5, Some((begin, journal.len() as u64 - begin)))
        } else {
            Expected::Damaged(0, begin)
        };
        // The sequence number is outside of the checksum; with another one the group is taken only
        // if it is in order, and that makes no difference to what it holds.
        if !(begins[group] + 5..begins[group] + 13).contains(&at) {
            sample.check(&[flipped], None, expected);
        }
    }
}

#[test]
fn groups_that_were_refused_are_cut_off() {
    let sample = Sample::new();
    let Sample { journal, begins, .. } = &sample;
    for keep_to in 1..GROUPS {
        let at = begins[usize::try_from(keep_to).unwrap()] as u64;
        let cut_off = Expected::Kept(keep_to, Some((at, journal.len() as u64 - at)));
        sample.check(&[journal.clone()], Some(keep_to), cut_off);
    }
    sample.check(&[journal.clone()], Some(GROUPS), Expected::Kept(6, None));
}

#[test]
fn the_end_of_a_journal_is_whole_when_another_one_follows() {
    let sample = Sample::new();
    let Sample { journal, begins, .. } = &sample;
    let (first, second) = (&journal[..begins[3]], &journal[begins[3]..]);
    sample.check(&[first.to_vec(), second.to_vec()], None, Expected::Kept(6, None));
    let cut = &first[..first.len() - 1];
    let expected = Expected::Damaged(0, begins[2] as u64);
    sample.check(&[cut.to_vec(), second.to_vec()], None, expected);
    // Nothing of the second one has come to the disk.
    let expected = Expected::Kept(2, Some((begins[2] as u64, (cut.len() - begins[2]) as u64)));
    sample.check(&[cut.to_vec(), vec![0; 1000]], None, expected);
}

/// What a start writes to have another journal begun, and a kill leaves there.
#[test]
fn a_mark_at_the_end_is_nothing_that_was_lost() {
    let sample = Sample::new();
    let Sample { journal, begins, .. } = &sample;
    let (first, mark) = (&journal[..begins[3]], mark(3));
    let gap = vec![0; 3 << 20];
    let marked = [first, &gap, &mark].concat();
    sample.check(&[marked.clone()], None, Expected::Kept(3, None));
    sample.check(&[marked.clone()], Some(3), Expected::Kept(3, None));
    sample.check(&[marked, journal[begins[3]..].to_vec()], None, Expected::Kept(6, None));
    // Before the first group of a journal.
    let only = [gap.as_slice(), &mark].concat();
    sample.check(&[only.clone()], None, Expected::Kept(0, None));
    sample.check(&[first.to_vec(), only], None, Expected::Kept(3, None));
    // One that came to the disk in part.
    let torn = [first, &gap, &mark[..mark.len() - 1]].concat();
    let bytes = torn.len() - begins[3];
    let cut_off = Expected::Kept(3, Some((begins[3] as u64, bytes as u64)));
    sample.check(&[torn], None, cut_off);
    // The groups before it were on the disk, and are not all there.
    let without = [&journal[..begins[2]], &gap, &mark].concat();
    let expected = || Expected::Damaged(0, begins[2] as u64);
    sample.check(&[without.clone()], None, expected());
    sample.check(&[without, journal[begins[3]..].to_vec()], None, expected());
    // By a group alone nobody knows that they were, unless another journal follows.
    let without = [&journal[..begins[2]], &gap, &journal[begins[2]..begins[3]]].concat();
    let bytes = without.len() - begins[2];
    let cut_off = Expected::Kept(2, Some((begins[2] as u64, bytes as u64)));
    sample.check(&[without.clone()], None, cut_off);
    sample.check(&[without, journal[begins[3]..].to_vec()], None, expected());
    let none = [&vec![0; begins[3]], &journal[begins[3]..begins[4]]].concat();
    sample.check(&[none], None, Expected::Damaged(0, 0));
    // Where the journal is long already, there is no gap.
    let behind = [first, &mark].concat();
    sample.check(&[behind.clone()], None, Expected::Kept(3, None));
    sample.check(&[behind, journal[begins[4]..].to_vec()], None, Expected::Kept(6, None));
    // A group that comes a second time is none.
    let twice = [first, &gap, &journal[begins[2]..begins[3]]].concat();
    let bytes = twice.len() - begins[3];
    sample.check(&[twice], None, Expected::Kept(3, Some((begins[3] as u64, bytes as u64))));
}
