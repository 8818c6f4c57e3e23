//! The only place where an error becomes a status and a body.

use std::borrow::Cow;

use common::http::{Response, StatusCode};
use serde_json::Value;

use crate::access::Denied;
use crate::body::BodyError;
use crate::conditions::ConditionError;
use crate::key::{Key, KeyError};
use crate::query::ParameterError;
use crate::routes::RouteError;
use crate::store::Refused;

/// Why a request is not done.
#[derive(Debug)]
pub enum ApiError<'a> {
    /// The client may not do this.
    Denied(Denied),
    /// There is no such path.
    NoSuchRoute,
    /// The path takes other methods, listed here.
    MethodNotAllowed(&'static str),
    /// The path names no valid key.
    BadKey(KeyError),
    /// The key has no value.
    KeyNotFound(&'a Key<'a>),
    /// Path and body name different keys.
    KeyMismatch {
        /// The key in the path.
        path: &'a Key<'a>,
        /// The key in the body.
        body: Cow<'a, str>,
    },
    /// A parameter of the query is not what it should be.
    Parameter(ParameterError),
    /// A condition cannot be read.
    Condition(ConditionError),
    /// The body is not what the endpoint takes.
    Body(BodyError<'a>),
    /// The store did not take a batch, for one of its operations.
    OpRefused {
        /// Which one, from 0.
        index: usize,
        /// Why.
        refused: Refused,
    },
    /// The store did not take the step.
    Refused(Refused),
    /// As many exports run as may.
    TooManyExports,
    /// A page of another origin sends something that is not declared as JSON.
    MediaType,
}

impl ApiError<'_> {
    /// The status that says it.
    pub fn status(&self) -> StatusCode {
        match self {
            ApiError::Denied(Denied::NoToken | Denied::WrongToken) => StatusCode::UNAUTHORIZED,
            ApiError::Denied(Denied::ReadOnly) => StatusCode::FORBIDDEN,
            ApiError::NoSuchRoute | ApiError::KeyNotFound(_) => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::BadKey(_)
            | ApiError::KeyMismatch { .. }
            | ApiError::Condition(_)
            | ApiError::Body(BodyError::NotUtf8) => StatusCode::BAD_REQUEST,
            ApiError::Parameter(_)
            | ApiError::Body(
                BodyError::Empty
                | BodyError::Syntax(_)
                | BodyError::NotObject { .. }
                | BodyError::Members(_)
                | BodyError::Batch(_)
                | BodyError::Line(_),
            ) => StatusCode::UNPROCESSABLE_ENTITY,
            ApiError::Refused(refused) | ApiError::OpRefused { refused, .. } => match refused {
                Refused::Condition(_) => StatusCode::PRECONDITION_FAILED,
                Refused::NotAnInteger | Refused::Overflow => StatusCode::CONFLICT,
                Refused::Full(_) | Refused::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
                Refused::Unavailable(_) | Refused::MayHaveHappened(_) => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
                Refused::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                Refused::Damaged(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Refused::ReadsTooMuch(_) | Refused::TooManyOps(_) => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
            },
            ApiError::TooManyExports => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// The answer, in the original's shapes.
    pub fn response(&self) -> Response {
        let body = match self {
            ApiError::Denied(denied) => refused(denied.reason()),
            ApiError::NoSuchRoute => r#"{"detail":"Not Found"}"#.to_owned(),
            ApiError::MethodNotAllowed(_) => r#"{"detail":"Method Not Allowed"}"#.to_owned(),
            ApiError::BadKey(error) => refused(&error.to_string()),
            ApiError::KeyNotFound(key) => refused(&format!("Key '{}' not found", key.as_str())),
            ApiError::KeyMismatch { path, body } => refused(&format!(
                "Key in path '{}' does not match key in body '{body}'",
                path.as_str()
            )),
            ApiError::Parameter(error) => refused(&error.to_string()),
            ApiError::Condition(error) => refused(&error.to_string()),
            ApiError::Body(error) => error.detail(),
            ApiError::OpRefused { index, refused } => {
                let error = Value::from(format!("ops[{index}]: {refused}"));
                format!(r#"{{"detail":{{"success":false,"error":{error},"index":{index}}}}}"#)
            }
            ApiError::Refused(why) => refused(&why.to_string()),
            ApiError::TooManyExports => refused("Too many exports at once"),
            ApiError::MediaType => {
                refused("A request from another origin must have a JSON Content-Type")
            }
        };
        let response = Response::json(self.status(), body);
        match self {
            ApiError::Denied(denied) => response.header("WWW-Authenticate", denied.challenge()),
            ApiError::MethodNotAllowed(allow) => response.header("Allow", *allow),
            ApiError::Refused(Refused::Condition(Some(version))) => response.tagged(version.0),
            ApiError::TooManyExports => response.header("Retry-After", RETRY_AFTER_S),
            ApiError::NoSuchRoute
            | ApiError::BadKey(_)
            | ApiError::KeyNotFound(_)
            | ApiError::KeyMismatch { .. }
            | ApiError::Parameter(_)
            | ApiError::Condition(_)
            | ApiError::Body(_)
            | ApiError::OpRefused { .. }
            | ApiError::Refused(_)
            | ApiError::MediaType => response,
        }
    }
}

/// When an export may be asked for again, in seconds: one takes seconds, and a client that waits a
/// little does no harm.
const RETRY_AFTER_S: &str = "10";

/// The shape of this service's own errors; `json!` would sort its fields.
fn refused(error: &str) -> String {
    format!(r#"{{"detail":{{"success":false,"error":{}}}}}"#, Value::from(error))
}

impl From<RouteError> for ApiError<'_> {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NotFound => ApiError::NoSuchRoute,
            RouteError::MethodNotAllowed(allow) => ApiError::MethodNotAllowed(allow),
            RouteError::Key(error) => ApiError::BadKey(error),
        }
    }
}

impl From<ParameterError> for ApiError<'_> {
    fn from(error: ParameterError) -> Self {
        ApiError::Parameter(error)
    }
}

impl From<ConditionError> for ApiError<'_> {
    fn from(error: ConditionError) -> Self {
        ApiError::Condition(error)
    }
}

impl<'a> From<BodyError<'a>> for ApiError<'a> {
    fn from(error: BodyError<'a>) -> Self {
        ApiError::Body(error)
    }
}
