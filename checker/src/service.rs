//! The checker as the HTTP engine sees it.

use std::sync::Arc;

use common::config::secret::Secret;
use common::docs::{self, Page};
use common::http::{Reply, Request, Service};

use crate::client::{Client, REQUEST_TIMEOUT};
use crate::error::ApiError;
use crate::handlers;
use crate::openapi::OPENAPI;
use crate::routes::{self, Route};
use crate::runner::Runner;
use crate::steps::Workflow;

/// The API pages of the checker.
const PAGE: Page = Page { title: "checker", openapi: OPENAPI };

/// How many tests run at once; each blocks a thread for as long as kv takes to answer.
pub const RUNS_MAX: usize = 16;
/// How many tests wait for one of those to end.
pub const RUNS_WAITING_MAX: usize = 128;

/// The service: one client of one kv service and the threads that tests run on.
pub struct Checker {
    kv_service_url: String,
    client: Arc<Client>,
    runs: Runner<Run>,
}

/// A test that somebody waits for.
struct Run {
    workflow: &'static Workflow,
    client: Arc<Client>,
    reply: Reply,
}

impl Checker {
    /// Checks the service at this URL, which may ask for a token. Sends nothing and starts no
    /// thread yet.
    pub fn new(kv_service_url: String, kv_token: Option<Secret>) -> Self {
        let client = Client::new(&kv_service_url, REQUEST_TIMEOUT).with_token(kv_token);
        Checker {
            client: Arc::new(client),
            kv_service_url,
            runs: Runner::new(RUNS_MAX, RUNS_WAITING_MAX, Run::finish),
        }
    }

    fn start(&self, workflow: &'static Workflow, reply: Reply) {
        let run = Run { workflow, client: Arc::clone(&self.client), reply };
        if let Err(run) = self.runs.submit(run) {
            run.reply.send(ApiError::TooManyRuns.into());
        }
    }
}

impl Service for Checker {
    fn call(&self, request: &Request<'_>, reply: Reply) {
        match routes::find(&request.method, request.path) {
            Ok(Route::Health) => reply.send(handlers::health()),
            Ok(Route::Status) => reply.send(handlers::status(&self.kv_service_url)),
            Ok(Route::Run(workflow)) => self.start(workflow, reply),
            Ok(Route::Docs) => {
                let page = docs::respond(request, &PAGE);
                reply.send(page.unwrap_or_else(|| ApiError::NoSuchRoute.into()));
            }
            Ok(Route::Redirect(path)) => reply.send(docs::redirect(path, request.query)),
            Ok(Route::Server) => reply.send(handlers::options()),
            Err(error) => reply.send(error.into()),
        }
    }
}

impl Run {
    fn finish(self) {
        let reply = self.reply;
        self.workflow.run(&self.client, |report| {
            if let Err(failure) = &report.verdict {
                log::warn!("{} failed: {failure}", report.test_name);
            }
            reply.send(handlers::report(&report));
        });
    }
}
