//! The only place where an error becomes a status.

use std::fmt;

use common::http::{Response, StatusCode};

use crate::handlers;
use crate::service::{RUNS_MAX, RUNS_WAITING_MAX};

/// When to try again after a refusal for want of room, in seconds: the time-out of one request.
const RETRY_AFTER_S: &str = "10";

/// Why a request to the checker itself is refused. A test that fails is no error: it is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiError {
    /// No endpoint has this path.
    NoSuchRoute,
    /// The path is known, with other methods.
    MethodNotAllowed {
        /// The methods it has, as the `Allow` field gives them.
        allow: &'static str,
    },
    /// As many tests run and wait as may.
    TooManyRuns,
}

impl ApiError {
    /// The status that tells of it.
    pub fn status(self) -> StatusCode {
        match self {
            ApiError::NoSuchRoute => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::TooManyRuns => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiError::NoSuchRoute => f.write_str("Not Found"),
            ApiError::MethodNotAllowed { .. } => f.write_str("Method Not Allowed"),
            ApiError::TooManyRuns => {
                write!(f, "Too many tests at once: {RUNS_MAX} run and {RUNS_WAITING_MAX} wait")
            }
        }
    }
}

impl std::error::Error for ApiError {}

impl From<ApiError> for Response {
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        match error {
            ApiError::NoSuchRoute => handlers::plain_detail(error.status(), &text),
            ApiError::MethodNotAllowed { allow } => {
                handlers::plain_detail(error.status(), &text).header("Allow", allow)
            }
            ApiError::TooManyRuns => {
                handlers::failure_detail(error.status(), &text).header("Retry-After", RETRY_AFTER_S)
            }
        }
    }
}
