//! Log lines to the standard error, written by a thread of their own.
//!
//! A caller formats its line and hands it over; it never waits for a terminal, a pipe or a log
//! driver. Invariants: the queue has a limit, and a line that finds it full is counted, and the
//! count is logged as soon as there is room; one record is one line, whatever it quotes; a
//! standard error that is closed or stuck ends neither the program nor its speed.

use std::fmt::{self, Arguments, Display, Formatter};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, WriteLogger};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::text::Escaper;

mod access;

/// The sum over the process, which has one log.
static LINES_LOST: AtomicU64 = AtomicU64::new(0);
/// Where the lines of requests go; set where the process has a log.
static REQUESTS: OnceLock<Queue> = OnceLock::new();

/// Of every line, in UTC (RFC 3339).
const TIME_FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

/// How long the end of the program waits for lines that are not written yet.
pub const FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

const QUEUE_LINES_MAX: usize = 4_096;
const LINE_BYTES_MAX: usize = 2_048;
const BATCH_BYTES_MAX: usize = 64 << 10;
/// A line comes in some 10 to 25 pieces, most of a few bytes. musl's `memcpy` takes 30 ns to
/// start: up to this length a loop is faster, and the whole line costs half.
const PIECE_BYTES_SHORT: usize = 8;
/// Between two batches. A writer that sleeps needs no wake-up for each line (a system call on
/// the caller's side), and writes many lines in one call; nobody who reads logs sees the delay.
const BATCH_PAUSE: Duration = Duration::from_millis(5);

/// Logs to the standard error from now on, records of `level` and above. Keep what it returns
/// until the program ends. Fails if there is a logger already or no thread can be started.
pub fn init(level: LevelFilter) -> io::Result<LogGuard> {
    let (logger, guard) = start(level, io::stderr())?;
    let queue = logger.queue.clone();
    log::set_boxed_logger(Box::new(logger)).map_err(io::Error::other)?;
    REQUESTS.get_or_init(|| queue);
    log::set_max_level(level);
    Ok(guard)
}

/// Lines that were lost since the start, because the output is closed or too slow.
pub fn lines_lost() -> u64 {
    LINES_LOST.load(Ordering::Relaxed)
}

/// Logs a request that has been answered: `GET /keys/a 200 35us`. The query is left out, for
/// it may hold what is nobody's business.
pub fn access(method: impl Display, path: &str, status: u16, micros: u64) {
    if let (Some(queue), true) = (REQUESTS.get(), log::max_level() >= LevelFilter::Info) {
        access::log(queue, format_args!("{method} {path} {status} {micros}us"));
    }
}

/// Dropped, waits until what has been logged is written, or [`FLUSH_TIMEOUT`] is over.
#[derive(Debug)]
pub struct LogGuard {
    queue: Sender<Item>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        flush(&self.queue, FLUSH_TIMEOUT);
    }
}

/// What travels to the writer's thread.
#[derive(Debug)]
enum Item {
    Line(Box<[u8]>),
    /// The sender in it is dropped when all lines before it are written.
    Flush(Sender<()>),
}

/// Takes lines from any thread, and counts those for which it has no room.
#[derive(Clone)]
struct Queue {
    items: Sender<Item>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    fn hand_over(&self, line: &mut Vec<u8>) {
        shorten(line);
        if self.items.try_send(Item::Line(line.as_slice().into())).is_err() {
            lose(&self.lost, 1);
        }
    }
}

/// Formats a record in the caller's thread.
struct Logger {
    lines: Box<WriteLogger<Lines>>,
    queue: Queue,
}

impl Logger {
    fn new(level: LevelFilter, queue: Queue) -> Self {
        let config = ConfigBuilder::new()
            .set_time_format_custom(TIME_FORMAT)
            .set_max_level(LevelFilter::Off)
            .set_thread_level(LevelFilter::Off)
            .set_target_level(LevelFilter::Off)
            .set_location_level(LevelFilter::Off)
            .build();
        let lines = Lines { line: Vec::new(), queue: queue.clone() };
        Logger { lines: WriteLogger::new(level, config, lines), queue }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() > OTHERS_LEVEL && is_of_library(record.target()) {
            return;
        }
        let (level, message) = (record.level(), OneLine(record.args()));
        let metadata = record.metadata().clone();
        let mut line = Record::builder();
        self.lines.log(&line.metadata(metadata).args(format_args!("{level} {message}")).build());
    }

    fn flush(&self) {
        flush(&self.queue.items, FLUSH_TIMEOUT);
    }
}

/// What libraries say below this is of no use to who runs the program.
const OTHERS_LEVEL: Level = Level::Warn;

