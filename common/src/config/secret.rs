//! Settings that nobody may see: tokens, given as they are or in a file.
//!
//! Invariant: a secret is in no message, no log and no `Debug` text. What is wrong with one is said
//! without its text.

use std::ffi::OsString;
use std::fmt::{self, Debug, Formatter};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use subtle::ConstantTimeEq;

use super::{ConfigError, Row, Values};
use crate::text::io_error;

/// A token: visible ASCII, so that it can stand in a header field.
#[derive(Clone)]
pub struct Secret(Box<str>);

/// Bytes of a token; a request's head has room for it.
const SECRET_BYTES_MAX: usize = 4_096;
const LINE_END_BYTES_MAX: usize = 2;

const IS_NO_TOKEN: &str = "is no token (1 to 4096 visible ASCII characters)";
const HOLDS_NO_TOKEN: &str = "holds no token (1 to 4096 visible ASCII characters)";

impl Secret {
    /// The token that a text is, if it is one.
    pub fn new(text: &str) -> Option<Self> {
        let is_token = text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = (1..=SECRET_BYTES_MAX).contains(&text.len());
        (is_token && fits).then(|| Secret(text.into()))
    }

    /// The text itself, for whom it is meant.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is the token. How long that takes tells nothing but the length.
    pub fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.0.as_bytes())
    }
}

impl Eq for Secret {}

/// A token as a setting: its text in one variable, or the name of a file that holds it in another.
#[derive(Debug)]
pub struct SecretSetting {
    text: Row,
    file: Row,
}

impl SecretSetting {
    /// `name` is the variable of the text, `file_name` that of the file.
    pub const fn new(name: &'static str, file_name: &'static str, help: &'static str) -> Self {
        SecretSetting {
            text: Row { name, default: "", help },
            file: Row { name: file_name, default: "", help: "a file that holds it" },
        }
    }

    /// Both in a program's tables.
    pub const fn rows(&self) -> [Row; 2] {
        [self.text, self.file]
    }

    /// The token as it was set, if it was. `read_file` is asked for the file.
    ///
    /// # Errors
    /// It is no token, the file cannot be read or holds none, or both variables are set.
    pub fn get<E>(
        &self,
        values: &Values<E>,
        read_file: impl Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Option<Secret>, ConfigError>
    where
        E: Fn(&str) -> Option<OsString>,
    {
        match (values.given(self.text), values.given(self.file)) {
            (None, None) => Ok(None),
            (Some((_, text)), Some((_, file))) => Err(ConfigError::Both(text, file)),
            (Some((text, origin)), None) => match text.to_str().and_then(Secret::new) {
                Some(secret) => Ok(Some(secret)),
                None => Err(ConfigError::RefusedSecret { origin, reason: IS_NO_TOKEN }),
            },
            (None, Some((path, origin))) => {
                let text = path.into_owned();
                match read_file(Path::new(&text)) {
                    Ok(bytes) => from_file(&bytes).map(Some).ok_or(ConfigError::Refused {
                        origin,
                        text,
                        reason: HOLDS_NO_TOKEN,
                    }),
                    Err(error) => {
                        Err(ConfigError::File { origin, path: text, error: io_error(&error) })
                    }
                }
            }
        }
    }
}

/// The content of a small file; of a larger one no more than shows that it holds no token.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let bytes_max = SECRET_BYTES_MAX + LINE_END_BYTES_MAX + 1;
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Editors and `echo` end the line.
fn from_file(bytes: &[u8]) -> Option<Secret> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Secret::new(text.strip_suffix('\r').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Invocation, Program, Subcommand};

    const TOKEN: SecretSetting = SecretSetting::new("TOKEN", "TOKEN_FILE", "who may");

    const PROGRAM: Program<()> = Program {
        name: "toy",
        version: "1.2.3",
        about: "a program for tests",
        main: Subcommand {
            action: (),
            name: "",
            help: "serve",
            settings: &[&TOKEN.rows()],
            argument: None,
        },
        subcommands: &[],
        examples: &[],
        exit_codes: &[],
    };

