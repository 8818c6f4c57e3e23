//! What is answered when all is well.

use common::http::{Body, FieldValue, Response, StatusCode};

use crate::key::Key;
use crate::store::{Found, Version};

/// A value that was found: in the original's object, or alone if `raw`. `body` is an empty buffer
/// to build the answer in.
pub fn found(key: &Key<'_>, found: &Found, raw: bool, mut body: Vec<u8>) -> Response {
    if !raw {
        body.extend_from_slice(br#"{"success":true,"key":"#);
        push_json_string(&mut body, key.as_str());
        body.extend_from_slice(br#","value":"#);
    }
    let body = if found.value().len() < SHARED_BYTES_MIN {
        body.extend_from_slice(found.value());
        if !raw {
            body.push(b'}');
        }
        Body::Bytes(body)
    } else {
        Body::Joined { before: body, shared: found.share(), after: if raw { b"" } else { b"}" } }
    };
    let response = Response::json(StatusCode::OK, body).tagged(found.version().0);
    match found.ttl_ms {
        Some(ttl_ms) => response.header("KV-TTL-Ms", FieldValue::Number(ttl_ms)),
        None => response,
    }
}

/// From this size on a value is not copied into its answer; below it a copy costs less.
const SHARED_BYTES_MIN: usize = 16 << 10;

/// The client has this version already (RFC 9110, section 15.4.5).
pub fn not_modified(version: Version) -> Response {
    Response::new(StatusCode::NOT_MODIFIED).tagged(version.0)
}

/// Appends the text as a JSON string.
pub fn push_json_string(out: &mut Vec<u8>, text: &str) {
    // Neither can fail: the text is a string, and the vector grows.
    let _: Result<(), serde_json::Error> = serde_json::to_writer(out, text);
}

/// Appends the number in decimal.
pub fn push_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
