//! What a check may cost, and what comes of it.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::Duration;

use super::operation::{Operation, Value};

/// What a check may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long it may take. What is not decided by then is unknown.
    pub time: Duration,
    /// How many bytes the tables of all its threads may take together.
    pub memory_bytes_max: usize,
    /// How many keys are searched at a time, at least 1.
    pub threads: usize,
    /// What every key holds before the history begins; `None` is absent.
    pub initial: Option<Value>,
    /// Whether absent and the empty text are the same, as in records of get, put and append that
    /// know no absence.
    pub absent_is_empty: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            time: Duration::from_secs(60),
            memory_bytes_max: 1 << 30,
            threads: 1,
            initial: None,
            absent_is_empty: false,
        }
    }
}

/// Whether a history is linearizable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains all that was seen.
    Linearizable,
    /// There is none.
    NotLinearizable(Box<CounterExample>),
    /// A limit came first.
    Unknown(Reason),
}

/// Which limit came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// [`Limits::time`].
    Time,
    /// [`Limits::memory_bytes_max`].
    Memory,
}

/// A few operations on one key that no order explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterExample {
    /// The key.
    pub key: Arc<str>,
    /// What it held before the history began.
    pub initial: Option<Value>,
    /// The operations, by the time of their calls. One whose answer is not needed for the
    /// contradiction has an unknown outcome here: that of the record is one of the possible ones.
    pub operations: Vec<Operation>,
    /// An order of as many of them as could be explained: indexes into `operations`.
    pub longest: Vec<usize>,
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Time => "the time limit came first",
            Reason::Memory => "the memory limit came first",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Linearizable => "linearizable",
            Verdict::NotLinearizable(_) => "not linearizable",
            Verdict::Unknown(_) => "unknown",
        })
    }
}
