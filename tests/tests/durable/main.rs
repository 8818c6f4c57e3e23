//! The durable store against what takes it down: kills, power cuts, damaged and full disks. The
//! real program, on real directories and on the file system that forgets.

#![allow(clippy::similar_names, reason = "what was seen and a seed are")]

mod connection;
mod damage;
mod full;
mod kill;
mod lost;
mod model;
mod opening;
mod power;
mod refusals;
mod threads;
mod writers;

use std::io::{self, Write};
use std::path::Path;

use rustix::process::Signal;
use tests::{Launch, Server, kv};

use connection::Connection;

/// kv on this directory.
fn on(data: &Path) -> Launch {
    kv().env("DATA_DIR", data.to_str().expect("UTF-8"))
}

/// With a small memtable, so that tables are written and merged among few writes. In every second
/// round the commit thread serves clients that go on writing, in the others the workers do.
fn small(data: &Path, round: u64) -> Launch {
    on(data)
        .env("CACHE_SIZE", "4MiB")
        .env("WORKERS", if round.is_multiple_of(2) { "2" } else { "4" })
}

/// Ends it as the kernel does.
#[track_caller]
fn kill(server: Server) {
    server.signal(Signal::KILL);
    assert_eq!(server.wait().code, 128 + 9);
}

fn connect(server: &Server) -> Connection {
    Connection::open(server.address).expect("it listens")
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.map_or(default, |value| value.parse().expect("a number"))
}

/// Says on standard error what a long run has come to.
fn tell(text: &str) {
    // Nobody is there to be told that nobody can be told.
    let _ = writeln!(io::stderr(), "{text}");
}
