//! More connections, silent, busy or reset, than there is room for.

use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;
use tests::{Bystander, Client, eventually, kv, raise_descriptors, request};

use crate::{HEALTHY, Watch};

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
