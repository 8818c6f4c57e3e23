//! What a program gives an engine.

use std::io;
use std::task::Waker;
use std::time::Duration;

use super::{Reply, Request};

/// What answers requests.
///
/// `call` runs on a worker, or on the thread that serves a lane, and must not block: it sends the
/// reply at once, or keeps it and sends it later.
pub trait Service: Send + Sync + 'static {
    /// Answers one request through `reply`.
    fn call(&self, request: &Request<'_>, reply: Reply);

    /// The graceful stop has begun: replies that are kept for long should be sent. Called again
    /// while the stop lasts, for what has come meanwhile.
    fn drain(&self) {}

    /// Offers a service whose writes are all answered by one thread that this thread serve the
    /// clients that do nothing but write. Called once, at the start, where that is of use: by an
    /// engine with at most two workers.
    fn attach(&self, lane: Box<dyn Lane>) {
        drop(lane);
    }
}

/// Connections for a thread of the service's own. It keeps the service alive; dropping it gives
/// the connections back to the workers.
pub trait Lane: Send {
    /// Calls the service with the requests that have come, or with those that come first within
    /// `timeout`. From a thread that stays away for more than 100 ms the workers take them back,
    /// within half a second.
    ///
    /// # Errors
    /// The system does not say what has come.
    fn serve(&mut self, timeout: Duration) -> io::Result<()>;

    /// Whether connections move to the lane from now on. If not, those that are there go back to
    /// the workers.
    fn set_open(&mut self, open: bool);

    /// Ends a call of `serve` that waits, or else the next one. What it was woken for can be seen
    /// when `serve` returns.
    fn waker(&self) -> Waker;
}