fn is_of_library(target: &str) -> bool {
    let name = target.split_once("::").map_or(target, |(name, _)| name);
    ["fjall", "lsm_tree", "ureq", "ureq_proto"].contains(&name)
}

/// A message without the characters that would end its line.
struct OneLine<'a>(&'a Arguments<'a>);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        fmt::write(&mut Escaper(f), *self.0)
    }
}

/// Collects what the logger writes, and hands over each line when it ends.
struct Lines {
    line: Vec<u8>,
    queue: Queue,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        append(&mut self.line, bytes);
        // No other line end can come: messages are escaped.
        if bytes.ends_with(b"\n") {
            self.queue.hand_over(&mut self.line);
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(line: &mut Vec<u8>, piece: &[u8]) {
    if piece.len() <= PIECE_BYTES_SHORT {
        for byte in piece {
            line.push(*byte);
        }
    } else {
        line.extend_from_slice(piece);
    }
}

/// Counts lines that nobody will read; `lost` are those that have not been reported yet.
fn lose(lost: &AtomicU64, lines: u64) {
    lost.fetch_add(lines, Ordering::Relaxed);
    LINES_LOST.fetch_add(lines, Ordering::Relaxed);
}

/// Cuts a line that is longer than the limit, between two characters.
fn shorten(line: &mut Vec<u8>) {
    const CUT: &[u8] = b"...\n";
    if line.len() > LINE_BYTES_MAX {
        let is_boundary = |at: &usize| line[*at] & 0b1100_0000 != 0b1000_0000;
        let end = (0..=LINE_BYTES_MAX - CUT.len()).rev().find(is_boundary);
        line.truncate(end.unwrap_or_default());
        line.shrink_to(LINE_BYTES_MAX);
        line.extend_from_slice(CUT);
    }
}

fn flush(queue: &Sender<Item>, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    let (done, flushed) = bounded(0);
    if queue.send_deadline(Item::Flush(done), deadline).is_ok() {
        // Either way it is over: the sender has been dropped, or the time has passed.
        let _ = flushed.recv_deadline(deadline);
    }
}

fn start<W>(level: LevelFilter, output: W) -> io::Result<(Logger, LogGuard)>
where
    W: Write + Send + 'static,
{
    let (sender, items) = bounded(QUEUE_LINES_MAX);
    let queue = Queue { items: sender.clone(), lost: Arc::default() };
    let writer = Writer::new(output, Arc::clone(&queue.lost));
    thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&items))?;
    Ok((Logger::new(level, queue), LogGuard { queue: sender }))
}

/// Writes what is queued, in as few calls as it can.
struct Writer<W> {
    output: W,
    batch: Vec<u8>,
    batch_lines: u64,
    lost: Arc<AtomicU64>,
    /// Formats the writer's own lines, which must not wait in the queue that was full.
    reporter: Logger,
    reports: Receiver<Item>,
}

impl<W: Write> Writer<W> {
    fn new(output: W, lost: Arc<AtomicU64>) -> Self {
        let (items, reports) = bounded(1);
        let queue = Queue { items, lost: Arc::clone(&lost) };
        let reporter = Logger::new(LevelFilter::Warn, queue);
        Writer { output, batch: Vec::new(), batch_lines: 0, lost, reporter, reports }
    }

    fn run(mut self, items: &Receiver<Item>) {
        while let Ok(first) = items.recv() {
            let mut flushed = None;
            let mut next = Some(first);
            while let Some(item) = next {
                match item {
                    Item::Line(line) => self.push(&line),
                    Item::Flush(done) => flushed = Some(done),
                }
                let has_room = flushed.is_none() && self.batch.len() < BATCH_BYTES_MAX;
                next = has_room.then(|| items.try_recv().ok()).flatten();
            }
            let is_full = self.batch.len() >= BATCH_BYTES_MAX;
            self.write();
            self.report_lost();
            drop(flushed);
            if !is_full {
                thread::sleep(BATCH_PAUSE);
            }
        }
    }

    fn push(&mut self, line: &[u8]) {
        self.batch.extend_from_slice(line);
        self.batch_lines += 1;
    }

    /// Writes the batch; its lines are lost when the output is closed or stuck.
    fn write(&mut self) {
        if self.output.write_all(&self.batch).is_err() {
            lose(&self.lost, self.batch_lines);
        }
        self.batch.clear();
        self.batch_lines = 0;
    }

    fn report_lost(&mut self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let message = format_args!("log: {lost} lines lost, the output is too slow");
        self.reporter.log(&Record::builder().level(Level::Warn).args(message).build());
        if let Ok(Item::Line(line)) = self.reports.try_recv()
            && self.output.write_all(&line).is_err()
        {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
