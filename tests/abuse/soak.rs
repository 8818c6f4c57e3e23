//! Mixed load with connections coming and going, for as many seconds as the argument says: what kv
//! takes of the machine at the end is what it took after the first minute.

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use tests::{Client, Process, ReservedPort, Server, eventually, kv, request};

const SECONDS_DEFAULT: u64 = 600;
/// Until the first look, at most; a quarter of a short run.
const WARM_UP_MAX: Duration = Duration::from_secs(60);
/// Keys in use, so that what is stored does not grow.
const KEYS: usize = 1000;
const LARGE_BYTES: usize = 1_000_000;
/// The allocator keeps and gives back as it likes.
const GROWTH_KIB_MAX: u64 = 8 << 10;
/// Between two turns of a kind of client; the load is to be mixed and not to be high.
const PAUSE: Duration = Duration::from_micros(200);

/// A kind of client: one turn of it, and how many requests were answered.
type Turn = fn(&Server, &mut fastrand::Rng) -> u64;

const KINDS: &[(&str, Turn)] = &[
    ("kept alive", kept_alive),
    ("closed by the client's wish", closed),
    ("pipelined", pipelined),
    ("large", large),
    ("aborted", aborted),
    ("refused", refused),
    ("slow to send", slow_to_send),
    ("slow to read", slow_to_read),
];

/// What kv takes when no client is there.
#[derive(Debug)]
struct Taken {
    resident_kib: u64,
    descriptors: usize,
    threads: u64,
}

fn main() {
    let seconds = std::env::args().nth(1).map(|text| text.parse().expect("seconds"));
    let whole = Duration::from_secs(seconds.unwrap_or(SECONDS_DEFAULT));
    let server = kv()
        .env("LOG_LEVEL", "WARNING")
        .env("HEAD_TIMEOUT", "2s")
        .env("BODY_TIMEOUT", "2s")
        .env("WRITE_TIMEOUT", "2s")
        .start_at(&ReservedPort::new());
    let idle = idle_descriptors(&server);
    let counts: Vec<_> = KINDS.iter().map(|_| AtomicU64::new(0)).collect();

    let warm_up = WARM_UP_MAX.min(whole / 4);
    load(&server, warm_up, &counts);
    let first = taken(server.process(), idle);
    println!("after {} s: {first:?}", warm_up.as_secs());
    load(&server, whole.saturating_sub(warm_up), &counts);
    let last = taken(server.process(), idle);
    println!("after {} s: {last:?}", whole.as_secs());
    for ((name, _), count) in KINDS.iter().zip(&counts) {
        println!("{name}: {} requests answered", count.load(Ordering::Relaxed));
    }

    assert_eq!((last.descriptors, last.threads), (first.descriptors, first.threads));
    assert!(last.resident_kib <= first.resident_kib + GROWTH_KIB_MAX, "memory grows");
    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) > 0), "a kind did nothing");
    assert_eq!(server.stop().code, 0);
}

/// Descriptors of a server that has started to the end, and has no client.
fn idle_descriptors(server: &Server) -> usize {
    let mut client = server.connect();
    eventually("a server with one client", || {
        let metrics = client.send(request("GET", "/metrics", &[], None)).body;
        let metrics = String::from_utf8_lossy(&metrics);
        metrics.contains("\nkv_http_connections 1\n").then_some(())
    });
    server.process().descriptors() - 1
}

