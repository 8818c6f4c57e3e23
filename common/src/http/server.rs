//! Starting and stopping.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::epoll::EventFlags;

use super::acceptor::Acceptor;
use super::bind::{BindError, listener, within_descriptors};
use super::engine::{Core, Slots, Wake};
use super::lane::LaneWorker;
use super::worker::{STOP, Worker};
use super::{Limits, Service};
use crate::metrics::Metrics;

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
        bound.map_err(|error| BindError::new(host, port, error))
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
        if let Some(lane) = LaneWorker::open(&core, &slots, &service) {
            service.attach(Box::new(lane));
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
