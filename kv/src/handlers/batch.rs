//! `/batch`

use common::http::{Reply, Request, Response, StatusCode};

use crate::answer::{push_json_string, push_number};
use crate::body::batch;
use crate::error::ApiError;
use crate::origin;
use crate::store::{Batched, Done, Op, Store, Version};

/// `POST`: does all operations in one step, or none.
pub fn post(store: &impl Store, request: &Request<'_>, mut reply: Reply) {
    match read(request) {
        Ok(ops) => store.batch(&ops, move |ops, outcome| {
            let response = match outcome {
                Ok(batched) => {
                    Response::json(StatusCode::OK, answer(ops, &batched, reply.buffer()))
                }
                Err((index, refused)) => ApiError::OpRefused { index, refused }.response(),
            };
            reply.send(response);
        }),
        Err(error) => reply.send(error.response()),
    }
}

fn read<'a>(request: &Request<'a>) -> Result<Vec<Op<'a>>, ApiError<'a>> {
    if !origin::may_send_body(&request.headers) {
        return Err(ApiError::MediaType);
    }
    Ok(batch::parse(request.body)?)
}

fn answer(ops: &[Op<'_>], batched: &Batched, mut body: Vec<u8>) -> Vec<u8> {
    body.extend_from_slice(br#"{"success":true"#);
    push_version(&mut body, batched.version);
    body.extend_from_slice(br#","results":["#);
    for (index, (op, done)) in ops.iter().zip(&batched.results).enumerate() {
        if index > 0 {
            body.push(b',');
        }
        push_result(&mut body, op, done, batched.version);
    }
    body.extend_from_slice(b"]}");
    body
}

fn push_result(body: &mut Vec<u8>, op: &Op<'_>, done: &Done, version: Version) {
    let start: &[u8] = match done {
        Done::Put => br#"{"op":"put","key":"#,
        Done::Get(_) => br#"{"op":"get","key":"#,
        Done::Delete(_) => br#"{"op":"delete","key":"#,
        Done::Increment(_) => br#"{"op":"incr","key":"#,
    };
    body.extend_from_slice(start);
    push_json_string(body, op.key.as_str());
    match done {
        Done::Put => push_version(body, version),
        Done::Get(Some(found)) => {
            body.extend_from_slice(br#","found":true,"value":"#);
            body.extend_from_slice(found.value());
            push_version(body, found.version());
        }
        Done::Get(None) | Done::Delete(false) => body.extend_from_slice(br#","found":false"#),
        Done::Delete(true) => body.extend_from_slice(br#","found":true"#),
        Done::Increment(sum) => {
            body.extend_from_slice(br#","value":"#);
            push_number(body, *sum);
            push_version(body, version);
        }
    }
    body.push(b'}');
}

fn push_version(body: &mut Vec<u8>, version: Version) {
    body.extend_from_slice(br#","version":"#);
    push_number(body, version.0);
}
