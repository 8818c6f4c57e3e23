//! Text that came from outside, made fit for a terminal and for a log.
//!
//! Invariant: what is shown holds no control character and nothing that moves the cursor, ends
//! a line or turns the reading direction. A backslash stays as it is, so that escaping what has
//! been escaped changes nothing.

use std::fmt::{self, Display, Formatter, Write};
use std::io;

/// Shows `text` with every character that could forge or hide a line as `\n`, `\r`, `\t` or
/// `\u{1b}`.
pub fn escaped(text: &str) -> impl Display {
    Escaped(text)
}

/// The same for bytes; what is not UTF-8 is shown as `\xff`.
pub fn escaped_bytes(bytes: &[u8]) -> impl Display {
    EscapedBytes(bytes)
}

/// What an error without a kind of its own is called, `EIO` for one.
const UNCATEGORIZED: &str = "uncategorized error";

/// What went wrong, in lower case and without the number: `connection refused`.
pub fn io_error(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return error.to_string() };
    let kind = error.kind().to_string();
    if kind != UNCATEGORIZED {
        return kind;
    }
    let text = error.to_string();
    text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_lowercase()
}

/// Hands what is written to it on to `W`, escaped.
pub(crate) struct Escaper<W>(pub(crate) W);

struct Escaped<'a>(&'a str);

struct EscapedBytes<'a>(&'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Escaper(f).write_str(self.0)
    }
}

impl Display for EscapedBytes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            Escaped(chunk.valid()).fmt(f)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for Escaper<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        let mut plain = 0;
        for (at, character) in text.char_indices().filter(|(_, character)| is_unsafe(*character)) {
            self.0.write_str(&text[plain..at])?;
            write!(self.0, "{}", character.escape_default())?;
            plain = at + character.len_utf8();
        }
        self.0.write_str(&text[plain..])
    }
}

/// Controls (C0, DEL, C1), line and paragraph separators, and Unicode's `Bidi_Control` (UAX #9).
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(escaped(text).to_string(), shown);
        assert_eq!(escaped(shown).to_string(), shown, "escaping twice changes nothing");
        assert_eq!(escaped_bytes(text.as_bytes()).to_string(), shown);
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        check("", "");
        check("/keys/a?b=%20'\"\\", "/keys/a?b=%20'\"\\");
        check("/keys/größe/日本/🦀", "/keys/größe/日本/🦀");
    }

    #[test]
    fn what_forges_or_hides_a_line_is_escaped() {
        check("a\nINFO b\r\t", r"a\nINFO b\r\t");
        check("\0\u{1b}[2J\u{7f}", r"\u{0}\u{1b}[2J\u{7f}");
        check("\u{80}\u{85}\u{9b}\u{9f}\u{a0}", "\\u{80}\\u{85}\\u{9b}\\u{9f}\u{a0}");
        check("x\u{2028}\u{2029}y", r"x\u{2028}\u{2029}y");
        check(
            "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}",
            r"\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}",
        );
        check("\u{2066}\u{2067}\u{2068}\u{2069}", r"\u{2066}\u{2067}\u{2068}\u{2069}");
        check("\u{61c}\u{200e}\u{200f}", r"\u{61c}\u{200e}\u{200f}");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_as_hex() {
        assert_eq!(escaped_bytes(b"a\xff\xc3(\n\xe2\x82").to_string(), r"a\xff\xc3(\n\xe2\x82");
    }

    #[test]
    fn an_io_error_has_no_number() {
        let check = |error: io::Error, shown: &str| assert_eq!(io_error(&error), shown);
        let failed = io_error(&io::Error::from_raw_os_error(5));
        assert!(["input/output error", "i/o error"].contains(&failed.as_str()), "{failed}");
        check(io::Error::from_raw_os_error(111), "connection refused");
        check(io::Error::from_raw_os_error(98), "address in use");
        check(io::Error::other("no such name"), "no such name");
    }
}
