//! Clients that do not read their answers, or slowly.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use tests::{Client, DEADLINE, Server, kv, request};

use crate::{DRIP, HEALTHY, Watch};

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
