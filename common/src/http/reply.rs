//! The right to answer a request.

use std::sync::Arc;

use super::connection::Asked;
use super::sink::Sink;
use super::slot::Slot;
use super::{BodyWriter, Response};

/// The right to answer one request, once, from any thread, now or later.
///
/// Dropped unsent, also by a panic, it answers 500 and closes the connection, so that no client
/// waits for ever.
#[must_use = "a reply that is dropped unsent answers 500"]
pub struct Reply {
    slot: Arc<Slot>,
    generation: u32,
    buffer: Vec<u8>,
    /// None when it has been sent.
    asked: Option<Asked>,
}

impl Reply {
    pub(super) fn new(slot: Arc<Slot>, generation: u32, asked: Asked, buffer: Vec<u8>) -> Self {
        Reply { slot, generation, buffer, asked: Some(asked) }
    }

    /// Has the request counted under this place of the [metrics'](crate::metrics::Metrics) table
    /// of routes.
    pub fn count_as(&mut self, route: usize) {
        if let Some(asked) = &mut self.asked {
            asked.route = route;
        }
    }

    /// An empty buffer to build a body in. It is used again after the answer, so that a small
    /// answer allocates nothing.
    pub fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Whether nobody waits for the answer any more: the client has closed its connection, or its
    /// side of it. For replies that are kept for long.
    pub fn has_left(&self) -> bool {
        self.slot.has_left(self.generation)
    }

    /// Sends the head of an answer whose body is written piece by piece, as
    /// [chunks](https://www.rfc-editor.org/rfc/rfc9112#section-7.1) or, to a client that speaks
    /// HTTP/1.0, up to the end of the connection. A body that `response` has is left out.
    #[allow(clippy::needless_pass_by_value, reason = "the other engine gives it to a thread")]
    pub fn stream(mut self, response: Response) -> BodyWriter {
        let (slot, asked) = (Arc::clone(&self.slot), self.asked.take());
        BodyWriter::new(Sink::begin(slot, self.generation, asked, &response))
    }

    /// Sends the answer. Sent from within `Service::call` it leaves with the worker's next write;
    /// sent from elsewhere it is written at once, as far as the client takes it. Nothing happens
    /// when the client has gone.
    pub fn send(mut self, response: Response) {
        if let Some(asked) = self.asked.take() {
            self.slot.answer(self.generation, asked, response);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(asked) = self.asked.take() {
            self.slot.abandon(self.generation, asked);
        }
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("slot", &self.slot.index).finish_non_exhaustive()
    }
}
