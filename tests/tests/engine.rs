//! The HTTP engine with services that kv has not: ones that fail, answer late, or answer much.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::http::{Limits, Reply, Request, Response, Running, Server, Service, StatusCode};
use common::metrics::Metrics;
use crossbeam_channel::{Receiver, unbounded};
use tests::{Client, DEADLINE, eventually, request};

/// A service that is a function.
struct Function<F>(F);

impl<F: Fn(&Request<'_>, Reply) + Send + Sync + 'static> Service for Function<F> {
    fn call(&self, request: &Request<'_>, reply: Reply) {
        (self.0)(request, reply);
    }
}

/// Serves until the `Running` is dropped.
fn serve(
    limits: Limits,
    call: impl Fn(&Request<'_>, Reply) + Send + Sync + 'static,
) -> (SocketAddr, Running) {
    let metrics = Arc::new(Metrics::new(&["all"]));
    let server = Server::bind("127.0.0.1", 0, limits, metrics).expect("a free port");
    let address = server.local_addr();
    (address, server.start(Function(call)).expect("threads"))
}

/// Answers at once with the path, but hands over the replies to `/later`.
fn serve_later(limits: Limits) -> (SocketAddr, Running, Receiver<Reply>) {
    let (sender, later) = unbounded();
    let (address, running) = serve(limits, move |request, reply| match request.path {
        "/later" => sender.send(reply).expect("the test receives"),
        path => reply.send(text(path)),
    });
    (address, running, later)
}

fn limits() -> Limits {
    Limits { workers: 2, ..Limits::default() }
}

fn text(text: &str) -> Response {
    Response::with_body(StatusCode::OK, "text/plain", text.to_owned())
}

fn get(path: &str) -> String {
    request("GET", path, &[], None)
}

#[track_caller]
fn receive(later: &Receiver<Reply>) -> Reply {
    later.recv_timeout(DEADLINE).expect("the handler is called")
}

#[track_caller]
fn assert_text(answer: &tests::Response, text: &str) {
    assert_eq!((answer.status, answer.text()), (200, text));
}

#[test]
fn a_handler_that_fails_answers_500_and_the_server_lives() {
    let (address, _running) = serve(limits(), |request, reply| match request.path {
        // As a panic, without its message among the test's.
        "/panic" => resume_unwind(Box::new("planned")),
        "/panic/late" => {
            thread::spawn(move || {
                let _reply = reply;
                resume_unwind(Box::new("planned"));
            });
        }
        "/drop" => drop(reply),
        path => reply.send(text(path)),
    });
    let mut other = Client::connect(address);
    for path in ["/panic", "/panic/late", "/drop"] {
        for _ in 0..20 {
            let mut client = Client::connect(address);
            assert_text(&client.send(get("/before")), "/before");
            client.write(get("/before") + &get(path) + &get("/behind"));
            assert_text(&client.read(), "/before");
            let answer = client.read();
            answer.assert_refused(500);
            assert_eq!(answer.header("Connection"), Some("close"), "{path}");
            assert_text(&other.send(get("/other")), "/other");
        }
        let mut client = Client::connect(address);
        let head = client.send(request("HEAD", path, &[], None));
        assert_eq!(head.status, 500);
    }
}

#[test]
fn a_reply_may_be_sent_later_and_the_order_is_kept() {
    let (address, _running, later) = serve_later(limits());
    let mut client = Client::connect(address);
    for round in 0..200 {
        client.write([get("/1"), get("/later"), get("/2"), get("/later"), get("/3")].concat());
        assert_text(&client.read(), "/1");
        for next in ["/2", "/3"] {
            let reply = receive(&later);
            assert!(later.is_empty(), "a request was begun before the one before it was answered");
            if round % 2 == 0 {
                thread::spawn(move || reply.send(text("now")));
            } else {
                reply.send(text("now"));
            }
            assert_text(&client.read(), "now");
            assert_text(&client.read(), next);
        }
    }
}

/// What comes while the reply is owed is reported then, and not once more.
#[test]
fn what_comes_before_a_late_reply_is_looked_at_behind_it() {
    let (address, _running, later) = serve_later(Limits { workers: 1, ..limits() });
    let mut other = Client::connect(address);
    let mut client = Client::connect(address);
    for _ in 0..50 {
        client.write(get("/later"));
        let reply = receive(&later);
        client.write(get("/behind"));
        // The only worker has turned to the request in front of this one.
        assert_text(&other.send(get("/other")), "/other");
        reply.send(text("late"));
        assert_text(&client.read(), "late");
        assert_text(&client.read(), "/behind");
    }
    for _ in 0..50 {
        let mut client = Client::connect(address);
        client.write(get("/later"));
        let reply = receive(&later);
        client.stream().shutdown(Shutdown::Write).expect("it is connected");
        assert_text(&other.send(get("/other")), "/other");
        reply.send(text("late"));
        assert_text(&client.read(), "late");
        client.expect_close();
    }
}

#[test]
fn a_reply_to_a_client_that_has_gone_is_dropped() {
    let (address, _running, later) = serve_later(Limits { connections_max: 1, ..limits() });
    for _ in 0..20 {
        // The place of the connection before is free once its reply has been sent.
        let reply = eventually("place", || {
            let mut stream = TcpStream::connect(address).expect("somebody listens");
            stream.write_all(get("/later").as_bytes()).ok()?;
            later.recv_timeout(Duration::from_millis(100)).ok()
        });
        reply.send(text("to nobody"));
    }
    eventually("place", || {
        let mut stream = TcpStream::connect(address).expect("somebody listens");
        stream.write_all(request("GET", "/x", &[("Connection", "close")], None).as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.ends_with("/x").then_some(())
    });
}

#[test]
fn parked_replies_are_sent_during_the_stop() {
    let (address, running, later) = serve_later(limits());
    let mut clients: Vec<_> = (0..200).map(|_| Client::connect(address)).collect();
    let mut idle = Client::connect(address);
    for client in &mut clients {
        client.write(get("/later"));
    }
    let replies: Vec<_> = clients.iter().map(|_| receive(&later)).collect();
    let stopping = thread::spawn(move || running.stop());
    idle.expect_close();
    eventually("refusal", || TcpStream::connect(address).is_err().then_some(()));
    assert!(!stopping.is_finished());
    for reply in replies {
        reply.send(text("at last"));
    }
    for client in &mut clients {
        let answer = client.read();
        assert_text(&answer, "at last");
        assert_eq!(answer.header("Connection"), Some("close"));
    }
    stopping.join().unwrap();
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let stop_timeout = Duration::from_millis(100);
    let (address, running, later) = serve_later(Limits { stop_timeout, ..limits() });
    let mut client = Client::connect(address);
    client.write(get("/later"));
    let reply = receive(&later);
    running.stop();
    client.expect_close();
    reply.send(text("too late"));
}

#[test]
fn the_connection_that_idles_longest_makes_room() {
    let (address, _running, later) = serve_later(Limits { connections_max: 2, ..limits() });
    let (mut first, mut second) = (Client::connect(address), Client::connect(address));
    let started = Instant::now();
    assert_text(&first.send(get("/1")), "/1");
    // Until the clock tells the two apart.
    while started.elapsed() < Duration::from_millis(20) {
        assert_text(&second.send(get("/2")), "/2");
    }
    let mut third = Client::connect(address);
    assert_text(&third.send(get("/3")), "/3");
    first.expect_close();

    second.write(get("/later"));
    third.write(get("/later"));
    let replies = [receive(&later), receive(&later)];
    let mut turned_away = Client::connect(address);
    turned_away.read().assert_refused(503);
    for reply in replies {
        reply.send(text("done"));
    }
    assert_text(&second.read(), "done");
    assert_text(&third.read(), "done");
    assert_text(&Client::connect(address).send(get("/4")), "/4");
}

#[test]
fn a_request_that_does_not_come_in_time_is_refused() {
    let short = Duration::from_millis(200);
    let timeouts = Limits { head_timeout: short, body_timeout: short, ..limits() };
    let (address, _running) = serve(timeouts, |_, reply| reply.send(text("done")));
    for part in [
        "G",
        "GET / HTTP/1.1\r\nHost: test\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n1234",
        "GET / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
    ] {
        let mut client = Client::connect(address);
        assert_text(&client.send(get("/")), "done");
        let answer = client.send(part);
        answer.assert_refused(408);
        assert_eq!(answer.header("Connection"), Some("close"), "{part}");
    }
}

/// A byte now and then does not make the deadline later.
#[test]
fn a_drip_is_refused() {
    let pause = Duration::from_millis(10);
    let short = Duration::from_millis(200);
    let timeouts = Limits { head_timeout: short, body_timeout: short, ..limits() };
    let (address, _running) = serve(timeouts, |_, reply| reply.send(text("done")));
    for begin in ["GET /", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"] {
        let mut client = Client::connect(address);
        client.write(begin);
        client.stream().set_read_timeout(Some(pause)).unwrap();
        let started = Instant::now();
        while client.stream().peek(&mut [0]).is_err() {
            assert!(started.elapsed() < DEADLINE, "the drip is taken for ever");
            client.write("x");
        }
        client.stream().set_read_timeout(Some(DEADLINE)).unwrap();
        client.read().assert_refused(408);
    }
}

#[test]
fn an_idle_connection_is_closed() {
    let idle_timeout = Duration::from_millis(100);
    let (address, _running) =
        serve(Limits { idle_timeout, ..limits() }, |_, reply| reply.send(text("done")));
    let mut fresh = Client::connect(address);
    fresh.expect_close();
    let mut used = Client::connect(address);
    assert_text(&used.send(get("/")), "done");
    used.expect_close();
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    const ANSWER_BYTES: usize = 32 << 20;
    let limits =
        Limits { write_timeout: Duration::from_millis(200), connections_max: 1, ..limits() };
    let (address, _running) = serve(limits, |request, reply| match request.path {
        "/large" => reply.send(text(&"x".repeat(ANSWER_BYTES))),
        path => reply.send(text(path)),
    });
    let mut client = Client::connect(address);
    client.write(get("/large"));
    client.stream().peek(&mut [0]).unwrap();
    // Its place is free when it has been cut off.
    eventually("place", || {
        let mut stream = TcpStream::connect(address).expect("somebody listens");
        stream.write_all(get("/small").as_bytes()).ok()?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).ok()?;
        (&answer == b"HTTP/1.1 200").then_some(())
    });
    assert!(client.read_to_close().len() < ANSWER_BYTES);
}

#[test]
fn unfinished_requests_have_a_limit_together() {
    let limits = Limits { buffered_bytes_max: 1000, workers: 1, ..limits() };
    let (address, _running) = serve(limits, |request, reply| {
        reply.send(text(&request.body.len().to_string()));
    });
    let whole = request("PUT", "/", &[], Some(&"x".repeat(800)));
    let (first, second) = whole.split_at(600);
    let mut other = Client::connect(address);
    for _ in 0..20 {
        let mut client = Client::connect(address);
        client.write(first);
        // With one worker, this answer shows that the half has been read.
        assert_text(&other.send(get("/")), "0");
        let answer = Client::connect(address).send(first);
        answer.assert_refused(503);
        assert_eq!(answer.header("Connection"), Some("close"));
        assert_text(&client.send(second), "800");
    }
}

/// Answers wait for a client that sends and sends; it gets all of them when it reads at last.
#[test]
fn a_client_that_sends_faster_than_it_reads_loses_nothing() {
    const REQUESTS: usize = 1000;
    const ANSWER_BYTES: usize = 20_000;
    let (address, _running) = serve(limits(), |request, reply| {
        let path = request.path;
        reply.send(text(&format!("{path}{}", "x".repeat(ANSWER_BYTES))));
    });
    let mut client = Client::connect(address);
    let mut sender = client.stream().try_clone().unwrap();
    let sending = thread::spawn(move || {
        for index in 0..REQUESTS {
            sender.write_all(get(&format!("/{index}")).as_bytes()).unwrap();
        }
    });
    client.stream().peek(&mut [0]).unwrap();
    for index in 0..REQUESTS {
        let answer = client.read();
        let path = format!("/{index}");
        assert!(answer.text().starts_with(&format!("{path}x")), "{path}");
        assert_eq!(answer.body.len(), path.len() + ANSWER_BYTES);
    }
    sending.join().unwrap();
}

/// With bytes unread, closing would reset the connection and take the answer away.
#[test]
fn a_refusal_arrives_although_the_client_goes_on_sending() {
    let limits = Limits { body_bytes_max: 10, ..limits() };
    let (address, _running) = serve(limits, |_, reply| reply.send(text("done")));
    for _ in 0..50 {
        let mut client = Client::connect(address);
        client.write(request("PUT", "/", &[], Some(&"x".repeat(500_000))));
        client.read().assert_refused(413);
    }
}

#[test]
fn a_client_that_closes_its_side_gets_its_answer() {
    let (address, _running, later) = serve_later(limits());
    let mut client = Client::connect(address);
    client.write(get("/1") + &get("/later"));
    client.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert_text(&client.read(), "/1");
    receive(&later).send(text("late"));
    assert_text(&client.read(), "late");
    client.expect_close();
}

#[test]
fn many_connections_share_few_workers() {
    let (address, _running, later) = serve_later(limits());
    let mut slow: Vec<_> = (0..100).map(|_| Client::connect(address)).collect();
    for client in &mut slow {
        client.write("GET /slow HT");
    }
    let mut parked: Vec<_> = (0..100).map(|_| Client::connect(address)).collect();
    for client in &mut parked {
        client.write(get("/later"));
    }
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                for round in 0..200 {
                    let path = format!("/{round}");
                    assert_text(&client.send(get(&path)), &path);
                }
            });
        }
    });
    for client in &mut slow {
        assert_text(&client.send("TP/1.1\r\nHost: a\r\n\r\n"), "/slow");
    }
    for _ in &parked {
        receive(&later).send(text("late"));
    }
    for client in &mut parked {
        assert_text(&client.read(), "late");
    }
}
