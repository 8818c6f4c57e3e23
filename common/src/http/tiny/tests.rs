use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::sync::mpsc;

use super::*;

const DEADLINE: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 64;
const STREAM_BYTES: usize = 1 << 20;

/// Answers as the path says. What is asked for later is answered when the gate's sender has gone.
struct Paths {
    kept: mpsc::SyncSender<()>,
    gate: Receiver<Infallible>,
}

impl Service for Paths {
    fn call(&self, request: &Request<'_>, reply: Reply) {
        match request.path {
            "/dropped" => drop(reply),
            "/stream" | "/unfinished" => {
                let is_whole = request.path == "/stream";
                let mut body = reply.stream(Response::new(StatusCode::OK));
                thread::spawn(move || {
                    while body.write(&vec![b'x'; STREAM_BYTES]).is_ok() {
                        if is_whole {
                            return body.finish();
                        }
                    }
                });
            }
            "/panics" => panic!("as it was asked to"),
            "/later" => {
                let gate = self.gate.clone();
                thread::spawn(move || {
                    let _ = gate.recv();
                    reply.send(Response::new(StatusCode::OK));
                });
                self.kept.send(()).unwrap();
            }
            _ => reply.send(Response::with_body(
                StatusCode::OK,
                "text/plain",
                Body::Bytes(request.body.to_vec()),
            )),
        }
    }
}

struct Started {
    address: SocketAddr,
    running: Running,
    kept: mpsc::Receiver<()>,
    gate: Sender<Infallible>,
}

fn start() -> Started {
    let limits = Limits { body_bytes_max: BODY_BYTES_MAX, workers: 1, ..Limits::default() };
    let server = Server::bind("127.0.0.1", 0, limits, Arc::new(Metrics::new(&["all"]))).unwrap();
    let address = server.local_addr();
    let (kept_sender, kept) = mpsc::sync_channel(1);
    let (gate, closed) = bounded(0);
    let running = server.start(Paths { kept: kept_sender, gate: closed }).unwrap();
    Started { address, running, kept, gate }
}

fn send(address: SocketAddr, request: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
}

/// The status of the next answer that is not an interim one.
fn status(stream: &mut BufReader<TcpStream>) -> u16 {
    loop {
        let mut lines = stream.by_ref().lines().map(Result::unwrap);
        let line = lines.next().unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(lines.any(|line| line.is_empty()), "a head without an end");
        if status >= 200 {
            return status;
        }
    }
}

#[track_caller]
fn check(started: &Started, request: &str, expected: u16) {
    let found = status(&mut send(started.address, request));
    assert_eq!(found, expected, "{request:?}");
}

#[track_caller]
fn check_fields(started: &Started, fields: &str, body: &str, expected: u16) {
    check(started, &format!("PUT / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{body}"), expected);
}

