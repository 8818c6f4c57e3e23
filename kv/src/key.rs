//! Keys: what a client may call a value.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

/// Bytes of a key after percent-decoding.
pub const KEY_BYTES_MAX: usize = 1024;

/// A valid key: 1 to 1,024 bytes of UTF-8 without a NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<'a>(Cow<'a, str>);

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// The text is empty.
    Empty,
    /// A `%` without two hexadecimal digits behind it.
    Escape,
    /// The decoded bytes are not UTF-8.
    Utf8,
    /// The key holds a NUL character.
    Nul,
    /// The key is longer than `KEY_BYTES_MAX`.
    TooLong,
}

impl<'a> Key<'a> {
    /// The key in a request's path, percent-decoded (RFC 3986, section 2.1).
    pub fn from_path(path: &'a str) -> Result<Self, KeyError> {
        let escaped = path.bytes().any(|byte| byte == b'%');
        Key::new(if escaped { decode(path)? } else { Cow::Borrowed(path) })
    }

    /// The key that a text is, without any decoding.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, KeyError> {
        let key = text.into();
        if key.is_empty() {
            return Err(KeyError::Empty);
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong);
        }
        if key.contains('\0') {
            return Err(KeyError::Nul);
        }
        Ok(Key(key))
    }

    /// The same key, with its text its own.
    pub fn into_owned(self) -> Key<'static> {
        Key(Cow::Owned(self.0.into_owned()))
    }

    /// A key that has been a key before.
    pub(crate) fn kept(text: &'a str) -> Self {
        Key(Cow::Borrowed(text))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What percent-encoded text stands for; every `%` must be an escape.
pub(crate) fn decode(path: &str) -> Result<Cow<'_, str>, KeyError> {
    let whole = |escape: &str| {
        escape.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if path.split('%').skip(1).all(whole) {
        percent_decode_str(path).decode_utf8().map_err(|_| KeyError::Utf8)
    } else {
        Err(KeyError::Escape)
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Empty => f.write_str("Key is empty"),
            KeyError::Escape => f.write_str("Key has a '%' without two hexadecimal digits"),
            KeyError::Utf8 => f.write_str("Key is not UTF-8"),
            KeyError::Nul => f.write_str("Key holds a NUL character"),
            KeyError::TooLong => write!(f, "Key is longer than {KEY_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Result<&str, KeyError>) {
        let key = Key::from_path(path);
        assert_eq!(key.as_ref().map(Key::as_str).map_err(|error| *error), expected, "{path}");
    }

    #[test]
    fn keys_are_decoded_and_validated() {
        check("a", Ok("a"));
        check("a%20b", Ok("a b"));
        check("a+b", Ok("a+b"));
        check("%C3%A9", Ok("é"));
        check("é", Ok("é"));
        check("%F0%9F%94%91", Ok("🔑"));
        check("%2541", Ok("%41"));
        check("app/db%2Fhost", Ok("app/db/host"));
        check("%", Err(KeyError::Escape));
        check("%4", Err(KeyError::Escape));
        check("%4é", Err(KeyError::Escape));
        check("%zz", Err(KeyError::Escape));
        check("%+1", Err(KeyError::Escape));
        check("a%%20", Err(KeyError::Escape));
        check("%FF", Err(KeyError::Utf8));
        check("%ED%A0%80", Err(KeyError::Utf8));
        check("a%00b", Err(KeyError::Nul));
        check(&"k".repeat(1024), Ok(&"k".repeat(1024)));
        check(&"k".repeat(1025), Err(KeyError::TooLong));
        check(&"%6B".repeat(1024), Ok(&"k".repeat(1024)));
        check(&"%C3%A9".repeat(513), Err(KeyError::TooLong));
    }
}
