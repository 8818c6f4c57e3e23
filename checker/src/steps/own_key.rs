//! A key that belongs to one run, and is removed with it.

use std::hash::{BuildHasher, RandomState};
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::client::Client;

/// Tells this process from every other one, on other hosts and after a restart too: in containers
/// the process id is always the same, and clocks may be set back.
static PROCESS: LazyLock<u64> =
    LazyLock::new(|| RandomState::new().hash_one((SystemTime::now(), process::id())));

/// Tells the runs of this process apart.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// Deletes the key when dropped, also while a panic unwinds, if it may be there.
pub(super) struct OwnKey<'a> {
    client: &'a Client,
    name: String,
    may_exist: bool,
}

impl<'a> OwnKey<'a> {
    /// A key that nobody else has, and that is not there yet.
    pub(super) fn new(client: &'a Client, prefix: &str) -> Self {
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}_{:016x}_{run}", *PROCESS);
        OwnKey { client, name, may_exist: false }
    }

    /// The key, to read or delete it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The key, to write it: from now on it may exist, whatever the write answers.
    pub(super) fn for_write(&mut self) -> &str {
        self.may_exist = true;
        &self.name
    }

    /// The service has shown that the key does not exist.
    pub(super) fn is_gone(&mut self) {
        self.may_exist = false;
    }

    fn remove(&self) {
        match self.client.delete(&self.name) {
            Ok(answer) if matches!(answer.status, 200 | 404) => {}
            Ok(answer) => {
                log::warn!("key {} may stay behind: status {}", self.name, answer.status);
            }
            Err(error) => log::warn!("key {} may stay behind: {error}", self.name),
        }
    }
}

impl Drop for OwnKey<'_> {
    fn drop(&mut self) {
        // A second panic while one unwinds would end the process.
        if self.may_exist && panic::catch_unwind(AssertUnwindSafe(|| self.remove())).is_err() {
            log::error!("key {} may stay behind: removing it has panicked", self.name);
        }
    }
}