#[test]
fn every_request_is_answered() {
    let started = start();
    check(&started, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200);
    check(&started, "GET / HTTP/1.0\r\n\r\n", 200);
    check(&started, "GET / HTTP/1.1\r\n\r\n", 400);
    check(&started, "GET / HTTP/0.9\r\n\r\n", 505);
    check(&started, "GET /\u{1} HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    check(&started, "GET /dropped HTTP/1.1\r\nHost: h\r\n\r\n", 500);
    check(&started, "GET /panics HTTP/1.1\r\nHost: h\r\n\r\n", 500);
    let longest = "a".repeat(8 << 10);
    check(&started, &format!("GET /{longest} HTTP/1.1\r\nHost: h\r\n\r\n"), 414);
    check_fields(&started, &["A: b"; 100].join("\r\n"), "", 431);
    check(&started, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200);
}

/// `tiny_http` allocates what is left of a body when its reader is dropped: a length that is
/// stated and does not come ended the process.
#[test]
fn no_length_is_believed() {
    let started = start();
    check_fields(&started, "Content-Length: 3", "abc", 200);
    check_fields(&started, "Content-Length: 64", &"a".repeat(64), 200);
    check_fields(&started, "Content-Length: 65", &"a".repeat(65), 413);
    check_fields(&started, "Content-Length: 4000", &"a".repeat(4000), 413);
    check_fields(&started, "Content-Length: 100000000000", "", 413);
    check_fields(&started, "Content-Length: 18446744073709551615", "", 413);
    check_fields(&started, "Content-Length: 18446744073709551616", "", 413);
    check_fields(&started, "Content-Length: 3x", "", 400);
    check_fields(&started, "Content-Length: 3", "abc", 200);
}

#[test]
fn chunks_are_all_that_is_taken_for_chunks() {
    let started = start();
    check_fields(&started, "Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n", 200);
    let larger = format!("41\r\n{}\r\n0\r\n\r\n", "a".repeat(65));
    check_fields(&started, "Transfer-Encoding: chunked", &larger, 413);
    check_fields(&started, "Transfer-Encoding: chunked", "x\r\n", 400);
    check_fields(&started, "Transfer-Encoding: gzip", "", 501);
    check_fields(&started, "Transfer-Encoding: gzip, chunked", "", 501);
    check_fields(&started, "Transfer-Encoding: chunked\r\nContent-Length: 3", "", 400);
    check_fields(&started, "A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 3", "", 400);
}

/// The one worker must be free, or the second request is not answered.
#[test]
fn a_reply_that_comes_later_holds_no_worker() {
    let started = start();
    let mut later = send(started.address, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    started.kept.recv_timeout(DEADLINE).unwrap();
    check(&started, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200);
    let stopping = thread::spawn(move || started.running.stop());
    drop(started.gate);
    assert_eq!(status(&mut later), 200);
    stopping.join().unwrap();
}

/// The body that comes in chunks up to the last one.
fn chunks(stream: &mut BufReader<TcpStream>) -> usize {
    let mut bytes = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        stream.read_exact(&mut vec![0; length + 2]).unwrap();
        bytes += length;
        if length == 0 {
            return bytes;
        }
    }
}

#[test]
fn a_stream_is_whole_and_holds_no_worker() {
    let started = start();
    let mut endless = send(started.address, "GET /unfinished HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&mut endless), 200);
    let mut stream = send(started.address, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(status(&mut stream), 200);
    assert_eq!(chunks(&mut stream), STREAM_BYTES);
    stream.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(status(&mut stream), 200);
    let mut old = send(started.address, "GET /stream HTTP/1.0\r\n\r\n");
    assert_eq!(status(&mut old), 200);
    assert_eq!(old.read_to_end(&mut Vec::new()).unwrap(), STREAM_BYTES);
}

/// A body that does not come takes a thread of its own, and not the one worker.
#[test]
fn a_slow_body_holds_no_worker() {
    let started = start();
    let head = "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let mut slow = send(started.address, head);
    check(&started, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200);
    slow.get_mut().write_all(b"abc").unwrap();
    assert_eq!(status(&mut slow), 200);
}

/// The first failure of `accept` ends the accepting of `tiny_http` for good.
#[test]
fn accepting_goes_on_after_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let work = Arc::new(|incoming: tiny_http::Request| {
        incoming.respond(tiny_http::Response::empty(200)).unwrap();
    });
    let accepting = Accepting::start(&listener, 2, &work).unwrap();
    // From the next call on, accepting fails for want of somebody to accept.
    listener.set_nonblocking(true).unwrap();
    let mut before = send(address, "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(status(&mut before), 200);
    let deadline = Instant::now() + DEADLINE;
    while accepting.accepts(&listener) {
        assert!(Instant::now() < deadline, "it accepts on");
        thread::yield_now();
    }
    listener.set_nonblocking(false).unwrap();

    let (stop, stopped) = bounded(0);
    let keeper = thread::spawn(move || accepting.keep(&listener, &work, &stopped));
    assert_eq!(status(&mut send(address, "GET / HTTP/1.1\r\n\r\n")), 200);
    before.get_mut().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(status(&mut before), 200);
    drop(stop);
    keeper.join().unwrap();
}
