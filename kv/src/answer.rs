//! What is answered when all is well.

use common::http::{Body, FieldValue, Response, StatusCode};

use crate::key::Key;
use crate::store::{Found, Version};

/// A value that was found: in the original's object, or alone if `raw`. `body` is an empty buffer
/// to build the answer in.
pub fn found(key: &Key<'_>, found: &Found, raw: bool, mut body: Vec<u8>) -> Response {
    let mut after: &'static [u8] = b"";
    if !raw {
        body.extend_from_slice(br#"{"success":true,"key":"#);
        push_json_string(&mut body, key.as_str());
        body.extend_from_slice(br#","value":"#);
        after = b"}";
    }
    let body = if found.value().len() < SHARED_BYTES_MIN {
        body.extend_from_slice(found.value());
        body.extend_from_slice(after);
        Body::Bytes(body)
    } else {
        Body::Joined { before: body, shared: found.share(), after }
    };
    let response = Response::json(StatusCode::OK, body).header("ETag", entity_tag(found.version()));
    match found.ttl_ms {
        Some(ttl_ms) => response.header("KV-TTL-Ms", FieldValue::Number(ttl_ms)),
        None => response,
    }
}

/// From this size on a value is not copied into its answer; below it a copy costs less.
const SHARED_BYTES_MIN: usize = 16 << 10;

/// The client has this version already (RFC 9110, section 15.4.5).
pub fn not_modified(version: Version) -> Response {
    Response::new(StatusCode::NOT_MODIFIED).header("ETag", entity_tag(version))
}

/// The entity tag of a version, which the client gives back to set a condition.
pub fn entity_tag(version: Version) -> FieldValue {
    FieldValue::EntityTag(version.0)
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
