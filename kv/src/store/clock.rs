//! The clock that the stores of this process go by.

use std::time::Instant;

use super::entry::NEVER;
use super::unix_ms;

/// Unix time in milliseconds as it was at the start, and what has passed since: it neither stops nor
/// goes back while the process lives, whatever is done to the date. So a deadline is a point in
/// Unix time too, and can be carried to another store.
pub(super) struct Clock {
    started_unix_ms: u64,
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Clock { started_unix_ms: unix_ms(), started: Instant::now() }
    }

    /// Before every deadline that is never reached.
    pub(super) fn now_ms(&self) -> u64 {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER);
        self.started_unix_ms.saturating_add(passed).min(NEVER - 1)
    }
}
