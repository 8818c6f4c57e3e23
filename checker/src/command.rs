//! The subcommands that report: a run with a progress line, and a report where it was asked for.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::cli::{self, EXIT_FAILURE};
use common::shutdown::Shutdown;
use common::text::io_error;

use crate::audit;
use crate::audit::cancel::Cancel;
use crate::audit::session::Target;
use crate::audit::watch::Watch;
use crate::config::{Format, Output, RunCommand};
use crate::report::{Report, Style};
use crate::workflows;

/// How often the progress line changes.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// `checker run`.
pub fn run(command: RunCommand) -> ExitCode {
    let RunCommand { url, token, names, settings, output } = command;
    let chosen: Vec<_> = workflows::ALL
        .into_iter()
        .filter(|workflow| names.is_empty() || names.contains(&workflow.name))
        .collect();
    let target = Target { url: url.to_string(), token };
    let cancel = match cancelled_by_signals() {
        Ok(cancel) => cancel,
        Err(error) => return cli::exit(Err(error), EXIT_FAILURE),
    };
    let watch = Arc::new(Watch::default());
    let report = with_progress(&watch, || audit::run(target, settings, &chosen, &cancel, &watch));
    finish(&report, &output)
}

/// Writes the report; its verdict is the exit code, unless it cannot be written.
pub(crate) fn finish(report: &Report, output: &Output) -> ExitCode {
    let text = match output.format {
        Format::Text => report.to_text(style(output)),
        Format::Json => report.to_json(),
        Format::Html => report.to_html(),
        Format::Junit => report.to_junit(),
    };
    let written = match &output.file {
        Some(file) => {
            fs::write(file, text).map_err(|error| format!("{file}: {}", io_error(&error)))
        }
        None => write_all(&text),
    };
    match written {
        Ok(()) => report.verdict.exit_code().into(),
        Err(error) => cli::exit(Err(error), EXIT_FAILURE),
    }
}

/// A run that stops at SIGTERM or SIGINT; a second Ctrl-C ends the process.
pub(crate) fn cancelled_by_signals() -> Result<Arc<Cancel>, String> {
    let shutdown =
        Shutdown::install().map_err(|error| format!("cannot handle signals: {error}"))?;
    let cancel = Arc::new(Cancel::default());
    let cancelled = Arc::clone(&cancel);
    let waiting = thread::Builder::new().name("signals".to_owned());
    let started = waiting.spawn(move || {
        shutdown.wait();
        cancelled.cancel();
    });
    started.map(|_| cancel).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Shows on a terminal how far the work is.
pub(crate) fn with_progress<T>(watch: &Watch, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let (name, calls) = watch.look();
                // Nobody is left to see a line that cannot be written.
                let _ = write!(io::stderr().lock(), "\r\x1b[K{name} {calls} calls");
                let _ = io::stderr().flush();
                thread::park_timeout(PROGRESS_EVERY);
            }
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn style(output: &Output) -> Style {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
    let is_terminal = output.file.is_none() && io::stdout().is_terminal();
    if is_terminal && !is_unwanted { Style::Colour } else { Style::Plain }
}

fn write_all(text: &str) -> Result<(), String> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {}", io_error(&error)))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
