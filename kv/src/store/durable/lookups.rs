//! How long it takes to find what a write replaces: whether that is worth sharing among threads.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What takes longer has come from the disk, as a rule.
const SLOW_MIN: Duration = Duration::from_micros(40);
/// Look-ups that are judged together.
const WINDOW: u32 = 256;
/// They are slow if more than one of so many is.
const SLOW_PART: u32 = 8;
/// And fast if fewer are; in between nothing changes.
const FAST_PART: u32 = 16;

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

    /// Whether look-ups go to the disk; nothing as long as that cannot be told.
    pub(super) fn are_slow(&self) -> Option<bool> {
        if self.all.load(Ordering::Relaxed) < WINDOW {
            return None;
        }
        let all = self.all.swap(0, Ordering::Relaxed);
        let slow = self.slow.swap(0, Ordering::Relaxed);
        let is_clear = slow > all / SLOW_PART || slow < all / FAST_PART;
        is_clear.then_some(slow > all / SLOW_PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_slow_look_ups_among_many_do_not_matter() {
        let lookups = Lookups::default();
        let note = |count: u32, took| (0..count).for_each(|_| lookups.note(took));
        let cases = [
            (0, Some(false)),
            (WINDOW / FAST_PART - 1, Some(false)),
            (WINDOW / FAST_PART, None),
            (WINDOW / SLOW_PART, None),
            (WINDOW / SLOW_PART + 1, Some(true)),
            (WINDOW - 1, Some(true)),
        ];
        for (slow, verdict) in cases {
            note(WINDOW - slow - 1, Duration::ZERO);
            note(slow, SLOW_MIN * 2);
            assert_eq!(lookups.are_slow(), None);
            note(1, Duration::ZERO);
            assert_eq!(lookups.are_slow(), verdict, "{slow} of {WINDOW}");
        }
    }
}
