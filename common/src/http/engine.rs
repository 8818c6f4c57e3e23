//! What the engine's threads share: the epoll set, the limits, the slots and the sums.

use std::io;
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::Limits;
use super::lane::LaneSet;
use super::slot::{Slot, index_and_generation};
use crate::metrics::Metrics;

/// A set of connections that threads wait on.
pub(super) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Poller { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    pub(super) fn add(&self, source: impl AsFd, data: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(data), flags)?)
    }

    pub(super) fn modify(&self, source: impl AsFd, data: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, source, EventData::new_u64(data), flags)?)
    }

    pub(super) fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Waits for events, for so long at most if that is given; as many are taken as there is space
    /// for.
    pub(super) fn wait<'e>(
        &self,
        space: &'e mut [MaybeUninit<epoll::Event>],
        timeout: Option<Duration>,
    ) -> io::Result<&'e [epoll::Event]> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.epoll, space, timeout.as_ref()) {
            Ok((events, _)) => Ok(events),
            Err(rustix::io::Errno::INTR) => Ok(&[]),
            Err(error) => Err(error.into()),
        }
    }
}

/// A counter that wakes whoever polls it.
pub(super) struct Wake {
    fd: OwnedFd,
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Wake { fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    pub(super) fn wake(&self) {
        // Full means that it has been woken already.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a slot needs of the engine; slots hold it, it holds no slot.
pub(super) struct Core {
    pub(super) limits: Limits,
    /// Has the number of open connections too.
    pub(super) metrics: Arc<Metrics>,
    /// What all workers wait on.
    pub(super) poller: Poller,
    /// What a thread of the service's own waits on, where there are few workers.
    pub(super) lane: Option<Arc<LaneSet>>,
    /// Wakes the acceptor.
    pub(super) acceptor: Wake,
    started: Instant,
    free: Mutex<Vec<u32>>,
    buffered: AtomicUsize,
    draining: AtomicBool,
}

impl Core {
    pub(super) fn new(limits: Limits, metrics: Arc<Metrics>) -> io::Result<Self> {
        let lane = LaneSet::new(&limits)?;
        Ok(Core {
            limits,
            metrics,
            poller: Poller::new()?,
            lane,
            acceptor: Wake::new()?,
            started: Instant::now(),
            free: Mutex::new(Vec::new()),
            buffered: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
        })
    }

    /// Milliseconds since the engine's start, on the monotonic clock.
    pub(super) fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    pub(super) fn open_connections(&self) -> usize {
        self.metrics.connections()
    }

    /// No connection is kept alive any more.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(super) fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
        self.acceptor.wake();
    }

    /// A slot's connection has gone.
    pub(super) fn release(&self, index: u32) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(index);
        self.metrics.connection_closed();
        if self.is_draining() {
            self.acceptor.wake();
        }
    }

    /// Replaces a connection's part of the buffered bytes; false when the sum is past its limit.
    pub(super) fn buffered_change(&self, before: usize, after: usize) -> bool {
        if after <= before {
            self.buffered.fetch_sub(before - after, Ordering::Relaxed);
            return true;
        }
        let sum = self.buffered.fetch_add(after - before, Ordering::Relaxed) + (after - before);
        sum <= self.limits.buffered_bytes_max
    }
}

/// Some slots in a row.
type Chunk = OnceLock<Box<[Arc<Slot>]>>;

/// Slots a chunk; chunks are made when they are first needed, so that an idle server is small.
const CHUNK_SLOTS: usize = 64;

/// All slots, found by index without a lock.
pub(super) struct Slots {
    core: Arc<Core>,
    chunks: Box<[Chunk]>,
    /// Slots handed out at least once; only the acceptor changes it.
    used: AtomicUsize,
}

impl Slots {
    pub(super) fn new(core: Arc<Core>) -> Self {
        let chunks = core.limits.connections_max.div_ceil(CHUNK_SLOTS);
        Slots {
            core,
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            used: AtomicUsize::new(0),
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<&Arc<Slot>> {
        let index = index as usize;
        self.chunks.get(index / CHUNK_SLOTS)?.get()?.get(index % CHUNK_SLOTS)
    }

    /// The slot that an event is about, and the generation of its connection.
    pub(super) fn of_event(&self, data: u64) -> Option<(&Arc<Slot>, u32)> {
        let (index, generation) = index_and_generation(data);
        Some((self.get(index)?, generation))
    }

    /// Every slot that was ever used.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        let used = self.used.load(Ordering::Acquire);
        self.chunks.iter().filter_map(OnceLock::get).flat_map(|chunk| chunk.iter()).take(used)
    }

    /// Puts a connection into a free slot. The caller has made sure that there is one.
    pub(super) fn open(&self, stream: TcpStream) -> io::Result<()> {
        let freed = self.core.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let index = freed.unwrap_or_else(|| self.next_unused());
        self.core.metrics.connection_opened();
        let slot = self.get(index).ok_or(io::ErrorKind::OutOfMemory);
        slot.map_err(io::Error::from).and_then(|slot| slot.open(stream)).inspect_err(|_| {
            self.core.release(index);
        })
    }

    fn next_unused(&self) -> u32 {
        let index = self.used.fetch_add(1, Ordering::AcqRel);
        let first = index / CHUNK_SLOTS * CHUNK_SLOTS;
        if let Some(chunk) = self.chunks.get(index / CHUNK_SLOTS) {
            chunk.get_or_init(|| {
                (first..first + CHUNK_SLOTS)
                    .map(|index| Arc::new(Slot::new(to_u32(index), Arc::clone(&self.core))))
                    .collect()
            });
        }
        to_u32(index)
    }

    pub(super) fn close_all(&self) {
        for slot in self.iter() {
            slot.close(&mut slot.lock());
        }
    }
}

/// Connection limits are far below 2^32.
fn to_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 2)
}
