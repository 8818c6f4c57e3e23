//! One connection: what it holds, and what it is doing.
//!
//! Invariants: a connection is in one `Phase`; its requests are handled one after the other
//! (RFC 9112, section 9.3.2).

use std::fmt::Display;
use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use rustix::io::ioctl_fionread;
use rustix::net::sockopt::set_socket_linger;

use super::decode::{Awaits, Decoder, Terms};
use super::encode::Coding;
use super::limits::Refusal;
use super::output::{Flush, Output};
use super::parse::Version;
use super::{Response, encode};
use crate::logging;
use crate::metrics::Metrics;

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) phase: Phase,
    /// Whether it is in the lane rather than with the workers.
    pub(super) in_lane: bool,
    /// Requests in a row, as far as that is of interest, that were such as the lane is for.
    pub(super) late: u8,
    /// Bytes of the unfinished request, and of those behind it.
    pub(super) inbox: Vec<u8>,
    /// Whether `inbox` holds bytes that the decoder has not been given.
    pub(super) unseen: bool,
    /// Whether a worker has to look again although no event need come.
    pub(super) revisit: Revisit,
    pub(super) decoder: Decoder,
    /// Answers on their way out.
    pub(super) out: Output,
    pub(super) streaming: Streaming,
    /// The request that was answered last by others than its worker, until that is seen to.
    pub(super) exchange: Option<Exchange>,
    /// The path for the log, kept when the reply outlives the request.
    pub(super) parked: Option<Box<str>>,
    /// Whether the client has sent its last byte, as far as that was seen while a reply was owed.
    pub(super) peer_ended: bool,
    /// What the deadline now running is for.
    pub(super) waits_for: Option<Awaits>,
    /// What `inbox` and the decoder count for in the core's sum.
    pub(super) buffered: usize,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for a request, or for the rest of one.
    Reading,
    /// A worker has the input, runs the handler and will look after the answer.
    Calling,
    /// The handler has sent the reply while its worker looks after the connection.
    Answered,
    /// The handler has kept the reply; whoever sends it, whole or as a stream, looks after the
    /// connection.
    Parked,
    /// The last answer is on its way out; `linger` when the client may be sending still.
    Closing { linger: bool },
    /// All is said; what comes is read and dropped, so many bytes at most.
    Lingering { bytes_left: usize },
}

/// Whether there may be input that has been reported already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Revisit {
    No,
    /// It was reported while a request was at work, and is read when that has been answered.
    AfterReply,
    Now,
}

/// What an answer has to know of its request; it goes where the reply goes.
pub(super) struct Asked {
    pub(super) terms: Terms,
    pub(super) method: Method,
    pub(super) started: Instant,
    /// Place in the metrics' table of routes.
    pub(super) route: usize,
}

/// A request whose answer has been written, in part if its body is streamed.
pub(super) struct Exchange {
    pub(super) asked: Asked,
    pub(super) status: StatusCode,
    pub(super) took: Duration,
    /// Set while the answer's body is streamed.
    stream: Option<Coding>,
}

/// When an answer was written, and the buffer of its body.
pub(super) struct Written {
    pub(super) at: Instant,
    pub(super) took: Duration,
    pub(super) spare: Option<Vec<u8>>,
}

impl Asked {
    /// Appends the answer to `out`, and counts it.
    pub(super) fn answer(
        &self,
        out: &mut Output,
        response: Response,
        metrics: &Metrics,
    ) -> Written {
        let at = Instant::now();
        let took = at.duration_since(self.started);
        metrics.answered(self.route, &self.method, response.status, took);
        let spare = encode::response(out, response, self.terms, at);
        let spare =
            spare.filter(|buffer| buffer.capacity() <= SPARE_BYTES_MAX).map(|mut buffer| {
                buffer.clear();
                buffer
            });
        Written { at, took, spare }
    }
}

/// What streamed bodies ask for beyond their exchange.
#[derive(Default)]
pub(super) struct Streaming {
    /// Whether the writer waits for room in the output.
    pub(super) writer_waits: bool,
    /// Whether closing now takes back what the client has not got, and tells it so: the only way
    /// to show that a body is not whole whose end is that of the connection.
    resets: bool,
}

