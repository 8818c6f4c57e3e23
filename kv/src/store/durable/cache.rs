//! Entries that were read lately, so that a popular key costs no search in the tree.
//!
//! Invariant: what is here is what the published view has. So whoever looks holds the lock of the
//! published view; what a step changes is replaced while that lock is held for the next view; and
//! what was read from a view is put in only if that one is still published. The commit thread,
//! which alone publishes, needs no lock to look.

use std::hash::RandomState;

use quick_cache::Weighter;
use quick_cache::sync::{Cache as Quick, DefaultLifecycle};

use crate::store::entry::Entry;

/// Bytes that a place takes beside its entry.
const PLACE_BYTES: usize = 64;
/// What an entry takes on average, to have places enough at first.
const ENTRY_BYTES_EXPECTED: u64 = 256;

pub(super) struct Cache {
    entries: Quick<Entry, Entry, Cost, RandomState, DefaultLifecycle<Entry, Entry>>,
}

#[derive(Clone)]
struct Cost;

impl Weighter<Entry, Entry> for Cost {
    fn weight(&self, _: &Entry, entry: &Entry) -> u64 {
        (entry.cost() + PLACE_BYTES) as u64
    }
}

impl Cache {
    /// A cache of so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / ENTRY_BYTES_EXPECTED).unwrap_or(usize::MAX);
        let entries = Quick::with(
            items.max(1),
            bytes_max,
            Cost,
            RandomState::new(),
            DefaultLifecycle::default(),
        );
        Cache { entries }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Entry> {
        self.entries.get(key)
    }

    pub(super) fn put(&self, entry: Entry) {
        self.entries.insert(entry.clone(), entry);
    }

    /// Puts in an entry if its key is here already.
    pub(super) fn replace(&self, entry: Entry) {
        // One that is too large for the cache takes the place of nothing, and the old one is gone.
        let _ = self.entries.replace(entry.clone(), entry, true);
    }

    pub(super) fn remove(&self, key: &[u8]) {
        self.entries.remove(key);
    }
}
