//! The thread that takes new connections, keeps the deadlines and runs the graceful stop.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with};

use super::engine::{Core, Slots};
use super::limits::Refusal;
use super::output::Output;
use super::{Service, encode, keeper, lane};

/// Connections taken before the deadlines are looked at again.
const ACCEPTS_MAX: usize = 256;
/// How long accepting pauses after it failed for want of descriptors or memory, when no idle
/// connection can make room.
const BACKOFF: Duration = Duration::from_millis(50);
/// Between two looks at the deadlines, at most; short time-outs are looked at more often.
const TICK_MAX: Duration = Duration::from_millis(500);
/// Between two looks during a graceful stop.
const DRAIN_TICK: Duration = Duration::from_millis(20);

pub(super) struct Acceptor {
    pub(super) core: Arc<Core>,
    pub(super) slots: Arc<Slots>,
    pub(super) listener: TcpListener,
    pub(super) service: Arc<dyn Service>,
}

/// Why accepting paused.
enum Accepted {
    /// Nobody waits.
    All,
    /// There may be more.
    Some,
    /// Out of descriptors or memory.
    Exhausted,
}

impl Acceptor {
    /// Accepts until the graceful stop begins, then sees it through.
    pub(super) fn run(self) {
        let tick = self.tick();
        let mut swept = Instant::now();
        let mut warned: Option<Instant> = None;
        while !self.core.is_draining() {
            let ready = self.wait(tick.saturating_sub(swept.elapsed()));
            if ready {
                match self.accept() {
                    Accepted::All | Accepted::Some => {}
                    Accepted::Exhausted => {
                        if warned.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
                            log::warn!("cannot accept connections: out of descriptors or memory");
                            warned = Some(Instant::now());
                        }
                        if !keeper::evict_idle(&self.slots) {
                            std::thread::sleep(BACKOFF);
                        }
                    }
                }
            }
            if swept.elapsed() >= tick {
                keeper::sweep(&self.core, &self.slots);
                lane::watch(&self.core, &self.slots);
                swept = Instant::now();
            }
        }
        self.drain();
    }

    /// A tenth of the shortest time-out, so that none is late by more than that.
    fn tick(&self) -> Duration {
        let limits = &self.core.limits;
        let timeouts =
            [limits.head_timeout, limits.body_timeout, limits.idle_timeout, limits.write_timeout];
        let shortest = timeouts.into_iter().min().unwrap_or(TICK_MAX);
        (shortest / 10).clamp(Duration::from_millis(5), TICK_MAX)
    }

    /// Waits for a connection, a wake-up or the time; true when somebody wants to connect.
    fn wait(&self, timeout: Duration) -> bool {
        let mut fds = [
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.core.acceptor, PollFlags::IN),
        ];
        let _ = poll(&mut fds, Timespec::try_from(timeout).ok().as_ref());
        let (listener, wake) = (fds[0].revents(), fds[1].revents());
        if !wake.is_empty() {
            self.core.acceptor.clear();
        }
        !listener.is_empty()
    }

    fn accept(&self) -> Accepted {
        for _ in 0..ACCEPTS_MAX {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match accept_with(&self.listener, flags) {
                Ok(fd) => self.admit(TcpStream::from(fd)),
                Err(rustix::io::Errno::AGAIN) => return Accepted::All,
                Err(
                    rustix::io::Errno::MFILE
                    | rustix::io::Errno::NFILE
                    | rustix::io::Errno::NOBUFS
                    | rustix::io::Errno::NOMEM,
                ) => return Accepted::Exhausted,
                // That client has gone already (accept(2) passes its errors on).
                Err(_) => {}
            }
        }
        Accepted::Some
    }

    fn admit(&self, stream: TcpStream) {
        let full = self.core.open_connections() >= self.core.limits.connections_max;
        if full && !keeper::evict_idle(&self.slots) {
            self.core.metrics.refused(Refusal::TooManyConnections);
            turn_away(&stream);
            return;
        }
        if let Err(error) = self.slots.open(stream) {
            log::warn!("a connection was dropped: {error}");
        }
    }

    /// The graceful stop: who waited to be accepted is served, idle connections are closed, and
    /// the others have `stop_timeout` to finish, if they have no deadline before.
    fn drain(self) {
        while let Accepted::Some = self.accept() {}
        let Acceptor { core, slots, listener, service } = self;
        drop(listener);
        let started = Instant::now();
        loop {
            service.drain();
            keeper::close_idle(&slots);
            keeper::sweep(&core, &slots);
            lane::watch(&core, &slots);
            let left = core.open_connections();
            if left == 0 {
                return;
            }
            if started.elapsed() >= core.limits.stop_timeout {
                log::warn!("{left} connections were cut off by the stop");
                return slots.close_all();
            }
            let mut fds = [PollFd::new(&core.acceptor, PollFlags::IN)];
            let _ = poll(&mut fds, Timespec::try_from(DRAIN_TICK).ok().as_ref());
            core.acceptor.clear();
        }
    }
}

/// 503 for a client that there is no room for; what does not fit its empty buffer is not sent.
fn turn_away(stream: &TcpStream) {
    let mut out = Output::default();
    encode::refusal(&mut out, Refusal::TooManyConnections, false);
    out.flush(stream);
}
