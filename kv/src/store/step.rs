//! What the stores have in common: how one operation reads and changes an entry.

use std::ops::Bound;
use std::time::Duration;

use super::entry::{Entry, NEVER};
use super::{Done, Listed, Page, Refused, Selection, Version};
use crate::key::Key;

/// Bytes of keys and values in one page of a list; a page that would be larger ends early.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Bytes of values that a batch reads, unless a single one is larger: a client can name the same
/// large value a thousand times.
const BATCH_READ_BYTES_MAX: usize = 16 << 20;

/// The sum of the integer that the entry holds and `by`, and the entry that holds it then. An
/// absent one counts as 0.
pub(super) fn sum(
    before: Option<&Entry>,
    key: &Key<'_>,
    by: i64,
    version: Version,
) -> Result<(i64, Entry), Refused> {
    let deadline_ms = before.map_or(NEVER, Entry::deadline_ms);
    let value = match before {
        Some(entry) => integer(entry.value()).ok_or(Refused::NotAnInteger)?,
        None => 0,
    };
    let sum = value.checked_add(by).ok_or(Refused::Overflow)?;
    Ok((sum, Entry::new(key, &sum.to_string(), version, deadline_ms)))
}

/// The integer that JSON text is, if it is one.
fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The first millisecond in which the time is over, though it began late within `now_ms`: nothing
/// expires too early, and nothing a millisecond too late.
pub(super) fn deadline_ms(ttl: Option<Duration>, now_ms: u64) -> u64 {
    let Some(ttl) = ttl else { return NEVER };
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(NEVER);
    // One less than never, lest a far deadline becomes none.
    now_ms.saturating_add(ttl_ms).saturating_add(1).min(NEVER - 1)
}

/// What a batch has read so far.
#[derive(Default)]
pub(super) struct ReadLimit {
    bytes: usize,
}

impl ReadLimit {
    /// Counts what came of one operation more.
    pub(super) fn count(&mut self, done: Done) -> Result<Done, Refused> {
        if let Done::Get(Some(found)) = &done {
            let is_first = self.bytes == 0;
            self.bytes += found.value().len();
            if self.bytes > BATCH_READ_BYTES_MAX && !is_first {
                return Err(Refused::ReadsTooMuch(BATCH_READ_BYTES_MAX));
            }
        }
        Ok(done)
    }
}

impl Selection {
    /// Where its first key can be.
    pub(super) fn from(&self) -> Bound<&[u8]> {
        let prefix = self.prefix.as_bytes();
        match &self.after {
            Some(after) if after.as_bytes() >= prefix => Bound::Excluded(after.as_bytes()),
            Some(_) | None => Bound::Included(prefix),
        }
    }
}

/// The page that is selected, out of entries in order from [`Selection::from`] on.
pub(super) fn page<E>(
    selection: &Selection,
    entries: impl Iterator<Item = Result<Entry, E>>,
    now_ms: u64,
) -> Result<Page, E> {
    let mut listed: Vec<Listed> = Vec::with_capacity(selection.limit.min(128));
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        if !entry.key().starts_with(selection.prefix.as_bytes()) {
            break;
        }
        if !entry.is_live(now_ms) {
            continue;
        }
        let size = entry.key().len() + entry.value().len();
        let full = listed.len() == selection.limit || bytes + size > PAGE_BYTES_MAX;
        if let Some(last) = listed.last().filter(|_| full) {
            let more_after = Some(String::from_utf8_lossy(last.key()).into_owned());
            return Ok(Page { entries: listed, more_after });
        }
        bytes += size;
        listed.push(Listed(entry));
    }
    Ok(Page { entries: listed, more_after: None })
}