    fn read(args: &[&str], env: &[(&str, &str)]) -> Result<Option<Secret>, ConfigError> {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, text)| text.into());
        let files = |path: &Path| match path.to_str() {
            Some("plain") => Ok(b"s3cret".to_vec()),
            Some("line") => Ok(b"s3cret\n".to_vec()),
            Some("dos") => Ok(b"s3cret\r\n".to_vec()),
            Some("empty") => Ok(Vec::new()),
            Some("newline") => Ok(b"\n".to_vec()),
            Some("lines") => Ok(b"s3cret\n\n".to_vec()),
            Some("bytes") => Ok(b"s3cret\xff".to_vec()),
            Some("large") => Ok(vec![b's'; SECRET_BYTES_MAX + 1]),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        match PROGRAM.invocation(args.iter().map(OsString::from), env)? {
            Invocation::Run((), values) => TOKEN.get(&values, files),
            Invocation::Help | Invocation::Version => panic!("neither was asked for"),
        }
    }

    #[track_caller]
    fn check(args: &[&str], env: &[(&str, &str)], token: Option<&str>) {
        assert_eq!(read(args, env), Ok(token.and_then(Secret::new)), "{args:?} {env:?}");
    }

    #[track_caller]
    fn check_refused(args: &[&str], env: &[(&str, &str)], message: &str) {
        let error = read(args, env).expect_err("a refusal");
        assert_eq!(error.to_string(), message, "{args:?} {env:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }

    #[test]
    fn a_token_is_given_or_in_a_file() {
        check(&[], &[], None);
        check(&[], &[("TOKEN", ""), ("TOKEN_FILE", "")], None);
        check(&[], &[("TOKEN", "!a~")], Some("!a~"));
        check(&["--token", "a"], &[("TOKEN", "b c")], Some("a"));
        check(&[], &[("TOKEN_FILE", "plain")], Some("s3cret"));
        check(&[], &[("TOKEN_FILE", "line")], Some("s3cret"));
        check(&[], &[("TOKEN", ""), ("TOKEN_FILE", "dos")], Some("s3cret"));
        check(&["--token-file=line"], &[("TOKEN_FILE", "none")], Some("s3cret"));
        let longest = "s".repeat(SECRET_BYTES_MAX);
        check(&[], &[("TOKEN", &longest)], Some(&longest));
    }

    #[test]
    fn what_is_refused_is_named_and_not_shown() {
        let no_token = format!("TOKEN: {IS_NO_TOKEN}");
        for text in ["s3cret s3cret", " s3cret", "s3cret\n", "s3crét", "s3cret\u{7f}", "s3cret\0"]
        {
            check_refused(&[], &[("TOKEN", text)], &no_token);
        }
        check_refused(&[], &[("TOKEN", &"s3cret".repeat(SECRET_BYTES_MAX))], &no_token);
        check_refused(&["--token="], &[("TOKEN", "a")], &format!("--token: {IS_NO_TOKEN}"));
        for file in ["empty", "newline", "lines", "bytes", "large"] {
            let message = format!("TOKEN_FILE: '{file}' {HOLDS_NO_TOKEN}");
            check_refused(&[], &[("TOKEN_FILE", file)], &message);
        }
        check_refused(
            &["--token-file", "no\nwhere"],
            &[],
            r"--token-file: 'no\nwhere' cannot be read: entity not found",
        );
        let both = "--token and TOKEN_FILE cannot be given together";
        check_refused(&["--token", "s3cret"], &[("TOKEN_FILE", "plain")], both);
        let both = "TOKEN and --token-file cannot be given together";
        check_refused(&["--token-file", "plain"], &[("TOKEN", "s3cret")], both);
    }

    #[test]
    fn a_secret_is_compared_and_never_shown() {
        let secret = Secret::new("s3cret").unwrap();
        assert!(secret.is(b"s3cret"));
        for other in [&b""[..], b"s3cre", b"s3cret ", b"S3cret", b"s3creT"] {
            assert!(!secret.is(other), "{other:?}");
        }
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret Some(Secret)");
    }
}
