//! A run of `checker` from start to stop.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::metrics::Metrics;
use common::run::{RunError, listen};

use crate::config::{Config, PROGRAM};
use crate::service::Checker;

/// How long runs that nobody waits for may take to end: a call that hangs, and the removal of keys.
const RUNS_END_TIMEOUT: Duration = Duration::from_secs(8);

/// Serves until SIGTERM or SIGINT, then stops gracefully.
pub fn run(config: &Config) -> Result<(), RunError> {
    let metrics = Arc::new(Metrics::new(&["all"]));
    let url = config.kv_service_url.to_string();
    let service = Checker::new(url, config.kv_token.clone(), Arc::clone(&metrics));
    let name = format!("{} for {}", PROGRAM.version_line(), config.kv_service_url);
    let listening = listen(&config.host, config.port, config.limits.clone(), metrics)?;
    let auditor = Arc::clone(service.auditor());
    let clock = config.check_interval.map(|interval| {
        let auditor = Arc::clone(&auditor);
        let clock = thread::Builder::new().name("clock".to_owned());
        clock.spawn(move || auditor.run_by_the_clock(interval)).map_err(RunError::Start)
    });
    let clock = clock.transpose()?;
    let served = listening.serve(&name, service);
    auditor.stop();
    if clock.is_some_and(|clock| clock.join().is_err()) {
        log::error!("the clock had panicked");
    }
    if !auditor.wait_until_idle(RUNS_END_TIMEOUT) {
        log::warn!("a run did not end, keys of it may be left");
    }
    served?;
    log::info!("stopped");
    Ok(())
}
