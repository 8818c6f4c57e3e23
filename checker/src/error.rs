//! The only place where an error becomes a status.

use std::fmt;

use common::http::{Response, StatusCode};

use crate::handlers;
use crate::service::{RUNS_MAX, RUNS_WAITING_MAX};

/// When to try again after a refusal for want of room, in seconds: the time-out of one request.
const RETRY_AFTER_S: &str = "10";

/// Why a request to the checker itself is refused. A test that fails is no error: it is an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// A run under this name is under way.
    AlreadyRunning(&'static str),
    /// Nothing has run yet.
    NoReport,
    /// The page of another site asks for a run.
    CrossSite {
        /// Where it says it is.
        origin: String,
        /// Where the request went.
        host: String,
    },
    /// A parameter of the query is unknown, or its text is no value for it.
    Parameter {
        /// Its name.
        name: String,
        /// Its text.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl ApiError {
    /// The status that tells of it.
    pub fn status(&self) -> StatusCode {
        match self {
            ApiError::NoSuchRoute | ApiError::NoReport => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::TooManyRuns => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::AlreadyRunning(_) => StatusCode::CONFLICT,
            ApiError::CrossSite { .. } => StatusCode::FORBIDDEN,
            ApiError::Parameter { .. } => StatusCode::UNPROCESSABLE_ENTITY,
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
            ApiError::AlreadyRunning(name) => write!(f, "Test '{name}' is running already"),
            ApiError::NoReport => f.write_str("Nothing has run yet: POST /test/all"),
            ApiError::CrossSite { origin, host } => {
                write!(f, "Refused: sent by a page of '{origin}' to '{host}'")
            }
            ApiError::Parameter { name, text, reason } => {
                write!(f, "Parameter {name}: '{text}' {reason}")
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
            ApiError::AlreadyRunning(_)
            | ApiError::NoReport
            | ApiError::CrossSite { .. }
            | ApiError::Parameter { .. } => handlers::failure_detail(error.status(), &text),
        }
    }
}
