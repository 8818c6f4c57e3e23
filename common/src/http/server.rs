//! Signatures only, for the parts that are written beside the engine. The engine replaces this.
#![allow(missing_docs)]
use super::{Request, Response};
use std::net::SocketAddr;
use std::time::Duration;

/// What answers requests. `call` runs on a worker thread and must not block: it sends the reply
/// at once, or keeps it and sends it later from another thread.
pub trait Service: Send + Sync + 'static {
    fn call(&self, request: &Request<'_>, reply: Reply);
}

/// The right to answer one request, once. Dropped unsent it answers 500.
pub struct Reply {}
impl Reply {
    /// An empty buffer, recycled between requests, to build a body in.
    pub fn buffer(&mut self) -> Vec<u8> { unimplemented!() }
    pub fn send(self, response: Response) { drop(response); unimplemented!() }
}

/// Every limit of the engine. `Default` gives the documented defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub connections_max: usize,
    pub body_bytes_max: usize,
    pub head_timeout: Duration,
    pub body_timeout: Duration,
    pub idle_timeout: Duration,
    pub write_timeout: Duration,
    pub workers: usize,
}

#[derive(Debug)]
pub struct BindError;

/// A bound listener that accepts nobody yet.
pub struct Server {}
impl Server {
    /// `host` is an IP address or a name; port 0 takes a free one.
    pub fn bind(_host: &str, _port: u16, _limits: Limits) -> Result<Server, BindError> { unimplemented!() }
    pub fn local_addr(&self) -> SocketAddr { unimplemented!() }
    /// Starts the threads and returns at once.
    pub fn start(self, _service: impl Service) -> Running { unimplemented!() }
}
/// A running server; `stop` is graceful and returns when the last connection has gone.
pub struct Running {}
impl Running {
    pub fn stop(self) { unimplemented!() }
}
