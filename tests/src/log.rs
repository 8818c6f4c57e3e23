//! What a program writes to its standard error, line by line.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};

use crate::DEADLINE;

/// The lines of a standard error, read by a thread of its own.
#[derive(Debug)]
pub struct Log {
    lines: Receiver<String>,
    seen: Mutex<Vec<String>>,
}

impl Log {
    /// Reads on all the time.
    pub(crate) fn reading(stderr: ChildStderr) -> Self {
        let (sender, lines) = unbounded();
        thread::spawn(move || read(stderr, |line| sender.send(line).is_ok()));
        Log { lines, seen: Mutex::default() }
    }

    /// Reads a line only when somebody asks for one, so that the pipe fills up.
    pub(crate) fn reluctant(stderr: ChildStderr) -> Self {
        let (sender, lines) = bounded(0);
        thread::spawn(move || read(stderr, |line| sender.send(line).is_ok()));
        Log { lines, seen: Mutex::default() }
    }

    /// The first line that holds `text`, of those that came and those that come.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        let mut found = None;
        self.wait_until(text, |line| {
            found = line.contains(text).then(|| line.to_owned());
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// The same; none when the program ends its log before.
    #[track_caller]
    pub fn find(&self, text: &str) -> Option<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = seen.iter().find(|line| line.contains(text)).cloned();
        let deadline = Instant::now() + DEADLINE;
        let mut next = || match self.lines.recv_deadline(deadline) {
            Ok(line) => {
                seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line with '{text}' in {seen:#?}"),
        };
        found.or_else(|| std::iter::from_fn(&mut next).find(|line| line.contains(text)))
    }

    /// Shows all lines, those that came and those that come, until one is the last wanted.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut is_last: impl FnMut(&str) -> bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|line| is_last(line)) {
            return;
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_deadline(deadline) {
                Ok(line) => {
                    let is_last = is_last(&line);
                    seen.push(line);
                    if is_last {
                        return;
                    }
                }
                Err(error) => panic!("no line with '{what}' ({error}) in {seen:#?}"),
            }
        }
    }

    /// All lines, when the program has ended.
    #[track_caller]
    pub(crate) fn all(self) -> Vec<String> {
        let mut seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_deadline(deadline) {
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return seen,
                Err(RecvTimeoutError::Timeout) => panic!("the standard error stays open"),
            }
        }
    }
}

fn read(stderr: ChildStderr, mut take: impl FnMut(String) -> bool) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if !take(String::from_utf8_lossy(&line).into_owned()) {
            return;
        }
        line.clear();
    }
}
