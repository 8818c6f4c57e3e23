//! How keys, their values and what the store knows of itself lie on the disk.
//!
//! A user's key holds no NUL, so what begins with one is the store's own: the state of the store,
//! and the keys in the order in which they expire. All numbers are big-endian; format 1.

use std::sync::Arc;

use crate::key::Key;
use crate::store::entry::{Entry, NEVER};
use crate::store::{Refused, Version};

/// Where the store keeps its state.
pub(super) const STATE_KEY: &[u8] = b"\0s";
/// What the keys of the order of expiry begin with; the deadline follows, and then the key.
const EXPIRY: &[u8] = b"\0x";
/// The first byte that a user's key can have.
pub(super) const USER_KEYS: &[u8] = b"\x01";

const STATE_FORMAT: u8 = 1;

/// What one group of writes leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// The last version that was given out.
    pub(super) version: Version,
    /// All up to this version was on the disk when this was written.
    pub(super) synced: Version,
    /// Keys that are kept, the expired ones that are not removed yet included.
    pub(super) keys: u64,
}

impl State {
    pub(super) fn encode(&self) -> [u8; 25] {
        let mut bytes = [STATE_FORMAT; 25];
        bytes[1..9].copy_from_slice(&self.version.0.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.synced.0.to_be_bytes());
        bytes[17..].copy_from_slice(&self.keys.to_be_bytes());
        bytes
    }

    /// `None` when the bytes are no state of this format.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&STATE_FORMAT, rest) = bytes.split_first()? else { return None };
        let (version, rest) = take_u64(rest)?;
        let (synced, rest) = take_u64(rest)?;
        let (keys, rest) = take_u64(rest)?;
        let state = State { version: Version(version), synced: Version(synced), keys };
        rest.is_empty().then_some(state)
    }
}

/// The stored form of an entry's value: version, deadline, JSON text.
pub(super) fn encode(entry: &Entry, into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&entry.version().0.to_be_bytes());
    into.extend_from_slice(&entry.deadline_ms().to_be_bytes());
    into.extend_from_slice(entry.value());
}

/// The entry that was stored under the key.
pub(super) fn decode(key: &[u8], stored: &[u8]) -> Result<Entry, Refused> {
    let parts = take_u64(stored).and_then(|(version, rest)| {
        let (deadline_ms, value) = take_u64(rest)?;
        (deadline_ms <= NEVER).then(|| Entry::of_bytes(key, value, Version(version), deadline_ms))
    });
    parts.ok_or_else(|| {
        let key = String::from_utf8_lossy(key);
        Refused::Damaged(Arc::from(format!("what is stored under '{key}' is no record")))
    })
}

/// The key in the order of expiry.
pub(super) fn expiry_key(deadline_ms: u64, key: &[u8]) -> Vec<u8> {
    [EXPIRY, &deadline_ms.to_be_bytes(), key].concat()
}

/// The part of the order of expiry from one deadline to another, both included.
pub(super) fn expiries(from_ms: u64, to_ms: u64) -> std::ops::Range<Vec<u8>> {
    expiry_key(from_ms, b"")..expiry_key(to_ms.saturating_add(1), b"")
}

/// The deadline and the user's key of a key in the order of expiry.
pub(super) fn decode_expiry(key: &[u8]) -> Option<(u64, Key<'_>)> {
    let (deadline_ms, key) = take_u64(key.strip_prefix(EXPIRY)?)?;
    Some((deadline_ms, Key::kept(std::str::from_utf8(key).ok()?)))
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), rest))
}
