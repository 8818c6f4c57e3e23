//! The checker as the HTTP engine sees it.

use std::sync::Arc;
use std::time::Duration;

use common::config::secret::Secret;
use common::docs::{self, Page};
use common::http::{Reply, Request, Response, Service};
use common::metrics::Metrics;

use crate::audit::cancel::Cancel;
use crate::audit::session::Target;
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
use crate::{handlers, origin, settings};

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

/// A test that somebody has asked for.
enum Run {
    /// One of the two of the fixed API.
    Steps { workflow: &'static steps::Workflow, client: Arc<Client>, reply: Reply },
    /// Any workflows.
    Audit { auditor: Arc<Auditor>, audit: Audit, reply: Reply },
    /// The same, and nobody waits.
    AuditUnawaited { auditor: Arc<Auditor>, audit: Audit },
}

/// A run of workflows, with the right to it.
struct Audit {
    chosen: Chosen,
    settings: Settings,
    turn: Turn,
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

    fn steps(&self, workflow: &'static steps::Workflow, reply: Reply) {
        let run = Run::Steps { workflow, client: Arc::clone(&self.client), reply };
        if let Err(Run::Steps { reply, .. }) = self.runs.submit(run) {
            reply.send(ApiError::TooManyRuns.into());
        }
    }

    /// Whoever asked has the report when the run is over.
    fn audit(&self, name: Option<&'static str>, query: Option<&str>, reply: Reply) {
        let auditor = Arc::clone(&self.auditor);
        let run = match self.prepare(name, query) {
            Ok(audit) => Run::Audit { auditor, audit, reply },
            Err(error) => return reply.send(error.into()),
        };
        if let Err(Run::Audit { reply, .. }) = self.runs.submit(run) {
            reply.send(ApiError::TooManyRuns.into());
        }
    }

    /// Whoever pressed the button is back on the status page at once, and sees it run there.
    fn audit_from_page(&self, name: Option<&'static str>, query: Option<&str>) -> Response {
        let auditor = Arc::clone(&self.auditor);
        let run = match self.prepare(name, query) {
            Ok(audit) => Run::AuditUnawaited { auditor, audit },
            Err(ApiError::AlreadyRunning(_)) => return handlers::to_status_page(),
            Err(error) => return error.into(),
        };
        match self.runs.submit(run) {
            Ok(()) => handlers::to_status_page(),
            Err(_) => ApiError::TooManyRuns.into(),
        }
    }

    fn prepare(&self, name: Option<&'static str>, query: Option<&str>) -> Result<Audit, ApiError> {
        let settings = handlers::settings(query)?;
        let chosen = Chosen::of(name);
        let turn = self.auditor.board.begin(chosen.name);
        let turn = turn.ok_or(ApiError::AlreadyRunning(chosen.name))?;
        Ok(Audit { chosen, settings, turn })
    }

    /// Starts what a POST asks for: all workflows or one, or the steps of the fixed API that go by
    /// its name.
    fn start(
        &self,
        name: Option<&'static str>,
        steps: Option<&'static steps::Workflow>,
        request: &Request<'_>,
        reply: Reply,
    ) {
        if let Err(error) = origin::check(&request.headers) {
            reply.send(error.into());
        } else if handlers::is_form(request) {
            reply.send(self.audit_from_page(name, request.query));
        } else if let Some(steps) = steps {
            self.steps(steps, reply);
        } else {
            self.audit(name, request.query, reply);
        }
    }

    fn metrics(&self) -> Response {
        let mut text = self.metrics.text(PROGRAM.name, PROGRAM.version);
        self.auditor.board.write_metrics(&mut text);
        text.into_response()
    }
}

impl Service for Checker {
    fn call(&self, request: &Request<'_>, reply: Reply) {
        let board = &self.auditor.board;
        match routes::find(&request.method, request.path) {
            Ok(Route::Health) => reply.send(handlers::health()),
            Ok(Route::Status) => reply.send(handlers::kv_status(&self.auditor.target.url)),
            Ok(Route::Steps(name, steps)) => self.start(Some(name), Some(steps), request, reply),
            Ok(Route::Audit(name)) => self.start(Some(name), None, request, reply),
            Ok(Route::AuditAll) => self.start(None, None, request, reply),
            Ok(Route::Tests) => reply.send(handlers::tests(&board.running())),
            Ok(Route::Report) => reply.send(handlers::last(board.last().as_deref())),
            Ok(Route::ReportPage) => reply.send(handlers::report_page(board.last().as_deref())),
            Ok(Route::ReportJunit) => reply.send(handlers::junit(board.last().as_deref())),
            Ok(Route::StatusPage) => {
                reply.send(handlers::status_page(&self.auditor.target.url, &board.snapshot()));
            }
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

    /// Waits until all runs have ended, and their keys are removed, but no longer than this.
    pub fn wait_until_idle(&self, timeout: Duration) -> bool {
        self.board.wait_until_idle(timeout)
    }

    /// Runs all workflows every so often, until the stop. A run that somebody has asked for and
    /// that is still under way takes the place of one.
    pub fn run_by_the_clock(&self, interval: Duration) {
        while self.cancel.sleep(interval) {
            let chosen = Chosen::of(None);
            if let Some(turn) = self.board.begin(chosen.name) {
                let settings = Settings { seed: settings::seed(None), ..Settings::default() };
                self.run(Audit { chosen, settings, turn }, true);
            }
        }
    }

    fn run(&self, audit: Audit, by_the_clock: bool) -> Arc<Report> {
        let Audit { chosen, settings, turn } = audit;
        let target = self.target.clone();
        let report = audit::run(target, settings, &chosen.workflows, &self.cancel, &turn.watch);
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
        self.board.add(chosen.name, by_the_clock, Arc::clone(&report));
        // Who has the report may ask again at once.
        drop(turn);
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
            Run::Audit { auditor, audit, reply } => {
                let report = auditor.run(audit, false);
                reply.send(handlers::last(Some(&report)));
            }
            Run::AuditUnawaited { auditor, audit } => {
                auditor.run(audit, false);
            }
        }
    }
}
