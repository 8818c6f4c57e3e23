//! Where the pieces of a streamed body go: through a channel to the thread that writes them.

use std::io::Write;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::super::decode::Terms;
use super::super::encode::{self, Coding};
use super::super::output::Output;
use super::super::{Gone, Response};

/// Pieces on their way, of [`PIECE_BYTES`](super::super::stream::PIECE_BYTES) at most.
const PIECES_MAX: usize = 4;
/// Where a chunk's length should be: what ends a body of which there is more.
const NO_CHUNK: &[u8] = b"unfinished\r\n";

/// The right to send one body.
pub(in crate::http) struct Sink(Sender<Piece>);

/// A part of a body, or its end.
#[derive(Debug)]
pub(super) enum Piece {
    More(Vec<u8>),
    End,
}

/// How a body came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// As it should.
    Whole,
    /// The client does not take it.
    Gone,
    /// Its writer was dropped.
    Unfinished,
}

impl Sink {
    pub(super) fn new() -> (Sink, Receiver<Piece>) {
        let (sender, pieces) = bounded(PIECES_MAX);
        (Sink(sender), pieces)
    }

    pub(in crate::http) fn send(&mut self, piece: &[u8]) -> Result<(), Gone> {
        self.0.send(Piece::More(piece.to_vec())).map_err(|_| Gone)
    }

    pub(in crate::http) fn finish(&mut self) {
        // Nobody is left to be told.
        let _ = self.0.send(Piece::End);
    }
}

/// Writes head and body as the pieces come.
pub(super) fn write(
    to: &mut impl Write,
    response: &Response,
    terms: Terms,
    pieces: &Receiver<Piece>,
) -> Ended {
    let mut output = Output::default();
    let coding = encode::stream_head(&mut output, response, terms, Instant::now());
    let mut out = std::mem::take(output.buffer());
    let mut ended = None;
    loop {
        if to.write_all(&out).and_then(|()| to.flush()).is_err() {
            return Ended::Gone;
        }
        if let Some(ended) = ended {
            return ended;
        }
        out.clear();
        match pieces.recv() {
            Ok(Piece::More(piece)) => encode::piece(&mut out, coding, &piece),
            Ok(Piece::End) => {
                encode::end(&mut out, coding);
                ended = Some(Ended::Whole);
            }
            Err(_) => {
                if coding == Coding::Chunked {
                    out.extend_from_slice(NO_CHUNK);
                }
                ended = Some(Ended::Unfinished);
            }
        }
    }
}