/// A body's buffer that grew past this is not used again.
const SPARE_BYTES_MAX: usize = 256 << 10;

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Connection {
            stream,
            phase: Phase::Reading,
            in_lane: false,
            late: 0,
            inbox: Vec::new(),
            unseen: false,
            revisit: Revisit::No,
            decoder: Decoder::default(),
            out: Output::default(),
            streaming: Streaming::default(),
            peer_ended: false,
            exchange: None,
            parked: None,
            waits_for: None,
            buffered: 0,
        }
    }

    /// Between two requests, with nothing to send.
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Reading && self.inbox.is_empty() && self.out.is_empty()
    }

    /// Idle, and its next request has not arrived either.
    pub(super) fn is_deserted(&self) -> bool {
        self.is_idle() && !self.has_unread()
    }

    /// Whether something has come that nobody has read.
    pub(super) fn has_unread(&self) -> bool {
        ioctl_fionread(&self.stream).is_ok_and(|unread| unread > 0)
    }

    /// Reads once; `Ok(None)` when there is nothing to read now.
    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.stream).read(into) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn flush(&mut self) -> Flush {
        self.out.flush(&self.stream)
    }

    /// Appends the answer to the request being handled, and counts it.
    pub(super) fn put_answer(&mut self, asked: Asked, response: Response, metrics: &Metrics) {
        let status = response.status;
        let Written { took, .. } = asked.answer(&mut self.out, response, metrics);
        self.exchange = Some(Exchange { asked, status, took, stream: None });
    }

    /// Appends the head of an answer whose body is streamed.
    pub(super) fn begin_stream(&mut self, mut asked: Asked, response: &Response) {
        asked.terms.keep_alive &= asked.terms.version == Version::Http11;
        let status = response.status;
        let coding = encode::stream_head(&mut self.out, response, asked.terms, Instant::now());
        self.exchange =
            Some(Exchange { asked, status, took: Duration::ZERO, stream: Some(coding) });
        if coding == Coding::UntilClose {
            self.streaming.resets = set_socket_linger(&self.stream, Some(Duration::ZERO)).is_ok();
        }
    }

    /// How the body that is streamed now is sent.
    pub(super) fn stream_coding(&self) -> Option<Coding> {
        self.exchange.as_ref()?.stream
    }

    /// Appends a piece of the body that is streamed.
    pub(super) fn put_piece(&mut self, piece: &[u8]) {
        if let Some(coding) = self.stream_coding() {
            self.out.compact();
            encode::piece(self.out.buffer(), coding, piece);
        }
    }

    /// Ends the body that is streamed, or leaves its end away, and counts the request.
    pub(super) fn end_stream(&mut self, finished: bool, metrics: &Metrics) {
        let Some(exchange) = &mut self.exchange else { return };
        let Some(coding) = exchange.stream.take() else { return };
        if finished {
            encode::end(self.out.buffer(), coding);
        }
        let asked = &mut exchange.asked;
        asked.terms.keep_alive &= finished;
        exchange.took = asked.started.elapsed();
        metrics.answered(asked.route, &asked.method, exchange.status, exchange.took);
    }

    /// The connection closes: a body that is streamed has come to its end.
    pub(super) fn cut_stream(&mut self, metrics: &Metrics) {
        if self.stream_coding().is_some() {
            self.end_stream(false, metrics);
            self.log_parked();
        }
    }

    /// All of the last answer has left: closing need not take it back.
    pub(super) fn keep_output(&mut self) {
        if std::mem::take(&mut self.streaming.resets) {
            // Where it fails the connection has gone.
            let _ = set_socket_linger(&self.stream, None);
        }
    }

    /// All that is whole has been answered.
    pub(super) fn await_request(&mut self) {
        self.phase = Phase::Reading;
    }

    /// A request that outlived its worker's turn has been answered.
    pub(super) fn finish_parked(&mut self) {
        self.log_parked();
        self.finish_exchange();
    }

    /// The request has been answered: on to the next, or to the end where none was kept.
    pub(super) fn finish_exchange(&mut self) {
        let exchange = self.exchange.take();
        let keep_alive = exchange.is_some_and(|exchange| exchange.asked.terms.keep_alive);
        self.waits_for = None;
        self.unseen = !self.inbox.is_empty();
        if self.unseen || self.revisit != Revisit::No {
            self.revisit = Revisit::Now;
        }
        self.phase = if keep_alive {
            Phase::Reading
        } else {
            Phase::Closing { linger: !self.inbox.is_empty() }
        };
    }

    /// Answers in the engine's own name and closes.
    /// `head_only` is for a request that is HEAD as far as it can be read: an answer to it has no
    /// body (RFC 9110, section 9.3.2).
    pub(super) fn refuse(&mut self, refusal: Refusal, head_only: bool) {
        access("-", "-", refusal.status(), Duration::ZERO);
        encode::refusal(&mut self.out, refusal, head_only);
        self.exchange = None;
        self.inbox = Vec::new();
        self.decoder = Decoder::default();
        self.phase = Phase::Closing { linger: true };
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn shrink(&mut self) {
        if self.out.is_empty() {
            self.out = Output::default();
        }
    }

    fn log_parked(&mut self) {
        let Some(path) = self.parked.take() else { return };
        if let Some(exchange) = &self.exchange {
            access(&exchange.asked.method, &path, exchange.status, exchange.took);
        }
    }
}

/// One line a request.
pub(super) fn access(method: impl Display, path: &str, status: StatusCode, took: Duration) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    logging::access(method, path, status.as_u16(), micros);
}
