//! `/keys/{key}`

use std::time::Duration;

use common::http::{Reply, Request, Response, StatusCode};

use crate::answer::{self, not_modified};
use crate::body;
use crate::conditions;
use crate::error::ApiError;
use crate::key::Key;
use crate::origin;
use crate::query::Query;
use crate::store::{Condition, Found, Refused, Store, Version, Wait, Waited, Waiter};

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
    match Write::read(key, request) {
        Ok(Write { value, ttl, condition }) => {
            store.put(key, value, ttl, &condition, move |outcome| {
                reply.send(match outcome {
                    Ok(version) => Response::json(status, STORED).tagged(version.0),
                    Err(refused) => ApiError::Refused(refused).response(),
                });
            });
        }
        Err(error) => reply.send(error.response()),
    }
}

/// `GET`: answers the value, at once or when there is something new.
pub fn get(store: &impl Store, key: &Key<'_>, request: &Request<'_>, mut reply: Reply) {
    match Read::of(request) {
        Ok(Read { wait: None, reading }) => store.get(key, move |key, found| {
            let body = reply.buffer();
            reply.send(match found {
                Ok(found) => reading.answer(key, found.as_ref(), body),
                Err(refused) => ApiError::Refused(refused).response(),
            });
        }),
        Ok(Read { wait: Some(timeout), reading }) => {
            let known = reading.condition.if_none_match.clone();
            store.wait(key, Wait { known, timeout }, Box::new(Parked { reading, reply }));
        }
        Err(error) => reply.send(error.response()),
    }
}

/// `DELETE`: removes the key.
pub fn delete(store: &impl Store, key: &Key<'_>, request: &Request<'_>, reply: Reply) {
    let condition = match conditions::parse(&request.headers) {
        Ok(condition) => condition,
        Err(error) => return reply.send(ApiError::from(error).response()),
    };
    store.delete(key, &condition, move |key, outcome| {
        reply.send(match outcome {
            Ok(true) => Response::json(StatusCode::OK, DELETED),
            // Without a condition it would be 404, and then conditions do not count (RFC 9110,
            // section 13.2.1).
            Ok(false) | Err(Refused::Condition(None)) => ApiError::KeyNotFound(key).response(),
            Err(refused) => ApiError::Refused(refused).response(),
        });
    });
}

/// What a POST or PUT asks for.
struct Write<'a> {
    value: &'a str,
    ttl: Option<Duration>,
    condition: Condition,
}

impl<'a> Write<'a> {
    fn read(key: &'a Key<'_>, request: &Request<'a>) -> Result<Self, ApiError<'a>> {
        if !origin::may_send_body(&request.headers) {
            return Err(ApiError::MediaType);
        }
        let query = Query::new(request.query);
        let (raw, ttl) = (query.raw()?, query.ttl()?);
        let condition = conditions::parse(&request.headers)?;
        let value =
            if raw { body::parse_value(request.body)? } else { value_for(key, request.body)? };
        Ok(Write { value, ttl, condition })
    }
}

/// The value that the body gives to the key, as the text that came.
fn value_for<'a>(key: &'a Key<'_>, body: &'a [u8]) -> Result<&'a str, ApiError<'a>> {
    let put = body::parse(body)?;
    if put.key == key.as_str() {
        Ok(put.value)
    } else {
        Err(ApiError::KeyMismatch { path: key, body: put.key })
    }
}

/// What a GET asks for.
struct Read {
    wait: Option<Duration>,
    reading: Reading,
}

/// How a value that was read is answered.
struct Reading {
    raw: bool,
    condition: Condition,
}

/// A client that waits.
struct Parked {
    reading: Reading,
    reply: Reply,
}

impl Read {
    fn of<'a>(request: &Request<'_>) -> Result<Self, ApiError<'a>> {
        let query = Query::new(request.query);
        let (wait, raw) = (query.wait()?, query.raw()?);
        let condition = conditions::parse(&request.headers)?;
        Ok(Read { wait, reading: Reading { raw, condition } })
    }
}

impl Waiter for Parked {
    fn has_left(&self) -> bool {
        self.reply.has_left()
    }

    fn answer(mut self: Box<Self>, key: &Key<'_>, waited: Waited) {
        let body = self.reply.buffer();
        let response = match waited {
            Waited::Changed(found) => self.reading.answer(key, Some(&found), body),
            Waited::Absent => self.reading.answer(key, None, body),
            Waited::Unchanged(version) => {
                self.reading.instead(version).unwrap_or_else(|| not_modified(version))
            }
            Waited::Failed(refused) => ApiError::Refused(refused).response(),
        };
        self.reply.send(response);
    }
}

impl Reading {
    /// A key that is not there is 404 whatever the condition (RFC 9110, section 13.2.1).
    fn answer(&self, key: &Key<'_>, found: Option<&Found>, body: Vec<u8>) -> Response {
        let Some(value) = found else { return ApiError::KeyNotFound(key).response() };
        let instead = self.instead(value.version());
        instead.unwrap_or_else(|| answer::found(key, value, self.raw, body))
    }

    /// What is answered in place of a value of this version, in the order of RFC 9110, section
    /// 13.2.2.
    fn instead(&self, version: Version) -> Option<Response> {
        let Condition { if_match, if_none_match } = &self.condition;
        let current = Some(version);
        if if_match.as_ref().is_some_and(|versions| !versions.contain(current)) {
            return Some(ApiError::Refused(Refused::Condition(current)).response());
        }
        let is_known = if_none_match.as_ref().is_some_and(|versions| versions.contain(current));
        is_known.then(|| not_modified(version))
    }
}
