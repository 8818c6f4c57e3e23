//! How far a run is, for who looks at it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The workflow that runs, and how many calls have been answered in all.
#[derive(Debug, Default)]
pub struct Watch {
    workflow: Mutex<&'static str>,
    calls: AtomicU64,
}

impl Watch {
    /// A workflow begins.
    pub fn begin(&self, name: &'static str) {
        *self.workflow.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// A call was answered.
    pub fn count(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// The workflow that runs, and the calls that were answered.
    pub fn look(&self) -> (&'static str, u64) {
        let name = *self.workflow.lock().unwrap_or_else(PoisonError::into_inner);
        (name, self.calls.load(Ordering::Relaxed))
    }
}
