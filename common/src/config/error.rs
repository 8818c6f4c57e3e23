//! Why a command line or an environment was refused: one line that names what is wrong.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::os::unix::ffi::OsStrExt;

use crate::text::{escaped, escaped_bytes};

/// A command line or an environment that the program does not start with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// A setting's text is no value for it.
    Refused {
        /// Where the text came from.
        origin: Origin,
        /// The text.
        text: OsString,
        /// What is accepted instead.
        reason: &'static str,
    },
    /// A setting's text is no token; the text is nobody's business.
    RefusedSecret {
        /// Where the text came from.
        origin: Origin,
        /// What is accepted instead.
        reason: &'static str,
    },
    /// The file that a setting names cannot be read.
    File {
        /// Where the name came from.
        origin: Origin,
        /// The name.
        path: OsString,
        /// Why not.
        error: String,
    },
    /// Two settings that exclude each other.
    Both(Origin, Origin),
    /// A flag that the program has for another of its actions.
    FlagOfAnother {
        /// The flag.
        flag: String,
        /// The action that was asked for; empty for the main one.
        subcommand: &'static str,
    },
    /// A flag that the program does not have.
    UnknownFlag(String),
    /// A flag at the end of the line that needs a value.
    MissingValue(String),
    /// A subcommand without the argument that it needs.
    MissingArgument {
        /// The subcommand.
        subcommand: &'static str,
        /// What is missing.
        argument: &'static str,
    },
    /// A flag that takes no value was given one.
    UnexpectedValue(String, OsString),
    /// An argument that is no subcommand, or one too many.
    UnexpectedArgument(OsString),
}

/// Where a setting's text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag, without its dashes.
    Flag(String),
    /// An environment variable, or the default in its stead.
    Variable(&'static str),
    /// An argument beside the flags, by its name in `--help`.
    Argument(&'static str),
}

impl std::error::Error for ConfigError {}

impl Display for ConfigError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Refused { origin, text, reason } => {
                write!(f, "{origin}: '{}' {reason}", escaped_bytes(text.as_bytes()))
            }
            ConfigError::RefusedSecret { origin, reason } => write!(f, "{origin}: {reason}"),
            ConfigError::File { origin, path, error } => {
                let path = escaped_bytes(path.as_bytes());
                write!(f, "{origin}: '{path}' cannot be read: {error}")
            }
            ConfigError::Both(one, other) => {
                write!(f, "{one} and {other} cannot be given together")
            }
            ConfigError::FlagOfAnother { flag, subcommand: "" } => {
                write!(f, "flag '{flag}' needs a subcommand, see --help")
            }
            ConfigError::FlagOfAnother { flag, subcommand } => {
                write!(f, "{subcommand} has no flag '{flag}', see --help")
            }
            ConfigError::UnknownFlag(flag) => {
                write!(f, "unknown flag '{}', see --help", escaped(flag))
            }
            ConfigError::MissingValue(flag) => write!(f, "{}: a value is missing", escaped(flag)),
            ConfigError::MissingArgument { subcommand, argument } => {
                write!(f, "{subcommand}: {argument} is missing, see --help")
            }
            ConfigError::UnexpectedValue(flag, value) => {
                let value = escaped_bytes(value.as_bytes());
                write!(f, "{}: takes no value, but got '{value}'", escaped(flag))
            }
            ConfigError::UnexpectedArgument(argument) => {
                let argument = escaped_bytes(argument.as_bytes());
                write!(f, "unexpected argument '{argument}', see --help")
            }
        }
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => write!(f, "--{flag}"),
            Origin::Variable(name) | Origin::Argument(name) => f.write_str(name),
        }
    }
}

impl From<lexopt::Error> for ConfigError {
    fn from(error: lexopt::Error) -> Self {
        match error {
            lexopt::Error::UnexpectedOption(flag) => ConfigError::UnknownFlag(flag),
            lexopt::Error::MissingValue { option } => {
                ConfigError::MissingValue(option.unwrap_or_default())
            }
            lexopt::Error::UnexpectedValue { option, value } => {
                ConfigError::UnexpectedValue(option, value)
            }
            lexopt::Error::UnexpectedArgument(argument)
            | lexopt::Error::NonUnicodeValue(argument) => ConfigError::UnexpectedArgument(argument),
            other @ (lexopt::Error::ParsingFailed { .. } | lexopt::Error::Custom(_)) => {
                ConfigError::UnexpectedArgument(other.to_string().into())
            }
        }
    }
}
