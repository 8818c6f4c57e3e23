//! Lets several workers begin at the same moment, again and again.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one waits for the others: longer than a call takes that gets no answer.
const WAIT_MAX: Duration = Duration::from_secs(12);

/// Where workers wait for each other. One that does not come delays the others once only.
pub(super) struct Gate {
    state: Mutex<State>,
    opened: Condvar,
}

struct State {
    expected: usize,
    waiting: usize,
    round: u64,
}

impl Gate {
    pub(super) fn new(workers: usize) -> Gate {
        let state = State { expected: workers, waiting: 0, round: 0 };
        Gate { state: Mutex::new(state), opened: Condvar::new() }
    }

    /// Waits until all are here.
    pub(super) fn wait(&self) {
        let until = Instant::now() + WAIT_MAX;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let round = state.round;
        state.waiting += 1;
        while state.round == round {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Who has not come by now does not come any more.
                state.expected = state.waiting;
            }
            if state.waiting >= state.expected {
                state.waiting = 0;
                state.round += 1;
                self.opened.notify_all();
                return;
            }
            let waited = self.opened.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
