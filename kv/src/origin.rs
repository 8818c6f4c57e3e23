//! Requests that come from web pages of other origins.
//!
//! A page can send a POST across origins without asking first, unless its body is declared as JSON
//! (the "simple requests" of the Fetch standard). So no other is taken from a page.

use common::http::Headers;

/// Whether a request with a body may be taken.
pub fn may_send_body(headers: &Headers<'_>) -> bool {
    headers.get("Origin").is_none() || headers.get("Content-Type").is_some_and(is_json)
}

/// Whether a POST that needs no body may be taken: also from a page of this service.
pub fn may_post(headers: &Headers<'_>) -> bool {
    may_send_body(headers)
        || headers.get("Origin").and_then(authority).is_some_and(|authority| {
            headers.get("Host").is_some_and(|host| host.eq_ignore_ascii_case(authority))
        })
}

/// Host and port of a serialized origin (RFC 6454, section 6.2).
fn authority(origin: &[u8]) -> Option<&[u8]> {
    origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"))
}

/// `application/json` or a `+json` type (RFC 6839, section 3.1), with or without parameters.
fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    let Some(at) = essence.iter().position(|&byte| byte == b'/') else { return false };
    let (kind, subtype) = (&essence[..at], &essence[at + 1..]);
    (kind == b"application" && subtype == b"json") || subtype.ends_with(b"+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &[(&str, &str)], sends_body: bool, posts: bool) {
        let host = httparse::Header { name: "Host", value: b"kv:8000" };
        let fields: Vec<_> = fields
            .iter()
            .map(|&(name, value)| httparse::Header { name, value: value.as_bytes() })
            .chain([host])
            .collect();
        let headers = Headers::new(&fields);
        assert_eq!((may_send_body(&headers), may_post(&headers)), (sends_body, posts));
    }

    #[test]
    fn pages_of_other_origins_must_declare_json() {
        check(&[], true, true);
        check(&[("Content-Type", "text/plain")], true, true);
        for origin in ["null", "http://elsewhere", "http://kv", "http://kv:8001", "kv:8000"] {
            let origin = ("Origin", origin);
            check(&[origin], false, false);
            check(&[origin, ("Content-Type", "text/plain")], false, false);
            check(&[origin, ("Content-Type", "application/json")], true, true);
            check(&[origin, ("Content-Type", "application/x+json; a=b")], true, true);
        }
        check(&[("Origin", "http://kv:8000")], false, true);
        check(&[("Origin", "https://KV:8000")], false, true);
    }
}
