//! `kv import`

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use serde_json::Value;
use ureq::Agent;

use super::{BUFFER_BYTES, Sum, Transfer, TransferError, agent, error_in, say, text};

/// Bytes of a request, unless one line is longer: each is one step of the store, and durable when it
/// is answered.
const REQUEST_BYTES_MAX: usize = 512 << 10;

/// Has a running kv take over the keys in a file, request by request. What an earlier run has taken
/// over is not taken again.
pub fn import(transfer: &Transfer) -> Result<(), TransferError> {
    let name = transfer.file_name("standard input");
    let failed = |error| TransferError::File(name.clone(), error);
    let input: Box<dyn Read> = match &transfer.file {
        None => Box::new(io::stdin().lock()),
        Some(path) => Box::new(File::open(path).map_err(failed)?),
    };
    let input = BufReader::with_capacity(BUFFER_BYTES, input);
    let mut requests = Requests::new(input, transfer.line_bytes_max);
    let (agent, mut sum) = (agent(), Sum::default());
    let stopped = |lines, reason: String, sum| {
        let reason = reason.into_boxed_str();
        Err(TransferError::Lines { file: name.clone(), lines, reason, sum })
    };
    loop {
        let part = match requests.next() {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(CutError::TooLong { line }) => {
                let max = transfer.line_bytes_max;
                let reason =
                    format!("is longer than {max} bytes; MAX_BODY says so, here and of kv");
                return stopped((line, line), reason, sum);
            }
            Err(CutError::Io(error)) => return Err(failed(error)),
        };
        match send(transfer, &agent, part) {
            Ok(Sum { read, taken }) => {
                sum.read += read;
                sum.taken += taken;
            }
            Err(Stopped { line: Some(line), reason }) => {
                let line = part.first + line - 1;
                return stopped((line, line), reason, sum);
            }
            Err(Stopped { line: None, reason }) => {
                return stopped((part.first, part.last), reason, sum);
            }
        }
    }
    say(sum);
    Ok(())
}

/// Some lines of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part<'a> {
    /// The lines, without the last one's end.
    body: &'a [u8],
    /// The number of the first of them, from 1, and of the last.
    first: u64,
    last: u64,
}

/// Why a request was not done, and for which of its lines if it is one.
struct Stopped {
    line: Option<u64>,
    reason: String,
}

fn send(transfer: &Transfer, agent: &Agent, part: Part<'_>) -> Result<Sum, Stopped> {
    let url = format!("{}/import", transfer.url);
    let failed = |error| Stopped { line: None, reason: format!("{url}: {error}") };
    let request = transfer.authorized(agent.post(&url)).content_type("application/x-ndjson");
    let mut response = request.send(part.body).map_err(failed)?;
    let text = text(&mut response).map_err(failed)?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let status = response.status().as_u16();
    if let (200, Some(read), Some(taken)) =
        (status, answer["read"].as_u64(), answer["taken"].as_u64())
    {
        return Ok(Sum { read, taken });
    }
    let error = error_in(&text);
    let line = answer["detail"]["line"].as_u64().filter(|line| *line > 0);
    Err(match line {
        Some(number) => {
            let prefix = format!("line {number}: ");
            Stopped { line, reason: error.strip_prefix(&prefix).unwrap_or(&error).to_owned() }
        }
        None => Stopped { line, reason: format!("{url} answered {status}: {error}") },
    })
}

/// Cuts a file at line ends.
struct Requests<R> {
    input: R,
    line_bytes_max: usize,
    body: Vec<u8>,
    /// The line behind `body`, without its end, if `held` says so.
    line: Vec<u8>,
    held: bool,
    /// Lines read.
    lines: u64,
}

/// Why there is no next request.
#[derive(Debug)]
enum CutError {
    Io(io::Error),
    TooLong { line: u64 },
}

impl<R: BufRead> Requests<R> {
    fn new(input: R, line_bytes_max: usize) -> Self {
        Requests {
            input,
            line_bytes_max,
            body: Vec::new(),
            line: Vec::new(),
            held: false,
            lines: 0,
        }
    }

    /// The next lines: as many as fit, and one at least.
    fn next(&mut self) -> Result<Option<Part<'_>>, CutError> {
        let room = REQUEST_BYTES_MAX.min(self.line_bytes_max);
        self.body.clear();
        if !self.held && !self.read_line()? {
            return Ok(None);
        }
        let first = self.lines;
        self.body.append(&mut self.line);
        self.held = false;
        while self.read_line()? {
            if self.body.len() + 1 + self.line.len() > room {
                self.held = true;
                break;
            }
            self.body.push(b'\n');
            self.body.append(&mut self.line);
        }
        let last = self.lines - u64::from(self.held);
        Ok(Some(Part { body: &self.body, first, last }))
    }

    /// False at the end of the file.
    fn read_line(&mut self) -> Result<bool, CutError> {
        self.line.clear();
        let bytes_max = self.line_bytes_max as u64;
        let mut limited = self.input.by_ref().take(bytes_max.saturating_add(1));
        if limited.read_until(b'\n', &mut self.line).map_err(CutError::Io)? == 0 {
            return Ok(false);
        }
        self.lines += 1;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() > self.line_bytes_max {
            return Err(CutError::TooLong { line: self.lines });
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of each request, and how it ended.
    fn cut(file: &str, line_bytes_max: usize) -> Vec<(u64, u64, String)> {
        let mut requests = Requests::new(file.as_bytes(), line_bytes_max);
        let mut parts = Vec::new();
        loop {
            match requests.next() {
                Ok(Some(Part { body, first, last })) => {
                    parts.push((first, last, String::from_utf8(body.to_vec()).unwrap()));
                }
                Ok(None) => return parts,
                Err(CutError::TooLong { line }) => {
                    parts.push((line, line, "too long".to_owned()));
                    return parts;
                }
                Err(CutError::Io(error)) => panic!("{error}"),
            }
        }
    }

    #[track_caller]
    fn check(file: &str, parts: &[(u64, u64, &str)]) {
        let parts: Vec<_> =
            parts.iter().map(|&(first, last, body)| (first, last, body.to_owned())).collect();
        assert_eq!(cut(file, 10), parts, "{file:?}");
    }

    #[test]
    fn a_file_is_cut_at_line_ends() {
        check("", &[]);
        check("a", &[(1, 1, "a")]);
        check("a\n", &[(1, 1, "a")]);
        check("\n\n", &[(1, 2, "\n")]);
        check("a\nb\nc", &[(1, 3, "a\nb\nc")]);
        check("12345\n7890\nb\n", &[(1, 2, "12345\n7890"), (3, 3, "b")]);
        check("12345\n67890\nb\n", &[(1, 1, "12345"), (2, 3, "67890\nb")]);
        check("1234567890\n1234567890", &[(1, 1, "1234567890"), (2, 2, "1234567890")]);
        check("a\n12345678901\n", &[(2, 2, "too long")]);
        check("12345678\n\n\n\n", &[(1, 3, "12345678\n\n"), (4, 4, "")]);
    }

    #[test]
    fn a_request_has_a_limit_but_a_longer_line_is_one_alone() {
        let line = "x".repeat(REQUEST_BYTES_MAX / 2);
        let long = "y".repeat(REQUEST_BYTES_MAX + 1);
        let file = format!("{line}\n{line}\n{line}\n{long}\n{line}\n");
        let parts = cut(&file, 1 << 20);
        let lengths: Vec<_> = parts.iter().map(|(first, _, body)| (*first, body.len())).collect();
        let half = line.len();
        assert_eq!(lengths, [(1, half), (2, half), (3, half), (4, long.len()), (5, half)]);
    }
}
