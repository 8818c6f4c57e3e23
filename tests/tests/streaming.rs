//! The HTTP engine's answers that are written piece by piece: whole or visibly not, within bounds,
//! and over when nobody reads.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::http::{
    BodyWriter, Gone, Limits, Reply, Request, Response, Running, Server, Service, StatusCode,
};
use common::metrics::Metrics;
use crossbeam_channel::{Receiver, unbounded};
use tests::{Client, DEADLINE, eventually, request};

/// What the kernel may keep between the two ends, and the engine, with much to spare.
const ON_ITS_WAY_BYTES_MAX: usize = 24 << 20;

/// Answers at once with the path, but hands over the replies to `/stream`.
struct Streams(crossbeam_channel::Sender<Reply>);

impl Service for Streams {
    fn call(&self, request: &Request<'_>, reply: Reply) {
        match request.path {
            "/stream" => self.0.send(reply).expect("the test receives"),
            // All of it within the call, where nothing may wait.
            "/short" => {
                let mut body = reply.stream(head());
                body.write(b"short").expect("it is gathered");
                body.finish();
            }
            "/dropped" => drop(reply.stream(head())),
            path => reply.send(text(path)),
        }
    }
}

fn serve(limits: Limits) -> (SocketAddr, Running, Receiver<Reply>) {
    let metrics = Arc::new(Metrics::new(&["all"]));
    let server = Server::bind("127.0.0.1", 0, limits, metrics).expect("a free port");
    let (address, (sender, replies)) = (server.local_addr(), unbounded());
    (address, server.start(Streams(sender)).expect("threads"), replies)
}

fn limits() -> Limits {
    Limits { workers: 2, ..Limits::default() }
}

fn head() -> Response {
    Response::new(StatusCode::OK).header("Mark", "streamed")
}

fn text(text: &str) -> Response {
    Response::with_body(StatusCode::OK, "text/plain", text.to_owned())
}

fn get(path: &str) -> String {
    request("GET", path, &[], None)
}

#[track_caller]
fn receive(replies: &Receiver<Reply>) -> Reply {
    replies.recv_timeout(DEADLINE).expect("the handler is called")
}

/// Sends a request for a stream; the writer of its body.
#[track_caller]
fn begin(client: &mut Client, replies: &Receiver<Reply>) -> BodyWriter {
    client.write(get("/stream"));
    receive(replies).stream(head())
}

/// Bytes that tell where they are in their body.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at / 7 + at / 1013) % 251).expect("a byte")).collect()
}

/// Writes in a thread of its own until nobody reads, and counts; it says so when it has ended.
fn write_for_ever(mut body: BodyWriter) -> (Arc<AtomicUsize>, Receiver<Gone>) {
    let written = Arc::new(AtomicUsize::new(0));
    let (sender, ended) = unbounded();
    let counter = Arc::clone(&written);
    thread::spawn(move || {
        let piece = [b'x'; 10_000];
        let gone = loop {
            match body.write(&piece) {
                Ok(()) => counter.fetch_add(piece.len(), Ordering::Relaxed),
                Err(gone) => break gone,
            };
        };
        sender.send(gone).expect("the test waits");
    });
    (written, ended)
}

#[track_caller]
fn assert_ends(ended: &Receiver<Gone>) {
    assert_eq!(ended.recv_timeout(DEADLINE), Ok(Gone), "it is written on for nobody");
}

#[test]
fn a_body_arrives_whole_and_what_is_behind_it_is_answered() {
    let (address, _running, replies) = serve(limits());
    let mut client = Client::connect(address);
    for length in [0, 1, 15, 16, 65_535, 65_536, 65_537, 200_000, 5_000_000] {
        for step in [1_000, 65_536, 1 << 20] {
            client.write([get("/before"), get("/stream"), get("/behind")].concat());
            let reply = receive(&replies);
            let expected = content(length);
            let writing = thread::spawn({
                let expected = expected.clone();
                move || {
                    let mut body = reply.stream(head());
                    for piece in expected.chunks(step) {
                        body.write(piece).expect("the client is there");
                        body.write(b"").expect("the client is there");
                    }
                    body.finish();
                }
            });
            assert_eq!(client.read().text(), "/before");
            let answer = client.read();
            let fields = ["Mark", "Transfer-Encoding"].map(|name| answer.header(name));
            assert_eq!((answer.status, fields), (200, ["streamed", "chunked"].map(Some)));
            assert!(answer.body == expected, "{length} bytes in pieces of {step}");
            assert_eq!(client.read().text(), "/behind");
            writing.join().expect("it has been taken");
        }
    }
}

