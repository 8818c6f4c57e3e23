//! What every store promises.
//!
//! - Each call is one atomic step, and the steps on a key are linearizable: a call takes effect
//!   at one point between its begin and the call of `done` (Herlihy and Wing, 1990).
//! - A value is kept as the exact JSON text that came.
//! - `done` is called once, with the outcome, on any thread: at once by a store in memory, later
//!   by one that waits for a disk or a peer. No lock is held meanwhile.

mod memory;

use std::sync::Arc;

pub use memory::Memory;

use crate::key::Key;

/// JSON text, shared so that a read copies nothing under a lock.
pub type Value = Arc<str>;

/// Keeps values under keys.
pub trait Store: Send + Sync + 'static {
    /// Keeps `value`, which is valid JSON text, under `key`, in place of what was there.
    fn put(&self, key: &Key<'_>, value: &str, done: impl FnOnce() + Send + 'static);

    /// Looks the key up; `done` gets the key back, and its value if it has one.
    fn get(&self, key: &Key<'_>, done: impl FnOnce(&Key<'_>, Option<Value>) + Send + 'static);

    /// Removes the key; `done` gets the key back, and whether it had a value.
    fn delete(&self, key: &Key<'_>, done: impl FnOnce(&Key<'_>, bool) + Send + 'static);

    /// The number of keys that have a value.
    fn len(&self) -> usize;

    /// Whether no key has a value.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
