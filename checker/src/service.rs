//! The checker as the HTTP engine sees it.

use std::sync::Arc;
use std::time::Duration;

use common::config::secret::Secret;
use common::docs::{self, Page};
use common::http::{Reply, Request, Service};
use common::metrics::Metrics;

use crate::audit::cancel::Cancel;
use crate::audit::session::Target;
use crate::audit::watch::Watch;
use crate::audit::{self};
use crate::board::{self, Board, Turn};
use crate::client::{Client, REQUEST_TIMEOUT};
use crate::config::PROGRAM;
use crate::error::ApiError;
use crate::openapi::OPENAPI;
use crate::report::{Report, Settings, Verdict};
use crate::routes::{self, Route};
use crate::runner::Runner;
use crate::steps;
use crate::workflows::{self, Workflow};
use crate::{handlers, settings};

/// The API pages of the checker.
const PAGE: Page = Page { title: "checker", openapi: OPENAPI };

/// How many tests run at once; each blocks a thread for as long as kv takes to answer.
pub const RUNS_MAX: usize = 16;
/// How many tests wait for one of those to end.
pub const RUNS_WAITING_MAX: usize = 128;

/// The service: clients of one kv service and the threads that tests run on.
pub struct Checker {
    client: Arc<Client>,
    auditor: Arc<Auditor>,
    metrics: Arc<Metrics>,
    runs: Runner<Run>,
}

/// What runs workflows, for whoever asks and by the clock.
pub struct Auditor {
    target: Target,
    board: Arc<Board>,
    cancel: Arc<Cancel>,
}

/// A test that somebody waits for.
enum Run {
    /// One of the two of the fixed API.
    Steps { workflow: &'static steps::Workflow, client: Arc<Client>, reply: Reply },
    /// Any workflows.
    Audit { auditor: Arc<Auditor>, chosen: Chosen, settings: Settings, turn: Turn, reply: Reply },
}

/// Which workflows run, and under which name.
#[derive(Debug, Clone)]
struct Chosen {
    name: &'static str,
    workflows: Vec<&'static Workflow>,
}

impl Checker {
    /// Checks the service at this URL, which may ask for a token. Sends nothing and starts no
    /// thread yet.
    pub fn new(kv_service_url: String, kv_token: Option<Secret>, metrics: Arc<Metrics>) -> Self {
        let client = Client::new(&kv_service_url, REQUEST_TIMEOUT).with_token(kv_token.clone());
        let target = Target { url: kv_service_url, token: kv_token };
        let auditor = Auditor { target, board: Arc::default(), cancel: Arc::default() };
        Checker {
            client: Arc::new(client),
            auditor: Arc::new(auditor),
            metrics,
            runs: Runner::new(RUNS_MAX, RUNS_WAITING_MAX, Run::finish),
        }
    }

    /// What runs the workflows.
    pub fn auditor(&self) -> &Arc<Auditor> {
        &self.auditor
    }

    fn start(&self, run: Run) {
        if let Err(run) = self.runs.submit(run) {
            let (Run::Steps { reply, .. } | Run::Audit { reply, .. }) = run;
            reply.send(ApiError::TooManyRuns.into());
        }
    }

    fn audit(&self, name: Option<&'static str>, query: Option<&str>, reply: Reply) {
        let chosen = Chosen::of(name);
        let prepared = handlers::settings(query).and_then(|settings| {
            let turn = self.auditor.board.begin(chosen.name);
            turn.map(|turn| (settings, turn)).ok_or(ApiError::AlreadyRunning(chosen.name))
        });
        match prepared {
            Ok((settings, turn)) => {
                let auditor = Arc::clone(&self.auditor);
                self.start(Run::Audit { auditor, chosen, settings, turn, reply });
            }
            Err(error) => reply.send(error.into()),
        }
    }

