//! Clients that send too much, too little or nothing, that do not read or go away: each is ended or
//! kept within its limits, and others are served meanwhile.
//!
//! Deadlines are set short; no test measures more than that something came before a far deadline.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;
use tests::{Bystander, Client, DEADLINE, Server, eventually, kv, raise_descriptors, request};

const HEALTHY: &str = r#"{"status":"healthy"}"#;
/// Between two bytes of a client that drips; less than any deadline here.
const DRIP: Duration = Duration::from_millis(100);
/// What abuse may add to kv's memory, in a build for debugging too.
const GROWTH_KIB_MAX: u64 = 32 << 10;

/// What the abuse of a server must leave as it was.
struct Watch {
    server: Server,
    bystander: Bystander,
    resident_kib: u64,
    threads: u64,
    descriptors: usize,
}

impl Watch {
    fn over(server: Server) -> Self {
        Watch::with(Bystander::of(&server), server)
    }

    fn with(bystander: Bystander, server: Server) -> Self {
        let process = server.process();
        Watch {
            resident_kib: process.resident_kib(),
            threads: process.threads(),
            // One of them is the bystander's own, and another one comes and goes.
            descriptors: process.descriptors() + 1,
            server,
            bystander,
        }
    }

    /// The abuse goes on: the bystander is served, no thread has been started, and memory has a
    /// limit.
    #[track_caller]
    fn holds(&self) {
        self.bystander.is_served();
        let process = self.server.process();
        assert_eq!(process.threads(), self.threads);
        let resident_kib = process.resident_kib();
        let limit_kib = self.resident_kib + GROWTH_KIB_MAX;
        assert!(resident_kib < limit_kib, "{resident_kib} KiB, {} before", self.resident_kib);
    }

    /// The abuse is over: nothing of it is kept.
    #[track_caller]
    fn finish(self) {
        self.holds();
        self.waits_for_descriptors(0);
        self.bystander.finish();
        let stopped = self.server.stop();
        assert_eq!(stopped.code, 0, "{:#?}", stopped.log);
    }

    /// Until the abusers have this many connections at most.
    #[track_caller]
    fn waits_for_descriptors(&self, abusers: usize) {
        eventually("end of the abusers' connections", || {
            thread::park_timeout(DRIP);
            (self.server.process().descriptors() <= self.descriptors + abusers).then_some(())
        });
    }
}

