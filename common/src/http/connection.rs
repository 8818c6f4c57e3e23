//! One connection and the slot that it lives in.
//!
//! A slot's mutex is held by whoever moves its connection on: the worker that got its event, the
//! thread that sends its reply, or the keeper of the deadlines. It is not held while a handler
//! runs. Epoll reports each change once (`EPOLLET`), to one worker; a worker that comes upon a
//! connection which another one is at leaves a note and goes on, so no worker waits for another.
//!
//! Invariants: a connection is in one `Phase`; a slot's generation changes with each connection,
//! so that an event or a reply for an earlier one finds nothing; requests of one connection are
//! handled one after the other (RFC 9112, section 9.3.2).

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::Method;
use rustix::event::epoll::EventFlags;

use super::decode::{Awaits, Decoder, Terms};
use super::engine::{Core, millis};
use super::limits::{LINGER_BYTES_MAX, LINGER_TIMEOUT, Refusal};
use super::{Body, Response, encode};
use crate::logging;

/// A place for a connection, used again when that one has gone.
pub(super) struct Slot {
    pub(super) index: u32,
    pub(super) core: Arc<Core>,
    state: Mutex<SlotState>,
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

const NEVER: u64 = u64::MAX;

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) phase: Phase,
    /// Bytes of the unfinished request, and of those behind it.
    pub(super) inbox: Vec<u8>,
    /// Whether `inbox` holds bytes that the decoder has not been given.
    pub(super) unseen: bool,
    /// Whether a worker has to look again although no event need come: there may be input that
    /// has been reported already.
    pub(super) revisit: bool,
    pub(super) decoder: Decoder,
    /// Answers on their way out; those before `sent` have left.
    pub(super) out: Vec<u8>,
    pub(super) sent: usize,
    /// A buffer that came back with a sent response.
    pub(super) spare: Vec<u8>,
    pub(super) exchange: Option<Exchange>,
    /// What the deadline now running is for.
    waits_for: Option<Awaits>,
    /// What `inbox` and the decoder count for in the core's sum.
    buffered: usize,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for a request, or for the rest of one.
    Reading,
    /// A worker runs the handler and will look after the answer.
    Calling,
    /// The handler has sent the reply while its worker looks after the connection.
    Answered,
    /// The handler has kept the reply; whoever sends it looks after the connection.
    Parked,
    /// The last answer is on its way out; `linger` when the client may be sending still.
    Closing { linger: bool },
    /// All is said; what comes is read and dropped, so many bytes at most.
    Lingering { bytes_left: usize },
}

/// The request that is being answered.
pub(super) struct Exchange {
    pub(super) terms: Terms,
    pub(super) started: Instant,
    /// Method and path for the log, kept when the reply outlives the request.
    pub(super) parked: Option<(Method, Box<str>)>,
    /// Set when the answer has been written.
    pub(super) status: http::StatusCode,
}

/// How far writing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    Done,
    Blocked,
    Failed,
}

