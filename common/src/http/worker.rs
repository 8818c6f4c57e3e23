//! The workers: each takes a connection that is ready, moves it on as far as it goes, and waits
//! for the next.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll::{self, EventFlags};

use super::connection::{Asked, Connection, Phase, Revisit, access};
use super::decode::{Advance, Decoder, Terms};
use super::desk::{self, Answered};
use super::engine::{Core, Slots};
use super::limits::Refusal;
use super::output::Output;
use super::slot::{Slot, SlotState, is_head};
use super::{Reply, Request, Service, encode, lane};
use crate::text::escaped;

/// The event that ends the workers.
pub(super) const STOP: u64 = u64::MAX;

/// The client has sent its last byte, or is gone: what reading then says is the whole story.
const ENDED: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);

/// Events taken from the kernel at once; few, so that one worker does not hold many connections
/// while another has nothing to do.
const EVENTS_MAX: usize = 8;
/// Bytes read from a connection at once.
const INPUT_BYTES: usize = 64 << 10;

pub(super) struct Worker<S> {
    pub(super) core: Arc<Core>,
    pub(super) slots: Arc<Slots>,
    pub(super) service: Arc<S>,
    /// What was just read; a request that came whole is handled right here.
    input: Vec<u8>,
    /// Whether it serves the lane, and leaves most requests to the others.
    is_lane: bool,
}

/// Who has the request now.
enum Called {
    Answered {
        keep_alive: bool,
        output_bytes: usize,
        /// When, if that is known.
        at: Option<Instant>,
    },
    Parked,
}

/// Why a worker leaves a connection for now.
enum Pause {
    /// The next request is not whole.
    Incomplete {
        send_continue: bool,
    },
    /// Others have their turn, or the client its time to read.
    Yielded,
    /// The reply comes later.
    Parked,
    /// The answer just given was the last.
    LastAnswer,
    Refused {
        refusal: Refusal,
        head_only: bool,
    },
}

impl<S: Service> Worker<S> {
    pub(super) fn new(core: Arc<Core>, slots: Arc<Slots>, service: Arc<S>) -> Self {
        Worker { core, slots, service, input: vec![0; INPUT_BYTES], is_lane: false }
    }

    /// One that serves the lane.
    pub(super) fn of_lane(core: Arc<Core>, slots: Arc<Slots>, service: Arc<S>) -> Self {
        Worker { core, slots, service, input: vec![0; lane::INPUT_BYTES], is_lane: true }
    }

    pub(super) fn run(mut self) {
        let core = Arc::clone(&self.core);
        loop {
            let mut space = [const { MaybeUninit::uninit() }; EVENTS_MAX];
            let events = match core.poller.wait(&mut space, None) {
                Ok(events) => events,
                Err(error) => {
                    log::error!("a worker cannot wait for connections and ends: {error}");
                    return;
                }
            };
            for event in events {
                if event.data.u64() == STOP {
                    return;
                }
                self.serve_event(event);
            }
        }
    }

    /// Moves on the connection that an event is about.
    pub(super) fn serve_event(&mut self, event: &epoll::Event) {
        let slots = Arc::clone(&self.slots);
        if let Some((slot, generation)) = slots.of_event(event.data.u64())
            && slot.take_events()
        {
            let flags = event.flags;
            self.turn(slot, generation, flags.intersects(ENDED));
            slot.leave_events();
        }
    }

