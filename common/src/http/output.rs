//! Bytes on their way to a client: a buffer, and large shared bodies at their places in it, which
//! are written from where they are and never copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;

use bytes::Bytes;

/// Buffer and bodies handed to the kernel in one call.
const SLICES_MAX: usize = 16;
/// A buffer that grew past this is given back to the allocator instead of being kept.
const KEPT_BYTES_MAX: usize = 256 << 10;

#[derive(Default)]
pub(super) struct Output {
    /// What is copied: heads, and bodies that are small. What is before `sent` has left.
    buffer: Vec<u8>,
    sent: usize,
    /// What is shared: each body, cut to what has not left, goes before `buffer[at..]`.
    shared: VecDeque<Shared>,
    /// Whether the client has to take some before more can leave.
    blocked: bool,
}

struct Shared {
    at: usize,
    body: Bytes,
}

/// How far writing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    Done,
    /// The client takes no more; `anew` when it has taken some since that was last so.
    Blocked {
        anew: bool,
    },
    Failed,
}

impl Output {
    pub(super) const fn new() -> Self {
        Output { buffer: Vec::new(), sent: 0, shared: VecDeque::new(), blocked: false }
    }

    /// Appends another output, of which nothing has left.
    pub(super) fn append(&mut self, later: Output) {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&later.buffer);
        self.shared
            .extend(later.shared.into_iter().map(|shared| Shared { at: at + shared.at, ..shared }));
    }

    /// The buffer to append to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Appends a body without copying it.
    pub(super) fn share(&mut self, body: Bytes) {
        self.shared.push_back(Shared { at: self.buffer.len(), body });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.shared.is_empty()
    }

    /// Bytes that have not left.
    pub(super) fn len(&self) -> usize {
        let shared: usize = self.shared.iter().map(|shared| shared.body.len()).sum();
        self.buffer.len() - self.sent + shared
    }

    /// The room that it takes, what has left already included.
    pub(super) fn held(&self) -> usize {
        if self.is_empty() { 0 } else { self.buffer.capacity() - self.buffer.len() + self.len() }
    }

    /// Writes until all has left or the client takes no more.
    pub(super) fn flush(&mut self, mut stream: &TcpStream) -> Flush {
        let mut anew = !std::mem::take(&mut self.blocked);
        while self.sent < self.buffer.len() || !self.shared.is_empty() {
            let written = if self.shared.is_empty() {
                stream.write(&self.buffer[self.sent..])
            } else {
                self.write_slices(stream)
            };
            match written {
                Ok(0) => return Flush::Failed,
                Ok(count) => {
                    self.advance(count);
                    anew = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Flush::Blocked { anew };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flush::Failed,
            }
        }
        self.buffer.clear();
        self.sent = 0;
        Flush::Done
    }

    fn write_slices(&self, mut stream: &TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut from = self.sent;
        let mut count = 0;
        for shared in self.shared.iter().take(SLICES_MAX / 2) {
            slices[count] = IoSlice::new(&self.buffer[from..shared.at]);
            slices[count + 1] = IoSlice::new(&shared.body);
            from = shared.at;
            count += 2;
        }
        // What follows the last body that has a slice; further bodies come with the next call.
        if self.shared.len() < SLICES_MAX / 2 {
            slices[count] = IoSlice::new(&self.buffer[from..]);
            count += 1;
        }
        stream.write_vectored(&slices[..count])
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let copied = self.shared.front().map_or(self.buffer.len(), |next| next.at) - self.sent;
            let step = copied.min(count);
            self.sent += step;
            count -= step;
            let Some(next) = self.shared.front_mut().filter(|_| step == copied) else { return };
            let step = next.body.len().min(count);
            bytes::Buf::advance(&mut next.body, step);
            count -= step;
            if next.body.is_empty() {
                self.shared.pop_front();
            }
        }
    }

    /// Drops what has left, so that a buffer that is appended to and never empty does not grow.
    pub(super) fn compact(&mut self) {
        // What is moved is at most what was written since.
        if self.sent >= self.buffer.len() - self.sent {
            self.buffer.drain(..self.sent);
            for shared in &mut self.shared {
                shared.at -= self.sent;
            }
            self.sent = 0;
        }
    }

    /// Gives back what grew beyond use.
    pub(super) fn shrink(&mut self) {
        if self.buffer.capacity() > KEPT_BYTES_MAX {
            *self = Output::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// What is appended while the reader is slow goes where what has left was.
    #[test]
    fn a_buffer_that_is_never_empty_does_not_grow() {
        const PIECE: [u8; 10_000] = [b'x'; 10_000];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut reader = listener.accept().unwrap().0;
        writer.set_nonblocking(true).unwrap();
        let mut output = Output::default();
        output.share(Bytes::from_static(&PIECE));
        let (mut appended, mut arrived, mut rounds) = (PIECE.len(), 0, 0);
        let mut piece = [0; PIECE.len()];
        while rounds < 3_000 {
            while output.len() < 3 * PIECE.len() {
                output.compact();
                output.buffer().extend_from_slice(&PIECE);
                appended += PIECE.len();
                if output.flush(&writer) == Flush::Done {
                    continue;
                }
                rounds += 1;
            }
            arrived += reader.read(&mut piece).unwrap();
            output.flush(&writer);
            assert!(output.held() <= 16 * PIECE.len(), "{} bytes", output.held());
        }
        while let Flush::Blocked { .. } = output.flush(&writer) {
            arrived += reader.read(&mut piece).unwrap();
        }
        drop(writer);
        let mut rest = Vec::new();
        arrived += reader.read_to_end(&mut rest).unwrap();
        assert_eq!(arrived, appended);
    }

    /// Buffers and bodies of many sizes, read slowly, arrive whole and in order.
    #[test]
    fn what_is_shared_arrives_in_its_place() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut reader = listener.accept().unwrap().0;
        writer.set_nonblocking(true).unwrap();
        let mut output = Output::default();
        let mut expected = Vec::new();
        for round in 0..40usize {
            let copied = format!("<{round}>");
            output.buffer().extend_from_slice(copied.as_bytes());
            expected.extend_from_slice(copied.as_bytes());
            if round % 3 > 0 {
                let byte = b'a' + u8::try_from(round % 26).unwrap();
                let body = vec![byte; round * round * 97];
                expected.extend_from_slice(&body);
                output.share(Bytes::from(body));
            }
        }
        assert_eq!(output.len(), expected.len());
        let mut arrived = Vec::new();
        let mut piece = [0; 10_007];
        while let Flush::Blocked { .. } = output.flush(&writer) {
            let count = reader.read(&mut piece).unwrap();
            arrived.extend_from_slice(&piece[..count]);
        }
        assert!(output.is_empty());
        drop(writer);
        reader.read_to_end(&mut arrived).unwrap();
        assert!(arrived == expected);
    }
}
