//! Stopping a run from outside, at once: whoever sleeps wakes, and a call that waits ends.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::Agent;

/// The wish that a run stops. Shared by all its threads.
#[derive(Debug, Default)]
pub struct Cancel {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    /// Those whose calls are to be ended.
    agents: Vec<(u64, Agent)>,
    registered: u64,
}

impl Cancel {
    /// Stops the run: wakes who sleeps and ends the calls under way, which are unknown then.
    pub fn cancel(&self) {
        let agents = {
            let mut state = self.state();
            state.wanted = true;
            std::mem::take(&mut state.agents)
        };
        self.changed.notify_all();
        for (_, agent) in agents {
            agent.shutdown();
        }
    }

    /// Whether the run is to stop.
    pub fn is_wanted(&self) -> bool {
        self.state().wanted
    }

    /// Sleeps until then, or until the run is to stop; false then.
    pub fn sleep_until(&self, then: Instant) -> bool {
        let mut state = self.state();
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if state.wanted || left.is_zero() {
                return !state.wanted;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The same for a duration.
    pub fn sleep(&self, duration: Duration) -> bool {
        self.sleep_until(Instant::now() + duration)
    }

    /// The calls of this agent end when the run is to stop. The number takes it out again.
    pub(super) fn register(&self, agent: &Agent) -> u64 {
        let mut state = self.state();
        if state.wanted {
            agent.clone().shutdown();
        }
        state.registered += 1;
        let number = state.registered;
        state.agents.push((number, agent.clone()));
        number
    }

    pub(super) fn forget(&self, number: u64) {
        self.state().agents.retain(|(known, _)| *known != number);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step; a panic leaves none half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
