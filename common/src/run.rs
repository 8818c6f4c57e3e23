//! A service from its start to its graceful stop.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::sync::Arc;

use crate::config::value::Host;
use crate::http::{BindError, Limits, Server, Service};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// Why a service could not run.
#[derive(Debug)]
pub enum RunError {
    /// The signal handlers could not be installed.
    Signals(io::Error),
    /// The address could not be listened on.
    Listen(BindError),
    /// What the service needs cannot be opened, and why.
    Open(String),
    /// The threads could not be started.
    Start(io::Error),
}

/// A service that clients can connect to and that answers nobody yet.
pub struct Listening {
    shutdown: Shutdown,
    server: Server,
}

/// Listens. Signals are kept for `serve`; `metrics` counts what is served.
pub fn listen(
    host: &Host,
    port: u16,
    limits: Limits,
    metrics: Arc<Metrics>,
) -> Result<Listening, RunError> {
    let shutdown = Shutdown::install().map_err(RunError::Signals)?;
    let server =
        Server::bind(&host.to_string(), port, limits, metrics).map_err(RunError::Listen)?;
    Ok(Listening { shutdown, server })
}

impl Listening {
    /// Serves until SIGTERM or SIGINT, then stops gracefully. `version` is the program and its
    /// version, and what else its first line in the log should say.
    pub fn serve(self, version: &str, service: impl Service) -> Result<(), RunError> {
        let Listening { shutdown, server } = self;
        let (address, workers) = (server.local_addr(), server.limits().workers);
        let running = server.start(service).map_err(RunError::Start)?;
        log::info!("{version} listening on {address}, {workers} workers");
        // Outside of the macro, which evaluates nothing when its level is off.
        let signal = shutdown.wait();
        log::info!("stopping on {signal}");
        running.stop();
        Ok(())
    }
}

impl std::error::Error for RunError {}

impl Display for RunError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Signals(error) => write!(f, "cannot handle signals: {error}"),
            RunError::Listen(error) => error.fmt(f),
            RunError::Open(reason) => f.write_str(reason),
            RunError::Start(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}
