//! What a program gives an engine.

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
}
