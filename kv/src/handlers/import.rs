//! `/import`

use common::http::{Reply, Request, Response, StatusCode};

use crate::answer::push_number;
use crate::body::lines::{self, Line};
use crate::error::ApiError;
use crate::origin;
use crate::store::{Imported, Store};

/// `POST`: takes over the keys of all lines in one step, or none.
pub fn post(store: &impl Store, request: &Request<'_>, mut reply: Reply) {
    let lines = match read(request) {
        Ok(lines) => lines,
        Err(error) => return reply.send(error.response()),
    };
    let entries: Vec<Imported<'_>> = lines.iter().map(Line::as_imported).collect();
    let read = entries.len();
    store.import(&entries, move |outcome| {
        let taken = match outcome {
            Ok(taken) => taken,
            Err(refused) => return reply.send(ApiError::Refused(refused).response()),
        };
        let mut body = reply.buffer();
        body.extend_from_slice(br#"{"success":true,"read":"#);
        push_number(&mut body, read);
        body.extend_from_slice(br#","taken":"#);
        push_number(&mut body, taken);
        body.push(b'}');
        reply.send(Response::json(StatusCode::OK, body));
    });
}

fn read<'a>(request: &Request<'a>) -> Result<Vec<Line<'a>>, ApiError<'a>> {
    if !origin::may_send_body(&request.headers) {
        return Err(ApiError::MediaType);
    }
    Ok(lines::parse(request.body)?)
}
