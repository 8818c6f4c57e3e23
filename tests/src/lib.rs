//! What the integration tests share: starting the real binaries, a strict client on a raw socket,
//! JSON that compares exactly, and the recorded cases.
//!
//! Invariants: every wait has a deadline, and none is a fixed sleep; a program that was started is
//! killed and reaped when its handle is dropped.

#![allow(clippy::missing_panics_doc, reason = "a harness reports by panicking, in the test")]

mod binaries;
mod bystander;
mod cases;
mod client;
mod json;
mod log;
mod process;
mod program;

use std::time::{Duration, Instant};

pub use binaries::kv as kv_path;
pub use bystander::Bystander;
pub use cases::{Case, Recorded, golden, recorded};
pub use client::{Client, Response, connect, request};
pub use json::Json;
pub use log::Log;
pub use process::{Process, raise_descriptors};
pub use program::{Finished, Launch, ReservedPort, Server, Stopped, checker, kv};

/// How long a wait may take before the test fails; far more than a loaded machine needs.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Tries until there is a result.
#[track_caller]
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "no {what} within {DEADLINE:?}");
        std::thread::yield_now();
    }
}