impl Slot {
    pub(super) fn new(index: u32, core: Arc<Core>) -> Self {
        let state = Mutex::new(SlotState { generation: 0, connection: None });
        Slot { index, core, state, events: AtomicU32::new(0), deadline: AtomicU64::new(NEVER) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, SlotState>> {
        match self.state.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
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
        let at = self.core.now_ms() + millis(self.core.limits.idle_timeout);
        self.set_deadline(Some(at), true);
        let added = self.core.poller.add(&stream, data, INPUT);
        if added.is_ok() {
            state.connection = Some(Connection::new(stream));
        }
        added
    }

    /// Ends the connection; the slot is free for the next.
    pub(super) fn close(&self, state: &mut SlotState) {
        if let Some(connection) = state.connection.take() {
            self.core.buffered_change(connection.buffered, 0);
            self.set_deadline(None, false);
            drop(connection);
            self.core.release(self.index);
        }
    }

    /// Sends what waits, and does what comes after it: waiting for the client to take more, for
    /// its next request, or closing. Not for the phases in which a handler has the connection.
    pub(super) fn settle(&self, state: &mut SlotState) {
        let generation = state.generation;
        let Some(connection) = &mut state.connection else { return };
        match connection.flush() {
            Flush::Done => self.flushed(state),
            Flush::Blocked if self.account(connection) => self.await_output(connection, generation),
            // The client has gone, or too many do not take their answers and somebody has to go.
            Flush::Failed | Flush::Blocked => self.close(state),
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
            Phase::Reading if self.core.is_draining() && connection.is_idle() => self.close(state),
            Phase::Reading => self.await_input(connection, generation),
            Phase::Calling | Phase::Answered | Phase::Parked => self.set_deadline(None, false),
            Phase::Closing { linger: false } => self.close(state),
            Phase::Closing { linger: true } => {
                if connection.stream.shutdown(Shutdown::Write).is_err() {
                    return self.close(state);
                }
                connection.phase = Phase::Lingering { bytes_left: LINGER_BYTES_MAX };
                self.set_deadline(Some(self.core.now_ms() + millis(LINGER_TIMEOUT)), false);
                self.report_again(connection, generation);
            }
            Phase::Lingering { .. } if connection.revisit => {
                self.report_again(connection, generation);
            }
            Phase::Lingering { .. } => {}
        }
    }

    fn await_output(&self, connection: &mut Connection, generation: u32) {
        let at = self.core.now_ms() + millis(self.core.limits.write_timeout);
        self.set_deadline(Some(at), false);
        self.report_again(connection, generation);
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
        if connection.revisit {
            self.report_again(connection, generation);
        }
    }

    /// Has epoll report the connection once more when it can be read or written, which may be at
    /// once: a change of the interest looks at the socket anew.
    fn report_again(&self, connection: &mut Connection, generation: u32) {
        connection.revisit = false;
        let data = event_data(self.index, generation);
        let modified = self.core.poller.modify(&connection.stream, data, INPUT | EventFlags::OUT);
        if let Err(error) = modified {
            // Only a programming error can do this; the deadline will end the connection.
            log::error!("cannot wait for a connection: {error}");
        }
    }
}

impl Slot {
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
        let mut state = self.lock();
        let generation = state.generation;
        if let Some(connection) = &mut state.connection {
            self.report_again(connection, generation);
        }
    }
}

/// New input, and the end of it, each reported once.
const INPUT: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

/// What an event of the connection carries.
pub(super) fn event_data(index: u32, generation: u32) -> u64 {
    u64::from(index) << 32 | u64::from(generation)
}

/// The two parts of `event_data`.
pub(super) fn index_and_generation(data: u64) -> (u32, u32) {
    let low = |part: u64| u32::try_from(part & u64::from(u32::MAX)).unwrap_or_default();
    (low(data >> 32), low(data))
}

/// A buffer that grew past this is given back to the allocator instead of being kept.
pub(super) const BUFFER_KEPT_BYTES_MAX: usize = 256 << 10;

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Connection {
            stream,
            phase: Phase::Reading,
            inbox: Vec::new(),
            unseen: false,
            revisit: false,
            decoder: Decoder::default(),
            out: Vec::new(),
            sent: 0,
            spare: Vec::new(),
            exchange: None,
            waits_for: None,
            buffered: 0,
        }
    }

    /// Between two requests, with nothing to send.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Reading && self.inbox.is_empty() && self.out.is_empty()
    }

    /// Reads once; `Ok(None)` when there is nothing to read now.
    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.stream).read(into) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self) -> Flush {
        while self.sent < self.out.len() {
            match (&self.stream).write(&self.out[self.sent..]) {
                Ok(0) => return Flush::Failed,
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flush::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flush::Failed,
            }
        }
        self.out.clear();
        self.sent = 0;
        Flush::Done
    }

    /// Appends the answer to the request being handled.
    fn put_answer(&mut self, response: Response, keep_alive: bool) {
        let Some(exchange) = &mut self.exchange else { return };
        exchange.terms.keep_alive &= keep_alive;
        exchange.status = response.status;
        encode::response(&mut self.out, &response, exchange.terms, exchange.terms.keep_alive);
        if let Body::Bytes(mut buffer) = response.body
            && buffer.capacity() <= BUFFER_KEPT_BYTES_MAX
        {
            buffer.clear();
            self.spare = buffer;
        }
    }

    /// A request is whole and goes to its handler.
    pub(super) fn begin(&mut self, exchange: Exchange) {
        self.exchange = Some(exchange);
        self.phase = Phase::Calling;
        self.waits_for = None;
    }

    /// All that is whole has been answered.
    pub(super) fn await_request(&mut self) {
        self.exchange = None;
        self.phase = Phase::Reading;
    }

    /// A request that outlived its worker's turn has been answered.
    pub(super) fn finish_parked(&mut self) {
        self.log_parked();
        self.finish_exchange();
    }

    /// The request has been answered: on to the next, or to the end.
    pub(super) fn finish_exchange(&mut self) {
        let keep_alive = self.exchange.take().is_some_and(|exchange| exchange.terms.keep_alive);
        self.waits_for = None;
        self.unseen = !self.inbox.is_empty();
        self.revisit = true;
        self.phase = if keep_alive {
            Phase::Reading
        } else {
            Phase::Closing { linger: !self.inbox.is_empty() }
        };
    }

    /// Answers in the engine's own name and closes.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        access(&Method::default(), "-", refusal.status(), Instant::now());
        encode::refusal(&mut self.out, refusal);
        self.exchange = None;
        self.inbox = Vec::new();
        self.decoder = Decoder::default();
        self.phase = Phase::Closing { linger: true };
    }
}

