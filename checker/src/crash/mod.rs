//! `checker crash`: is a service that is killed and started again what it was?
//!
//! Clients write until the process is killed, at a moment that nobody chose. After the restart
//! every write that was acknowledged has to be there, one that was under way may be or not, and
//! nothing else. Each client writes keys of its own, one call at a time, so what may be there is
//! known exactly.
//!
//! The power stays on: what the process had handed to the kernel outlives it. A service that
//! passes is process-crash durable, which is less than durable.

mod child;
mod writer;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::cli::{self, EXIT_FAILURE};

use self::child::Child;
use self::writer::Writer;
use crate::audit::cancel::Cancel;
use crate::audit::features::{Feature, Features};
use crate::audit::run::Run;
use crate::audit::session::{Session, Target};
use crate::audit::watch::Watch;
use crate::audit::{self, Plan, unix_ms};
use crate::command;
use crate::config::CrashCommand;
use crate::report::{Report, SCHEMA, Verdict, WorkflowReport, quoted};
use crate::workflows::Workflow;

static CRASH: Workflow = Workflow {
    name: "crash",
    promise: "process-crash durable: after a kill every acknowledged write is there, and no half one",
    needs: &[],
    run: |_| {},
};

const COMES_BACK: &str = "a service that was killed answers again when it is started again";
/// What a pass does not say.
const NOT_TESTED: &[&str] = &[
    "the power was not cut: what the process had handed to the kernel outlived it",
    "disks that fail, fill up or lie were not tested",
];
/// More clients do not make a crash harder.
const CLIENTS_MAX: usize = 16;
/// The longest time between the first write of a round and the kill.
const LIFE_MS_MAX: u64 = 400;

/// `checker crash`.
pub fn run(command: &CrashCommand) -> ExitCode {
    let cancel = match command::cancelled_by_signals() {
        Ok(cancel) => cancel,
        Err(error) => return cli::exit(Err(error), EXIT_FAILURE),
    };
    let watch = Arc::new(Watch::default());
    watch.begin(CRASH.name);
    let report = command::with_progress(&watch, || report(command, &cancel, &watch));
    command::finish(&report, &command.output)
}

fn report(command: &CrashCommand, cancel: &Arc<Cancel>, watch: &Arc<Watch>) -> Report {
    let (started, started_unix_ms) = (Instant::now(), unix_ms());
    let mut settings = command.settings;
    // The time that a run may take at most counts from here.
    let round = command.start_timeout + Duration::from_millis(LIFE_MS_MAX) * 4;
    settings.duration_ms = audit::millis(round * (command.rounds + 1));
    let mut plan = Plan {
        target: Arc::new(Target { url: String::new(), token: command.token.clone() }),
        settings,
        features: Features::default(),
        cancel: Arc::clone(cancel),
        watch: Arc::clone(watch),
    };
    let repeat = repeat(command);
    let mut crash = match begin(command, &mut plan) {
        Ok(mut child) => {
            let run = Run::new(&plan, &CRASH);
            rounds(&run, &mut child, command);
            run.finish(started_unix_ms)
        }
        Err(why) => plan.not_run(&CRASH, Verdict::Unreachable, &why),
    };
    crash.repeat.clone_from(&repeat);
    Report {
        schema: SCHEMA,
        checker_version: env!("CARGO_PKG_VERSION"),
        target: quoted(&command.command[0].to_string_lossy()),
        verdict: crash.verdict,
        started_unix_ms,
        duration_ms: audit::millis(started.elapsed()),
        settings,
        features: plan.features.words(),
        repeat,
        workflows: vec![without_other_notes(crash)],
    }
}

/// A pass says what it does not say.
fn without_other_notes(mut report: WorkflowReport) -> WorkflowReport {
    report.notes.extend(NOT_TESTED.iter().map(|note| (*note).to_owned()));
    report
}

/// Starts the service for the first time, and learns what it can do.
fn begin(command: &CrashCommand, plan: &mut Plan) -> Result<Child, String> {
    let child = Child::start(&command.command)?;
    plan.target = Arc::new(Target { url: child.url(), token: command.token.clone() });
    let child = child.until_it_answers(&plan.target, command.start_timeout, &plan.cancel)?;
    let session = Session::new(Arc::clone(&plan.target), &plan.cancel);
    let features = Features::probe(&session, "checker-crash-probe");
    plan.features = features.map_err(|lost| quoted(lost.text()))?;
    Ok(child)
}

fn rounds(run: &Run<'_>, child: &mut Child, command: &CrashCommand) {
    let clients = run.clients(1, CLIENTS_MAX);
    let writers: Vec<_> = (0..clients).map(|client| Writer::new(run, client)).collect();
    let mut killed = 0;
    for round in 0..command.rounds {
        if run.is_over() {
            break;
        }
        // A seed of its own for each round, or each would do the same again.
        let mut rng = fastrand::Rng::with_seed(command.settings.seed ^ u64::from(round) << 32);
        let life = Duration::from_millis(rng.u64(5..LIFE_MS_MAX));
        let running = std::sync::Mutex::new(&mut *child);
        run.workers(clients + 1, |worker| {
            if let Some(writer) = writers.get(worker.index) {
                return writer.write(worker, u64::from(round));
            }
            run.plan.cancel.sleep(life);
            running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).kill();
        });
        killed += 1;
        if let Err(why) = child.start_again(&run.plan.target, command) {
            let is_stopped = run.plan.cancel.is_wanted();
            run.worker(|worker| {
                worker.case(COMES_BACK, |worker| {
                    worker.holds(COMES_BACK, is_stopped, "an answer to GET /health", &why)
                });
            });
            break;
        }
        run.workers(clients, |worker| writers[worker.index].verify(worker));
    }
    let acknowledged: u64 = writers.iter().map(Writer::acknowledged).sum();
    let mut entries = run.ledger.entries();
    entries.note(format!("killed {killed} times; {acknowledged} writes were acknowledged"));
    if !run.has(Feature::Batch) {
        entries.note("batches were not tested: the service has none");
    }
}

fn repeat(command: &CrashCommand) -> String {
    let words: Vec<_> = command.command.iter().map(|word| word.to_string_lossy()).collect();
    let (seed, clients) = (command.settings.seed, command.settings.clients);
    let words = quoted(&words.join(" "));
    format!(
        "checker crash --rounds {} --seed {seed} --clients {clients} -- {words}",
        command.rounds
    )
}
