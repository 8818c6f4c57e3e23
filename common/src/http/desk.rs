//! What a worker has on its desk: the request whose handler runs, and the answers of this turn.
//!
//! A reply that the handler sends itself, which is the common case, is written right here, by the
//! thread that will have it leave: without the slot's lock. All others go by way of the slot.

use std::cell::RefCell;
use std::mem;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::Response;
use super::connection::{Asked, Written};
use super::output::Output;
use crate::metrics::Metrics;

/// A worker's desk, or that of the thread that serves the lane; that of any other stays empty.
struct Desk {
    /// Index and generation of the slot whose request is being handled and not yet answered.
    open: Option<(u32, u32)>,
    answered: Option<Answered>,
    out: Output,
    /// A buffer that came back with a response.
    spare: Vec<u8>,
}

/// What is known of a request that was answered on the desk.
#[derive(Clone, Copy)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) at: Instant,
    pub(super) took: Duration,
    pub(super) keep_alive: bool,
    /// Bytes that wait to leave.
    pub(super) output_bytes: usize,
}

thread_local! {
    static DESK: RefCell<Desk> = const {
        RefCell::new(Desk { open: None, answered: None, out: Output::new(), spare: Vec::new() })
    };
}

/// A handler begins with a request of that slot. Gives back an empty buffer for a body.
pub(super) fn open(index: u32, generation: u32) -> Vec<u8> {
    DESK.with_borrow_mut(|desk| {
        desk.open = Some((index, generation));
        desk.answered = None;
        mem::take(&mut desk.spare)
    })
}

/// The handler is done: what it has answered here.
pub(super) fn close() -> Option<Answered> {
    DESK.with_borrow_mut(|desk| {
        desk.open = None;
        desk.answered.take()
    })
}

/// Whether this thread is the one that handles the slot's request, which is not answered yet.
pub(super) fn holds(index: u32, generation: u32) -> bool {
    // A thread that ends has no desk any more.
    DESK.try_with(|desk| desk.borrow().open == Some((index, generation))).unwrap_or(false)
}

/// Answers the request that is handled.
pub(super) fn answer(asked: &Asked, response: Response, metrics: &Metrics) {
    DESK.with_borrow_mut(|desk| {
        let status = response.status;
        let Written { at, took, spare } = asked.answer(&mut desk.out, response, metrics);
        desk.spare = spare.unwrap_or_default();
        desk.open = None;
        let keep_alive = asked.terms.keep_alive;
        let output_bytes = desk.out.len();
        desk.answered = Some(Answered { status, at, took, keep_alive, output_bytes });
    });
}

/// Exchanges the output that waits here for another one.
pub(super) fn swap_output(out: &mut Output) {
    DESK.with_borrow_mut(|desk| mem::swap(&mut desk.out, out));
}

/// Appends to the output that waits here; says how long it is then.
pub(super) fn append_output(out: Output) -> usize {
    DESK.with_borrow_mut(|desk| {
        desk.out.append(out);
        desk.out.len()
    })
}
