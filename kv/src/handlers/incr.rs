//! `/incr/{key}`

use common::http::{Reply, Request, Response, StatusCode};

use crate::answer::{push_json_string, push_number};
use crate::conditions;
use crate::error::ApiError;
use crate::key::Key;
use crate::origin;
use crate::query::Query;
use crate::store::{Condition, Incremented, Store};

/// `POST`: adds to the key's integer.
pub fn post(store: &impl Store, key: &Key<'_>, request: &Request<'_>, reply: Reply) {
    match read(request) {
        Ok((by, condition)) => store.increment(key, by, &condition, |key, outcome| {
            answer(key, outcome.map_err(ApiError::Refused), reply);
        }),
        Err(error) => reply.send(error.response()),
    }
}

fn read<'a>(request: &Request<'_>) -> Result<(i64, Condition), ApiError<'a>> {
    if !origin::may_post(&request.headers) {
        return Err(ApiError::MediaType);
    }
    let by = Query::new(request.query).by()?;
    Ok((by, conditions::parse(&request.headers)?))
}

fn answer(key: &Key<'_>, outcome: Result<Incremented, ApiError<'_>>, mut reply: Reply) {
    let response = match outcome {
        Ok(Incremented { value, version }) => {
            let mut body = reply.buffer();
            body.extend_from_slice(br#"{"success":true,"key":"#);
            push_json_string(&mut body, key.as_str());
            body.extend_from_slice(br#","value":"#);
            push_number(&mut body, value);
            body.push(b'}');
            Response::json(StatusCode::OK, body).tagged(version.0)
        }
        Err(error) => error.response(),
    };
    reply.send(response);
}
