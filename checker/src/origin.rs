//! Who may start runs: anybody but the page of another site, which would do it with the browser of
//! somebody who only looks at it.
//!
//! Browsers say where a POST comes from: `Sec-Fetch-Site` (W3C Fetch Metadata) to hosts that they
//! trust, and `Origin` (RFC 6454, section 7) to all. Programs send neither, and are let in.

use common::http::Headers;

use crate::error::ApiError;
use crate::report::quoted;

/// Refuses what a page of another site asks for.
pub fn check(headers: &Headers<'_>) -> Result<(), ApiError> {
    let mut sites = headers.all("Sec-Fetch-Site").peekable();
    let is_ours = if sites.peek().is_some() {
        sites.all(|site| matches!(site, b"same-origin" | b"none"))
    } else {
        let host = headers.get("Host").unwrap_or_default();
        headers.all("Origin").all(|origin| is_at(origin, host))
    };
    if is_ours {
        return Ok(());
    }
    let shown =
        |name: &str| quoted(&String::from_utf8_lossy(headers.get(name).unwrap_or_default()));
    Err(ApiError::CrossSite { origin: shown("Origin"), host: shown("Host") })
}

/// Whether an origin, `http://host:port`, is of this host and port.
fn is_at(origin: &[u8], host: &[u8]) -> bool {
    let at = origin.windows(3).position(|window| window == b"://");
    at.is_some_and(|at| origin[at + 3..].eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn passes(fields: &[(&str, &str)], passes: bool) {
        let fields: Vec<_> = [("Host", "kv.test:8001")]
            .iter()
            .chain(fields)
            .map(|(name, value)| httparse::Header { name, value: value.as_bytes() })
            .collect();
        assert_eq!(check(&Headers::new(&fields)).is_ok(), passes, "{fields:?}");
    }

    #[test]
    fn only_the_page_of_another_site_is_refused() {
        passes(&[], true);
        passes(&[("Origin", "http://kv.test:8001")], true);
        passes(&[("Origin", "https://KV.test:8001")], true);
        passes(&[("Origin", "http://kv.test")], false);
        passes(&[("Origin", "http://kv.test:8000")], false);
        passes(&[("Origin", "http://evil.test")], false);
        passes(&[("Origin", "http://evil.test/?://kv.test:8001")], false);
        passes(&[("Origin", "null")], false);
        passes(&[("Origin", "")], false);
        passes(&[("Origin", "http://kv.test:8001"), ("Origin", "http://evil.test")], false);
        passes(&[("Sec-Fetch-Site", "same-origin"), ("Origin", "http://behind-a-proxy")], true);
        passes(&[("Sec-Fetch-Site", "none")], true);
        for site in ["cross-site", "same-site", "", "anything"] {
            passes(&[("Sec-Fetch-Site", site), ("Origin", "http://kv.test:8001")], false);
        }
    }
}
