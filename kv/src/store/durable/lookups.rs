//! How long it takes to find what a write replaces: whether that is worth sharing among threads.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What takes longer has come from the disk.
const SLOW_MIN: Duration = Duration::from_micros(40);
/// Look-ups that are judged together.
const WINDOW: u32 = 256;
/// They are slow if one of so many is.
const SLOW_PART: u32 = 8;

/// Look-ups since the last judgement.
#[derive(Default)]
pub(super) struct Lookups {
    all: AtomicU32,
    slow: AtomicU32,
}

impl Lookups {
    /// A look-up has taken so long.
    pub(super) fn note(&self, took: Duration) {
        if took > SLOW_MIN {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
        self.all.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether look-ups go to the disk; nothing until there are enough to tell.
    pub(super) fn are_slow(&self) -> Option<bool> {
        let all = self.all.load(Ordering::Relaxed);
        if all < WINDOW {
            return None;
        }
        self.all.store(0, Ordering::Relaxed);
        let slow = self.slow.swap(0, Ordering::Relaxed);
        Some(slow > all / SLOW_PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_slow_look_ups_among_many_are_no_matter() {
        let lookups = Lookups::default();
        let note = |count: u32, took| (0..count).for_each(|_| lookups.note(took));
        let cases = [(0, false), (WINDOW / SLOW_PART, false), (WINDOW / SLOW_PART + 1, true)];
        for (slow, verdict) in cases {
            note(WINDOW - slow - 1, Duration::ZERO);
            note(slow, SLOW_MIN * 2);
            assert_eq!(lookups.are_slow(), None);
            note(1, Duration::ZERO);
            assert_eq!(lookups.are_slow(), Some(verdict), "{slow} of {WINDOW}");
        }
    }
}