    fn metrics(&self) -> common::http::Response {
        let mut text = self.metrics.text(PROGRAM.name, PROGRAM.version);
        self.auditor.board.write_metrics(&mut text);
        text.into_response()
    }
}

impl Service for Checker {
    fn call(&self, request: &Request<'_>, reply: Reply) {
        match routes::find(&request.method, request.path) {
            Ok(Route::Health) => reply.send(handlers::health()),
            Ok(Route::Status) => reply.send(handlers::status(&self.auditor.target.url)),
            Ok(Route::Steps(workflow)) => {
                self.start(Run::Steps { workflow, client: Arc::clone(&self.client), reply });
            }
            Ok(Route::Audit(name)) => self.audit(Some(name), request.query, reply),
            Ok(Route::AuditAll) => self.audit(None, request.query, reply),
            Ok(Route::Tests) => reply.send(handlers::tests(&self.auditor.board.running())),
            Ok(Route::Report) => reply.send(handlers::last(self.auditor.board.last().as_deref())),
            Ok(Route::Metrics) => reply.send(self.metrics()),
            Ok(Route::Docs) => {
                let page = docs::respond(request, &PAGE);
                reply.send(page.unwrap_or_else(|| ApiError::NoSuchRoute.into()));
            }
            Ok(Route::Redirect(path)) => reply.send(docs::redirect(path, request.query)),
            Ok(Route::Server) => reply.send(handlers::options()),
            Err(error) => reply.send(error.into()),
        }
    }

    /// Runs end with what they know, and remove their keys.
    fn drain(&self) {
        self.auditor.stop();
    }
}

impl Chosen {
    /// The workflow of this name, or all.
    fn of(name: Option<&'static str>) -> Chosen {
        let workflows = workflows::ALL.into_iter();
        let chosen = workflows.filter(|workflow| name.is_none_or(|name| name == workflow.name));
        Chosen { name: name.unwrap_or(board::ALL), workflows: chosen.collect() }
    }
}

impl Auditor {
    /// Stops all runs.
    pub fn stop(&self) {
        self.cancel.cancel();
    }

    /// Runs all workflows every so often, until the stop. A run that somebody has asked for and
    /// that is still under way takes the place of one.
    pub fn run_by_the_clock(&self, interval: Duration) {
        while self.cancel.sleep(interval) {
            let chosen = Chosen::of(None);
            if let Some(turn) = self.board.begin(chosen.name) {
                let settings = Settings { seed: settings::seed(None), ..Settings::default() };
                self.run(&chosen, settings);
                drop(turn);
            }
        }
    }

    fn run(&self, chosen: &Chosen, settings: Settings) -> Arc<Report> {
        let watch = Arc::new(Watch::default());
        let target = self.target.clone();
        let report = audit::run(target, settings, &chosen.workflows, &self.cancel, &watch);
        for workflow in &report.workflows {
            match workflow.verdict {
                Verdict::Failed => {
                    let first = workflow.evidence.first().map(|evidence| &*evidence.promise);
                    let (name, repeat) = (workflow.name, &workflow.repeat);
                    log::warn!("{name} failed: {}; {repeat}", first.unwrap_or_default());
                }
                Verdict::Unknown | Verdict::Unreachable => {
                    let why = workflow.reason.as_deref().unwrap_or_default();
                    log::warn!("{} {}: {why}", workflow.name, workflow.verdict.word());
                }
                Verdict::Passed | Verdict::Skipped => {}
            }
        }
        let report = Arc::new(report);
        self.board.add(Arc::clone(&report));
        report
    }
}

impl Run {
    fn finish(self) {
        match self {
            Run::Steps { workflow, client, reply } => workflow.run(&client, |report| {
                if let Err(failure) = &report.verdict {
                    log::warn!("{} failed: {failure}", report.test_name);
                }
                reply.send(handlers::report(&report));
            }),
            Run::Audit { auditor, chosen, settings, turn, reply } => {
                let report = auditor.run(&chosen, settings);
                // Who has the answer may ask again at once.
                drop(turn);
                reply.send(handlers::last(Some(&report)));
            }
        }
    }
}
