//! `GET /health` and `GET /ready`

use common::http::{Reply, Response, StatusCode};

use crate::error::ApiError;
use crate::store::Store;

/// Says that the service answers.
pub fn get(reply: Reply) {
    reply.send(Response::json(StatusCode::OK, r#"{"status":"healthy"}"#));
}

/// Says whether the store reads and writes.
pub fn ready(store: &impl Store, reply: Reply) {
    store.ready(|outcome| {
        reply.send(match outcome {
            Ok(()) => Response::json(StatusCode::OK, r#"{"status":"ready"}"#),
            Err(refused) => ApiError::Refused(refused).response(),
        });
    });
}