/// Every kind of client in a thread of its own, for so long.
fn load(server: &Server, time: Duration, counts: &[AtomicU64]) {
    let end = Instant::now() + time;
    thread::scope(|scope| {
        for ((_, turn), count) in KINDS.iter().zip(counts) {
            scope.spawn(move || {
                let mut rng = fastrand::Rng::new();
                while Instant::now() < end {
                    count.fetch_add(turn(server, &mut rng), Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            });
        }
    });
}

/// Looks when the last connection has gone.
fn taken(process: Process, idle: usize) -> Taken {
    eventually("end of all connections", || {
        thread::sleep(Duration::from_millis(50));
        (process.descriptors() <= idle).then_some(())
    });
    Taken {
        resident_kib: process.resident_kib(),
        descriptors: process.descriptors(),
        threads: process.threads(),
    }
}

fn key(rng: &mut fastrand::Rng) -> String {
    format!("key-{}", rng.usize(..KEYS))
}

fn put(key: &str, value: &str, fields: &[(&str, &str)]) -> String {
    let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
    request("PUT", &format!("/keys/{key}"), fields, Some(&body))
}

fn get(key: &str, fields: &[(&str, &str)]) -> String {
    request("GET", &format!("/keys/{key}"), fields, None)
}

/// One request of the usual ones, on a connection that goes on or not.
fn one(client: &mut Client, rng: &mut fastrand::Rng, fields: &[(&str, &str)]) {
    let key = key(rng);
    let bytes = match rng.u8(..8) {
        0..3 => put(&key, &"v".repeat(rng.usize(..2000)), fields),
        3 => request("DELETE", &format!("/keys/{key}"), fields, None),
        _ => get(&key, fields),
    };
    let answer = client.send(bytes);
    assert!(matches!(answer.status, 200 | 404), "{answer:?}");
}

fn kept_alive(server: &Server, rng: &mut fastrand::Rng) -> u64 {
    let (mut client, requests) = (server.connect(), rng.u64(1..100));
    (0..requests).for_each(|_| one(&mut client, rng, &[]));
    requests
}

fn closed(server: &Server, rng: &mut fastrand::Rng) -> u64 {
    one(&mut server.connect(), rng, &[("Connection", "close")]);
    1
}

fn pipelined(server: &Server, rng: &mut fastrand::Rng) -> u64 {
    let (mut client, requests) = (server.connect(), rng.usize(1..300));
    client.write(get(&key(rng), &[]).repeat(requests));
    for _ in 0..requests {
        assert!(matches!(client.read().status, 200 | 404));
    }
    requests as u64
}

fn large(server: &Server, rng: &mut fastrand::Rng) -> u64 {
    let mut client = server.connect();
    let key = format!("large-{}", rng.u8(..4));
    let value = "x".repeat(LARGE_BYTES);
    if rng.bool() {
        assert_eq!(client.send(put(&key, &value, &[])).status, 200);
    } else {
        let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
        let (first, second) = body.split_at(rng.usize(1..body.len()));
        let (first_bytes, second_bytes) = (first.len(), second.len());
        let head = format!("PUT /keys/{key} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked");
        client.write(format!("{head}\r\n\r\n{first_bytes:x}\r\n{first}\r\n"));
        client.write(format!("{second_bytes:x}\r\n{second}\r\n0\r\n\r\n"));
        assert_eq!(client.read().status, 200);
    }
    assert!(client.send(get(&key, &[])).body.len() > LARGE_BYTES);
    2
}

/// Goes away in the middle of a request or of an answer; the next client is answered.
fn aborted(server: &Server, rng: &mut fastrand::Rng) -> u64 {
    let whole = match rng.u8(..3) {
        0 => put(&key(rng), "v", &[]),
        1 => get(&key(rng), &[]),
        _ => get("large-0", &[]).repeat(5),
    };
    let client = server.connect();
    let mut stream = client.stream();
    let sent = rng.usize(..=whole.len());
    let _: io::Result<()> = stream.write_all(&whole.as_bytes()[..sent]);
    match rng.u8(..3) {
        0 => set_socket_linger(stream, Some(Duration::ZERO)).expect("an option"),
        1 => stream.shutdown(Shutdown::Write).expect("it is connected"),
        _ => {}
    }
    drop(client);
    closed(server, rng)
}

fn refused(server: &Server, rng: &mut fastrand::Rng) -> u64 {
    let bytes = match rng.u8(..4) {
        0 => "GET / HTTP/1.1\r\n\r\n".to_owned(),
        1 => put("a", "v", &[("Content-Length", "5")]),
        2 => put("a", &"v".repeat(2_000_000), &[]),
        _ => format!("GET /{}", "a".repeat(20_000)),
    };
    let answer = server.connect().send(bytes);
    assert!((400..500).contains(&answer.status), "{answer:?}");
    1
}

/// Half a request, and no more until it is refused.
fn slow_to_send(server: &Server, rng: &mut fastrand::Rng) -> u64 {
    let mut clients: Vec<_> = (0..rng.usize(1..50)).map(|_| server.connect()).collect();
    for client in &mut clients {
        let whole = put(&key(rng), &"v".repeat(rng.usize(..20_000)), &[]);
        client.write(&whole[..rng.usize(1..whole.len())]);
    }
    for client in &mut clients {
        assert_eq!(client.read().status, 408);
    }
    clients.len() as u64
}

/// Takes a few bytes of much, and no more until it is cut off.
fn slow_to_read(server: &Server, rng: &mut fastrand::Rng) -> u64 {
    server.connect().send(put("large-0", &"x".repeat(LARGE_BYTES), &[]));
    let mut client = server.connect();
    client.write(get("large-0", &[]).repeat(rng.usize(1..20)));
    let mut stream: &TcpStream = client.stream();
    for _ in 0..10 {
        let mut few = vec![0; rng.usize(1..100)];
        stream.read_exact(&mut few).expect("the begin of an answer");
        thread::sleep(Duration::from_millis(rng.u64(..500)));
    }
    1
}
