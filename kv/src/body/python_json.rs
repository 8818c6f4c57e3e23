//! Where and why `CPython` 3.11's `json.loads` refuses a text.
//!
//! The messages and positions are those of its C scanner (`Modules/_json.c`), quirks included:
//! a number stops where it stops being one, so `01` is "Extra data" at 1; an unterminated string
//! is reported where it starts. Unlike it, this refuses `NaN`, `Infinity` and `-Infinity`, and
//! knows no limit on digits or depth.
//!
//! Invariants: one pass over the text, and open containers are on the heap and not on the call
//! stack, so neither time nor stack depends on how a body nests.

/// A syntax error as `json.JSONDecodeError` describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntaxError {
    /// Python's message.
    pub message: &'static str,
    /// Where, in characters from the start of the text.
    pub offset: usize,
}

/// Checks that `text` is one JSON value with nothing but white space around it.
pub(super) fn check(text: &str) -> Result<(), SyntaxError> {
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    scanner.document().map_err(|refusal| SyntaxError {
        message: refusal.message,
        offset: text[..refusal.at].chars().count(),
    })
}

/// A message and the byte at which it applies.
struct Refusal {
    message: &'static str,
    at: usize,
}

#[derive(Clone, Copy)]
enum Container {
    Array,
    Object,
}

impl Container {
    fn end(self) -> &'static [u8] {
        match self {
            Container::Array => b"]",
            Container::Object => b"}",
        }
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), Refusal> {
        let mut open = Vec::new();
        self.white_space();
        loop {
            if let Some(container) = self.value_or_start()? {
                open.push(container);
                continue;
            }
            if !self.next_value(&mut open)? {
                break;
            }
        }
        self.white_space();
        if self.at < self.bytes.len() { Err(self.refuse("Extra data")) } else { Ok(()) }
    }

    /// Reads a whole value, or the start of a container up to its first value.
    fn value_or_start(&mut self) -> Result<Option<Container>, Refusal> {
        match self.peek() {
            Some(b'"') => self.string()?,
            Some(b'{') => return self.start(Container::Object),
            Some(b'[') => return self.start(Container::Array),
            Some(b'n') => self.word(b"null")?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            _ => self.number()?,
        }
        Ok(None)
    }

    fn start(&mut self, container: Container) -> Result<Option<Container>, Refusal> {
        self.at += 1;
        self.white_space();
        if self.skip(container.end()) {
            return Ok(None);
        }
        if let Container::Object = container {
            self.name()?;
        }
        Ok(Some(container))
    }

    /// After a value: closes what ends here and goes to the next value; false when the outermost
    /// value has ended.
    fn next_value(&mut self, open: &mut Vec<Container>) -> Result<bool, Refusal> {
        while let Some(&container) = open.last() {
            self.white_space();
            if self.skip(container.end()) {
                open.pop();
                continue;
            }
            if !self.skip(b",") {
                return Err(self.refuse("Expecting ',' delimiter"));
            }
            self.white_space();
            if let Container::Object = container {
                self.name()?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// A member's name and its colon, up to the value.
    fn name(&mut self) -> Result<(), Refusal> {
        if self.peek() != Some(b'"') {
            return Err(self.refuse("Expecting property name enclosed in double quotes"));
        }
        self.string()?;
        self.white_space();
        if !self.skip(b":") {
            return Err(self.refuse("Expecting ':' delimiter"));
        }
        self.white_space();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        let unterminated = Refusal { message: "Unterminated string starting at", at: start };
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(unterminated),
                Some(b'"') => break,
                Some(b'\\') if self.at + 1 == self.bytes.len() => return Err(unterminated),
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return Err(self.refuse("Invalid control character at")),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    /// A backslash and what it escapes, of which there is at least one byte.
    fn escape(&mut self) -> Result<(), Refusal> {
        let (digits, end) = (self.at + 2, self.at + 6);
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            // Python wants a character after the four digits too; without one it blames the
            // escape and not the string.
            Some(b'u') => match self.bytes.get(digits..=end) {
                Some(hex) if hex[..4].iter().all(u8::is_ascii_hexdigit) => self.at = end,
                _ => {
                    return Err(Refusal { message: "Invalid \\uXXXX escape", at: self.at + 1 });
                }
            },
            _ => return Err(self.refuse("Invalid \\escape")),
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Refusal> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.refuse("Expecting value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// The longest number that starts here; a fraction or an exponent without digits is not part
    /// of it.
    fn number(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        self.skip(b"-");
        if !self.skip(b"0") && !self.digits() {
            return Err(Refusal { message: "Expecting value", at: start });
        }
        self.digits_after(b".", b"");
        self.digits_after(b"eE", b"+-");
        Ok(())
    }

    /// Reads one of `lead`, perhaps one of `sign`, and digits; or nothing.
    fn digits_after(&mut self, lead: &[u8], sign: &[u8]) {
        let start = self.at;
        let started = self.skip(lead);
        self.skip(sign);
        if !(started && self.digits()) {
            self.at = start;
        }
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at > start
    }

    fn white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn skip(&mut self, one_of: &[u8]) -> bool {
        let found = self.peek().is_some_and(|byte| one_of.contains(&byte));
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn refuse(&self, message: &'static str) -> Refusal {
        Refusal { message, at: self.at }
    }
}
