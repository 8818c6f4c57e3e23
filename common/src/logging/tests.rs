use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Mutex;

use super::*;

/// An output that answers a write as it was told to, and takes everything after that.
#[derive(Clone, Default)]
struct Output {
    written: Arc<Mutex<Vec<u8>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

enum Answer {
    Fail(ErrorKind),
    /// Takes nothing before the sender has gone.
    Wait(Receiver<()>),
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(Answer::Fail(kind)) => return Err(kind.into()),
            Some(Answer::Wait(gate)) => drop(gate.recv()),
            None => {}
        }
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn that_answers(answer: Answer) -> Output {
        Output { answers: Arc::new(Mutex::new([answer].into())), ..Output::default() }
    }

    /// The messages, each checked to begin with a time and without it.
    fn messages(&self) -> Vec<String> {
        let written = String::from_utf8(self.written.lock().unwrap().clone()).unwrap();
        assert!(written.is_empty() || written.ends_with('\n'));
        written.lines().map(|line| without_time(line).to_owned()).collect()
    }
}

#[track_caller]
fn without_time(line: &str) -> &str {
    let (time, message) = line.split_once(' ').unwrap();
    let shape = |byte: u8| if byte.is_ascii_digit() { '0' } else { char::from(byte) };
    assert_eq!(time.bytes().map(shape).collect::<String>(), "0000-00-00T00:00:00Z", "{line}");
    message
}

fn log(logger: &Logger, level: Level, message: Arguments<'_>) {
    logger.log(&Record::builder().level(level).args(message).build());
}

/// Waits until all that was logged is written, however busy the machine is.
fn finish(logger: &Logger) {
    flush(&logger.queue.items, Duration::from_secs(20));
}

#[track_caller]
fn check(level: Level, message: &str, written: &[&str]) {
    let output = Output::default();
    let (logger, _guard) = start(LevelFilter::Info, output.clone()).unwrap();
    log(&logger, level, format_args!("{message}"));
    finish(&logger);
    assert_eq!(output.messages(), written);
}

#[test]
fn a_record_is_one_line_with_time_and_level() {
    check(Level::Error, "a", &["ERROR a"]);
    check(Level::Warn, "a", &["WARN a"]);
    check(Level::Info, "a b", &["INFO a b"]);
    check(Level::Debug, "a", &[]);
    check(Level::Info, "", &["INFO "]);
    check(
        Level::Info,
        "a\n2026-01-01T00:00:00Z ERROR b\r\x1b[2J",
        &[r"INFO a\n2026-01-01T00:00:00Z ERROR b\r\u{1b}[2J"],
    );
}

/// Whichever way a line has come, it looks the same.
#[test]
fn requests_are_logged_as_all_else() {
    let output = Output::default();
    let (logger, _guard) = start(LevelFilter::Info, output.clone()).unwrap();
    let longest = "x".repeat(2 * LINE_BYTES_MAX);
    for path in ["/keys/a", "/", "/ö\u{202e}\n", &longest, "/keys/b"] {
        access::log(&logger.queue, format_args!("GET {path} {} {}us", 200, 35));
        log(&logger, Level::Info, format_args!("GET {path} {} {}us", 200, 35));
    }
    finish(&logger);
    let messages = output.messages();
    assert_eq!(messages[0], "INFO GET /keys/a 200 35us");
    assert_eq!(messages.len(), 10);
    for lines in messages.chunks(2) {
        assert_eq!(lines[0], lines[1]);
    }
}

#[test]
fn a_line_is_cut_between_two_characters() {
    let prefix = "2026-11-23T07:04:33Z INFO ".len();
    let longest = "x".repeat(LINE_BYTES_MAX - prefix - 1);
    check(Level::Info, &longest, &[&format!("INFO {longest}")]);

    let cut = &longest[..longest.len() - 3];
    check(Level::Info, &format!("{longest}y"), &[&format!("INFO {cut}...")]);
    let wide = "ö".repeat(LINE_BYTES_MAX);
    let kept = "ö".repeat((LINE_BYTES_MAX - prefix - 4) / 2);
    check(Level::Info, &wide, &[&format!("INFO {kept}...")]);
}

#[test]
fn lines_keep_their_order() {
    let output = Output::default();
    let (logger, _guard) = start(LevelFilter::Info, output.clone()).unwrap();
    for number in 0..QUEUE_LINES_MAX / 2 {
        log(&logger, Level::Info, format_args!("{number}"));
    }
    finish(&logger);
    let expected: Vec<_> =
        (0..QUEUE_LINES_MAX / 2).map(|number| format!("INFO {number}")).collect();
    assert_eq!(output.messages(), expected);
}

#[test]
fn a_stuck_output_costs_lines_and_no_time_and_is_told() {
    let (release, gate) = bounded(0);
    let output = Output::that_answers(Answer::Wait(gate));
    let (logger, guard) = start(LevelFilter::Info, output.clone()).unwrap();
    let sent = QUEUE_LINES_MAX * 3;
    for _ in 0..sent {
        log(&logger, Level::Info, format_args!("x"));
    }
    // Would wait for ever if there were no limit.
    drop(guard);
    assert_eq!(output.messages(), [""; 0]);

    drop(release);
    finish(&logger);
    let messages = output.messages();
    let mut told = 0;
    for message in &messages {
        if let Some(lost) = message.strip_prefix("WARN log: ") {
            let count = lost.strip_suffix(" lines lost, the output is too slow").unwrap();
            told += count.parse::<usize>().unwrap();
        } else {
            assert_eq!(message, "INFO x");
        }
    }
    let written = messages.iter().filter(|message| *message == "INFO x").count();
    assert!(told >= sent - 2 * QUEUE_LINES_MAX, "{told}");
    assert_eq!(written + told, sent);
}

#[test]
fn an_output_that_fails_costs_lines_and_is_told() {
    for kind in [ErrorKind::BrokenPipe, ErrorKind::WouldBlock, ErrorKind::StorageFull] {
        let output = Output::that_answers(Answer::Fail(kind));
        let (logger, _guard) = start(LevelFilter::Error, output.clone()).unwrap();
        log(&logger, Level::Error, format_args!("a"));
        finish(&logger);
        log(&logger, Level::Error, format_args!("b"));
        finish(&logger);
        let told = "WARN log: 1 lines lost, the output is too slow";
        assert_eq!(output.messages(), [told, "ERROR b"], "{kind}");
    }
}
