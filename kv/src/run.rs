//! A run of `kv` from start to stop.

use std::sync::Arc;

use common::metrics::Metrics;
use common::run::{Listening, RunError, listen};

use crate::access::Access;
use crate::config::{Config, PROGRAM, StoreChoice};
use crate::metrics::ROUTES;
use crate::service::Kv;
use crate::store::{Durable, Etcd, Memory, Options, Store};

/// Serves until SIGTERM or SIGINT, then stops gracefully.
pub fn run(config: &Config) -> Result<(), RunError> {
    let metrics = Arc::new(Metrics::new(ROUTES));
    let limits = config.limits.clone();
    let listening = listen(&config.host, config.port, limits, Arc::clone(&metrics))?;
    match &config.store {
        StoreChoice::Memory { bytes_max } => {
            let store = Memory::new(*bytes_max).map_err(RunError::Start)?;
            serve(listening, config, &store, metrics)
        }
        StoreChoice::Durable(options) => {
            let store =
                Durable::open(options).map_err(|error| RunError::Open(error.to_string()))?;
            let Options { directory, fsync, .. } = options;
            let keys = store.stats().keys;
            log::info!("{} holds {keys} keys, fsync {fsync}", directory.display());
            serve(listening, config, &store, metrics)
        }
        StoreChoice::Etcd(url) => {
            let store = Etcd::start(url).map_err(|error| RunError::Open(error.to_string()))?;
            log::info!("keys are under '{}' in etcd at {}", url.prefix, url.nodes.join(", "));
            serve(listening, config, &store, metrics)
        }
    }
}

fn serve<S: Store + Clone>(
    listening: Listening,
    config: &Config,
    store: &S,
    metrics: Arc<Metrics>,
) -> Result<(), RunError> {
    warn_of_access(config);
    let service = Kv::new(store.clone(), config.access.clone(), metrics);
    listening.serve(&PROGRAM.version_line(), service)?;
    let keys = store.stats().keys;
    store.close();
    log::info!("stopped with {keys} keys");
    Ok(())
}

/// Says so when somebody may do more, or less, than was probably meant.
fn warn_of_access(config: &Config) {
    let Access { token, read_token } = &config.access;
    if config.access.is_open() && !config.host.is_loopback() {
        log::warn!("everyone who reaches {} may read and write: set KV_TOKEN", config.host);
    }
    if token.is_none() && read_token.is_some() {
        log::warn!("nobody may write: KV_READ_TOKEN is set, and KV_TOKEN is not");
    }
}
