//! `GET /health` and `GET /ready`

use common::http::{Reply, Response, StatusCode};

use crate::key::Key;
use crate::store::Store;

/// Says that the service answers.
pub fn get(reply: Reply) {
    reply.send(Response::json(StatusCode::OK, r#"{"status":"healthy"}"#));
}

/// Says that the store answers: a key that need not be there is looked up.
pub fn ready(store: &impl Store, reply: Reply) {
    store.get(&Key::kept("ready"), |_, _| {
        reply.send(Response::json(StatusCode::OK, r#"{"status":"ready"}"#));
    });
}
