//! Binding, starting and stopping.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::acceptor::Acceptor;
use super::engine::{Core, Slots, Wake};
use super::worker::{STOP, Worker};
use super::{Limits, Reply, Request};
use crate::metrics::Metrics;
use crate::text::io_error;

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

/// Why a server could not be bound.
#[derive(Debug)]
pub struct BindError {
    host: String,
    port: u16,
    error: io::Error,
}

/// Connections that wait for `accept` in the kernel; `net.core.somaxconn` may allow less.
const BACKLOG: i32 = 4096;
/// What the kernel keeps of an answer, half of it data. Left to itself it takes 4 MB for each client
/// that does not read, and then has none for those that do.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// Descriptors for what is no connection: the listener, epoll, files, standard streams.
const DESCRIPTORS_RESERVED: usize = 24;
/// Enough for parsing and handlers, which do not recurse on input.
const STACK_BYTES: usize = 512 << 10;

/// A bound listener; clients can connect and wait, but nobody is served yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    core: Arc<Core>,
}

impl Server {
    /// Listens on `host`, an IP address or a name, and `port`, where 0 takes a free one. What is
    /// served counts in `metrics`.
    ///
    /// # Errors
    /// The name is unknown, the address is in use or not ours, or the descriptors are used up.
    pub fn bind(
        host: &str,
        port: u16,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BindError> {
        let bound = listener(host, port).and_then(|listener| {
            let address = listener.local_addr()?;
            let core = Arc::new(Core::new(within_descriptors(limits), metrics)?);
            Ok(Server { listener, address, core })
        });
        bound.map_err(|error| BindError { host: host.to_owned(), port, error })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The limits in force, which the descriptor limit may have lowered.
    pub fn limits(&self) -> &Limits {
        &self.core.limits
    }

    /// Starts the threads and returns at once.
    ///
    /// # Errors
    /// The system has no room for a thread.
    pub fn start(self, service: impl Service) -> io::Result<Running> {
        let Server { listener, core, .. } = self;
        let slots = Arc::new(Slots::new(Arc::clone(&core)));
        let service = Arc::new(service);
        let stop_workers = Wake::new()?;
        core.poller.add(&stop_workers, STOP, EventFlags::IN)?;
        let mut running =
            Running { core: Arc::clone(&core), stop_workers, acceptor: None, workers: Vec::new() };
        for index in 0..core.limits.workers.max(1) {
            let worker = Worker::new(Arc::clone(&core), Arc::clone(&slots), Arc::clone(&service));
            running.workers.push(spawn(format!("worker-{index}"), move || worker.run())?);
        }
        let acceptor = Acceptor { core, slots, listener, service };
        running.acceptor = Some(spawn("acceptor".to_owned(), move || acceptor.run())?);
        Ok(running)
    }
}

/// A running server; dropping it stops it.
pub struct Running {
    core: Arc<Core>,
    stop_workers: Wake,
    acceptor: Option<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops gracefully: accepts nobody new, closes idle connections, lets running requests
    /// finish for at most `Limits::stop_timeout`, and returns when all threads have ended.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.core.start_draining();
        if let Some(acceptor) = self.acceptor.take() {
            join(acceptor);
        }
        self.stop_workers.wake();
        self.workers.drain(..).for_each(join);
    }
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        log::error!("the thread {name} had panicked");
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(run)
}

/// The first of the host's addresses that can be bound.
fn listener(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match listener_at(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn listener_at(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted connections inherit both: an answer leaves in one write and waits for nothing.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Raises the descriptor limit as far as it goes, and keeps the connections below it.
fn within_descriptors(mut limits: Limits) -> Limits {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(limits.connections_max + DESCRIPTORS_RESERVED).ok();
    let within = |limit: Option<u64>| limit.is_none_or(|limit| wanted.is_some_and(|w| w <= limit));
    if within(current) {
        return limits;
    }
    let raised = if within(maximum) { wanted } else { maximum };
    let granted = match setrlimit(Resource::Nofile, Rlimit { current: raised, maximum }) {
        Ok(()) => raised,
        Err(_) => current,
    };
    let granted = granted.and_then(|granted| usize::try_from(granted).ok()).unwrap_or(usize::MAX);
    let room = granted.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    limits.connections_max = limits.connections_max.min(room);
    limits
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { host, port, error } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let why = match error.kind() {
            io::ErrorKind::AddrNotAvailable => "not an address of this host".to_owned(),
            _ => io_error(error),
        };
        write!(f, "cannot listen on {host}:{port}: {why}")
    }
}

impl std::error::Error for BindError {}
