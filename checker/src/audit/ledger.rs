//! What a workflow has found so far, shared by its workers.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::report::latency::Recorder;
use crate::report::{EVIDENCE_MAX, Evidence, Load, NOTES_MAX, Operations};

/// The keys that are remembered for removal.
pub const KEYS_MAX: usize = 200_000;

/// The first cases of a broken promise show how; more of them only hide the others.
const EVIDENCE_OF_ONE_PROMISE_MAX: usize = 2;
/// After so many broken promises no more are looked for.
pub const BROKEN_MAX: u64 = 32;

/// Everything that goes into the report.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

/// What a ledger holds.
#[derive(Debug, Default)]
pub struct Entries {
    /// What became of the calls.
    pub operations: Operations,
    /// How long they took.
    pub latency: Recorder,
    /// How many assertions were made.
    pub checks: u64,
    /// Broken promises.
    pub evidence: Vec<Evidence>,
    /// How many more there were.
    pub evidence_left_out: u64,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// How many promises were not decided.
    pub unproven: u64,
    /// Why the first of them was not.
    pub unproven_first: Option<String>,
    /// Why no more was tried; none if all was.
    pub given_up: Option<String>,
    /// What the load generator measured.
    pub load: Option<Load>,
    /// Keys that may exist.
    pub keys: BTreeSet<String>,
}

impl Ledger {
    /// The entries, for as long as nobody else needs them.
    pub fn entries(&self) -> MutexGuard<'_, Entries> {
        // Entries are added whole; a worker that panics leaves none half made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// How many promises were found broken.
    pub fn broken_count(&self) -> u64 {
        self.evidence.len() as u64 + self.evidence_left_out
    }

    /// A promise is broken.
    pub fn broken(&mut self, evidence: Evidence) {
        let is_known = |known: &&Evidence| known.promise == evidence.promise;
        let known = self.evidence.iter().filter(is_known).count();
        if self.evidence.len() < EVIDENCE_MAX && known < EVIDENCE_OF_ONE_PROMISE_MAX {
            self.evidence.push(evidence);
        } else {
            self.evidence_left_out += 1;
        }
    }

    /// Something is worth knowing.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// A promise could not be decided.
    pub fn unproven(&mut self, why: impl Into<String>) {
        self.unproven += 1;
        self.unproven_first.get_or_insert_with(|| why.into());
    }

    /// Adds what a worker has counted.
    pub fn add(&mut self, operations: Operations, checks: u64, latency: &Recorder) {
        self.operations.sent += operations.sent;
        self.operations.ok += operations.ok;
        self.operations.failed += operations.failed;
        self.operations.unknown += operations.unknown;
        self.checks += checks;
        self.latency.merge(latency);
    }
}
