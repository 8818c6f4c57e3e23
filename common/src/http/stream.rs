//! An answer that is too large to be built: its body is written piece by piece.

use super::Gone;
#[cfg(not(feature = "tiny_http"))]
use super::sink::Sink;
#[cfg(feature = "tiny_http")]
use super::tiny::Sink;

/// What is written is gathered up to this size before it goes on its way.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Writes the body of an answer from a thread of its own. Never from within `Service::call`: a
/// write waits for the client when too much is on its way already
/// ([`Limits::output_bytes_max`](super::Limits::output_bytes_max)), and a worker must not wait.
///
/// Dropped unfinished, also by a panic, it closes the connection before the body's end has been
/// told, so that the client sees that it has not got everything.
#[must_use = "a body that is dropped unfinished closes its connection"]
pub struct BodyWriter {
    gathered: Vec<u8>,
    sink: Sink,
}

impl BodyWriter {
    pub(super) fn new(sink: Sink) -> Self {
        BodyWriter { gathered: Vec::new(), sink }
    }

    /// Appends to the body. Waits for as long as the client takes its time, which
    /// [`Limits::write_timeout`](super::Limits::write_timeout) limits. The body of an answer to
    /// HEAD goes nowhere.
    ///
    /// # Errors
    /// Nobody takes what is written any more.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        while self.gathered.len() + bytes.len() >= PIECE_BYTES {
            let (fitting, rest) = bytes.split_at(PIECE_BYTES - self.gathered.len());
            self.gathered.extend_from_slice(fitting);
            bytes = rest;
            self.sink.send(&self.gathered)?;
            self.gathered.clear();
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the body: the client has got everything once it has read this end.
    pub fn finish(mut self) {
        if self.gathered.is_empty() || self.sink.send(&self.gathered).is_ok() {
            self.sink.finish();
        }
    }
}

impl std::fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyWriter").field("gathered", &self.gathered.len()).finish_non_exhaustive()
    }
}
