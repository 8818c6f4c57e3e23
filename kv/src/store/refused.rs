//! Why a store does not take a step.

use std::fmt;
use std::sync::Arc;

use super::Version;

/// Why a step was not taken. Nothing has changed, unless the reason says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The key is in another state than the condition asks for: its version, if it has one.
    Condition(Option<Version>),
    /// The value to increment is no integer of 64 bits.
    NotAnInteger,
    /// The sum does not fit into 64 bits.
    Overflow,
    /// The store is full: its limit in bytes.
    Full(usize),
    /// A batch reads more than this many bytes of values.
    ReadsTooMuch(usize),
    /// The disk is full; what was acknowledged is kept, and can be read.
    DiskFull,
    /// The store cannot do this now, and why.
    Unavailable(Arc<str>),
    /// Whether this has happened, or will, is not known, and why.
    MayHaveHappened(Arc<str>),
    /// A batch has more than this many operations.
    TooManyOps(usize),
    /// What is to be written has more than this many bytes.
    TooLarge(usize),
    /// What is kept under the key, or beside it, is damaged, and how that shows.
    Damaged(Arc<str>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Condition(Some(version)) => {
                write!(f, "Condition does not hold: the key has version {version}")
            }
            Refused::Condition(None) => {
                f.write_str("Condition does not hold: the key is not there")
            }
            Refused::NotAnInteger => f.write_str("The value is no integer of 64 bits"),
            Refused::Overflow => f.write_str("The sum does not fit into 64 bits"),
            Refused::Full(bytes_max) => {
                write!(f, "The store is full: its limit is {bytes_max} bytes")
            }
            Refused::ReadsTooMuch(bytes_max) => {
                write!(f, "A batch reads at most {bytes_max} bytes, or one value")
            }
            Refused::DiskFull => {
                f.write_str("The disk is full: nothing is written until it has room")
            }
            Refused::Unavailable(reason) => write!(f, "The store is not available: {reason}"),
            Refused::MayHaveHappened(reason) => {
                write!(f, "This may have happened, or may happen yet: {reason}")
            }
            Refused::TooManyOps(ops_max) => {
                write!(f, "A batch has at most {ops_max} operations in this store")
            }
            Refused::TooLarge(bytes_max) => {
                write!(f, "This store takes at most {bytes_max} bytes of keys and values at once")
            }
            Refused::Damaged(reason) => write!(f, "The stored data is damaged: {reason}"),
        }
    }
}

impl std::error::Error for Refused {}