#[test]
fn a_short_body_can_be_written_within_the_call() {
    let (address, _running, _replies) = serve(limits());
    let mut client = Client::connect(address);
    for _ in 0..100 {
        client.write([get("/short"), get("/behind"), get("/short")].concat());
        assert_eq!(client.read().text(), "short");
        assert_eq!(client.read().text(), "/behind");
        assert_eq!(client.read().text(), "short");
    }
    client.write([get("/short"), get("/dropped"), get("/behind")].concat());
    assert_eq!(client.read().text(), "short");
    let rest = String::from_utf8(client.read_to_close()).expect("ASCII");
    assert!(rest.ends_with("\r\n\r\n") && rest.contains("Transfer-Encoding: chunked"), "{rest}");
    assert!(!rest.ends_with("0\r\n\r\n"), "it looks whole");
}

#[test]
fn head_has_no_body() {
    let (address, _running, replies) = serve(limits());
    let mut client = Client::connect(address);
    client.write(request("HEAD", "/stream", &[], None) + &get("/behind"));
    let mut body = receive(&replies).stream(head());
    body.write(&content(1_000_000)).expect("it goes nowhere");
    body.finish();
    let answer = client.read_head();
    assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(client.read().text(), "/behind");
}

fn http10(address: SocketAddr, replies: &Receiver<Reply>) -> (TcpStream, BodyWriter) {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("an option");
    let fields = "Connection: keep-alive\r\n\r\n";
    stream.write_all(format!("GET /stream HTTP/1.0\r\n{fields}").as_bytes()).expect("taken");
    (stream, receive(replies).stream(head()))
}

