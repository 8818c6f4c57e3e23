//! Running workflows against a service, and what they are made of.
//!
//! | file | what it knows |
//! |---|---|
//! | `call` | one request as data, and its `curl` line |
//! | `session` | one connection: a call goes out once and is certain or unknown |
//! | `wire` | what is below ureq: sockets and names |
//! | `worker` | a client that calls, remembers and asserts |
//! | `run` | one run of one workflow: workers, keys, time, verdict |
//! | `ledger` | what has been found |
//! | `features` | which additions the service has |
//! | `cancel`, `watch` | stopping a run, looking at it |

pub mod call;
pub mod cancel;
pub mod features;
pub mod ledger;
pub mod page;
pub mod run;
pub mod session;
#[cfg(test)]
mod tests;
pub mod watch;
mod wire;
pub mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::call::Call;
use self::cancel::Cancel;
use self::features::Features;
use self::run::Run;
use self::session::{Lost, Session, Target};
use self::watch::Watch;
use crate::report::{Operations, Report, SCHEMA, Settings, Verdict, WorkflowReport, quoted};
use crate::workflows::Workflow;

/// What all workflows of one command share.
pub struct Plan {
    /// The service.
    pub target: Arc<Target>,
    /// How much is done.
    pub settings: Settings,
    /// What the service can do.
    pub features: Features,
    /// How it is stopped.
    pub cancel: Arc<Cancel>,
    /// How far it is.
    pub watch: Arc<Watch>,
}

/// Runs these workflows one after the other.
pub fn run(
    target: Target,
    settings: Settings,
    workflows: &[&'static Workflow],
    cancel: &Arc<Cancel>,
    watch: &Arc<Watch>,
) -> Report {
    let (started, started_unix_ms) = (Instant::now(), unix_ms());
    let mut plan = Plan {
        target: Arc::new(target),
        settings,
        features: Features::default(),
        cancel: Arc::clone(cancel),
        watch: Arc::clone(watch),
    };
    let reached = plan.reach();
    let reports: Vec<_> = workflows
        .iter()
        .map(|workflow| match &reached {
            Ok(()) => plan.run(workflow),
            Err(why) => plan.not_run(workflow, Verdict::Unreachable, why),
        })
        .collect();
    let names: Vec<_> = workflows.iter().map(|workflow| workflow.name).collect();
    Report {
        schema: SCHEMA,
        checker_version: env!("CARGO_PKG_VERSION"),
        target: plan.target.url.clone(),
        verdict: Verdict::over(reports.iter().map(|report| report.verdict)),
        started_unix_ms,
        duration_ms: millis(started.elapsed()),
        settings,
        features: plan.features.words(),
        repeat: plan.repeat(&names),
        workflows: reports,
    }
}

impl Plan {
    /// Learns what the service can do.
    fn reach(&mut self) -> Result<(), String> {
        let session = Session::new(Arc::clone(&self.target), &self.cancel);
        let why = |lost: Lost| quoted(&format!("{}: {}", self.target.url, lost.text()));
        let health = Call::new(http::Method::GET, "/health");
        // Any answer will do: what is wrong with it is for a workflow to find.
        session.send(&health).or_else(|_| session.send(&health)).map_err(why)?;
        let key = run::own_prefix("probe");
        self.features = Features::probe(&session, &key).map_err(why)?;
        Ok(())
    }

    fn run(&self, workflow: &'static Workflow) -> WorkflowReport {
        if self.cancel.is_wanted() {
            return self.not_run(workflow, Verdict::Unknown, "it was stopped");
        }
        let lacking = workflow.needs.iter().find(|feature| !self.features.has(**feature));
        if let Some(feature) = lacking {
            return self.not_run(workflow, Verdict::Skipped, feature.missing());
        }
        self.watch.begin(workflow.name);
        let started_unix_ms = unix_ms();
        let run = Run::new(self, workflow);
        (workflow.run)(&run);
        run.finish(started_unix_ms)
    }

    /// The report of a workflow that was not run, and why.
    pub(crate) fn not_run(
        &self,
        workflow: &Workflow,
        verdict: Verdict,
        why: &str,
    ) -> WorkflowReport {
        WorkflowReport {
            name: workflow.name,
            promise: workflow.promise,
            verdict,
            reason: Some(why.to_owned()),
            started_unix_ms: unix_ms(),
            duration_ms: 0,
            operations: Operations::default(),
            checks: 0,
            evidence: Vec::new(),
            evidence_left_out: 0,
            notes: Vec::new(),
            latency: None,
            load: None,
            repeat: self.repeat(&[workflow.name]),
        }
    }

    /// The command line that runs these workflows again as they were run.
    pub fn repeat(&self, names: &[&str]) -> String {
        let Settings { clients, ops, keys, seed, rate, duration_ms } = self.settings;
        let rate = rate.map_or("max".to_owned(), |rate| rate.to_string());
        let names = names.join(" ");
        let url = &self.target.url;
        format!(
            "checker run {names} --url {url} --seed {seed} --clients {clients} --ops {ops} \
             --keys {keys} --rate {rate} --duration {duration_ms}ms"
        )
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds of Unix time.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}
