//! Keys on their way out of a store: each shares the entry that the store keeps.

use bytes::Bytes;

use super::Version;
use super::entry::{Entry, NEVER};

/// A value as it was found.
#[derive(Clone)]
pub struct Found {
    pub(super) value: Entry,
    /// Milliseconds until it expires, if it does.
    pub ttl_ms: Option<u64>,
}

/// A key in a list or an export.
#[derive(Clone)]
pub struct Listed(pub(super) Entry);

impl Found {
    /// The entry for whoever reads it at that time.
    pub(super) fn of(entry: Entry, now_ms: u64) -> Self {
        Found { ttl_ms: entry.ttl_ms(now_ms), value: entry }
    }

    /// The JSON text.
    pub fn value(&self) -> &[u8] {
        self.value.value()
    }

    /// The JSON text, not copied.
    pub fn share(&self) -> Bytes {
        Bytes::from_owner(SharedValue(self.value.clone()))
    }

    /// When it was written.
    pub fn version(&self) -> Version {
        self.value.version()
    }
}

/// Keeps an entry for as long as somebody needs its value.
struct SharedValue(Entry);

impl AsRef<[u8]> for SharedValue {
    fn as_ref(&self) -> &[u8] {
        self.0.value()
    }
}

impl Listed {
    /// The key, which is UTF-8.
    pub fn key(&self) -> &[u8] {
        self.0.key()
    }

    /// The JSON text.
    pub fn value(&self) -> &[u8] {
        self.0.value()
    }

    /// When it was written.
    pub fn version(&self) -> Version {
        self.0.version()
    }

    /// When it expires, in milliseconds of Unix time, if it does.
    pub fn expires_at_ms(&self) -> Option<u64> {
        Some(self.0.deadline_ms()).filter(|at_ms| *at_ms != NEVER)
    }
}
