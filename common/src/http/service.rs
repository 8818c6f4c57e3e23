//! What a program gives an engine.

use std::io;
use std::task::Waker;
use std::time::Duration;

use super::{Reply, Request};

/// What answers requests.
///
/// `call` runs on a worker and must not block: it sends the reply at once, or keeps it and sends
/// it later from another thread.
pub trait Service: Send + Sync + 'static {
    /// Answers one request through `reply`.
    fn call(&self, request: &Request<'_>, reply: Reply);

    /// The graceful stop has begun: replies that are kept for long should be sent. Called again
    /// while the stop lasts, for what has come meanwhile.
    fn drain(&self) {}

    /// Offers a service whose writes are all answered by one thread to have that thread serve the
    /// clients that do nothing but write. Called once, before the first request, by an engine that
    /// gains by it: one with few workers.
    fn attach(&self, lane: Box<dyn Lane>) {
        drop(lane);
    }
}

/// Connections for a thread of the service's own. Dropping it gives them back to the workers.
pub trait Lane: Send {
    /// Calls the service with the requests that have come, or with those that come first within
    /// `timeout`. The thread is expected back soon, and may be away for as long as it has to.
    ///
    /// # Errors
    /// The system does not say what has come.
    fn serve(&mut self, timeout: Duration) -> io::Result<()>;

    /// Ends `serve`: the call that waits, or else the next one.
    fn waker(&self) -> Waker;
}