    /// Moves one connection on. When its input has `ended`, no further event will say so.
    fn turn(&mut self, slot: &Arc<Slot>, generation: u32, ended: bool) {
        let mut state = slot.lock();
        if state.generation != generation {
            return;
        }
        let Some(connection) = &mut state.connection else { return };
        // It has gone back since the event was taken, and the workers are told of what comes.
        if self.is_lane && !connection.in_lane {
            return;
        }
        match connection.phase {
            Phase::Reading if connection.out.is_empty() => {}
            Phase::Lingering { .. } if self.is_lane => {
                return slot.leave_lane(connection, generation);
            }
            Phase::Lingering { bytes_left } => {
                return linger(&mut self.input, slot, &mut state, bytes_left);
            }
            Phase::Parked => {
                connection.revisit = connection.revisit.max(Revisit::AfterReply);
                connection.peer_ended |= ended;
                return slot.settle(&mut state);
            }
            Phase::Reading | Phase::Calling | Phase::Answered | Phase::Closing { .. } => {
                return slot.settle(&mut state);
            }
        }
        // What comes in pieces, or in a row, is not for the lane.
        if self.is_lane && !connection.inbox.is_empty() {
            return slot.leave_lane(connection, generation);
        }
        connection.revisit = if ended || connection.unseen { Revisit::Now } else { Revisit::No };
        let mut inbox = std::mem::take(&mut connection.inbox);
        let mut fresh = 0;
        if !connection.unseen {
            match connection.read(&mut self.input) {
                Ok(Some(0)) | Err(_) => return slot.close(&mut state),
                Ok(Some(count)) => {
                    if count == self.input.len() {
                        connection.revisit = Revisit::Now;
                    }
                    if self.is_lane && !is_for_lane(&self.input, count) {
                        connection.inbox.extend_from_slice(&self.input[..count]);
                        connection.unseen = true;
                        return slot.leave_lane(connection, generation);
                    }
                    if inbox.is_empty() {
                        fresh = count;
                    } else {
                        inbox.extend_from_slice(&self.input[..count]);
                    }
                }
                Ok(None) => {
                    connection.inbox = inbox;
                    return slot.settle(&mut state);
                }
            }
        }
        let decoder = std::mem::take(&mut connection.decoder);
        // Without its bytes it looks idle, and it has to stay.
        connection.phase = Phase::Calling;
        connection.peer_ended = false;
        drop(state);
        self.serve(slot, generation, inbox, fresh, decoder);
    }

    /// Handles the requests in `inbox`, or else in the first `fresh` bytes of the worker's own
    /// input, and leaves the connection in order.
    fn serve(
        &mut self,
        slot: &Arc<Slot>,
        generation: u32,
        mut inbox: Vec<u8>,
        fresh: usize,
        mut decoder: Decoder,
    ) {
        let input = if inbox.is_empty() { &self.input[..fresh] } else { &inbox[..] };
        let is_late = Cell::new(false);
        let caller = Caller { slot, generation, service: &*self.service, is_late };
        let (used, pause) = caller.requests(input, &mut decoder);
        let came_alone = used == fresh && fresh < lane::INPUT_BYTES;
        let is_late = came_alone && caller.is_late.get();
        if inbox.is_empty() {
            inbox.extend_from_slice(&self.input[used..fresh]);
        } else {
            inbox.drain(..used);
        }
        decoder.compact(&mut inbox);
        let mut state = slot.lock();
        let mut out = Output::new();
        desk::swap_output(&mut out);
        let Some(connection) = state.of(generation) else { return };
        // What others have answered comes behind what was answered here.
        let later = std::mem::replace(&mut connection.out, out);
        if !later.is_empty() {
            connection.out.append(later);
        }
        connection.inbox = inbox;
        connection.decoder = decoder;
        connection.unseen = false;
        if used > 0 {
            connection.waits_for = None;
        }
        connection.late = if is_late { connection.late.saturating_add(1) } else { 0 };
        match pause {
            Pause::Incomplete { send_continue } => {
                connection.await_request();
                if send_continue {
                    connection.out.buffer().extend_from_slice(encode::CONTINUE);
                }
            }
            Pause::Yielded => {
                connection.await_request();
                connection.unseen = !connection.inbox.is_empty();
                connection.revisit = Revisit::Now;
            }
            Pause::Parked => park(connection),
            Pause::LastAnswer => connection.finish_exchange(),
            Pause::Refused { refusal, head_only } => {
                self.core.metrics.refused(refusal);
                connection.refuse(refusal, head_only);
            }
        }
        let holds_request = !connection.inbox.is_empty() || connection.decoder.buffered() > 0;
        if holds_request && !slot.account(connection) && connection.phase == Phase::Reading {
            let head_only = is_head(&connection.inbox);
            self.core.metrics.refused(Refusal::TooMuchBuffered);
            connection.refuse(Refusal::TooMuchBuffered, head_only);
        }
        slot.settle(&mut state);
        if let Some(connection) = &mut state.connection {
            if is_late {
                slot.enter_lane(connection, generation);
            } else {
                slot.leave_lane(connection, generation);
            }
        }
        // The connection's buffer is the worker's again once it is empty.
        if let Some(connection) = state.connection.as_mut().filter(|it| it.out.is_empty()) {
            connection.out.shrink();
            desk::swap_output(&mut connection.out);
        }
    }
}

/// The handler has kept the reply: from here on whoever sends it looks after the connection. It
/// may have been sent already.
fn park(connection: &mut Connection) {
    if connection.phase == Phase::Answered {
        connection.finish_parked();
    } else {
        connection.phase = Phase::Parked;
    }
}

