//! Settings: flags and environment variables become typed values.
//!
//! A program is described once, as a [`Program`]: the same tables recognize its flags and print
//! its `--help`. Every setting is an environment variable and a flag of the same name
//! (`MAX_BODY`, `--max-body`). Flag beats environment beats default; of a flag given twice the
//! last one holds, and an empty variable counts as unset.
//!
//! Nothing here reads the process: arguments and environment are parameters.

mod error;
mod help;
pub mod secret;
pub mod server;
pub mod value;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};

pub use error::{ConfigError, Origin};

/// One setting: its name as an environment variable, and how its text becomes a value.
#[derive(Debug)]
pub struct Setting<T> {
    /// The environment variable; the flag is the same in lower case with dashes.
    pub name: &'static str,
    /// The text that holds when nothing else is given.
    pub default: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
    /// Reads the text. An error goes on where `'abc'` began: `is not a port (0 to 65535)`.
    pub parse: fn(&str) -> Result<T, &'static str>,
}

impl<T> Setting<T> {
    /// This setting in a program's tables.
    pub const fn row(&self) -> Row {
        Row { name: self.name, default: self.default, help: self.help }
    }
}

/// A setting without its type.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    name: &'static str,
    default: &'static str,
    help: &'static str,
}

impl Row {
    fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }
}

/// What a program can be told to do. `A` names its actions.
#[derive(Debug)]
pub struct Program<A: 'static> {
    /// The name as it is typed.
    pub name: &'static str,
    /// The version, as in `kv 0.1.0`.
    pub version: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// What it does without a subcommand.
    pub main: Subcommand<A>,
    /// What it does with one.
    pub subcommands: &'static [Subcommand<A>],
    /// Command lines and what they do.
    pub examples: &'static [(&'static str, &'static str)],
    /// Exit codes and what they mean.
    pub exit_codes: &'static [(&'static str, &'static str)],
}

/// One action of a program, and the settings that it takes.
#[derive(Debug)]
pub struct Subcommand<A: 'static> {
    /// The action.
    pub action: A,
    /// The name as it is typed; empty for the main action.
    pub name: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
    /// The settings that it takes, in the order of `--help`.
    pub settings: &'static [&'static [Row]],
    /// What its arguments are, if it takes any: `FILE`. It needs one, and takes more.
    pub argument: Option<&'static str>,
}

impl<A> Subcommand<A> {
    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.settings.iter().copied().flatten()
    }
}

/// What a command line asks for. Without `Debug`, for a value may be a secret.
pub enum Invocation<A, E> {
    /// `--help`: print [`Program::help`].
    Help,
    /// `--version`: print [`Program::version_line`].
    Version,
    /// An action, and the settings to read for it.
    Run(A, Values<E>),
}

/// The settings of one start: the flags that were given, and the environment. Without `Debug`, for
/// a value may be a secret.
pub struct Values<E> {
    /// The arguments of a subcommand that takes such.
    pub arguments: Vec<OsString>,
    flags: Vec<(String, OsString)>,
    env: E,
}

impl<A: Copy> Program<A> {
    /// Reads a command line (without the program's own name).
    pub fn invocation<E>(
        &self,
        args: impl IntoIterator<Item = OsString>,
        env: E,
    ) -> Result<Invocation<A, E>, ConfigError>
    where
        E: Fn(&str) -> Option<OsString>,
    {
        use lexopt::Arg::{Long, Short, Value};

        let mut parser = lexopt::Parser::from_args(args);
        let mut subcommand = None;
        let mut flags = Vec::new();
        let mut arguments = Vec::new();
        while let Some(arg) = parser.next()? {
            match arg {
                Short('h') | Long("help") => return alone(parser, "--help", Invocation::Help),
                Short('V') | Long("version") => {
                    return alone(parser, "--version", Invocation::Version);
                }
                Long(flag) if self.knows(flag) => {
                    let flag = flag.to_owned();
                    flags.push((flag, parser.value()?));
                }
                Value(name) if subcommand.is_none() => {
                    subcommand = Some(self.subcommand(name)?);
                }
                Value(value) if subcommand.is_some_and(|known| known.argument.is_some()) => {
                    arguments.push(value);
                }
                Short(_) | Long(_) | Value(_) => return Err(arg.unexpected().into()),
            }
        }
        let subcommand = subcommand.unwrap_or(&self.main);
        let refused = |flag: &str| subcommand.rows().all(|row| row.flag() != flag);
        if let Some((flag, _)) = flags.iter().find(|(flag, _)| refused(flag)) {
            return Err(ConfigError::FlagOfAnother {
                flag: format!("--{flag}"),
                subcommand: subcommand.name,
            });
        }
        if let (Some(argument), []) = (subcommand.argument, &*arguments) {
            return Err(ConfigError::MissingArgument { subcommand: subcommand.name, argument });
        }
        Ok(Invocation::Run(subcommand.action, Values { arguments, flags, env }))
    }

    fn actions(&self) -> impl Iterator<Item = &Subcommand<A>> {
        std::iter::once(&self.main).chain(self.subcommands)
    }

    fn knows(&self, flag: &str) -> bool {
        self.actions().flat_map(Subcommand::rows).any(|row| row.flag() == flag)
    }

    fn subcommand(&self, name: OsString) -> Result<&Subcommand<A>, ConfigError> {
        self.subcommands
            .iter()
            .find(|subcommand| name == subcommand.name)
            .ok_or(ConfigError::UnexpectedArgument(name))
    }
}

/// What a flag asks for that takes no value.
fn alone<T>(mut parser: lexopt::Parser, flag: &str, asked: T) -> Result<T, ConfigError> {
    match parser.optional_value() {
        None => Ok(asked),
        Some(value) => Err(ConfigError::UnexpectedValue(flag.to_owned(), value)),
    }
}

impl<E: Fn(&str) -> Option<OsString>> Values<E> {
    /// The value of a setting: flag, else environment variable, else default.
    pub fn get<T>(&self, setting: &Setting<T>) -> Result<T, ConfigError> {
        let (text, origin) = self.given(setting.row()).unwrap_or_else(|| {
            (OsStr::new(setting.default).into(), Origin::Variable(setting.name))
        });
        let parsed = text.to_str().ok_or("is not UTF-8").and_then(setting.parse);
        parsed.map_err(|reason| ConfigError::Refused { origin, text: text.into_owned(), reason })
    }

    /// The text of a setting and where it came from, unless it is left at its default.
    fn given(&self, row: Row) -> Option<(Cow<'_, OsStr>, Origin)> {
        let flag = row.flag();
        if let Some((_, text)) = self.flags.iter().rev().find(|(given, _)| *given == flag) {
            return Some((text.into(), Origin::Flag(flag)));
        }
        let variable = (self.env)(row.name).filter(|text| !text.is_empty())?;
        Some((variable.into(), Origin::Variable(row.name)))
    }
}

#[cfg(test)]
mod tests;