#[test]
fn http10_reads_up_to_the_end_of_the_connection() {
    let (address, _running, replies) = serve(limits());
    for length in [0, 10, 3_000_000] {
        let (mut stream, mut body) = http10(address, &replies);
        let expected = content(length);
        let writing = thread::spawn({
            let expected = expected.clone();
            move || {
                body.write(&expected).expect("the client is there");
                body.finish();
            }
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("an orderly end");
        writing.join().expect("it has been taken");
        let end = received.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&received[..end]);
        assert!(head.contains("Connection: close\r\n"), "{head}");
        assert!(!head.contains("chunked") && !head.contains("Content-Length"), "{head}");
        assert!(received[end..] == expected);
    }
}

/// Its end would look like that of the body.
#[test]
fn http10_is_reset_when_the_body_is_not_whole() {
    let (address, _running, replies) = serve(limits());
    let (mut stream, mut body) = http10(address, &replies);
    body.write(&content(200_000)).expect("the client is there");
    drop(body);
    let error = stream.read_to_end(&mut Vec::new()).expect_err("no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let stop_timeout = Duration::from_millis(100);
    let (address, running, replies) = serve(Limits { stop_timeout, ..limits() });
    let (mut stream, _body) = http10(address, &replies);
    running.stop();
    let error = stream.read_to_end(&mut Vec::new()).expect_err("no orderly end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_body_that_is_not_finished_has_no_last_chunk() {
    let (address, _running, replies) = serve(limits());
    for panics in [false, true] {
        for length in [0, 10, 1_000_000] {
            let mut client = Client::connect(address);
            let mut body = begin(&mut client, &replies);
            let writing = thread::spawn(move || {
                body.write(&content(length)).expect("the client is there");
                if panics {
                    // As a panic, without its message among the test's.
                    resume_unwind(Box::new("planned"));
                }
            });
            let received = client.read_to_close();
            assert_eq!(writing.join().is_err(), panics);
            assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert!(!received.ends_with(b"0\r\n\r\n"), "it looks whole");
        }
    }
}

#[test]
fn a_slow_reader_costs_no_more_than_the_limit() {
    const READ_BYTES: usize = 100 << 20;
    let (address, _running, replies) = serve(limits());
    let mut client = Client::connect(address);
    let (written, ended) = write_for_ever(begin(&mut client, &replies));
    let (mut read, mut piece) = (0, vec![0; 1 << 20]);
    while read < READ_BYTES {
        eventually("piece", || (written.load(Ordering::Relaxed) > read).then_some(()));
        read += client.stream().read(&mut piece).expect("it is there");
        let ahead = written.load(Ordering::Relaxed).saturating_sub(read);
        assert!(ahead < ON_ITS_WAY_BYTES_MAX, "{ahead} bytes ahead");
    }
    drop(client);
    assert_ends(&ended);
}

#[test]
fn a_client_that_goes_away_ends_the_writer() {
    let (address, _running, replies) = serve(limits());
    for read_bytes in [0, 1, 1 << 20] {
        let mut client = Client::connect(address);
        let (_, ended) = write_for_ever(begin(&mut client, &replies));
        let mut received = vec![0; read_bytes];
        client.stream().read_exact(&mut received).expect("it is there");
        drop(client);
        assert_ends(&ended);
    }
}

/// As `nc` does: what it has to say is said, and it reads on.
#[test]
fn a_client_that_closes_its_side_gets_everything() {
    let (address, _running, replies) = serve(limits());
    let mut client = Client::connect(address);
    let mut body = begin(&mut client, &replies);
    client.stream().shutdown(Shutdown::Write).expect("it is open");
    let expected = content(3_000_000);
    let writing = thread::spawn({
        let expected = expected.clone();
        move || {
            body.write(&expected).expect("the client is there");
            body.finish();
        }
    });
    assert!(client.read().body == expected);
    writing.join().expect("it has been taken");
    client.expect_close();
}

#[test]
fn a_reader_that_never_reads_is_cut_off() {
    let write_timeout = Duration::from_millis(200);
    let (address, _running, replies) =
        serve(Limits { write_timeout, connections_max: 1, ..limits() });
    let mut client = Client::connect(address);
    let (_, ended) = write_for_ever(begin(&mut client, &replies));
    assert_ends(&ended);
    // Its place is free.
    eventually("place", || {
        let mut stream = TcpStream::connect(address).expect("somebody listens");
        stream.write_all(get("/small").as_bytes()).ok()?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).ok()?;
        (&answer == b"HTTP/1.1 200").then_some(())
    });
    let received = client.read_to_close();
    assert!(!received.ends_with(b"0\r\n\r\n"), "it looks whole");
}

#[test]
fn what_is_under_way_is_finished_during_the_stop() {
    let (address, running, replies) = serve(limits());
    let mut client = Client::connect(address);
    let mut body = begin(&mut client, &replies);
    let stopping = thread::spawn(move || running.stop());
    eventually("refusal", || TcpStream::connect(address).is_err().then_some(()));
    let expected = content(3_000_000);
    let writing = thread::spawn({
        let expected = expected.clone();
        move || {
            body.write(&expected).expect("the client is there");
            body.finish();
        }
    });
    assert!(client.read().body == expected);
    client.expect_close();
    writing.join().expect("it has been taken");
    stopping.join().expect("it stops");
}

#[test]
fn a_stop_does_not_wait_for_ever_for_a_stream() {
    let stop_timeout = Duration::from_millis(100);
    let (address, running, replies) = serve(Limits { stop_timeout, ..limits() });
    let mut client = Client::connect(address);
    let (_, ended) = write_for_ever(begin(&mut client, &replies));
    client.stream().read_exact(&mut vec![0; 100_000]).expect("it is there");
    running.stop();
    assert_ends(&ended);
    assert!(!client.read_to_close().ends_with(b"0\r\n\r\n"), "it looks whole");
}

#[test]
fn many_streams_at_once_are_each_whole() {
    let (address, _running, replies) = serve(limits());
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                client.write([get("/stream"), get("/stream"), get("/behind")].concat());
                assert!(client.read().body == content(700_000));
                assert!(client.read().body == content(700_000));
                assert_eq!(client.read().text(), "/behind");
            });
        }
        for _ in 0..32 {
            let reply = receive(&replies);
            scope.spawn(move || {
                let mut body = reply.stream(head());
                body.write(&content(700_000)).expect("the client is there");
                body.finish();
            });
        }
    });
}
