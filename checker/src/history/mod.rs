//! Recorded histories, and whether they are linearizable (Herlihy and Wing, "Linearizability: a
//! correctness condition for concurrent objects", 1990).
//!
//! Nothing here knows HTTP or reads a clock of its own but to keep a limit.

pub mod operation;
pub mod verdict;

pub use operation::{Condition, Op, Operation, Outcome, Refusal, Seen, Value};
pub use verdict::{CounterExample, Limits, Reason, Verdict};
