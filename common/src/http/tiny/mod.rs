//! The other engine: `tiny_http` reads the requests, and workers answer them through the same
//! [`Service`]. `docs/tiny_http.md` shows what it cannot bear, and why it is not the default.
//!
//! Of [`Limits`] it keeps `workers`, `stop_timeout`, `body_bytes_max` and `target_bytes_max`, and
//! `write_timeout` as far as the kernel does: for a client that takes nothing. The others have no
//! place in it: connections, bytes of a head, the deadlines of head, body and idle connections,
//! pipelined requests, bytes waiting.
//!
//! Invariants: what a head means is decided by the same code as in the default engine; a worker
//! waits for a client only while it writes, and who sends a [`Reply`] for none at all.

mod accepting;
mod body;
mod sink;

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use httparse::Header;
use rustix::net::sockopt;

use super::bind::{BindError, listener, within_descriptors};
use super::decode::Terms;
use super::limits::{HEADERS_MAX, Refusal};
use super::output::Output;
use super::parse::{Head, Version};
use super::{Body, BodyWriter, Limits, Method, Request, Response, Service, StatusCode, encode};
use crate::logging;
use crate::metrics::Metrics;
use crate::text::escaped;
use accepting::Accepting;
use body::BodyError;
pub(super) use sink::Sink;
use sink::{Ended, Piece};

/// How long a connection is silent before its client is asked whether it is there.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
/// Between two looks during a graceful stop.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// The right to answer one request, once, from any thread, now or later.
///
/// Dropped unsent, also by a panic, it answers 500, so that no client waits for ever.
#[must_use = "a reply that is dropped unsent answers 500"]
#[derive(Debug)]
pub struct Reply {
    answer: Sender<Answer>,
    route: usize,
}

/// What a service answers, and the route that it is counted under.
#[derive(Debug)]
struct Answer {
    response: Response,
    route: usize,
    /// Where the body comes from when it is streamed.
    pieces: Option<Receiver<Piece>>,
}

impl Reply {
    /// Has the request counted under this place of the [metrics'](Metrics) table of routes.
    pub fn count_as(&mut self, route: usize) {
        self.route = route;
    }

    /// An empty buffer to build a body in.
    #[allow(clippy::unused_self, reason = "the default engine's reply brings one along")]
    pub fn buffer(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Whether nobody waits for the answer any more. `tiny_http` does not tell, so the answer is
    /// made for nobody.
    #[allow(clippy::unused_self, reason = "the default engine's reply knows its connection")]
    pub fn has_left(&self) -> bool {
        false
    }

    /// Hands the answer to the thread that writes it.
    pub fn send(self, response: Response) {
        // There is room for one, and nobody to tell when the request has been given up.
        let _ = self.answer.send(Answer { response, route: self.route, pieces: None });
    }

    /// Sends the head of an answer whose body is written piece by piece. `tiny_http` cannot close a
    /// connection, so a body that is dropped unfinished ends in a chunk that is none; a client that
    /// speaks HTTP/1.0 cannot tell it from a whole one.
    pub fn stream(self, response: Response) -> BodyWriter {
        let (sink, pieces) = Sink::new();
        let _ = self.answer.send(Answer { response, route: self.route, pieces: Some(pieces) });
        BodyWriter::new(sink)
    }
}

/// A bound listener; clients can connect and wait, but nobody is served yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Listens on `host`, an IP address or a name, and `port`, where 0 takes a free one. What is
    /// served counts in `metrics`, but for the connections, which `tiny_http` keeps to itself.
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
            listener.set_nonblocking(false)?;
            // Accepted connections inherit these.
            sockopt::set_socket_keepalive(&listener, true)?;
            sockopt::set_tcp_keepidle(&listener, KEEP_ALIVE_AFTER)?;
            let millis = u32::try_from(limits.write_timeout.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(&listener, millis)?;
            let address = listener.local_addr()?;
            Ok(Server { listener, address, limits: within_descriptors(limits), metrics })
        });
        bound.map_err(|error| BindError::new(host, port, error))
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The limits that were asked for; the module says which of them are kept.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Starts the threads and returns at once.
    ///
    /// # Errors
    /// The system has no room for a thread.
    pub fn start(self, service: impl Service) -> io::Result<Running> {
        let Server { listener, limits, metrics, .. } = self;
        let (workers, stop_timeout) = (limits.workers.max(1), limits.stop_timeout);
        let (stop, stopped) = bounded(0);
        let (in_use, ended) = bounded(0);
        let service = Arc::new(service);
        let engine = Engine { service: Arc::clone(&service), limits, metrics, in_use };
        let engine = Arc::new(engine);
        let work = Arc::new(move |incoming| engine.take(incoming));
        let accepting = Accepting::start(&listener, workers, &work)?;
        spawn("keeper", move || accepting.keep(&listener, &work, &stopped))?;
        let drain = Box::new(move || service.drain());
        Ok(Running { stop: Some(stop), ended, drain, stop_timeout })
    }
}