impl Slot {
    /// Sends the reply to the request of that generation, if its client is still there.
    pub(super) fn answer(&self, generation: u32, response: Response, keep_alive: bool) {
        let mut state = self.lock();
        if state.generation != generation {
            return;
        }
        let Some(connection) = &mut state.connection else { return };
        let keep_alive = keep_alive && !self.core.is_draining();
        match connection.phase {
            Phase::Calling => {
                connection.put_answer(response, keep_alive);
                connection.phase = Phase::Answered;
            }
            Phase::Parked => {
                connection.put_answer(response, keep_alive);
                connection.finish_parked();
                self.settle(&mut state);
                if let Some(connection) = &mut state.connection {
                    connection.shrink();
                }
            }
            Phase::Reading | Phase::Answered | Phase::Closing { .. } | Phase::Lingering { .. } => {}
        }
    }

    /// Called when the deadline has passed, with the lock: nobody else has the connection.
    pub(super) fn expire(&self, state: &mut SlotState) {
        let Some(connection) = &mut state.connection else { return };
        match connection.phase {
            Phase::Calling | Phase::Answered => {}
            Phase::Reading if connection.out.is_empty() => match connection.waits_for {
                None => self.close(state),
                Some(awaits) => {
                    connection.refuse(match awaits {
                        Awaits::Head => Refusal::HeadTimeout,
                        Awaits::Body => Refusal::BodyTimeout,
                    });
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
        let unsent = connection.out.len() - connection.sent;
        let held = connection.inbox.len() + connection.decoder.buffered() + unsent;
        let before = std::mem::replace(&mut connection.buffered, held);
        self.core.buffered_change(before, held)
    }
}

impl Connection {
    /// Gives back what an idle connection does not need.
    fn shrink(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        self.spare = Vec::new();
    }

    fn log_parked(&mut self) {
        let Some(exchange) = &mut self.exchange else { return };
        if let Some((method, path)) = exchange.parked.take() {
            access(&method, &path, exchange.status, exchange.started);
        }
    }
}

/// One line a request.
pub(super) fn access(method: &Method, path: &str, status: http::StatusCode, started: Instant) {
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    logging::access(method, path, status.as_u16(), micros);
}
