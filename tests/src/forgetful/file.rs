//! A file as programs see it, as the disk has it, and the changes in between.
//!
//! Invariant: what the disk has, with the changes since then, is what programs see; only a sync
//! that failed takes changes out of that, as it does in Linux.

use std::collections::BTreeMap;
use std::mem;

use fastrand::Rng;

use super::content::{Content, PAGE_BYTES, index, pieces};

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Changes of a file that are remembered; with more, all are written to the disk by themselves, as
/// a kernel does in time.
const UNSYNCED_BYTES_MAX: usize = 64 << 20;
/// What a change counts beside its bytes.
const CHANGE_BYTES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) current: Content,
    durable: Content,
    unsynced: Vec<Change>,
    unsynced_bytes: usize,
}

#[derive(Debug)]
struct Change {
    at: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Write { offset: u64, bytes: Vec<u8> },
    Resize(u64),
}

impl File {
    pub(super) fn write(&mut self, at: u64, offset: u64, bytes: &[u8]) {
        self.current.write(offset, bytes);
        self.changed(at, Kind::Write { offset, bytes: bytes.to_vec() }, bytes.len());
    }

    pub(super) fn resize(&mut self, at: u64, size: u64) {
        self.current.resize(size);
        self.changed(at, Kind::Resize(size), 0);
    }

    fn changed(&mut self, at: u64, kind: Kind, bytes: usize) {
        self.unsynced.push(Change { at, kind });
        self.unsynced_bytes += bytes + CHANGE_BYTES;
        if self.unsynced_bytes > UNSYNCED_BYTES_MAX {
            self.sync();
        }
    }

    /// Brings every change to the disk.
    pub(super) fn sync(&mut self) {
        self.keep_until(u64::MAX);
    }

    /// Forgets that the changes have to come to the disk, and goes on showing them: after a
    /// failed fsync, Linux takes the pages for clean, and the next fsync succeeds without them.
    pub(super) fn fail_to_sync(&mut self) {
        self.unsynced = Vec::new();
        self.unsynced_bytes = 0;
    }

    /// When changes were made that the disk does not have.
    pub(super) fn unsynced(&self) -> impl Iterator<Item = u64> {
        self.unsynced.iter().map(|change| change.at)
    }

    /// Brings the changes before that moment to the disk, and drops the others.
    pub(super) fn keep_until(&mut self, moment: u64) {
        self.unsynced_bytes = 0;
        for change in mem::take(&mut self.unsynced) {
            if change.at < moment {
                match change.kind {
                    Kind::Write { offset, bytes } => self.durable.write(offset, &bytes),
                    Kind::Resize(size) => self.durable.resize(size),
                }
            }
        }
    }

    /// Brings each sector to the disk as it was after some change, and the size as it was after
    /// another one.
    pub(super) fn tear(&mut self, rng: &mut Rng) {
        let changes = mem::take(&mut self.unsynced);
        self.unsynced_bytes = 0;
        let mut torn = Torn { cuts: BTreeMap::new(), changes: changes.len(), rng };
        let (size_cut, mut size) = (torn.cut(), self.durable.size);
        for (number, change) in changes.into_iter().enumerate() {
            match change.kind {
                Kind::Write { offset, bytes } => {
                    for piece in pieces(offset, bytes.len(), SECTOR_BYTES) {
                        if torn.keeps(number, piece.unit) {
                            let position = piece.unit * SECTOR_BYTES as u64 + piece.within as u64;
                            self.durable.write(position, &bytes[piece.bytes]);
                        }
                    }
                    if number < size_cut {
                        size = size.max(offset + bytes.len() as u64);
                    }
                }
                Kind::Resize(resized) => {
                    torn.cut_off(number, resized, &mut self.durable);
                    if number < size_cut {
                        size = resized;
                    }
                }
            }
        }
        self.durable.resize(size);
    }

    /// Shows what the disk has.
    pub(super) fn restart(&mut self) {
        self.current = self.durable.clone();
    }
}

/// Up to which change each sector came to the disk.
struct Torn<'a> {
    cuts: BTreeMap<u64, usize>,
    changes: usize,
    rng: &'a mut Rng,
}

impl Torn<'_> {
    /// None, all, or some of the changes, in order.
    fn cut(&mut self) -> usize {
        match self.rng.u8(..4) {
            0 => 0,
            1 => self.changes,
            _ => self.rng.usize(..=self.changes),
        }
    }

    fn keeps(&mut self, change: usize, sector: u64) -> bool {
        if let Some(&cut) = self.cuts.get(&sector) {
            return change < cut;
        }
        let cut = self.cut();
        self.cuts.insert(sector, cut);
        change < cut
    }

    /// Empties the sectors behind the new end that know of it.
    fn cut_off(&mut self, change: usize, size: u64, content: &mut Content) {
        let first_page = size / PAGE_BYTES as u64;
        let pages: Vec<_> = content.pages().filter(|&page| page >= first_page).collect();
        for page in pages {
            for piece in pieces(page * PAGE_BYTES as u64, PAGE_BYTES, SECTOR_BYTES) {
                let begin = (piece.unit * SECTOR_BYTES as u64).max(size);
                let end = (piece.unit + 1) * SECTOR_BYTES as u64;
                if begin < end && self.keeps(change, piece.unit) {
                    content.write(begin, &[0; SECTOR_BYTES][..index(end - begin)]);
                }
            }
        }
    }
}
