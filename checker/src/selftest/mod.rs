//! `checker selftest`: is the checker itself to be believed?
//!
//! In this process, servers are started with one planted fault each, and the workflow that has to
//! find the fault is run against it. A server without a fault is checked with many seeds: there
//! every workflow has to pass. What is not found, or found where nothing is, exits with 1.

mod batch;
mod fault;
mod server;
mod store;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use common::cli::{self, EXIT_FAILURE};
use common::http::{Limits, Running, Server};
use common::metrics::Metrics;

use self::fault::{FAULTS, Fault};
use self::server::FaultyKv;
use self::store::Store;
use crate::audit::cancel::Cancel;
use crate::audit::session::Target;
use crate::audit::watch::Watch;
use crate::audit::{self};
use crate::command;
use crate::config::SelfTestCommand;
use crate::report::{Report, Settings, Verdict};
use crate::workflows::{self, Workflow};

/// Checks of the correct server at once: they wait more than they work.
const AT_ONCE: u32 = 6;

/// Faulty servers at once: few, for many a fault needs that its clients are as quick as they can be.
const FAULTS_AT_ONCE: u32 = 3;

/// What a run against a faulty server does.
const AGAINST_FAULTS: Settings =
    Settings { clients: 8, ops: 1_200, keys: 6, seed: 0, rate: Some(500), duration_ms: 200 };
/// What a run against the correct server does: less, for there are many.
const AGAINST_NONE: Settings = Settings { clients: 4, ops: 240, ..AGAINST_FAULTS };

/// `checker selftest`.
pub fn run(command: &SelfTestCommand) -> ExitCode {
    let started = Instant::now();
    let cancel = match command::cancelled_by_signals() {
        Ok(cancel) => cancel,
        Err(error) => return cli::exit(Err(error), EXIT_FAILURE),
    };
    let watch = Arc::new(Watch::default());
    let mut lines = Vec::new();
    let holds = command::with_progress(&watch, || {
        let found = faults_are_found(command.seed, &cancel, &watch, &mut lines);
        let clean = nothing_is_found(command, &cancel, &watch, &mut lines);
        found && clean
    });
    let seconds = started.elapsed().as_secs_f32();
    let verdict = if holds { Verdict::Passed } else { Verdict::Failed };
    lines.push(format!("{}: selftest in {seconds:.1} s", verdict.word()));
    lines.push(format!(
        "repeat: checker selftest --seed {} --seeds {}",
        command.seed, command.seeds
    ));
    let _ = cli::print(&(lines.join("\n") + "\n"));
    verdict.exit_code().into()
}

/// Each fault is found by the workflow that has to find it.
fn faults_are_found(
    seed: u64,
    cancel: &Arc<Cancel>,
    watch: &Arc<Watch>,
    lines: &mut Vec<String>,
) -> bool {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..FAULTS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((fault, _, name)) = FAULTS.get(number) else { return };
                    let settings = Settings { seed, ..AGAINST_FAULTS };
                    let report = workflows::find(name).and_then(|workflow| {
                        check(Some(*fault), settings, &[workflow], cancel, watch).ok()
                    });
                    let is_found = report.is_some_and(|report| report.verdict == Verdict::Failed);
                    found.lock().unwrap_or_else(PoisonError::into_inner).insert(number, is_found);
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    for ((fault, what, name), is_found) in FAULTS.iter().zip(found.values()) {
        let word = if *is_found { "found" } else { "NOT FOUND" };
        lines.push(format!("{word:9}  {:18} by {name:16} {what}", format!("{fault:?}")));
    }
    found.values().all(|is_found| *is_found)
}

/// Every workflow passes on the correct server, with each seed.
fn nothing_is_found(
    command: &SelfTestCommand,
    cancel: &Arc<Cancel>,
    watch: &Arc<Watch>,
    lines: &mut Vec<String>,
) -> bool {
    let (next, wrong) = (AtomicU32::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= command.seeds {
                        return;
                    }
                    let seed = command.seed.wrapping_add(u64::from(number));
                    let settings = Settings { seed, ..AGAINST_NONE };
                    let told = match check(None, settings, &workflows::ALL, cancel, watch) {
                        Ok(report) if report.verdict == Verdict::Passed => continue,
                        Ok(report) => report.to_text(crate::report::Style::Plain),
                        Err(error) => error,
                    };
                    wrong.lock().unwrap_or_else(PoisonError::into_inner).push((seed, told));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    let clean = command.seeds as usize - wrong.len();
    lines.push(format!("clean      the correct server with {clean} of {} seeds", command.seeds));
    lines.extend(wrong.iter().map(|(seed, told)| format!("seed {seed}:\n{told}")));
    wrong.is_empty()
}

/// Runs workflows against a server of their own.
fn check(
    fault: Option<Fault>,
    settings: Settings,
    chosen: &[&'static Workflow],
    cancel: &Arc<Cancel>,
    watch: &Arc<Watch>,
) -> Result<Report, String> {
    let (url, running) = start(fault)?;
    let report = audit::run(Target { url, token: None }, settings, chosen, cancel, watch);
    running.stop();
    Ok(report)
}

/// Starts a server without a fault.
#[cfg(test)]
pub(crate) fn correct() -> (String, Running) {
    start(None).expect("there is a port")
}

fn start(fault: Option<Fault>) -> Result<(String, Running), String> {
    let metrics = Arc::new(Metrics::new(&["all"]));
    let limits = Limits {
        body_bytes_max: 2 << 20,
        // Steps that a fault tears apart sleep in between, and the others go on.
        workers: 8,
        ..Limits::default()
    };
    let server =
        Server::bind("127.0.0.1", 0, limits, metrics).map_err(|error| error.to_string())?;
    let url = format!("http://{}", server.local_addr());
    let running = server.start(FaultyKv(Arc::new(Store::new(fault))));
    Ok((url, running.map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_example_of_a_faulty_server_is_drawn() {
        let workflow = workflows::find("linearizability").unwrap();
        let settings = Settings { seed: 1, ..AGAINST_FAULTS };
        let (cancel, watch) = (Arc::default(), Arc::default());
        // Another client's write may hide one that is lost; a stale read nothing hides.
        let report = check(Some(Fault::StaleRead), settings, &[workflow], &cancel, &watch).unwrap();
        let html = report.to_html();
        assert!(html.contains("<g class=\"op out\">"), "{html}");
        let evidence = &report.workflows[0].evidence[0];
        let timeline = evidence.timeline.as_ref().unwrap();
        // First of all the key gets what it held.
        assert_eq!(evidence.replay.len(), timeline.operations.len() + 1);
        let before = if timeline.initial.is_some() { "-X PUT" } else { "-X DELETE" };
        assert!(evidence.replay[0].contains(before), "{}", evidence.replay[0]);
    }
}
