//! The place that a connection lives in, and what happens to it there.
//!
//! A slot's mutex is held by whoever moves its connection on: the worker that got its event, the
//! thread that sends its reply, or the keeper of the deadlines. It is not held while a handler
//! runs. Epoll reports each change once (`EPOLLET`), to one worker; a worker that comes upon a
//! connection which another one is at leaves a note and goes on, so no worker waits for another.
//!
//! Invariant: a slot's generation changes with each connection, so that an event or a reply for an
//! earlier one finds nothing.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use rustix::event::epoll::EventFlags;

use super::Response;
use super::connection::{Asked, Connection, Phase, Revisit};
use super::decode::Awaits;
use super::desk;
use super::engine::{Core, Poller, millis};
use super::lane::LATE_MIN;
use super::limits::{LINGER_BYTES_MAX, LINGER_TIMEOUT, Refusal};
use super::output::Flush;

/// A place for a connection, used again when that one has gone.
pub(super) struct Slot {
    pub(super) index: u32,
    pub(super) core: Arc<Core>,
    state: Mutex<SlotState>,
    /// The writer of a streamed body may go on: there is room, or the connection has gone.
    pub(super) drained: Condvar,
    /// Events of this slot that came since a worker took the first of them.
    events: AtomicU32,
    /// When something is overdue, in milliseconds of the core's clock; `NEVER` without one. The
    /// lowest bit says that the connection is idle. Read without the lock.
    deadline: AtomicU64,
}

pub(super) struct SlotState {
    pub(super) generation: u32,
    pub(super) connection: Option<Connection>,
}

impl SlotState {
    /// The connection of that generation, if it is still the one that is here.
    pub(super) fn of(&mut self, generation: u32) -> Option<&mut Connection> {
        self.connection.as_mut().filter(|_| self.generation == generation)
    }
}

const NEVER: u64 = u64::MAX;

/// New input, and the end of it, each reported once.
const INPUT: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

