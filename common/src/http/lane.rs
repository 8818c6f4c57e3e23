//! Connections that a thread of the service's own serves instead of a worker.
//!
//! A service that hands what changes something to one thread, which answers it, has two threads
//! woken for each request, and with few cores they stand in each other's way. So the connections
//! of clients that do nothing but write move to a set of their own, which that thread looks at
//! whenever it comes round to it: it finds many requests at once and is woken for none of them.
//!
//! Invariants: a connection's events come from one of the two sets, but for the moment of its move,
//! when a worker and the lane's thread may both be told of it; whoever takes it first serves it.
//! The thread serves what is small, came whole and may change something, and is answered late; with
//! anything else the connection goes back to the workers. So it does when the thread is away for
//! too long: it may wait for a disk, and who reads does not wait with it.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use rustix::event::epoll::EventFlags;

use super::engine::{Core, Poller, Slots, Wake, millis};
use super::slot::{QUIET, Slot};
use super::worker::Worker;
use super::{Lane, Limits, Service};

/// Requests that may change something and were answered by another thread than their worker, in a
/// row, after which a connection moves to the lane.
pub(super) const LATE_MIN: u8 = 16;
/// With more workers than this they read faster than one thread can.
const WORKERS_MAX: usize = 2;
/// How long the thread may be away from a lane before the workers take its connections back.
const AWAY_MAX: Duration = Duration::from_millis(100);
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 64;
/// Bytes of a request that the thread serves: reading what is larger is work for many.
const INPUT_BYTES: usize = 16 << 10;

/// The event that tells workers to take connections back.
pub(super) const TAKE_BACK: u64 = u64::MAX - 1;
/// The event that wakes the thread.
const WAKE: u64 = u64::MAX;

/// The set of connections.
pub(super) struct LaneSet {
    poller: Poller,
    alarm: Arc<Alarm>,
    /// Whether there is a thread that serves it.
    open: AtomicBool,
    /// Since when that thread has been away, in milliseconds of the core's clock; `NEVER` while it
    /// is there.
    away_since: AtomicU64,
}

const NEVER: u64 = u64::MAX;

/// Wakes the thread while it waits; otherwise it does not wait the next time.
struct Alarm {
    wake: Wake,
    /// `AWAKE`, `WAITING` or `WOKEN`.
    state: AtomicU8,
}

const AWAKE: u8 = 0;
const WAITING: u8 = 1;
const WOKEN: u8 = 2;

impl LaneSet {
    /// A set beside that of the workers, if those are few enough for it.
    pub(super) fn beside(workers: &Poller, limits: &Limits) -> io::Result<Option<Self>> {
        if limits.workers > WORKERS_MAX {
            return Ok(None);
        }
        let (poller, wake, state) = (Poller::new()?, Wake::new()?, AtomicU8::new(AWAKE));
        // Each wake-up is reported once, so nobody need clear it.
        poller.add(&wake, WAKE, EventFlags::IN.union(EventFlags::ET))?;
        workers.add(&poller, TAKE_BACK, QUIET)?;
        Ok(Some(LaneSet {
            poller,
            alarm: Arc::new(Alarm { wake, state }),
            open: AtomicBool::new(false),
            away_since: AtomicU64::new(NEVER),
        }))
    }

    pub(super) fn poller(&self) -> &Poller {
        &self.poller
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Has the workers take back whose requests come while the thread is away for too long. Called
    /// now and then.
    fn watch(&self, core: &Core) {
        let since = self.away_since.load(Ordering::Relaxed);
        if since.saturating_add(millis(AWAY_MAX)) <= core.now_ms() {
            let once = EventFlags::IN.union(EventFlags::ONESHOT);
            if let Err(error) = core.poller.modify(&self.poller, TAKE_BACK, once) {
                log::error!("cannot look after the connections of a thread that waits: {error}");
            }
        }
    }

    /// Gives the workers the connections that have something to be read.
    pub(super) fn take_back(&self, slots: &Slots) {
        let mut space = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        let mut was_woken = false;
        while let Ok(events @ [_, ..]) = self.poller.wait(&mut space, Some(Duration::ZERO)) {
            for event in events {
                let data = event.data.u64();
                was_woken |= data == WAKE;
                if let Some((slot, generation)) = slots.of_event(data) {
                    slot.give_back(generation);
                }
            }
        }
        // That was for the thread, which has just come back perhaps.
        if was_woken {
            self.alarm.wake.wake();
        }
    }
}

/// Looks after the lane, if there is one.
pub(super) fn watch(core: &Core) {
    if let Some(lane) = &core.lane {
        lane.watch(core);
    }
}

/// The lane, for its thread.
pub(super) struct Attendant<S: ?Sized> {
    worker: Worker<S>,
}

impl<S: Service + ?Sized> Attendant<S> {
    /// A lane that is open from now on; none where it would be of no use.
    pub(super) fn open(core: &Arc<Core>, slots: &Arc<Slots>, service: &Arc<S>) -> Option<Self> {
        let set = core.lane.as_ref()?;
        set.open.store(true, Ordering::Release);
        let (core, slots, service) = (Arc::clone(core), Arc::clone(slots), Arc::clone(service));
        Some(Attendant { worker: Worker::of_lane(core, slots, service, INPUT_BYTES) })
    }

    fn serve_within(&mut self, timeout: Duration, set: &LaneSet) -> io::Result<()> {
        let mut space = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        let timeout = if !timeout.is_zero() && set.alarm.begin_waiting() {
            // Whole milliseconds are what every kernel takes.
            Duration::from_millis(millis(timeout + Duration::from_nanos(999_999)))
        } else {
            Duration::ZERO
        };
        let events = set.poller.wait(&mut space, Some(timeout));
        set.alarm.end_waiting();
        for event in events? {
            if event.data.u64() != WAKE {
                self.worker.serve_event(event);
            }
        }
        Ok(())
    }
}

impl<S: Service + ?Sized> Lane for Attendant<S> {
    fn serve(&mut self, timeout: Duration) -> io::Result<()> {
        let core = Arc::clone(&self.worker.core);
        let Some(set) = &core.lane else { return Ok(()) };
        set.away_since.store(NEVER, Ordering::Relaxed);
        let served = self.serve_within(timeout, set);
        set.away_since.store(core.now_ms(), Ordering::Relaxed);
        served
    }

    fn waker(&self) -> Waker {
        let alarm = self.worker.core.lane.as_ref().map(|set| Arc::clone(&set.alarm));
        alarm.map_or_else(|| Waker::noop().clone(), Waker::from)
    }
}

impl Alarm {
    /// False if the thread is not to wait.
    fn begin_waiting(&self) -> bool {
        let waits =
            self.state.compare_exchange(AWAKE, WAITING, Ordering::AcqRel, Ordering::Acquire);
        waits.is_ok()
    }

    /// What the thread was woken for it sees now.
    fn end_waiting(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }
}

impl std::task::Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == WAITING {
            self.wake.wake();
        }
    }
}

impl Slot {
    /// Gives the connection of that generation back to the workers.
    fn give_back(&self, generation: u32) {
        if let Some(connection) = self.lock().of(generation) {
            self.leave_lane(connection, generation);
        }
    }
}

impl<S: ?Sized> Drop for Attendant<S> {
    fn drop(&mut self) {
        if let Some(set) = &self.worker.core.lane {
            set.open.store(false, Ordering::Release);
            set.away_since.store(NEVER, Ordering::Relaxed);
            for slot in self.worker.slots.iter() {
                let generation = slot.lock().generation;
                slot.give_back(generation);
            }
        }
    }
}
