//! `/keys/{key}`

use common::http::{FieldValue, Reply, Request, Response, StatusCode};

use crate::body;
use crate::error::ApiError;
use crate::key::Key;
use crate::store::{Condition, Store, Version};

const STORED: &str = r#"{"success":true,"message":"Value stored successfully"}"#;
const DELETED: &str = r#"{"success":true,"message":"Key deleted successfully"}"#;

/// `POST` and `PUT`: keeps the body's value under the key. They differ in the status alone.
pub fn store(
    store: &impl Store,
    key: &Key<'_>,
    request: &Request<'_>,
    status: StatusCode,
    reply: Reply,
) {
    match value_for(key, request) {
        Ok(value) => store.put(key, value, None, &Condition::default(), move |outcome| {
            reply.send(match outcome {
                Ok(version) => Response::json(status, STORED).header("ETag", tag(version)),
                Err(refused) => ApiError::Refused(refused).response(),
            });
        }),
        Err(error) => reply.send(error.response()),
    }
}

/// `GET`: answers the value.
pub fn get(store: &impl Store, key: &Key<'_>, mut reply: Reply) {
    let mut body = reply.buffer();
    store.get(key, move |key, found| {
        reply.send(match found {
            Some(found) => {
                body.extend_from_slice(br#"{"success":true,"key":"#);
                push_json_string(&mut body, key.as_str());
                body.extend_from_slice(br#","value":"#);
                body.extend_from_slice(found.value());
                body.push(b'}');
                Response::json(StatusCode::OK, body).header("ETag", tag(found.version()))
            }
            None => ApiError::KeyNotFound(key).response(),
        });
    });
}

/// `DELETE`: removes the key.
pub fn delete(store: &impl Store, key: &Key<'_>, reply: Reply) {
    store.delete(key, &Condition::default(), move |key, outcome| {
        reply.send(match outcome {
            Ok(true) => Response::json(StatusCode::OK, DELETED),
            Ok(false) => ApiError::KeyNotFound(key).response(),
            Err(refused) => ApiError::Refused(refused).response(),
        });
    });
}

fn tag(version: Version) -> FieldValue {
    FieldValue::EntityTag(version.0)
}

fn push_json_string(out: &mut Vec<u8>, text: &str) {
    // Neither can fail: the text is a string, and the vector grows.
    let _: Result<(), serde_json::Error> = serde_json::to_writer(out, text);
}

/// The value that the body gives to the key, as the text that came.
fn value_for<'a>(key: &'a Key<'_>, request: &Request<'a>) -> Result<&'a str, ApiError<'a>> {
    check_origin(request)?;
    let put = body::parse(request.body)?;
    if put.key == key.as_str() {
        Ok(put.value)
    } else {
        Err(ApiError::KeyMismatch { path: key, body: put.key })
    }
}

/// A web page can send a body across origins without asking first, unless it is declared as JSON
/// (the "simple requests" of the Fetch standard). So such a body is not taken from a page.
fn check_origin<'a>(request: &Request<'_>) -> Result<(), ApiError<'a>> {
    if request.headers.get("Origin").is_none() {
        return Ok(());
    }
    match request.headers.get("Content-Type") {
        Some(content_type) if is_json(content_type) => Ok(()),
        Some(_) | None => Err(ApiError::MediaType),
    }
}

/// `application/json` or a `+json` type (RFC 6839, section 3.1), with or without parameters.
fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    let Some(at) = essence.iter().position(|&byte| byte == b'/') else { return false };
    let (kind, subtype) = (&essence[..at], &essence[at + 1..]);
    (kind == b"application" && subtype == b"json") || subtype.ends_with(b"+json")
}
