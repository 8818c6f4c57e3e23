//! A run of `checker` from start to stop.

use std::sync::Arc;

use common::metrics::Metrics;
use common::run::{RunError, listen};

use crate::config::{Config, PROGRAM};
use crate::service::Checker;

/// Serves until SIGTERM or SIGINT, then stops gracefully.
pub fn run(config: &Config) -> Result<(), RunError> {
    let service = Checker::new(config.kv_service_url.to_string(), config.kv_token.clone());
    let metrics = Arc::new(Metrics::new(&["all"]));
    let name = format!("{} for {}", PROGRAM.version_line(), config.kv_service_url);
    let listening = listen(&config.host, config.port, config.limits.clone(), metrics)?;
    listening.serve(&name, service)?;
    log::info!("stopped");
    Ok(())
}
