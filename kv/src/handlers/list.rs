//! `/keys`

use common::http::{Reply, Request, Response, StatusCode};

use crate::answer::{push_json_string, push_number};
use crate::error::ApiError;
use crate::query::{ParameterError, Query, cursor_behind};
use crate::store::{Listed, Page, Selection, Store};

/// `GET`: lists keys, with their values if asked.
pub fn get(store: &impl Store, request: &Request<'_>, mut reply: Reply) {
    match read(Query::new(request.query)) {
        Ok((selection, values)) => store.list(&selection, move |page| {
            let body = reply.buffer();
            reply.send(match page {
                Ok(page) => Response::json(StatusCode::OK, page_body(&page, values, body)),
                Err(refused) => ApiError::Refused(refused).response(),
            });
        }),
        Err(error) => reply.send(ApiError::from(error).response()),
    }
}

/// `DELETE`: removes every key with the prefix.
pub fn delete(store: &impl Store, request: &Request<'_>, mut reply: Reply) {
    match Query::new(request.query).required_prefix() {
        Ok(prefix) => store.delete_prefix(&prefix, move |outcome| {
            let deleted = match outcome {
                Ok(deleted) => deleted,
                Err(refused) => return reply.send(ApiError::Refused(refused).response()),
            };
            let mut body = reply.buffer();
            body.extend_from_slice(br#"{"success":true,"deleted":"#);
            push_number(&mut body, deleted);
            body.push(b'}');
            reply.send(Response::json(StatusCode::OK, body));
        }),
        Err(error) => reply.send(ApiError::from(error).response()),
    }
}

fn read(query: Query<'_>) -> Result<(Selection, bool), ParameterError> {
    let (prefix, after, limit) = (query.prefix()?, query.cursor()?, query.limit()?);
    Ok((Selection { prefix, after, limit }, query.values()?))
}

fn page_body(page: &Page, values: bool, mut body: Vec<u8>) -> Vec<u8> {
    body.extend_from_slice(br#"{"success":true,""#);
    body.extend_from_slice(if values { b"entries" } else { b"keys" });
    body.extend_from_slice(br#"":["#);
    for (index, listed) in page.entries.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        if values {
            push_entry(&mut body, listed);
        } else {
            push_key(&mut body, listed);
        }
    }
    body.extend_from_slice(br#"],"next_cursor":"#);
    match &page.more_after {
        Some(key) => push_json_string(&mut body, &cursor_behind(key)),
        None => body.extend_from_slice(b"null"),
    }
    body.push(b'}');
    body
}

fn push_entry(body: &mut Vec<u8>, listed: &Listed) {
    body.extend_from_slice(br#"{"key":"#);
    push_key(body, listed);
    body.extend_from_slice(br#","value":"#);
    body.extend_from_slice(listed.value());
    body.extend_from_slice(br#","version":"#);
    push_number(body, listed.version().0);
    body.push(b'}');
}

fn push_key(body: &mut Vec<u8>, listed: &Listed) {
    push_json_string(body, &String::from_utf8_lossy(listed.key()));
}