impl Slot {
    pub(super) fn new(index: u32, core: Arc<Core>) -> Self {
        let state = Mutex::new(SlotState { generation: 0, connection: None });
        Slot {
            index,
            core,
            state,
            drained: Condvar::new(),
            events: AtomicU32::new(0),
            deadline: AtomicU64::new(NEVER),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, SlotState>> {
        match self.state.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// When the connection is overdue, and whether it is idle; without the lock.
    pub(super) fn deadline(&self) -> Option<(u64, bool)> {
        let packed = self.deadline.load(Ordering::Relaxed);
        (packed != NEVER).then_some((packed >> 1, packed & 1 == 1))
    }

    fn set_deadline(&self, at_ms: Option<u64>, idle: bool) {
        let packed = at_ms.map_or(NEVER, |at_ms| at_ms << 1 | u64::from(idle));
        self.deadline.store(packed, Ordering::Relaxed);
    }

    /// Puts a new connection in and waits for its first request.
    pub(super) fn open(&self, stream: TcpStream) -> io::Result<()> {
        let mut state = self.lock();
        state.generation = state.generation.wrapping_add(1);
        let data = event_data(self.index, state.generation);
        let added = self.core.poller.add(&stream, data, INPUT);
        if added.is_ok() {
            let at = self.core.now_ms() + millis(self.core.limits.idle_timeout);
            self.set_deadline(Some(at), true);
            state.connection = Some(Connection::new(stream));
        }
        added
    }

    /// Ends the connection; the slot is free for the next.
    pub(super) fn close(&self, state: &mut SlotState) {
        if let Some(mut connection) = state.connection.take() {
            connection.cut_stream(&self.core.metrics);
            if connection.streaming.writer_waits {
                self.drained.notify_all();
            }
            self.core.buffered_change(connection.buffered, 0);
            self.set_deadline(None, false);
            drop(connection);
            self.core.release(self.index);
        }
    }

    /// Sends what waits, and does what comes after it: waiting for the client to take more, for
    /// its next request, or closing. A connection whose reply is kept waits for that.
    pub(super) fn settle(&self, state: &mut SlotState) {
        let generation = state.generation;
        let Some(connection) = &mut state.connection else { return };
        let flushed = connection.flush();
        if connection.streaming.writer_waits
            && connection.out.len() < self.core.limits.output_bytes_max
        {
            connection.streaming.writer_waits = false;
            self.drained.notify_all();
        }
        match flushed {
            Flush::Done => self.flushed(state),
            Flush::Blocked { anew } if self.account(connection) => {
                self.await_output(connection, anew, generation);
            }
            // The client has gone, or too many do not take their answers and somebody has to go.
            Flush::Failed | Flush::Blocked { .. } => self.close(state),
        }
    }

    fn flushed(&self, state: &mut SlotState) {
        let generation = state.generation;
        let Some(connection) = &mut state.connection else { return };
        // Most connections hold nothing between two requests, and never did.
        if connection.buffered > 0 {
            self.account(connection);
        }
        match connection.phase {
            Phase::Reading if self.core.is_draining() && connection.is_deserted() => {
                self.close(state);
            }
            Phase::Reading => self.await_input(connection, generation),
            Phase::Calling | Phase::Answered => self.set_deadline(None, false),
            Phase::Parked => {
                self.set_deadline(None, false);
                // What was reported while the request was read: perhaps that its client has gone.
                self.revisit(connection, generation);
            }
            Phase::Closing { linger } => {
                connection.keep_output();
                // Closing with bytes unread would reset the connection before the answer is read.
                let linger = linger || connection.has_unread();
                if !linger || connection.stream.shutdown(Shutdown::Write).is_err() {
                    return self.close(state);
                }
                connection.phase = Phase::Lingering { bytes_left: LINGER_BYTES_MAX };
                self.set_deadline(Some(self.core.now_ms() + millis(LINGER_TIMEOUT)), false);
                self.report_again(connection, generation);
            }
            Phase::Lingering { .. } => self.revisit(connection, generation),
        }
    }

    /// The deadline is for the next byte that the client takes; what it sends does not move it.
    fn await_output(&self, connection: &mut Connection, anew: bool, generation: u32) {
        if anew {
            let at = self.core.now_ms() + millis(self.core.limits.write_timeout);
            self.set_deadline(Some(at), false);
        }
        self.report_again(connection, generation);
        // What comes while the client takes its answer is not looked at, and not reported again.
        connection.revisit = Revisit::Now;
    }

    /// A deadline runs whole: more bytes of the same head or body do not move it.
    fn await_input(&self, connection: &mut Connection, generation: u32) {
        let limits = &self.core.limits;
        let waits_for = (!connection.is_idle()).then(|| connection.decoder.awaits());
        if waits_for.is_none() || waits_for != connection.waits_for {
            let timeout = match waits_for {
                None => limits.idle_timeout,
                Some(Awaits::Head) => limits.head_timeout,
                Some(Awaits::Body) => limits.body_timeout,
            };
            self.set_deadline(Some(self.core.now_ms() + millis(timeout)), waits_for.is_none());
            connection.waits_for = waits_for;
        }
        self.revisit(connection, generation);
    }

    /// Has a worker look again, if there may be input that was reported already.
    fn revisit(&self, connection: &mut Connection, generation: u32) {
        if connection.revisit == Revisit::Now {
            connection.revisit = Revisit::No;
            self.report_again(connection, generation);
        }
    }

    /// Has epoll report the connection once more when it can be read or written, which may be at
    /// once: a change of the interest looks at the socket anew.
    fn report_again(&self, connection: &Connection, generation: u32) {
        let data = event_data(self.index, generation);
        // Input that nobody reads before the output has left would be reported over and over.
        let interest =
            if connection.out.is_empty() { INPUT.union(EventFlags::OUT) } else { OUTPUT };
        let poller = match &self.core.lane {
            Some(lane) if connection.in_lane => lane.poller(),
            Some(_) | None => &self.core.poller,
        };
        wait_for(poller, connection, data, interest);
    }

    /// Moves the connection of a client that does nothing but write to the lane, if that is open.
    pub(super) fn enter_lane(&self, connection: &mut Connection, generation: u32) {
        if connection.late < LATE_MIN || connection.in_lane || !connection.is_idle() {
            return;
        }
        let Some(lane) = self.core.lane.as_ref().filter(|lane| lane.is_open()) else { return };
        let data = event_data(self.index, generation);
        // Without memory for it, it stays where it is.
        if lane.poller().add(&connection.stream, data, INPUT).is_ok() {
            connection.in_lane = true;
            // It stays known there, so that the way back cannot fail.
            wait_for(&self.core.poller, connection, data, QUIET);
        }
    }

    /// Has the workers serve the connection again, which is reported to them as soon as they may.
    pub(super) fn leave_lane(&self, connection: &mut Connection, generation: u32) {
        let Some(lane) = self.core.lane.as_ref().filter(|_| connection.in_lane) else { return };
        connection.in_lane = false;
        connection.late = 0;
        self.report_again(connection, generation);
        if let Err(error) = lane.poller().remove(&connection.stream) {
            log::error!("cannot give a connection back to the workers: {error}");
        }
    }

    /// Sends the reply to the request of that generation, if its client is still there.
    pub(super) fn answer(&self, generation: u32, mut asked: Asked, response: Response) {
        asked.terms.keep_alive &= !self.core.is_draining();
        if desk::holds(self.index, generation) {
            return desk::answer(&asked, response, &self.core.metrics);
        }
        let mut state = self.lock();
        let Some(connection) = state.of(generation) else { return };
        match connection.phase {
            Phase::Calling => {
                connection.put_answer(asked, response, &self.core.metrics);
                connection.phase = Phase::Answered;
            }
            Phase::Parked => {
                connection.put_answer(asked, response, &self.core.metrics);
                connection.finish_parked();
                self.settle(&mut state);
                if let Some(connection) = &mut state.connection {
                    connection.shrink();
                    self.enter_lane(connection, generation);
                }
            }
            Phase::Reading | Phase::Answered | Phase::Closing { .. } | Phase::Lingering { .. } => {}
        }
    }

    /// Nobody will send the reply: the client is told so.
    pub(super) fn abandon(&self, generation: u32, mut asked: Asked) {
        self.core.metrics.refused(Refusal::Failed);
        asked.terms.keep_alive = false;
        self.answer(generation, asked, Refusal::Failed.response());
    }

    /// Whether the client of a kept reply has gone, or has at least sent its last byte. Whoever
    /// has the lock is at work for that client, so nobody waits for it here.
    pub(super) fn has_left(&self, generation: u32) -> bool {
        let Some(state) = self.try_lock() else { return false };
        let connection = state.connection.as_ref().filter(|_| state.generation == generation);
        connection.is_none_or(|connection| connection.peer_ended)
    }

    /// Called when the deadline has passed, with the lock: nobody else has the connection.
    pub(super) fn expire(&self, state: &mut SlotState) {
        let Some(connection) = &mut state.connection else { return };
        match connection.phase {
            Phase::Calling | Phase::Answered => {}
            Phase::Reading if connection.out.is_empty() => match connection.waits_for {
                None => self.close(state),
                Some(awaits) => {
                    let refusal = match awaits {
                        Awaits::Head => Refusal::HeadTimeout,
                        Awaits::Body => Refusal::BodyTimeout,
                    };
                    self.core.metrics.refused(refusal);
                    connection.refuse(refusal, is_head(&connection.inbox));
                    self.account(connection);
                    self.settle(state);
                }
            },
            Phase::Reading | Phase::Parked | Phase::Closing { .. } | Phase::Lingering { .. } => {
                self.close(state);
            }
        }
    }

    /// Brings the core's sum of buffered bytes up to date; false when it is past its limit.
    pub(super) fn account(&self, connection: &mut Connection) -> bool {
        let held = connection.inbox.len() + connection.decoder.buffered() + connection.out.held();
        let before = std::mem::replace(&mut connection.buffered, held);
        self.core.buffered_change(before, held)
    }

    /// Takes the slot's events for a worker; false when another worker is at them, and will have
    /// them reported again.
    pub(super) fn take_events(&self) -> bool {
        self.events.fetch_add(1, Ordering::AcqRel) == 0
    }

    /// The worker is done with the slot. What happened meanwhile is reported anew.
    pub(super) fn leave_events(&self) {
        if self.events.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return;
        }
        self.events.store(0, Ordering::Release);
        let state = self.lock();
        let generation = state.generation;
        if let Some(connection) = &state.connection {
            self.report_again(connection, generation);
        }
    }
}

fn wait_for(poller: &Poller, connection: &Connection, data: u64, interest: EventFlags) {
    if let Err(error) = poller.modify(&connection.stream, data, interest) {
        // Only a programming error can do this; the deadline will end the connection.
        log::error!("cannot wait for a connection: {error}");
    }
}

/// Nothing, but for a connection that has broken, which is always reported.
const QUIET: EventFlags = EventFlags::ET;

/// Room for more output.
const OUTPUT: EventFlags = EventFlags::OUT.union(EventFlags::ET);

/// What an event of the connection carries.
pub(super) fn event_data(index: u32, generation: u32) -> u64 {
    u64::from(index) << 32 | u64::from(generation)
}

/// Whether a request is HEAD, as far as it can be read.
pub(super) fn is_head(mut input: &[u8]) -> bool {
    while let Some(rest) = input.strip_prefix(b"\r\n") {
        input = rest;
    }
    input.starts_with(b"HEAD ")
}

/// The two parts of `event_data`.
pub(super) fn index_and_generation(data: u64) -> (u32, u32) {
    let low = |part: u64| u32::try_from(part & u64::from(u32::MAX)).unwrap_or_default();
    (low(data >> 32), low(data))
}
