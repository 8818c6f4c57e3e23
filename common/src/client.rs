//! What the HTTP clients of both programs have in common: settings of ureq of which none is left
//! to the library's defaults, and names that are not looked up for every call.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use ureq::config::{AutoHeaderValue, Config, ConfigBuilder, IpFamily, RedirectAuthHeaders};
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Agent, Error};

const HEAD_BYTES_MAX: usize = 16 << 10;

/// A client that follows nothing, goes through no proxy, takes every status for an answer, has a
/// connection of its own for each call and no time-out. What is to be otherwise is for the caller
/// to say.
pub fn config(user_agent: &str) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .http_status_as_error(false)
        .https_only(false)
        .ip_family(IpFamily::Any)
        .proxy(None)
        .no_delay(true)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .redirect_auth_headers(RedirectAuthHeaders::Never)
        .save_redirect_history(false)
        .user_agent(user_agent)
        .accept(AutoHeaderValue::None)
        .accept_encoding(AutoHeaderValue::None)
        .max_response_header_size(HEAD_BYTES_MAX)
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .max_idle_age(Duration::ZERO)
        .allow_non_standard_methods(false)
        .timeout_global(None)
        .timeout_per_call(None)
        .timeout_per_read(None)
        .timeout_per_write(None)
        .timeout_resolve(None)
        .timeout_connect(None)
        .timeout_send_request(None)
        .timeout_await_100(None)
        .timeout_send_body(None)
        .timeout_recv_response(None)
        .timeout_recv_body(None)
}

/// Looks a name up once in a while, and an address never: ureq's own look-up starts a thread for
/// each call, also for one on a connection that is open. There is an entry for each service that its
/// client is told of.
#[derive(Debug)]
pub struct Lookups {
    known: Mutex<HashMap<String, (Instant, ResolvedSocketAddrs)>>,
    kept: Duration,
}

impl Lookups {
    /// What was found is good for so long.
    pub fn kept_for(kept: Duration) -> Self {
        Lookups { known: Mutex::default(), kept }
    }
}

impl Resolver for Lookups {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let service = uri.authority().map_or("", |authority| authority.as_str());
        if let Ok(address) = service.parse() {
            let mut found = self.empty();
            found.push(address);
            return Ok(found);
        }
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, found)) = known().get(service)
            && since.elapsed() < self.kept
        {
            return Ok(found.clone());
        }
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        known().insert(service.to_owned(), (Instant::now(), found.clone()));
        Ok(found)
    }
}
