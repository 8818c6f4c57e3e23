//! Streams of requests, mutated, to two kv: one gets each stream at once, the other one in pieces,
//! each handled by itself. What they answer must be the same, to the byte.
//!
//! The arguments are the seconds and, to repeat a run, its seed.

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use tests::{Client, ReservedPort, Server, kv, request};

const SECONDS_DEFAULT: u64 = 60;
const PARTS_MAX: usize = 6;
const MUTATIONS_MAX: usize = 4;
const PIECES_MAX: usize = 8;
const KEYS: &[&str] = &["a", "b", "c/d", "%61", "\u{e9}"];

/// What breaks requests when it stands in the wrong place.
const TOKENS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "0",
    "0\r\n\r\n",
    "5\r\n",
    "FFFFFFFFFFFFFFFF",
    "HTTP/1.0",
    "HTTP/1.1",
    "HTTP/2.0",
    "GET ",
    "HEAD ",
    "PUT /keys/a ",
    "* ",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Host: b\r\n",
    "Expect: 100-continue\r\n",
    "Expect: x\r\n",
    "\u{7f}",
    "\u{ff}",
];

/// A kv, and a connection whose answers show that what was sent before has been read.
struct Side {
    server: Server,
    other: Client,
}

impl Side {
    fn start() -> Self {
        // With one worker, connections are handled in the order in which they got their bytes.
        let launch = kv().env("WORKERS", "1").env("LOG_LEVEL", "ERROR");
        let server = launch.start_at(&ReservedPort::new());
        let other = server.connect();
        Side { server, other }
    }

    /// Sends the pieces, each when the one before it has been handled; everything that comes back.
    fn exchange(&mut self, pieces: &[&[u8]]) -> Vec<u8> {
        let client = self.server.connect();
        let mut stream = client.stream();
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                let health = self.other.request("GET", "/health", &[], None);
                assert_eq!(health.status, 200);
            }
            // kv may have said its last word, and closed.
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let _: Result<(), _> = stream.shutdown(Shutdown::Write);
        let mut received = Vec::new();
        let end = stream.read_to_end(&mut received);
        if let Err(error) = end {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "no end of the answers");
        }
        comparable(&received)
    }
}

fn main() {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let time = Duration::from_secs(args.next().unwrap_or(SECONDS_DEFAULT));
    let seed = args.next().unwrap_or_else(|| fastrand::u64(..));
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut at_once, mut in_pieces) = (Side::start(), Side::start());
    let started = Instant::now();
    let (mut streams, mut answers) = (0u64, 0);
    while started.elapsed() < time {
        let stream = stream(&mut rng);
        let pieces = cut(&stream, &mut rng);
        let whole = at_once.exchange(&[&stream]);
        let parts = in_pieces.exchange(&pieces);
        if whole != parts {
            let lengths: Vec<_> = pieces.iter().map(|piece| piece.len()).collect();
            panic!(
                "seed {seed}, stream {streams}: {}\nin pieces of {lengths:?}\nat once: {}\n\
                 in pieces: {}",
                stream.escape_ascii(),
                whole.escape_ascii(),
                parts.escape_ascii()
            );
        }
        streams += 1;
        answers += whole.windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count();
    }
    println!("{streams} streams with {answers} answers, the same at once and in pieces");
}

/// Some requests in a row, and some damage.
fn stream(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(1..=PARTS_MAX) {
        bytes.extend_from_slice(part(rng).as_bytes());
    }
    for _ in 0..rng.usize(..=MUTATIONS_MAX) {
        mutate(&mut bytes, rng);
    }
    bytes
}

fn part(rng: &mut fastrand::Rng) -> String {
    let key = KEYS[rng.usize(..KEYS.len())];
    let target = format!("/keys/{key}");
    let value = "v".repeat(rng.usize(..200));
    let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
    match rng.u8(..12) {
        0..3 => request("PUT", &target, &[], Some(&body)),
        3 => chunked(&target, &body, rng),
        4 => request("PUT", &target, &[("Expect", "100-continue")], Some(&body)),
        5 => request("DELETE", &target, &[], None),
        6 => request("HEAD", &target, &[], None),
        7 => request("OPTIONS", "*", &[("Connection", "close, x")], None),
        8 => format!("GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        9 => request("GET", "/health", &[("A", &"b".repeat(rng.usize(..20_000)))], None),
        _ => request("GET", &target, &[], None),
    }
}

fn chunked(target: &str, body: &str, rng: &mut fastrand::Rng) -> String {
    let mut text =
        format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut rest = body;
    while !rest.is_empty() {
        let at = (1..=rng.usize(1..=rest.len())).rev().find(|&at| rest.is_char_boundary(at));
        let (chunk, after) = rest.split_at(at.unwrap_or(rest.len()));
        let extension = if rng.bool() { ";a=b" } else { "" };
        text.extend([&format!("{:x}", chunk.len()), extension, "\r\n", chunk, "\r\n"]);
        rest = after;
    }
    text + if rng.bool() { "0\r\n\r\n" } else { "0\r\nA: b\r\n\r\n" }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(..bytes.len());
    let end = (at + rng.usize(1..50)).min(bytes.len());
    match rng.u8(..8) {
        0 => bytes[at] = rng.u8(..),
        1 => bytes[at] ^= 1 << rng.u8(..8),
        2..5 => {
            let token = TOKENS[rng.usize(..TOKENS.len())];
            bytes.splice(at..at, token.bytes());
        }
        5 => {
            bytes.drain(at..end);
        }
        6 => {
            let copied = bytes[at..end].repeat(rng.usize(1..100));
            bytes.splice(at..at, copied);
        }
        _ => bytes.truncate(at),
    }
}

fn cut<'a>(bytes: &'a [u8], rng: &mut fastrand::Rng) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> =
        (1..rng.usize(2..=PIECES_MAX)).map(|_| rng.usize(..=bytes.len())).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).filter(|piece| !piece.is_empty()).collect()
}

/// Without the dates, and without `100 Continue`, which is for a client that waits.
fn comparable(received: &[u8]) -> Vec<u8> {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    // Versions begin with the clock of each kv.
    const TAG: &[u8] = b"\r\nETag: \"";
    const DATE: &[u8] = b"\r\nDate: ";
    const DATE_BYTES: usize = DATE.len() + "Sun, 06 Nov 1994 08:49:37 GMT".len();
    let (mut kept, mut rest) = (Vec::new(), received);
    while let Some(&byte) = rest.first() {
        if rest.starts_with(CONTINUE) {
            rest = &rest[CONTINUE.len()..];
        } else if rest.starts_with(TAG) {
            let tag = &rest[TAG.len()..];
            let end = tag.iter().position(|&byte| byte == b'"').map_or(tag.len(), |at| at + 1);
            rest = &tag[end..];
        } else if rest.starts_with(DATE) {
            rest = &rest[DATE_BYTES.min(rest.len())..];
        } else {
            kept.push(byte);
            rest = &rest[1..];
        }
    }
    kept
}
