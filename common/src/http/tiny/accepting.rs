//! `tiny_http` from the start of its accepting to the last of its connections, and its successors.
//!
//! Its accepting ends with the first failure: an error when the descriptors are used up, or a
//! panic when there was one left and it wanted two. The connections that it has are not touched.
//! So another `tiny_http` is started on the same listener, beside it.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::spawn;

/// How often it is looked whether `tiny_http` still accepts.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Descriptors that must be free before another one is started.
const DESCRIPTORS_FREE_MIN: usize = 8;

/// A running `tiny_http`; dropped, it lets its workers go.
pub(super) struct Accepting {
    server: Arc<tiny_http::Server>,
    workers: usize,
    /// What its accepting thread listens with, and closes when it ends.
    descriptor: PathBuf,
}

impl Accepting {
    /// Starts one on the listener, with `workers` threads that take its requests.
    pub(super) fn start<F>(
        listener: &TcpListener,
        workers: usize,
        work: &Arc<F>,
    ) -> io::Result<Self>
    where
        F: Fn(tiny_http::Request) + Send + Sync + 'static,
    {
        let listener = listener.try_clone()?;
        let descriptor = descriptor(&listener);
        // It panics when the system has no room for a thread.
        let server = catch_unwind(AssertUnwindSafe(|| {
            tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)
        }));
        let server = Arc::new(server.unwrap_or_else(|_| Err(io::ErrorKind::OutOfMemory.into()))?);
        let accepting = Accepting { server, workers, descriptor };
        for index in 0..workers {
            let (work, server) = (Arc::clone(work), Arc::clone(&accepting.server));
            spawn(&format!("worker-{index}"), move || take_requests(&server, &*work))?;
        }
        Ok(accepting)
    }

    /// Starts a successor whenever accepting has ended, until the sender of `stopped` is dropped.
    pub(super) fn keep<F>(
        mut self,
        listener: &TcpListener,
        work: &Arc<F>,
        stopped: &Receiver<Infallible>,
    ) where
        F: Fn(tiny_http::Request) + Send + Sync + 'static,
    {
        let (workers, mut retired) = (self.workers, Vec::new());
        while stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            if self.accepts(listener) || !descriptors_are_free(listener) {
                continue;
            }
            match Accepting::start(listener, workers, work) {
                Ok(successor) => {
                    log::warn!("tiny_http had stopped accepting, and was started again");
                    let mut last = std::mem::replace(&mut self, successor);
                    last.retire();
                    retired.push(last);
                }
                Err(error) => log::warn!("tiny_http cannot be started again yet: {error}"),
            }
        }
    }

    /// Whether its accepting thread is there. It says so when it ends by an error, but not when
    /// it ends by a panic.
    pub(super) fn accepts(&self, listener: &TcpListener) -> bool {
        let socket = |descriptor: &PathBuf| std::fs::read_link(descriptor).ok();
        socket(&self.descriptor) == socket(&descriptor(listener))
    }

    /// Keeps one worker, for the connections that are left.
    fn retire(&mut self) {
        (1..self.workers).for_each(|_| self.server.unblock());
        self.workers = 1;
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        (0..self.workers).for_each(|_| self.server.unblock());
    }
}

fn take_requests(server: &tiny_http::Server, work: &impl Fn(tiny_http::Request)) {
    loop {
        match server.recv() {
            Ok(incoming) => work(incoming),
            // Accepting has failed.
            Err(error) if error.raw_os_error().is_some() => {}
            Err(_unblocked) => return,
        }
    }
}

fn descriptor(listener: &TcpListener) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", listener.as_raw_fd()))
}

fn descriptors_are_free(listener: &TcpListener) -> bool {
    let taken: io::Result<Vec<_>> =
        (0..DESCRIPTORS_FREE_MIN).map(|_| listener.try_clone()).collect();
    taken.is_ok()
}
