//! The chunked transfer coding (RFC 9112, section 7.1), decoded as the bytes come.
//!
//! Pure: bytes in, body bytes out. Chunk extensions and trailer fields are read and dropped.

use super::Limits;
use super::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, Refusal};

/// Where the decoder stands between two pieces of input.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    body: Vec<u8>,
    extension_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At a chunk-size line.
    Size,
    /// Inside a chunk with so many bytes to come.
    Data(usize),
    /// At the CRLF behind a chunk's data.
    DataEnd,
    /// At a trailer line or the final empty line.
    Trailer,
    /// The final empty line has been read.
    End,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Chunked { state: State::Size, body: Vec::new(), extension_bytes: 0, trailer_bytes: 0 }
    }

    /// Takes what it can from `input` and says how many bytes that was. Whole lines are taken,
    /// or none of them.
    pub(super) fn push(&mut self, input: &[u8], limits: &Limits) -> Result<usize, Refusal> {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let step = match self.state {
                State::Size => self.size_line(rest, limits)?,
                State::Data(left) => self.data(rest, left),
                State::DataEnd => self.data_end(rest)?,
                State::Trailer => self.trailer_line(rest, limits)?,
                State::End => 0,
            };
            taken += step;
            if step == 0 {
                return Ok(taken);
            }
        }
    }

    /// The body, once the last chunk and the trailer have been read.
    pub(super) fn finished(&mut self) -> Option<Vec<u8>> {
        (self.state == State::End).then(|| std::mem::take(&mut self.body))
    }

    /// Bytes held for the body so far.
    pub(super) fn buffered(&self) -> usize {
        self.body.len()
    }

    fn size_line(&mut self, input: &[u8], limits: &Limits) -> Result<usize, Refusal> {
        const REFUSED: Refusal = Refusal::Malformed("A chunk size is malformed");
        let Some(text) = line(input, CHUNK_LINE_BYTES_MAX, REFUSED)? else { return Ok(0) };
        let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = text.split_at(digits);
        let extension = extension.trim_ascii_start();
        if size.is_empty() || !(extension.is_empty() || extension[0] == b';') {
            return Err(REFUSED);
        }
        if extension.is_empty() && text.len() != digits {
            return Err(REFUSED);
        }
        self.extension_bytes += extension.len();
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(Refusal::Malformed("The chunk extensions are too long"));
        }
        let size =
            std::str::from_utf8(size).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let room = limits.body_bytes_max - self.body.len();
        match size {
            Some(0) => self.state = State::Trailer,
            Some(size) if size <= room => self.state = State::Data(size),
            _ => return Err(Refusal::BodyTooLarge(limits.body_bytes_max)),
        }
        Ok(text.len() + 2)
    }

    fn data(&mut self, input: &[u8], left: usize) -> usize {
        let taken = left.min(input.len());
        self.body.extend_from_slice(&input[..taken]);
        self.state = if taken == left { State::DataEnd } else { State::Data(left - taken) };
        taken
    }

    fn data_end(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        const REFUSED: Refusal = Refusal::Malformed("A chunk does not end in CRLF");
        match input {
            [b'\r', b'\n', ..] => {
                self.state = State::Size;
                Ok(2)
            }
            [] | [b'\r'] => Ok(0),
            _ => Err(REFUSED),
        }
    }

    fn trailer_line(&mut self, input: &[u8], limits: &Limits) -> Result<usize, Refusal> {
        const REFUSED: Refusal = Refusal::Malformed("A trailer field is malformed");
        const TOO_LARGE: fn(usize) -> Refusal = Refusal::HeadTooLarge;
        let room = limits.head_bytes_max.saturating_sub(self.trailer_bytes);
        let Some(text) = line(input, room, TOO_LARGE(limits.head_bytes_max))? else {
            return Ok(0);
        };
        if text.is_empty() {
            self.state = State::End;
            return Ok(2);
        }
        let name = text.split(|&byte| byte == b':').next().unwrap_or_default();
        let token = |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
        if name.is_empty() || name.len() == text.len() || !name.iter().all(token) {
            return Err(REFUSED);
        }
        self.trailer_bytes += text.len() + 2;
        Ok(text.len() + 2)
    }
}

/// The text of the first line of `input` when the line is whole. Its end is CRLF and nothing
/// else, and it holds no other control characters than a tab.
fn line(input: &[u8], bytes_max: usize, too_long: Refusal) -> Result<Option<&[u8]>, Refusal> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        return if input.len() > bytes_max { Err(too_long) } else { Ok(None) };
    };
    let text = input[..end]
        .strip_suffix(b"\r")
        .ok_or(Refusal::Malformed("A line of the body's coding ends in a bare LF"))?;
    if text.len() > bytes_max {
        return Err(too_long);
    }
    if text.iter().any(|&byte| byte != b'\t' && byte.is_ascii_control()) {
        return Err(Refusal::Malformed("A control character in the body's coding"));
    }
    Ok(Some(text))
}