/// Sends one byte and then another until an answer comes, which must be this.
#[track_caller]
fn check_drip(client: &mut Client, begin: &str, byte: u8, status: u16) {
    client.write(begin);
    client.stream().set_read_timeout(Some(DRIP)).expect("an option");
    let mut sent: u32 = 0;
    while matches!(client.stream().peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    {
        client.write([byte]);
        sent += 1;
        assert!(DRIP * sent < DEADLINE, "it may drip for ever");
    }
    assert!(sent > 1, "it was refused before it could drip");
    client.stream().set_read_timeout(Some(DEADLINE)).expect("an option");
    client.read().assert_refused(status);
}

/// Writes the same for ever; ends, with the count, when the server has closed.
fn flood(mut stream: TcpStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    while stream.write_all(bytes).is_ok() {
        written += bytes.len();
    }
    written
}

/// Sends `begin`, and then `more` for ever. The answer comes meanwhile, and soon the connection
/// closes: the flood has an end.
#[track_caller]
fn check_flood(watch: &Watch, begin: &str, more: &str, status: u16) {
    /// What kv drops, and what the kernel keeps on both sides, with much to spare.
    const FLOOD_BYTES_MAX: usize = 64 << 20;
    let mut client = watch.server.connect();
    client.write(begin);
    let stream = client.stream().try_clone().expect("a descriptor");
    let more = more.repeat(64);
    let flood = thread::spawn(move || flood(stream, more.as_bytes()));
    client.read().assert_refused(status);
    let written = flood.join().expect("it only counts");
    assert!(written < FLOOD_BYTES_MAX, "{written} bytes were taken after {begin:?}");
    watch.holds();
}

#[test]
fn a_length_without_a_body_allocates_nothing() {
    let watch = Watch::over(kv().start());
    for length in ["100000000000", "9223372036854775807", "18446744073709551615"] {
        for method in ["GET", "PUT", "BREW"] {
            let fields = [("Content-Length", length)];
            let bytes = request(method, "/keys/a", &fields, None);
            watch.server.connect().send(bytes).assert_refused(413);
        }
    }
    // The longest body there may be, a hundred times, of which nothing comes.
    let fields = [("Content-Length", "1048576")];
    let mut waiting: Vec<_> = (0..100).map(|_| watch.server.connect()).collect();
    for client in &mut waiting {
        client.write(request("PUT", "/keys/a", &fields, None));
    }
    watch.holds();
    drop(waiting);
    watch.finish();
}

#[test]
fn what_never_ends_is_refused() {
    let watch = Watch::over(kv().start());
    let head = "GET /health HTTP/1.1\r\nHost: test\r\n";
    check_flood(&watch, head, "A: b\r\n", 431);
    check_flood(&watch, head, "A", 431);
    check_flood(&watch, "GET /", "a", 414);
    check_flood(&watch, "", "\r\n", 431);
    // 413 with the body still coming.
    let head = "PUT /keys/a HTTP/1.1\r\nHost: test\r\n";
    let body = "x".repeat(4 << 10);
    check_flood(&watch, &format!("{head}Content-Length: 100000000000\r\n\r\n"), &body, 413);
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    check_flood(&watch, &chunked, &format!("1000\r\n{body}\r\n"), 413);
    check_flood(&watch, &chunked, "1\r\na\r\n", 413);
    // A megabyte of body came with any amount of chunk extensions, which nobody reads.
    check_flood(&watch, &chunked, "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n", 400);
    check_flood(&watch, &format!("{chunked}0\r\n"), "A: b\r\n", 431);
    watch.finish();
}

/// Clients that send all of a body before they read found the connection reset, and no answer, as
/// soon as the body was a megabyte longer than what the kernel keeps.
#[test]
fn a_body_too_large_is_answered_when_it_has_been_sent() {
    let watch = Watch::over(kv().start());
    let body = "x".repeat(12 << 20);
    for _ in 0..5 {
        let mut client = watch.server.connect();
        client.send(request("PUT", "/keys/a", &[], Some(&body))).assert_refused(413);
    }
    watch.finish();
}

/// A deadline is for the whole: who drips is refused as who sends nothing more.
#[test]
fn a_drip_does_not_move_a_deadline() {
    let server = kv().env("HEAD_TIMEOUT", "1s").env("BODY_TIMEOUT", "1s").start();
    let watch = Watch::over(server);
    let check = |begin: &str, byte| check_drip(&mut watch.server.connect(), begin, byte, 408);
    thread::scope(|scope| {
        scope.spawn(|| check("", b'G'));
        scope.spawn(|| check("GET /health HTTP/1.1\r\nHost: test\r\nA: ", b'a'));
        scope.spawn(|| check("\r\n", b'G'));
        let head = "PUT /keys/a HTTP/1.1\r\nHost: test\r\n";
        scope.spawn(move || check(&format!("{head}Content-Length: 1000\r\n\r\n"), b'x'));
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        scope.spawn({
            let chunked = chunked.clone();
            move || check(&format!("{chunked}1000\r\n"), b'x')
        });
        scope.spawn(move || check(&format!("{chunked}1;"), b'x'));
        // Behind a whole request, on the same connection.
        scope.spawn(|| {
            let mut client = watch.server.connect();
            for _ in 0..3 {
                let health = request("GET", "/health", &[], None);
                client.send(health).assert_json(200, HEALTHY);
            }
            check_drip(&mut client, "", b'G', 408);
        });
        watch.bystander.is_served();
    });
    watch.finish();
}

/// Whether this program may hold so many connections.
#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn allows_descriptors(count: u64) -> bool {
    let allows = raise_descriptors(count + 500);
    if !allows {
        eprintln!("not run: the machine allows no {count} descriptors");
    }
    allows
}

