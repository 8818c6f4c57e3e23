//! What is known of one call: who made it, on which key, what it asked for, and what came of it.

use std::sync::Arc;

/// A value, as text. Two values are the same when their texts are.
pub type Value = Arc<str>;

/// One call of a recorded history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who called. A process has one call at a time; after an unknown outcome it has a new number.
    pub process: u64,
    /// The key; histories of one register have one key for all.
    pub key: Arc<str>,
    /// What was asked for.
    pub op: Op,
    /// What came of it.
    pub outcome: Outcome,
    /// When it was called, in nanoseconds on a clock that all processes share.
    pub called_ns: u64,
    /// When it returned. Says nothing where the outcome is unknown: such a call is open to the end.
    pub returned_ns: u64,
}

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Read.
    Get,
    /// Set, if the condition holds.
    Put {
        /// What is set.
        value: Value,
        /// When it may be.
        condition: Condition,
    },
    /// Remove, if the condition holds. What is absent cannot be removed.
    Delete {
        /// When it may be.
        condition: Condition,
    },
    /// Set if the value is the expected one.
    Cas {
        /// The value that has to be there; `None` asks for absence.
        expected: Option<Value>,
        /// What is set.
        value: Value,
    },
    /// Put a text after the value; absent counts as empty.
    Append {
        /// What comes behind.
        value: Value,
    },
    /// Add to a whole number; absent counts as 0.
    Add {
        /// The addend.
        by: i64,
    },
}

/// What has to hold for a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// The key is absent (`If-None-Match: *`).
    Absent,
    /// The key is present (`If-Match: *`).
    Present,
    /// The key has this version (`If-Match: "7"`).
    Version(u64),
    /// The key is absent or has another version (`If-None-Match: "7"`).
    NotVersion(u64),
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, and this was seen.
    Ok(Seen),
    /// It certainly did not happen.
    Failed,
    /// It may have happened, or may yet.
    Unknown,
}

/// What the answer to a call showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A write was done; its version, where the record has it.
    Done {
        /// Versions grow with every write.
        version: Option<u64>,
    },
    /// The value: what a get found, or what an add made.
    Found {
        /// The value.
        value: Value,
        /// Its version, where the record has it.
        version: Option<u64>,
    },
    /// A get or a delete found nothing.
    Absent,
    /// The condition of a write did not hold, or an add found no whole number that it could add to.
    Refused(Refusal),
}

/// What a refusal told of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing but that the condition did not hold.
    Unseen,
    /// The key was absent.
    Absent,
    /// The key had this version.
    Version(u64),
}
