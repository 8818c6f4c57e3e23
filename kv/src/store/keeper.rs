//! The thread that removes what has expired and ends waiting that is over.
//!
//! It holds the lock for a small number of entries at a time, so that nobody waits long for it. A
//! read does not depend on it: what has expired is absent at its time, removed or not.

use std::io;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::waiters::{Looked, Waiters};
use super::{Wait, Waiter};
use crate::key::Key;

/// Entries that are removed under one lock.
const SWEEP_MAX: usize = 128;
/// Between two looks at those who wait: for their time, and whether they are still there.
const WAITERS_TICK: Duration = Duration::from_millis(20);
/// Without anything to expect it sleeps until it is poked.
const IDLE: Duration = Duration::from_secs(3600);

/// How others reach the thread.
pub(super) struct Keeper {
    poke: Sender<()>,
    /// When it means to wake up, on the store's clock.
    wakes_ms: AtomicU64,
}

impl Keeper {
    pub(super) fn new() -> (Self, Receiver<()>) {
        let (poke, pokes) = bounded(1);
        (Keeper { poke, wakes_ms: AtomicU64::new(u64::MAX) }, pokes)
    }

    /// Has it wake up at that time at the latest.
    pub(super) fn expect(&self, at_ms: u64) {
        if at_ms < self.wakes_ms.load(Ordering::SeqCst) {
            // Full means that it has been poked already.
            let _ = self.poke.try_send(());
        }
    }
}

/// A store that is looked after.
pub(super) trait Tended: Send + Sync + 'static {
    /// How to reach the thread that does so.
    fn keeper(&self) -> &Keeper;
    /// Who waits for its keys.
    fn waiters(&self) -> &Waiters;
    /// Milliseconds on its clock.
    fn now_ms(&self) -> u64;
    /// The state of a key.
    fn look(&self, key: &Key<'_>) -> Looked;
    /// Removes so many of the entries that have expired, at most; says how many those were.
    fn sweep(&self, entries_max: usize) -> usize;
    /// When the next entry expires.
    fn next_deadline_ms(&self) -> Option<u64>;

    /// Has the keeper look after what happens in so long.
    fn expect(&self, within: Duration) {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.keeper().expect(self.now_ms().saturating_add(within_ms));
    }

    /// Answers those who wait for the key and do not know its state.
    fn wake(&self, key: &Key<'_>) {
        self.waiters().wake(key, |key| self.look(key));
    }

    /// Keeps a waiter, whose answer may be there already.
    fn wait(&self, key: &Key<'_>, wait: Wait, waiter: Box<dyn Waiter>) {
        let timeout_ms = u64::try_from(wait.timeout.as_millis()).unwrap_or(u64::MAX >> 1);
        // The clock is cut to whole milliseconds, and no wait ends before its time.
        let deadline_ms = self.now_ms().saturating_add(timeout_ms).saturating_add(1);
        self.waiters().register(key, wait, deadline_ms, waiter);
        self.wake(key);
        self.expect(WAITERS_TICK);
    }

    /// Answers all who wait, as if their time was over.
    fn release_waiters(&self) {
        self.waiters().release(|key| self.look(key));
    }
}

/// Starts the thread, which ends when the store has gone.
pub(super) fn start<T: Tended>(store: Weak<T>, pokes: Receiver<()>) -> io::Result<()> {
    let run = move || {
        let mut pause = Duration::ZERO;
        while let Ok(()) | Err(RecvTimeoutError::Timeout) = pokes.recv_timeout(pause) {
            let Some(store) = store.upgrade() else { return };
            pause = tend(&*store);
        }
    };
    thread::Builder::new().name("keeper".to_owned()).stack_size(128 << 10).spawn(run).map(drop)
}

/// Does what is due, and says how long it may sleep.
fn tend(store: &impl Tended) -> Duration {
    // From here on every deadline is either seen below or poked for.
    store.keeper().wakes_ms.store(u64::MAX, Ordering::SeqCst);
    while store.sweep(SWEEP_MAX) == SWEEP_MAX {
        thread::yield_now();
    }
    let waiting = store.waiters().len() > 0;
    if waiting {
        store.waiters().expire(store.now_ms(), |key| store.look(key));
    }
    let now_ms = store.now_ms();
    let until_expiry = store.next_deadline_ms().map(|at_ms| at_ms.saturating_sub(now_ms));
    let pause = until_expiry.map_or(IDLE, Duration::from_millis).min(IDLE);
    let pause = if waiting { pause.min(WAITERS_TICK) } else { pause };
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or_default();
    store.keeper().wakes_ms.store(now_ms.saturating_add(pause_ms), Ordering::SeqCst);
    pause
}