#[test]
fn thousands_that_send_nothing_or_half_a_head() {
    const SILENT: usize = 5000;
    const HALF: usize = 1000;
    if !allows_descriptors((SILENT + HALF) as u64) {
        return;
    }
    let watch = Watch::over(kv().env("HEAD_TIMEOUT", "3s").start());
    let silent: Vec<_> = (0..SILENT).map(|_| watch.server.connect()).collect();
    watch.holds();
    let mut half: Vec<_> = (0..HALF).map(|_| watch.server.connect()).collect();
    for client in &mut half {
        client.write("GET /health HTTP/1.1\r\nHost: te");
    }
    watch.holds();
    for client in &mut half {
        client.read().assert_refused(408);
    }
    // Who says nothing may stay, and is served when it speaks.
    for mut client in silent {
        client.request("GET", "/health", &[], None).assert_json(200, HEALTHY);
    }
    drop(half);
    watch.finish();
}

#[test]
fn silent_connections_make_room_for_others() {
    let server = kv().env("MAX_CONNECTIONS", "50").start();
    let watch = Watch::with(Bystander::patient(&server), server);
    let silent: Vec<_> = (0..500).map(|_| watch.server.connect()).collect();
    watch.holds();
    assert!(watch.server.process().descriptors() < 50 + 24);
    drop(silent);
    watch.finish();
}

