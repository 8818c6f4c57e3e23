//! Where the pieces of a streamed body go: into the connection's output, when that has room.
//!
//! Invariants: a stream is open while its exchange has a `stream`, and its connection is `Calling`
//! or `Parked` then; the output never holds more than its limit and a piece. The writer waits
//! without the slot's lock, and is woken by whoever makes room or closes the connection.

use std::sync::{Arc, PoisonError};

use super::connection::{Asked, Phase};
use super::encode::Coding;
use super::limits::Refusal;
use super::slot::Slot;
use super::{Gone, Response};

/// The right to send one body; dropped unfinished, it closes the connection.
pub(super) struct Sink {
    slot: Arc<Slot>,
    generation: u32,
    ended: bool,
}

impl Sink {
    /// Sends the head.
    pub(super) fn begin(
        slot: Arc<Slot>,
        generation: u32,
        asked: Option<Asked>,
        response: &Response,
    ) -> Self {
        if let Some(asked) = asked {
            slot.begin_stream(generation, asked, response);
        }
        Sink { slot, generation, ended: false }
    }

    pub(super) fn send(&mut self, piece: &[u8]) -> Result<(), Gone> {
        self.slot.stream(self.generation, piece)
    }

    pub(super) fn finish(&mut self) {
        self.ended = true;
        self.slot.end_stream(self.generation, true);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.ended {
            self.slot.end_stream(self.generation, false);
        }
    }
}

impl Slot {
    fn begin_stream(&self, generation: u32, mut asked: Asked, response: &Response) {
        let mut state = self.lock();
        asked.terms.keep_alive &= !self.core.is_draining();
        let Some(connection) = state.of(generation) else { return };
        connection.begin_stream(asked, response);
        if connection.phase == Phase::Parked {
            self.settle(&mut state);
        }
    }

    /// Appends a piece, when there is room for it, and has it leave. While the handler runs, its
    /// worker looks after the output.
    fn stream(&self, generation: u32, piece: &[u8]) -> Result<(), Gone> {
        let bytes_max = self.core.limits.output_bytes_max;
        let mut state = self.lock();
        while let Some(connection) = state.of(generation)
            && connection.out.len() >= bytes_max
        {
            connection.streaming.writer_waits = true;
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let connection = state.of(generation).ok_or(Gone)?;
        connection.put_piece(piece);
        if connection.phase == Phase::Parked {
            self.settle(&mut state);
        }
        state.of(generation).map(|_| ()).ok_or(Gone)
    }

    fn end_stream(&self, generation: u32, finished: bool) {
        let mut state = self.lock();
        let Some(connection) = state.of(generation) else { return };
        if !finished {
            self.core.metrics.refused(Refusal::Failed);
            // An orderly close would look like the body's end.
            if connection.stream_coding() == Some(Coding::UntilClose) {
                return self.close(&mut state);
            }
        }
        connection.end_stream(finished, &self.core.metrics);
        match connection.phase {
            Phase::Calling => connection.phase = Phase::Answered,
            Phase::Parked => {
                connection.finish_parked();
                self.settle(&mut state);
                if let Some(connection) = &mut state.connection {
                    connection.shrink();
                }
            }
            Phase::Reading | Phase::Answered | Phase::Closing { .. } | Phase::Lingering { .. } => {}
        }
    }
}