/// A running server; dropping it stops it.
pub struct Running {
    stop: Option<Sender<Infallible>>,
    ended: Receiver<Infallible>,
    drain: Box<dyn Fn() + Send>,
    stop_timeout: Duration,
}

impl Running {
    /// Stops: takes no further request and waits at most `Limits::stop_timeout` for those that
    /// are running. The threads of `tiny_http` itself end with the process.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop = None;
        let started = Instant::now();
        while started.elapsed() < self.stop_timeout {
            (self.drain)();
            if self.ended.recv_timeout(DRAIN_TICK) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
        log::warn!("requests were cut off by the stop");
    }
}

/// What the threads share.
struct Engine<S> {
    service: Arc<S>,
    limits: Limits,
    metrics: Arc<Metrics>,
    /// Gone with the last thread that serves a request, which is when a stop has come to its end.
    in_use: Sender<Infallible>,
}

impl<S: Service> Engine<S> {
    fn take(self: &Arc<Self>, incoming: tiny_http::Request) {
        if body::arrives_later(&incoming) {
            let engine = Arc::clone(self);
            // Without a thread for it, it is dropped and answers 500.
            let _ = spawn("body", move || engine.serve(incoming));
        } else {
            self.serve(incoming);
        }
    }

    fn serve(self: &Arc<Self>, mut incoming: tiny_http::Request) {
        let started = Instant::now();
        let body = body::read(&mut incoming, self.limits.body_bytes_max);
        let called = body.and_then(|body| self.call(&incoming, &body).map_err(BodyError::Ended));
        let called = match called {
            Ok(called) => called,
            Err(error) => return self.refuse(incoming, error, started),
        };
        match called.answer.try_recv() {
            // A worker does not wait for who writes the body.
            Ok(answer) if answer.pieces.is_some() => {
                let engine = Arc::clone(self);
                let _ = spawn("stream", move || {
                    engine.respond(incoming, called, Some(answer), started);
                });
            }
            Ok(answer) => self.respond(incoming, called, Some(answer), started),
            Err(TryRecvError::Disconnected) => self.respond(incoming, called, None, started),
            Err(TryRecvError::Empty) => {
                let engine = Arc::clone(self);
                let _ = spawn("parked", move || {
                    let answer = called.answer.recv().ok();
                    engine.respond(incoming, called, answer, started);
                });
            }
        }
    }

