//! What a check may still take: one clock and one count of bytes for all its threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::verdict::Reason;

#[derive(Debug)]
pub(super) struct Budget {
    deadline: Option<Instant>,
    bytes_max: usize,
    bytes: AtomicUsize,
    is_cancelled: AtomicBool,
}

impl Budget {
    pub(super) fn new(time: Duration, bytes_max: usize) -> Budget {
        Budget {
            // A time past the end of the clock is no limit.
            deadline: Instant::now().checked_add(time),
            bytes_max,
            bytes: AtomicUsize::new(0),
            is_cancelled: AtomicBool::new(false),
        }
    }

    /// Whether the time is over, or nobody waits for the answer any more.
    pub(super) fn time(&self) -> Result<(), Reason> {
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_late || self.is_cancelled.load(Ordering::Relaxed) {
            Err(Reason::Time)
        } else {
            Ok(())
        }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(super) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }
}

/// The bytes that one search holds.
#[derive(Debug)]
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl<'a> Share<'a> {
    pub(super) fn new(budget: &'a Budget) -> Share<'a> {
        Share { budget, bytes: 0 }
    }

    /// The search holds `bytes` now.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Reason> {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            let all = self.budget.bytes.fetch_add(more, Ordering::Relaxed).saturating_add(more);
            self.bytes = bytes;
            if all > self.budget.bytes_max {
                return Err(Reason::Memory);
            }
        } else {
            self.budget.bytes.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.bytes = bytes;
        }
        Ok(())
    }

    pub(super) fn time(&self) -> Result<(), Reason> {
        self.budget.time()
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
