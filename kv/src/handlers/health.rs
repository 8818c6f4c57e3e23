//! `GET /health`

use common::http::{Reply, Response, StatusCode};

/// Says that the service answers.
pub fn get(reply: Reply) {
    reply.send(Response::json(StatusCode::OK, r#"{"status":"healthy"}"#));
}