    /// Lets the service answer, now or later.
    fn call(&self, incoming: &tiny_http::Request, body: &[u8]) -> Result<Called, Refusal> {
        let fields: Vec<Header<'_>> = incoming.headers().iter().map(field).collect();
        if fields.len() > HEADERS_MAX {
            return Err(Refusal::TooManyHeaders(HEADERS_MAX));
        }
        let (method, target) = (incoming.method().as_str(), incoming.url());
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::Malformed("The request line is malformed"));
        }
        let version = version(incoming.http_version())?;
        let head = Head::new(method, target, version, &fields, &self.limits)?;
        let terms = Terms::of(&head);
        let Head { method, path, query, headers, .. } = head;
        let request = Request { method, path, query, headers, body };
        let (answer, answered) = bounded(1);
        let reply = Reply { answer, route: 0 };
        let called = catch_unwind(AssertUnwindSafe(|| self.service.call(&request, reply)));
        if called.is_err() {
            log::error!("a handler panicked: {} {}", request.method, escaped(path));
        }
        Ok(Called { terms, method: request.method, answer: answered })
    }

    /// Sends the service's answer, or its failure when there is none.
    fn respond(
        &self,
        incoming: tiny_http::Request,
        called: Called,
        answer: Option<Answer>,
        started: Instant,
    ) {
        let Called { mut terms, method, .. } = called;
        terms.keep_alive &= answer.is_some();
        let failed = || {
            self.metrics.refused(Refusal::Failed);
            Answer { response: Refusal::Failed.response(), route: 0, pieces: None }
        };
        let Answer { response, route, pieces } = answer.unwrap_or_else(failed);
        let status = response.status;
        let Some(pieces) = pieces else {
            self.metrics.answered(route, &method, status, started.elapsed());
            access(&incoming, status, started);
            let out = encoded(response, terms);
            return write(&mut incoming.into_writer(), &out);
        };
        // The log wants what the writer takes away.
        let path = path(&incoming).to_owned();
        if sink::write(&mut incoming.into_writer(), &response, terms, &pieces) == Ended::Unfinished
        {
            self.metrics.refused(Refusal::Failed);
        }
        // Whoever writes on is told that nobody reads.
        drop(pieces);
        self.metrics.answered(route, &method, status, started.elapsed());
        logging::access(&method, &path, status.as_u16(), micros_since(started));
    }

    /// Answers in the engine's own name. That the connection closes can only be said: `tiny_http`
    /// cannot be told to.
    fn refuse(&self, incoming: tiny_http::Request, error: BodyError, started: Instant) {
        let (BodyError::Ended(refusal) | BodyError::Endless(refusal)) = error;
        let head_only = *incoming.method() == tiny_http::Method::Head;
        let terms = Terms { head_only, version: Version::Http11, keep_alive: false };
        let out = encoded(refusal.response(), terms);
        self.metrics.refused(refusal);
        access(&incoming, refusal.status(), started);
        match error {
            BodyError::Ended(_) => write(&mut incoming.into_writer(), &out),
            BodyError::Endless(_) => {
                // The one way to answer that leaves the body's reader alone, at the price of an
                // interim response. The reader is never given back, so the connection stays as it
                // is, with its thread, as long as the process.
                let mut stream = incoming.upgrade("", tiny_http::Response::empty(100));
                write(&mut stream, &out);
                std::mem::forget(stream);
            }
        }
    }
}

/// A request that the service has been given.
struct Called {
    terms: Terms,
    method: Method,
    answer: Receiver<Answer>,
}

/// The whole answer in one piece.
fn encoded(mut response: Response, terms: Terms) -> Vec<u8> {
    if let Body::Joined { .. } = response.body {
        response.body = Body::Bytes(response.body.to_vec());
    }
    let mut output = Output::default();
    encode::response(&mut output, response, terms, Instant::now());
    std::mem::take(output.buffer())
}

/// One write: what is longer than the buffer of `tiny_http` passes by it.
fn write(to: &mut impl Write, out: &[u8]) {
    // A client that has gone needs no answer.
    let _ = to.write_all(out).and_then(|()| to.flush());
}

fn field(header: &tiny_http::Header) -> Header<'_> {
    Header { name: header.field.as_str().as_str(), value: header.value.as_bytes() }
}

fn version(version: &tiny_http::HTTPVersion) -> Result<Version, Refusal> {
    match (version.0, version.1) {
        (1, 0) => Ok(Version::Http10),
        (1, 1) => Ok(Version::Http11),
        _ => Err(Refusal::UnknownVersion),
    }
}

/// One line a request.
fn access(incoming: &tiny_http::Request, status: StatusCode, started: Instant) {
    logging::access(incoming.method(), path(incoming), status.as_u16(), micros_since(started));
}

fn path(incoming: &tiny_http::Request) -> &str {
    incoming.url().split('?').next().unwrap_or_default()
}

fn micros_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

#[cfg(test)]
mod tests;
