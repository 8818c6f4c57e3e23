//! A run of `kv` from start to stop.

use common::run::{RunError, serve};

use crate::config::{Config, PROGRAM};
use crate::service::Kv;
use crate::store::{Memory, Store};

/// Serves until SIGTERM or SIGINT, then stops gracefully.
pub fn run(config: &Config) -> Result<(), RunError> {
    let store = Memory::new(usize::MAX).map_err(RunError::Start)?;
    let service = Kv::new(store.clone());
    serve(&PROGRAM.version_line(), &config.host, config.port, config.limits.clone(), service)?;
    log::info!("stopped with {} keys", store.stats().keys);
    Ok(())
}
