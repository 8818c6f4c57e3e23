//! Where another service is.

use std::fmt::{self, Display, Formatter};

use http::Uri;
use http::uri::Scheme;

/// Where a service is: `http`, a host, and at most a port and a path. No slash ends it, so that
/// a request's path can follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl(String);

impl ServiceUrl {
    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for ServiceUrl {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The URL of a service. What is refused says why, as in [`value`](super::value).
pub fn service_url(text: &str) -> Result<ServiceUrl, &'static str> {
    const REFUSED: &str = "is not a service (http://host, http://host:port or http://host/path)";
    let url: Uri = text.parse().map_err(|_| REFUSED)?;
    if url.scheme() == Some(&Scheme::HTTPS) {
        return Err("cannot be asked, this build speaks http only");
    }
    let authority = url.authority().ok_or(REFUSED)?;
    let host_holds = !authority.host().is_empty() && !authority.as_str().contains('@');
    let port_holds = authority.port_u16().is_some() || authority.as_str() == authority.host();
    let is_base = url.scheme() == Some(&Scheme::HTTP) && !text.contains(['?', '#']);
    if host_holds && port_holds && is_base {
        Ok(ServiceUrl(text.trim_end_matches('/').to_owned()))
    } else {
        Err(REFUSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_urls() {
        for (text, url) in [
            ("http://kv-service:8000", "http://kv-service:8000"),
            ("http://kv-service:8000/", "http://kv-service:8000"),
            ("http://localhost", "http://localhost"),
            ("HTTP://localhost", "HTTP://localhost"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("http://[::1]", "http://[::1]"),
            ("http://proxy/kv/", "http://proxy/kv"),
        ] {
            assert_eq!(service_url(text).unwrap().as_str(), url);
        }
        for text in [
            "",
            "kv",
            "kv:8000",
            "//kv",
            "/kv",
            "*",
            "ftp://kv",
            "http://",
            "http:///a",
            "http://:80",
            "http://kv:",
            "http://kv:70000",
            "http://kv:abc",
            "http://a b",
            "http://kv?a",
            "http://kv/#a",
            "http://kv#a",
            "http://user:word@kv",
            "http://kv\n",
            "http://größe",
        ] {
            let reason = service_url(text).expect_err(text);
            assert!(reason.starts_with("is not a service"), "{text}: {reason}");
        }
    }
}
