//! The workflows: each puts one promise of a kv to the test. One file each.
//!
//! What is asked of every server is the fixed part of the API. What goes beyond is asked of a
//! server that shows any sign of it, and skipped on one that shows none.

mod batch;
mod changes;
mod conditions;
mod counter;
mod deletion;
mod errors;
mod expired;
mod expiry;
mod gate;
mod heads;
mod linearizability;
mod listing;
mod load;
mod overwrite;
mod prefix_deletion;
mod races;
mod routes;
mod tags;
mod types;
mod values;
mod waits;
mod ways;
mod wide;

use crate::audit::features::Feature;
use crate::audit::run::Run;

/// A promise, and how it is put to the test.
#[derive(Debug)]
pub struct Workflow {
    /// Its name.
    pub name: &'static str,
    /// What a pass says, in one sentence.
    pub promise: &'static str,
    /// What a server must have for it.
    pub needs: &'static [Feature],
    /// Puts it to the test.
    pub run: fn(&Run<'_>),
}

/// Every workflow, in the order in which they run.
pub static ALL: [&Workflow; 11] = [
    &deletion::DELETION,
    &overwrite::OVERWRITE,
    &types::TYPES,
    &errors::ERRORS,
    &conditions::CONDITIONS,
    &expiry::EXPIRY,
    &listing::LISTING,
    &batch::BATCH,
    &counter::COUNTER,
    &linearizability::LINEARIZABILITY,
    &load::LOAD,
];

/// The workflow of this name.
pub fn find(name: &str) -> Option<&'static Workflow> {
    ALL.into_iter().find(|workflow| workflow.name == name)
}
