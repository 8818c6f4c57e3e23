//! Heads, bodies and trailers without end, and bytes that come one by one.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;

use tests::{Client, DEADLINE, kv, request};

use crate::{DRIP, HEALTHY, Watch};

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
