//! Recorded histories, and whether they are linearizable (Herlihy and Wing, "Linearizability: a
//! correctness condition for concurrent objects", 1990).
//!
//! Nothing here knows HTTP, and no clock is read but to keep a limit.

mod budget;
mod check;
mod counts;
mod draft;
pub mod format;
mod hashes;
mod model;
mod nogoods;
pub mod operation;
mod problem;
mod search;
mod sequence;
mod shrink;
pub mod timeline;
pub mod verdict;
mod zones;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use check::check;
pub use operation::{Condition, Op, Operation, Outcome, Refusal, Seen, Value};
pub use verdict::{CounterExample, Limits, Reason, Verdict};
