//! A request's body, out of `tiny_http`.
//!
//! Invariant: a reader is given back to `tiny_http` only at the body's end. What is left of a body
//! would be read as the next request when it came in chunks, and else its length would be
//! allocated, which ends the process when it is more than there is.

use std::io::{self, Read};

use crate::http::Refusal;

/// Bytes of a body that are read so that its connection can go on, although it is too large.
const DRAIN_BYTES_MAX: usize = 64 << 20;
/// A body up to this length has arrived when `tiny_http` hands over the request.
const READ_AHEAD_BYTES: usize = 1024;

/// Why there is no body.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyError {
    /// It has been read to its end.
    Ended(Refusal),
    /// Its end is too far away, or cannot be found.
    Endless(Refusal),
}

/// Whether reading the body may take as long as its client likes.
pub(super) fn arrives_later(incoming: &tiny_http::Request) -> bool {
    incoming.body_length().is_some_and(|length| length > READ_AHEAD_BYTES)
        || field(incoming, "Transfer-Encoding").is_some()
        || field(incoming, "Expect").is_some()
}

/// Reads the body.
pub(super) fn read(
    incoming: &mut tiny_http::Request,
    bytes_max: usize,
) -> Result<Vec<u8>, BodyError> {
    let too_large = Refusal::BodyTooLarge(bytes_max);
    let room = DRAIN_BYTES_MAX.max(bytes_max + 1);
    let length = incoming.body_length().unwrap_or_default();
    let coding = field(incoming, "Transfer-Encoding");
    let chunked = coding.is_some();
    // `tiny_http` takes chunks for granted, whatever the coding, and no length counts beside it.
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case("chunked")) {
        return Err(BodyError::Endless(Refusal::UnknownTransferCoding));
    }
    if chunked && field(incoming, "Content-Length").is_some() {
        let why = "Content-Length and Transfer-Encoding together";
        return Err(BodyError::Endless(Refusal::Malformed(why)));
    }
    if length > room {
        return Err(BodyError::Endless(too_large));
    }
    let mut body = Vec::new();
    if length == 0 && !chunked {
        return Ok(body);
    }
    let mut reader = incoming.as_reader().take(if chunked { room } else { length } as u64);
    let read = reader.by_ref().take(bytes_max as u64 + 1).read_to_end(&mut body);
    let read = read.and_then(|_| io::copy(&mut reader, &mut io::sink()));
    match read {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(BodyError::Endless(Refusal::Malformed("A chunk is malformed")))
        }
        Ok(_) if chunked && reader.limit() == 0 => Err(BodyError::Endless(too_large)),
        Ok(_) if chunked || reader.limit() == 0 => {
            if body.len() > bytes_max {
                Err(BodyError::Ended(too_large))
            } else {
                Ok(body)
            }
        }
        Ok(_) | Err(_) => Err(BodyError::Ended(Refusal::Malformed("The body is not whole"))),
    }
}

fn field<'a>(incoming: &'a tiny_http::Request, name: &'static str) -> Option<&'a str> {
    let header = incoming.headers().iter().find(|header| header.field.equiv(name));
    header.map(|header| header.value.as_str())
}
