//! The bytes of a file, page by page: a hole takes no memory, however large it is.
//!
//! Invariant: bytes behind the end are zero, so that a file that grows again shows zeros there.

use std::collections::BTreeMap;
use std::iter;
use std::ops::Range;

/// What space is given out in.
pub(super) const PAGE_BYTES: usize = 4096;

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) size: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
}

/// A part of some bytes that lies in one unit: a page, a sector.
#[derive(Debug)]
pub(super) struct Piece {
    /// The unit's number.
    pub(super) unit: u64,
    /// Where the part begins in the unit.
    pub(super) within: usize,
    /// The part.
    pub(super) bytes: Range<usize>,
}

/// Cuts `length` bytes at `offset` where units end.
pub(super) fn pieces(
    offset: u64,
    length: usize,
    unit_bytes: usize,
) -> impl Iterator<Item = Piece> + use<> {
    let mut done = 0;
    iter::from_fn(move || {
        let position = offset + done as u64;
        let within = index(position % unit_bytes as u64);
        let bytes = done..length.min(done + unit_bytes - within);
        done = bytes.end;
        (!bytes.is_empty()).then(|| Piece { unit: position / unit_bytes as u64, within, bytes })
    })
}

/// A number that is known to be the length of something in memory.
pub(super) fn index(number: u64) -> usize {
    usize::try_from(number).expect("memory is addressed by 64 bits")
}

impl Content {
    /// At most `length` bytes; fewer at the end of the file.
    pub(super) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let there = self.size.saturating_sub(offset).min(length as u64);
        let mut bytes = vec![0; index(there)];
        for piece in pieces(offset, bytes.len(), PAGE_BYTES) {
            if let Some(page) = self.pages.get(&piece.unit) {
                let count = piece.bytes.len();
                bytes[piece.bytes].copy_from_slice(&page[piece.within..piece.within + count]);
            }
        }
        bytes
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for piece in pieces(offset, bytes.len(), PAGE_BYTES) {
            let page = self.page(piece.unit);
            page[piece.within..piece.within + piece.bytes.len()]
                .copy_from_slice(&bytes[piece.bytes]);
        }
        self.size = self.size.max(offset + bytes.len() as u64);
    }

    /// Cuts off, or grows by a hole.
    pub(super) fn resize(&mut self, size: u64) {
        if size < self.size {
            let within = index(size % PAGE_BYTES as u64);
            if let Some(page) = self.pages.get_mut(&(size / PAGE_BYTES as u64)) {
                page[within..].fill(0);
            }
            self.pages.split_off(&size.div_ceil(PAGE_BYTES as u64));
        }
        self.size = size;
    }

    /// Gives the range its pages; `length` is not 0.
    pub(super) fn allocate(&mut self, offset: u64, length: u64) {
        for unit in page_numbers(offset, length) {
            self.page(unit);
        }
    }

    /// How many of these bytes can be written when so much space is left.
    pub(super) fn fitting(&self, offset: u64, length: u64, bytes_left: u64) -> u64 {
        let mut missing =
            page_numbers(offset, length).filter(|unit| !self.pages.contains_key(unit));
        match missing.nth(index(bytes_left / PAGE_BYTES as u64)) {
            None => length,
            Some(unit) => (unit * PAGE_BYTES as u64).saturating_sub(offset),
        }
    }

    /// Where the first hole from `offset` on begins, which is in the file; at its end there is one.
    pub(super) fn hole(&self, offset: u64) -> u64 {
        let mut unit = offset / PAGE_BYTES as u64;
        while self.pages.contains_key(&unit) {
            unit += 1;
        }
        (unit * PAGE_BYTES as u64).clamp(offset, self.size)
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        (self.pages.len() * PAGE_BYTES) as u64
    }

    /// The pages that are more than a hole.
    pub(super) fn pages(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().copied()
    }

    fn page(&mut self, number: u64) -> &mut [u8; PAGE_BYTES] {
        self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE_BYTES]))
    }
}

fn page_numbers(offset: u64, length: u64) -> Range<u64> {
    offset / PAGE_BYTES as u64..(offset + length).div_ceil(PAGE_BYTES as u64)
}