#[test]
fn a_full_house_says_so() {
    let server = kv().env("MAX_CONNECTIONS", "50").start();
    let mut busy: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut busy {
        client.write("GET /health HTTP/1.1\r\nHost: test\r\nA: ");
    }
    // The last ones to come may be silent still and make room, until their halves are read.
    eventually("refusal", || {
        let mut client = server.connect();
        client.read().assert_refused(503);
        Some(())
    });
    for client in &mut busy {
        client.send("b\r\n\r\n").assert_json(200, HEALTHY);
    }
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_client_that_never_reads_is_ended() {
    const REQUESTS: usize = 100_000;
    let watch = Watch::over(kv().env("WRITE_TIMEOUT", "1s").start());
    let client = watch.server.connect();
    let stream = client.stream().try_clone().unwrap();
    let pipeline = thread::spawn(move || {
        let health = request("GET", "/health", &[], None);
        let mut stream = &stream;
        stream.write_all(health.repeat(REQUESTS).as_bytes())
    });
    watch.waits_for_descriptors(1);
    watch.bystander.is_served();
    watch.waits_for_descriptors(0);
    // The kernel may have taken all of the requests, or not.
    let _: io::Result<()> = pipeline.join().unwrap();
    watch.finish();
}

/// Stores a value of a megabyte.
#[track_caller]
fn store_much(server: &Server) {
    let body = format!(r#"{{"key":"large","value":"{}"}}"#, "x".repeat(1_000_000));
    assert_eq!(server.connect().request("PUT", "/keys/large", &[], Some(&body)).status, 200);
}

/// Asks for it so often that the answers do not fit in what the kernel keeps for a client that
/// does not read.
#[track_caller]
fn ask_for_much(server: &Server) -> Client {
    let mut client = server.connect();
    client.write(request("GET", "/keys/large", &[], None).repeat(20));
    client
}

/// The time for a client to take more began anew with every byte that the client sent.
#[test]
fn a_client_that_sends_but_never_reads_is_ended() {
    let watch = Watch::over(kv().env("WRITE_TIMEOUT", "1s").start());
    store_much(&watch.server);
    let mut client = ask_for_much(&watch.server);
    let mut sent: u32 = 0;
    while client.stream().write_all(b"G").is_ok() {
        thread::park_timeout(DRIP);
        sent += 1;
        assert!(DRIP * sent < DEADLINE, "it may go on for ever");
    }
    client.read_to_close();
    watch.finish();
}

/// Input that nobody reads while an answer waits for its client was reported over and over, and
/// one such client kept a processor busy.
#[test]
fn a_client_that_asks_on_but_never_reads_costs_no_processor_time() {
    const BLOCKED: Duration = Duration::from_secs(2);
    const TICKS_MAX: u64 = 60;
    let server = kv().env("WRITE_TIMEOUT", "30s").start();
    store_much(&server);
    let mut asking = ask_for_much(&server);
    let half_closed = ask_for_much(&server);
    half_closed.stream().shutdown(Shutdown::Write).expect("a connection");
    asking.write(request("GET", "/health", &[], None));
    server.get("/health").assert_json(200, HEALTHY);
    let before = server.process().processor_ticks();
    let started = Instant::now();
    while started.elapsed() < BLOCKED {
        thread::park_timeout(BLOCKED);
    }
    let ticks = server.process().processor_ticks() - before;
    assert!(ticks < TICKS_MAX, "{ticks} ticks of 10 ms");
}

/// A thousand slow readers of large answers took all that the kernel has for TCP, and the requests
/// of others were dropped and came again after a second; what kv kept for them counted only as far
/// as it had not left.
#[test]
fn answers_that_nobody_reads_take_little_memory() {
    const RESIDENT_KIB_MAX: u64 = 128 << 10;
    const SOCKETS_KIB_MAX: u64 = 512 << 10;
    const CLIENTS: usize = 512;
    let watch = Watch::over(kv().env("WRITE_TIMEOUT", "5s").start());
    store_much(&watch.server);
    let before_kib = socket_memory_kib();
    let clients: Vec<_> = (0..CLIENTS).map(|_| ask_for_much(&watch.server)).collect();
    watch.bystander.is_served();
    let (resident_kib, sockets_kib) = (watch.server.process().resident_kib(), socket_memory_kib());
    assert!(resident_kib < RESIDENT_KIB_MAX, "{resident_kib} KiB");
    assert!(sockets_kib < before_kib + SOCKETS_KIB_MAX, "{sockets_kib} KiB, {before_kib} before");
    drop(clients);
    watch.bystander.finish();
}

/// What the kernel holds for all TCP connections of this machine.
#[track_caller]
fn socket_memory_kib() -> u64 {
    let sockets = fs::read_to_string("/proc/net/sockstat").expect("Linux");
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).expect("it is spoken");
    let pages: u64 = tcp.rsplit(' ').next().expect("a number").parse().expect("a number");
    pages * 4
}

/// The kernel tells kv of room for its answer in large pieces, so a byte at a time is nothing.
#[test]
fn a_client_that_reads_byte_by_byte_is_ended() {
    let watch = Watch::over(kv().env("WRITE_TIMEOUT", "1s").start());
    store_much(&watch.server);
    let client = ask_for_much(&watch.server);
    let mut read: u32 = 0;
    while watch.server.process().descriptors() > watch.descriptors {
        assert_eq!(client.stream().read(&mut [0]).unwrap(), 1);
        thread::park_timeout(DRIP);
        read += 1;
        assert!(DRIP * read < DEADLINE, "it may go on for ever");
    }
    watch.holds();
    drop(client);
    watch.finish();
}

/// Closes with a reset and not with the end of its input.
fn reset(client: &Client) {
    set_socket_linger(client.stream(), Some(Duration::ZERO)).expect("an option");
}

#[test]
fn connections_reset_before_they_are_accepted() {
    let watch = Watch::over(kv().start());
    for _ in 0..10_000 {
        reset(&watch.server.connect());
    }
    watch.holds();
    let half = "PUT /keys/a HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n{";
    let whole = request("GET", "/health", &[], None);
    for bytes in [half, &whole, &whole.repeat(100)] {
        for _ in 0..500 {
            let mut client = watch.server.connect();
            client.write(bytes);
            reset(&client);
        }
        watch.holds();
    }
    watch.finish();

    // And while nothing can accept them, up to what any machine lets wait.
    let server = kv().start();
    for _ in 0..10 {
        server.signal(Signal::STOP);
        let waiting: Vec<_> = (0..100).map(|_| server.connect()).collect();
        waiting.iter().for_each(reset);
        drop(waiting);
        server.signal(Signal::CONT);
        server.get("/health").assert_json(200, HEALTHY);
    }
}

#[test]
fn a_descriptor_limit_of_64() {
    let limited = || kv().through("/bin/sh", &["-c", r#"ulimit -n 64; exec "$0" "$@""#]).start();
    // Clients that are silent make room for others.
    let server = limited();
    let watch = Watch::with(Bystander::patient(&server), server);
    let silent: Vec<_> = (0..500).map(|_| watch.server.connect()).collect();
    watch.holds();
    drop(silent);
    watch.finish();

    // Clients that are busy do not, but others are served as soon as they have gone.
    let server = limited();
    let busy: Vec<_> = (0..500)
        .map(|_| {
            let client = server.connect();
            // Those that there is no room for are refused and closed, and cannot be written to.
            let _: io::Result<usize> = client.stream().write(b"GET /health HT");
            client
        })
        .collect();
    assert!(server.process().descriptors() <= 64);
    drop(busy);
    Bystander::patient(&server).finish();
}

/// With no descriptor left kv closed one silent connection in 50 ms, and whoever came behind
/// hundreds of them waited for many seconds.
#[test]
fn descriptors_that_run_out_on_the_way() {
    let server = kv().start();
    server.get("/health");
    server.process().limit_descriptors(64);
    let watch = Watch::with(Bystander::patient(&server), server);
    let silent: Vec<_> = (0..500).map(|_| watch.server.connect()).collect();
    watch.holds();
    drop(silent);
    watch.server.log().wait_for("cannot accept connections: out of descriptors");
    watch.finish();
}

/// Started with these limits, kv serves, or ends by itself and says why.
#[track_caller]
fn check_starts_or_says_why(program: &str, args: &[&str], why: impl Fn(&str) -> bool) -> bool {
    // It serves until `timeout` ends it.
    let launch = kv().through(program, args).through("/usr/bin/timeout", &["3"]);
    let finished = launch.run();
    let serves = finished.stderr.contains(" listening on ");
    assert_eq!(serves, finished.code == Some(124), "{args:?}: {finished:?}");
    assert!(serves || why(&finished.stderr), "{args:?}: {finished:?}");
    serves
}

#[test]
fn little_memory_and_few_threads() {
    // The least with which the loader and the program get as far as to the arguments.
    let limit = |kib: u64| format!("--as={}", kib << 10);
    let starts = |kib: &u64| {
        let version = kv().args("--version").through("/usr/bin/prlimit", &[&limit(*kib)]).run();
        version.code == Some(0)
    };
    let least_kib = (1 << 10..64 << 10).step_by(512).find(starts).expect("some memory suffices");
    let mut limits = (least_kib..64 << 10).step_by(512);
    // Just below what a thread takes it is the standard library that ends the program, in more
    // lines than one.
    let why = |stderr: &str| stderr.contains("cannot") || stderr.contains("memory allocation of");
    let serves = |kib| check_starts_or_says_why("/usr/bin/prlimit", &[&limit(kib)], why);
    assert!(limits.any(serves), "64 MiB are not enough");

    // Root has no limit of threads, and anybody else has other programs that count: a user who is
    // nobody has none.
    let root = rustix::process::geteuid().is_root();
    let user = ["--reuid=1234567", "--regid=1234567", "--clear-groups", "/usr/bin/prlimit"];
    let one_line =
        |stderr: &str| stderr.starts_with("error: cannot") && stderr.lines().count() == 1;
    for threads in 1..=4 {
        let limit = format!("--nproc={threads}");
        if root {
            let args = [&user[..], &[&limit]].concat();
            check_starts_or_says_why("/usr/bin/setpriv", &args, one_line);
        } else {
            check_starts_or_says_why("/usr/bin/prlimit", &[&limit], one_line);
        }
    }
}

/// The two parts of a write, cut within its body.
fn halves(key: &str) -> (String, String) {
    let body = format!(r#"{{"key":"{key}","value":1}}"#);
    let whole = request("PUT", &format!("/keys/{key}"), &[], Some(&body));
    let (first, second) = whole.split_at(whole.len() - body.len() / 2);
    (first.to_owned(), second.to_owned())
}

#[test]
fn two_hundred_requests_in_flight_are_answered_at_the_stop() {
    let server = kv().env("WORKERS", "1").start();
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.write(halves(&index.to_string()).0);
    }
    // The only worker has turned to all of them.
    server.get("/health").assert_json(200, HEALTHY);
    server.signal(Signal::TERM);
    server.log().wait_for("stopping on SIGTERM");
    for (index, client) in clients.iter_mut().enumerate() {
        let answer = client.send(halves(&index.to_string()).1);
        assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    }
    let stopped = server.wait();
    assert_eq!(stopped.code, 0);
    assert!(stopped.log.last().unwrap().ends_with(" stopped with 200 keys"), "{:?}", stopped.log);
}

/// The one test that takes ten seconds: the time is no setting.
#[test]
fn a_client_that_never_finishes_does_not_hold_up_the_stop() {
    let server = kv().start();
    let mut client = server.connect();
    client.write(halves("a").0);
    server.get("/health");
    server.signal(Signal::TERM);
    let stopped = server.wait();
    assert_eq!(stopped.code, 0);
    assert!(stopped.took < Duration::from_secs(15), "{:?}", stopped.took);
    assert!(stopped.log.iter().any(|line| line.contains("1 connections were cut off by the stop")));
    client.expect_close();
}

/// Deadlines were not kept during a stop: a client that had been refused and did not close, or
/// was overdue, held it up for the whole ten seconds.
#[test]
fn deadlines_hold_during_a_stop() {
    let server = kv().env("HEAD_TIMEOUT", "1s").start();
    let mut refused = server.connect();
    refused.write("GET\r\n\r\n");
    let mut overdue = server.connect();
    overdue.write("GET /health HTTP/1.1\r\n");
    server.get("/health");
    server.signal(Signal::TERM);
    refused.read().assert_refused(400);
    overdue.read().assert_refused(408);
    let stopped = server.wait();
    assert_eq!(stopped.code, 0);
    assert!(!stopped.log.iter().any(|line| line.contains("cut off")), "{:#?}", stopped.log);
}

/// A connection that was taken for idle because a worker had just read its request was closed in
/// its hands; when the next connection had come to its place, that one got its bytes and was never
/// answered.
#[test]
fn connections_that_make_room_leave_nothing_behind() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 3000;
    let server = kv().env("MAX_CONNECTIONS", "2").env("WORKERS", "4").start();
    let ask = |client: usize, round: usize| {
        let key = format!("{client}-{round}");
        let wanted = format!(r#"{{"detail":{{"success":false,"error":"Key '{key}' not found"}}}}"#);
        let connection = server.connect();
        let get = request("GET", &format!("/keys/{key}"), &[("Connection", "close")], None);
        if connection.stream().write_all(get.as_bytes()).is_err() {
            return false;
        }
        let mut received = Vec::new();
        match connection.stream().read_to_end(&mut received) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("{key}: no answer"),
            // It had to make room, and may have been told so.
            Err(_) => return false,
            Ok(_) => {}
        }
        if received.is_empty() || received.starts_with(b"HTTP/1.1 503 ") {
            return false;
        }
        let received = String::from_utf8(received).unwrap();
        assert!(received.ends_with(&wanted), "{key}: {received}");
        true
    };
    let answered: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || (0..ROUNDS).filter(|&round| ask(client, round)).count())
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(answered > 0);
    server.get("/health").assert_json(200, HEALTHY);
}

/// A client may send its last request and close its half, and read slowly, with others served.
#[test]
fn a_half_closed_client_is_answered_while_others_are() {
    let watch = Watch::over(kv().start());
    store_much(&watch.server);
    let client = ask_for_much(&watch.server);
    client.stream().shutdown(Shutdown::Write).unwrap();
    watch.holds();
    let mut client = client;
    for _ in 0..20 {
        assert_eq!(client.read().status, 200);
    }
    client.expect_close();
    watch.finish();
}
