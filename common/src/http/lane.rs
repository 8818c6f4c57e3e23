//! Connections that a thread of the service's own serves instead of a worker.
//!
//! Where one thread answers all that changes something, each such request wakes two threads, its
//! worker and that one, and with few cores they stand in each other's way. So the connections of
//! clients that do nothing but write move to a set of their own. The thread looks at it whenever it
//! comes round to it: the busier it is, the more requests it finds at once, and none of them has
//! woken it.
//!
//! Invariants: input is reported by one of the two sets, but for the moment of a move, when a worker
//! and the thread may both be told; whoever takes it first serves it. The thread serves what is
//! small, came whole, may change something and is not answered at once; with anything else the
//! connection goes back to the workers. So do all when the thread is away for too long, because it
//! waits for a disk perhaps: who has only written and reads now waits for that so long at most.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use rustix::event::epoll::EventFlags;

use super::engine::{Core, Poller, Slots, Wake, millis};
use super::worker::Worker;
use super::{Lane, Limits, Service};

/// Requests in a row for the thread, by all that is said above, after which a connection moves to
/// the lane.
pub(super) const LATE_MIN: u8 = 16;
/// With more workers than this they read faster than one thread can.
const WORKERS_MAX: usize = 2;
/// How long the thread may be away from its connections before the workers take them back.
const AWAY_MAX: Duration = Duration::from_millis(100);
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 64;
/// Bytes of a request that the thread serves: reading what is larger is work for many.
pub(super) const INPUT_BYTES: usize = 16 << 10;

/// The event that wakes the thread.
const WAKE: u64 = u64::MAX;

/// The set of connections.
pub(super) struct LaneSet {
    poller: Poller,
    notifier: Arc<Notifier>,
    /// Whether connections move to it: there is a thread, and it wants them.
    open: AtomicBool,
    /// Since when that thread has not waited for it, in milliseconds of the core's clock; `NEVER`
    /// while it does.
    away_since: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// Wakes the thread while it waits; otherwise it does not wait the next time.
struct Notifier {
    wake: Wake,
    /// `AWAKE`, `WAITING` or `NOTIFIED`.
    state: AtomicU8,
}

const AWAKE: u8 = 0;
const WAITING: u8 = 1;
const NOTIFIED: u8 = 2;

impl LaneSet {
    /// A set for a server with these limits; none where it would be of no use.
    pub(super) fn new(limits: &Limits) -> io::Result<Option<Arc<Self>>> {
        if limits.workers > WORKERS_MAX {
            return Ok(None);
        }
        let (poller, wake, state) = (Poller::new()?, Wake::new()?, AtomicU8::new(AWAKE));
        // Each wake-up is reported once, so nobody need clear it.
        poller.add(&wake, WAKE, EventFlags::IN.union(EventFlags::ET))?;
        Ok(Some(Arc::new(LaneSet {
            poller,
            notifier: Arc::new(Notifier { wake, state }),
            open: AtomicBool::new(false),
            away_since: AtomicU64::new(NEVER),
        })))
    }

    pub(super) fn poller(&self) -> &Poller {
        &self.poller
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }
}

/// Has the workers take back all connections from a thread that has been away for too long. Called
/// now and then.
pub(super) fn watch(core: &Core, slots: &Slots) {
    let since = core.lane.as_ref().map_or(NEVER, |set| set.away_since.load(Ordering::Relaxed));
    if since.saturating_add(millis(AWAY_MAX)) <= core.now_ms() {
        give_back(slots);
    }
}

/// Has the workers serve all connections.
fn give_back(slots: &Slots) {
    for slot in slots.iter() {
        let mut state = slot.lock();
        let generation = state.generation;
        if let Some(connection) = &mut state.connection {
            slot.leave_lane(connection, generation);
        }
    }
}

/// What the thread serves the lane with.
pub(super) struct LaneWorker<S> {
    set: Arc<LaneSet>,
    worker: Worker<S>,
}

impl<S: Service> LaneWorker<S> {
    /// Opens the lane, if there is one.
    pub(super) fn open(core: &Arc<Core>, slots: &Arc<Slots>, service: &Arc<S>) -> Option<Self> {
        let set = Arc::clone(core.lane.as_ref()?);
        set.open.store(true, Ordering::Release);
        let (core, slots, service) = (Arc::clone(core), Arc::clone(slots), Arc::clone(service));
        Some(LaneWorker { set, worker: Worker::of_lane(core, slots, service) })
    }
}

impl<S: Service> Lane for LaneWorker<S> {
    fn serve(&mut self, timeout: Duration) -> io::Result<()> {
        let LaneWorker { set, worker } = self;
        let mut space = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        set.away_since.store(NEVER, Ordering::Relaxed);
        let timeout = if !timeout.is_zero() && set.notifier.begin_waiting() {
            // Whole milliseconds are what every kernel takes.
            Duration::from_millis(millis(timeout).saturating_add(1))
        } else {
            Duration::ZERO
        };
        let events = set.poller.wait(&mut space, Some(timeout));
        set.notifier.end_waiting();
        set.away_since.store(worker.core.now_ms(), Ordering::Relaxed);
        for event in events? {
            if event.data.u64() != WAKE {
                worker.serve_event(event);
            }
        }
        Ok(())
    }

    fn set_open(&mut self, open: bool) {
        let was_open = self.set.open.swap(open, Ordering::AcqRel);
        if was_open && !open {
            give_back(&self.worker.slots);
        }
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.set.notifier))
    }
}

impl<S> Drop for LaneWorker<S> {
    fn drop(&mut self) {
        self.set.open.store(false, Ordering::Release);
        self.set.away_since.store(NEVER, Ordering::Relaxed);
        give_back(&self.worker.slots);
    }
}

impl Notifier {
    /// False if the thread is not to wait.
    fn begin_waiting(&self) -> bool {
        let begun =
            self.state.compare_exchange(AWAKE, WAITING, Ordering::AcqRel, Ordering::Acquire);
        begun.is_ok()
    }

    /// What the thread was woken for it sees now.
    fn end_waiting(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }
}

impl std::task::Wake for Notifier {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == WAITING {
            self.wake.wake();
        }
    }
}
