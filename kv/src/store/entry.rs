//! A key with its value, in one allocation, shared by the indexes and by whoever reads it.

use std::borrow::{Borrow, Cow};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use triomphe::ThinArc;

use super::Version;
use crate::key::{KEY_BYTES_MAX, Key};

/// Never changes once made: a write puts another entry in its place. Ordered and
/// compared by its key alone, so that sets can be searched by key.
#[derive(Clone)]
pub(super) struct Entry(ThinArc<Header, u8>);

/// What precedes the bytes of key and value.
struct Header {
    version: Version,
    /// The deadline on the table's clock in the upper 48 bits, `NEVER` without an expiry; the
    /// key's length in the lower 16.
    deadline_and_length: u64,
}

const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);

const LENGTH_BITS: u32 = u16::BITS;
/// The deadline of what does not expire: in the year 10889, and no deadline is later.
pub(super) const NEVER: u64 = u64::MAX >> LENGTH_BITS;

/// Bytes that an allocation of an entry has beside key and value: reference count, header, length,
/// and what the allocator keeps and rounds up.
const ALLOCATION_BYTES: usize = 8 + size_of::<Header>() + 8 + 16;
/// Bytes that the indexes need for an entry on average: a pointer in a hash table that is between
/// 7/16 and 7/8 full, and one in a B-tree whose nodes are between half and 2/3 full.
///
/// These sums are within 8 % of what the process grows by, with glibc and with musl, for values of
/// 10 bytes to 1 MiB: `tests/bench/memory.py` measures it.
const INDEX_BYTES: usize = 15 + 25;
/// The same for the index of expiring entries: a deadline and a pointer in a B-tree.
const EXPIRY_BYTES: usize = 20;

impl Entry {
    /// `deadline_ms` is at most `NEVER`.
    pub(super) fn new(key: &Key<'_>, value: &str, version: Version, deadline_ms: u64) -> Self {
        Entry::of_bytes(key.as_str().as_bytes(), value.as_bytes(), version, deadline_ms)
    }

    /// The same, of bytes that are a key and JSON text.
    pub(super) fn of_bytes(key: &[u8], value: &[u8], version: Version, deadline_ms: u64) -> Self {
        thread_local! {
            static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let length = key.len() as u64;
        let header = Header { version, deadline_and_length: deadline_ms << LENGTH_BITS | length };
        JOINED.with_borrow_mut(|joined| {
            joined.clear();
            joined.extend_from_slice(key);
            joined.extend_from_slice(value);
            let entry = Entry(ThinArc::from_header_and_slice(header, joined));
            if joined.capacity() > JOINED_KEPT_BYTES_MAX {
                *joined = Vec::new();
            }
            entry
        })
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.0.slice[..self.key_bytes()]
    }

    /// The key as it came.
    pub(super) fn key_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.key())
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.0.slice[self.key_bytes()..]
    }

    pub(super) fn version(&self) -> Version {
        self.0.header.header.version
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        self.0.header.header.deadline_and_length >> LENGTH_BITS
    }

    fn key_bytes(&self) -> usize {
        let length = self.0.header.header.deadline_and_length & u64::from(u16::MAX);
        usize::try_from(length).unwrap_or_default()
    }

    /// Whether it is there at that time, in milliseconds of the table's clock.
    pub(super) fn is_live(&self, now_ms: u64) -> bool {
        now_ms < self.deadline_ms()
    }

    /// Whole milliseconds left at that time; none when it does not expire.
    pub(super) fn ttl_ms(&self, now_ms: u64) -> Option<u64> {
        (self.deadline_ms() != NEVER).then(|| self.deadline_ms().saturating_sub(now_ms + 1))
    }

    /// Bytes of memory that the store needs for it, near enough for a limit.
    pub(super) fn cost(&self) -> usize {
        let expiry = if self.deadline_ms() == NEVER { 0 } else { EXPIRY_BYTES };
        self.0.slice.len() + ALLOCATION_BYTES + INDEX_BYTES + expiry
    }
}

/// A scratch buffer that grew past this for a large value is given back.
const JOINED_KEPT_BYTES_MAX: usize = 64 << 10;

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        self.key()
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
