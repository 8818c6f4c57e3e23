//! The lines of requests, which are as many as there are requests: each is made in its own thread,
//! without the lock that all other records share, and the time is put into words once a second.

use std::cell::RefCell;
use std::fmt::{self, Arguments, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

use super::{Queue, TIME_FORMAT, append};
use crate::text::Escaper;

/// A thread's line: the time stays, what follows it is written anew.
struct Line {
    bytes: Vec<u8>,
    time_bytes: usize,
    /// The second that the time says, since the epoch.
    second: Option<u64>,
}

thread_local! {
    static LINE: RefCell<Line> =
        const { RefCell::new(Line { bytes: Vec::new(), time_bytes: 0, second: None }) };
}

pub(super) fn log(queue: &Queue, message: Arguments<'_>) {
    // A thread that ends has no line any more.
    let _ = LINE.try_with(|line| {
        let line = &mut *line.borrow_mut();
        line.begin(SystemTime::now());
        append(&mut line.bytes, b" INFO ");
        // Writing to memory does not fail.
        let _ = fmt::write(&mut Escaper(&mut *line), message);
        line.bytes.push(b'\n');
        queue.hand_over(&mut line.bytes);
    });
}

impl Line {
    fn begin(&mut self, now: SystemTime) {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second != Some(second) {
            let time = OffsetDateTime::from(now).format(TIME_FORMAT).unwrap_or_default();
            self.bytes.clear();
            self.bytes.extend_from_slice(time.as_bytes());
            self.time_bytes = time.len();
            self.second = Some(second);
        }
        self.bytes.truncate(self.time_bytes);
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        append(&mut self.bytes, text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_time_follows_a_clock_that_goes_on_and_one_that_is_set_back() {
        let mut line = Line { bytes: Vec::new(), time_bytes: 0, second: None };
        for (millis, time) in [
            (0, "1970-01-01T00:00:00Z"),
            (999, "1970-01-01T00:00:00Z"),
            (1_000, "1970-01-01T00:00:01Z"),
            (1_764_200_000_000, "2025-11-26T23:33:20Z"),
            (1_000, "1970-01-01T00:00:01Z"),
        ] {
            line.begin(UNIX_EPOCH + Duration::from_millis(millis));
            assert_eq!(line.bytes, time.as_bytes());
            line.bytes.extend_from_slice(b" and more");
        }
    }
}
