//! How a value is kept in etcd: what etcd does not keep itself, and the JSON text behind it. Pure.
//!
//! A version is the store's origin and etcd's revision of the transaction that wrote the value,
//! times [`VERSIONS_A_REVISION`], so that all writes that travel in one transaction have a version of
//! their own. The origin is kept with each value: what changes it leaves older versions as they are.

use std::sync::Arc;

use crate::key::Key;
use crate::store::entry::Entry;
use crate::store::{Refused, Version};

/// Writes in one transaction at most, and how much a revision of etcd counts in versions.
pub(super) const VERSIONS_A_REVISION: u64 = 64;

/// The mark of a value whose version is counted from the revision, and of one that was imported
/// with a version of its own. The first byte says too which form of these bytes it is.
const COUNTED: u8 = 1;
const GIVEN: u8 = 2;
/// The mark, the version's base and the deadline.
pub(super) const HEADER_BYTES: usize = 1 + 8 + 8;

/// What a value's version is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// So many more than its revision gives.
    Counted(u64),
    /// The version itself.
    Given(Version),
}

impl Base {
    /// The base of the last write of a transaction, with the store's origin.
    pub(super) fn last(origin: u64) -> Self {
        Base::Counted(origin.saturating_add(VERSIONS_A_REVISION - 1))
    }

    /// The base of the write that has so many others behind it in its transaction.
    pub(super) fn before(origin: u64, others: usize) -> Self {
        let others = u64::try_from(others).unwrap_or_default();
        let index = (VERSIONS_A_REVISION - 1).saturating_sub(others);
        Base::Counted(origin.saturating_add(index))
    }

    /// The version of what a transaction with this revision writes.
    pub(super) fn version(self, revision: u64) -> Version {
        match self {
            Base::Counted(base) => {
                Version(base.saturating_add(revision.saturating_mul(VERSIONS_A_REVISION)))
            }
            Base::Given(version) => version,
        }
    }
}

/// The bytes that etcd keeps. The deadline is in milliseconds of Unix time.
pub(super) fn encode(base: Base, deadline_ms: u64, json: &[u8]) -> Vec<u8> {
    let (mark, number) = match base {
        Base::Counted(base) => (COUNTED, base),
        Base::Given(version) => (GIVEN, version.0),
    };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + json.len());
    bytes.push(mark);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&deadline_ms.to_be_bytes());
    bytes.extend_from_slice(json);
    bytes
}

/// The entry that these bytes are, written at that revision under that key.
pub(super) fn decode(key: &[u8], bytes: &[u8], revision: u64) -> Result<Entry, Refused> {
    let damaged = |what: &str| {
        let key = String::from_utf8_lossy(key);
        Refused::Damaged(Arc::from(format!("key '{key}' in etcd {what}")))
    };
    let is_key = std::str::from_utf8(key).is_ok_and(|key| Key::new(key).is_ok());
    if !is_key {
        return Err(damaged("is no key of kv"));
    }
    let (mark, rest) = bytes.split_first().ok_or_else(|| damaged("is empty"))?;
    let (number, rest) = rest.split_first_chunk().ok_or_else(|| damaged("is too short"))?;
    let (deadline, json) = rest.split_first_chunk().ok_or_else(|| damaged("is too short"))?;
    let number = u64::from_be_bytes(*number);
    let base = match *mark {
        COUNTED => Base::Counted(number),
        GIVEN => Base::Given(Version(number)),
        _ => return Err(damaged("was not written by kv")),
    };
    if std::str::from_utf8(json).is_err() {
        return Err(damaged("is not UTF-8"));
    }
    let deadline_ms = u64::from_be_bytes(*deadline);
    Ok(Entry::of_bytes(key, json, base.version(revision), deadline_ms.min(super::NEVER)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::NEVER;

    #[test]
    fn what_is_encoded_is_decoded() {
        #[track_caller]
        fn check(base: Base, deadline_ms: u64, version: u64) {
            let entry = decode(b"k", &encode(base, deadline_ms, b"[1]"), 3).unwrap_or_else(|_| {
                panic!("{base:?} is read back");
            });
            assert_eq!((entry.key(), entry.value()), (&b"k"[..], &b"[1]"[..]));
            assert_eq!((entry.version().0, entry.deadline_ms()), (version, deadline_ms));
        }
        check(Base::last(1000), NEVER, 1000 + 3 * 64 + 63);
        check(Base::before(1000, 0), 5, 1000 + 3 * 64 + 63);
        check(Base::before(1000, 63), 5, 1000 + 3 * 64);
        check(Base::Given(Version(7)), 1, 7);
    }

    #[test]
    fn what_kv_did_not_write_is_named() {
        #[track_caller]
        fn check(key: &[u8], bytes: &[u8], what: &str) {
            let text = decode(key, bytes, 1).err().expect("a refusal").to_string();
            assert!(text.contains(what), "{text}");
        }
        let good = encode(Base::last(0), NEVER, b"1");
        check(b"", &good, "is no key");
        check(b"\xff", &good, "is no key");
        check(b"k", b"", "key 'k' in etcd is empty");
        check(b"k", b"\x01234", "too short");
        check(b"k", &[b'{'; 30], "was not written by kv");
        check(b"k", &encode(Base::last(0), NEVER, b"\xff"), "UTF-8");
    }
}