/// Whether the lane's thread is to serve what was read: a request that may change something, and
/// is shorter than its input.
fn is_for_lane(input: &[u8], count: usize) -> bool {
    let changes = [&b"PUT "[..], b"POST ", b"DELETE "];
    count < input.len() && changes.iter().any(|method| input[..count].starts_with(method))
}

/// Reads and drops what a refused client goes on sending, so that the answer reaches it: closing
/// with bytes unread would reset the connection (RFC 9112, section 9.6).
fn linger(scratch: &mut [u8], slot: &Slot, state: &mut SlotState, bytes_left: usize) {
    let Some(connection) = &mut state.connection else { return };
    match connection.read(scratch) {
        Ok(Some(count @ 1..)) if count < bytes_left => {
            connection.revisit = Revisit::Now;
            connection.phase = Phase::Lingering { bytes_left: bytes_left - count };
            slot.settle(state);
        }
        Ok(None) => slot.settle(state),
        Ok(Some(_)) | Err(_) => slot.close(state),
    }
}

/// The requests of one turn.
struct Caller<'a, S> {
    slot: &'a Arc<Slot>,
    generation: u32,
    service: &'a S,
    /// Whether the last request may change something and was not answered at once.
    is_late: Cell<bool>,
}

impl<S: Service> Caller<'_, S> {
    /// Handles what is whole in `input`, in order; says how many bytes that was.
    fn requests(&self, input: &[u8], decoder: &mut Decoder) -> (usize, Pause) {
        let limits = &self.slot.core.limits;
        let (mut used, mut served) = (0, 0);
        // Each request is taken up when the one before it has been answered.
        let mut clock = None;
        loop {
            let advance = decoder.advance(&input[used..], limits, |request, terms| {
                self.call(request, terms, clock.take().unwrap_or_else(Instant::now))
            });
            let called = match advance {
                Advance::Complete { consumed, value } => {
                    used += consumed;
                    value
                }
                Advance::Incomplete { send_continue } => {
                    return (used, Pause::Incomplete { send_continue });
                }
                Advance::Refused(refusal) => {
                    let head_only = is_head(&input[used..]);
                    return (used, Pause::Refused { refusal, head_only });
                }
            };
            served += 1;
            match called {
                Called::Parked => return (used, Pause::Parked),
                Called::Answered { keep_alive: false, .. } => return (used, Pause::LastAnswer),
                Called::Answered { .. } if used == input.len() => {
                    return (used, Pause::Incomplete { send_continue: false });
                }
                Called::Answered { output_bytes, .. }
                    if served == limits.pipelined_max
                        || output_bytes >= limits.output_bytes_max =>
                {
                    return (used, Pause::Yielded);
                }
                Called::Answered { at, .. } => clock = at,
            }
        }
    }

    fn call(&self, request: &Request<'_>, terms: Terms, started: Instant) -> Called {
        let asked = Asked { terms, method: request.method.clone(), started, route: 0 };
        let buffer = desk::open(self.slot.index, self.generation);
        let reply = Reply::new(Arc::clone(self.slot), self.generation, asked, buffer);
        let called = catch_unwind(AssertUnwindSafe(|| self.service.call(request, reply)));
        if called.is_err() {
            log::error!("a handler panicked: {} {}", request.method, escaped(request.path));
        }
        let answered = desk::close();
        self.is_late.set(answered.is_none() && !request.method.is_safe());
        match answered {
            Some(Answered { status, at, took, keep_alive, output_bytes }) => {
                access(&request.method, request.path, status, took);
                Called::Answered { keep_alive, output_bytes, at: Some(at) }
            }
            None => self.kept(request),
        }
    }

    /// The handler has given the reply away, and others may have sent it already.
    fn kept(&self, request: &Request<'_>) -> Called {
        let mut state = self.slot.lock();
        let Some(connection) = state.of(self.generation) else { return Called::Parked };
        if connection.phase == Phase::Answered
            && let Some(exchange) = connection.exchange.take()
        {
            connection.phase = Phase::Calling;
            // What is answered next goes behind it.
            let output_bytes = desk::append_output(std::mem::take(&mut connection.out));
            access(&request.method, request.path, exchange.status, exchange.took);
            let keep_alive = exchange.asked.terms.keep_alive;
            return Called::Answered { keep_alive, output_bytes, at: None };
        }
        if log::log_enabled!(log::Level::Info) {
            connection.parked = Some(request.path.into());
        }
        Called::Parked
    }
}
