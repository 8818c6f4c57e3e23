//! A run of `checker` from start to stop.

use std::fmt::{self, Display, Formatter};
use std::io;

use common::http::{BindError, Reply, Request, Response, Server, Service, StatusCode};
use common::shutdown::Shutdown;

use crate::config::{Config, PROGRAM};

/// Why `checker` could not start.
#[derive(Debug)]
pub enum RunError {
    /// The signal handlers could not be installed.
    Signals(io::Error),
    /// The address could not be listened on.
    Listen(String, BindError),
}

/// Serves until SIGTERM or SIGINT, then stops gracefully.
pub fn run(config: &Config) -> Result<(), RunError> {
    serve(config, Unrouted)
}

/// Serves `service` until the first signal.
fn serve(config: &Config, service: impl Service) -> Result<(), RunError> {
    let shutdown = Shutdown::install().map_err(RunError::Signals)?;
    let host = config.host.to_string();
    let workers = config.limits.workers;
    let server = Server::bind(&host, config.port, config.limits.clone())
        .map_err(|error| RunError::Listen(config.host.with_port(config.port), error))?;
    let version = PROGRAM.version_line();
    log::info!("{version} listening on {}, {workers} workers", server.local_addr());
    log::info!("checking {}", config.kv_service_url);
    let running = server.start(service);
    log::info!("checker stopping on {}", shutdown.wait());
    running.stop();
    log::info!("checker stopped");
    Ok(())
}

/// Knows no path.
struct Unrouted;

impl Service for Unrouted {
    fn call(&self, _: &Request<'_>, reply: Reply) {
        reply.send(Response::json(StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#));
    }
}

impl std::error::Error for RunError {}

impl Display for RunError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Signals(error) => write!(f, "cannot handle signals: {error}"),
            RunError::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}
