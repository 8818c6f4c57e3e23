//! What each endpoint answers. The fields of an answer stand in the order of the contract.

use common::http::{Response, StatusCode};
use serde::Serialize;

use crate::routes::SERVER;
use crate::steps::Report;

/// `GET /health`.
pub fn health() -> Response {
    Response::json(StatusCode::OK, r#"{"status":"healthy"}"#)
}

/// `GET /test/status`.
pub fn status(kv_service_url: &str) -> Response {
    json(StatusCode::OK, &Status { status: "Test client is running", kv_service_url })
}

/// `POST /test/{name}`, when the run is over. A test that fails is answered with 200 too: the
/// checker did what was asked.
pub fn report(report: &Report) -> Response {
    let test_name = report.test_name;
    match &report.verdict {
        Ok(passed) => {
            let details =
                Details { steps_executed: passed.steps_executed, all_assertions_passed: true };
            json(StatusCode::OK, &Passed { success: true, test_name, details })
        }
        Err(failure) => {
            let (error, step) = (failure.error.as_str(), failure.step);
            json(StatusCode::OK, &Failed { success: false, test_name, error, step })
        }
    }
}

/// `OPTIONS *`.
pub fn options() -> Response {
    Response::new(StatusCode::NO_CONTENT).header("Allow", SERVER)
}

/// An error whose detail is its text.
pub(crate) fn plain_detail(status: StatusCode, text: &str) -> Response {
    json(status, &Refused { detail: text })
}

/// An error whose detail looks like kv's.
pub(crate) fn failure_detail(status: StatusCode, text: &str) -> Response {
    json(status, &Refused { detail: Failure { success: false, error: text } })
}

#[derive(Serialize)]
struct Status<'a> {
    status: &'a str,
    kv_service_url: &'a str,
}

#[derive(Serialize)]
struct Passed<'a> {
    success: bool,
    test_name: &'a str,
    details: Details,
}

#[derive(Serialize)]
struct Details {
    steps_executed: usize,
    all_assertions_passed: bool,
}

#[derive(Serialize)]
struct Failed<'a> {
    success: bool,
    test_name: &'a str,
    error: &'a str,
    step: &'a str,
}

#[derive(Serialize)]
struct Refused<D> {
    detail: D,
}

#[derive(Serialize)]
struct Failure<'a> {
    success: bool,
    error: &'a str,
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_vec(body).expect("strings, numbers and booleans are always JSON");
    Response::json(status, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ApiError;
    use crate::steps;

    #[track_caller]
    fn check(response: &Response, status: u16, body: &str) {
        assert_eq!(response.status.as_u16(), status);
        assert_eq!(response.content_type, Some("application/json"));
        assert_eq!(String::from_utf8_lossy(&response.body.to_vec()), body);
    }

    #[test]
    fn answers_are_those_of_the_contract_to_the_byte() {
        check(&health(), 200, r#"{"status":"healthy"}"#);
        check(
            &status("http://kv-service:8000"),
            200,
            r#"{"status":"Test client is running","kv_service_url":"http://kv-service:8000"}"#,
        );
        let verdict = Ok(steps::Passed { steps_executed: 4 });
        check(
            &report(&Report { test_name: "test_deletion", verdict }),
            200,
            r#"{"success":true,"test_name":"test_deletion","details":{"steps_executed":4,"all_assertions_passed":true}}"#,
        );
        let error = "a \"quoted\"\nline é".to_owned();
        let verdict = Err(steps::Failure { step: "store", error });
        check(
            &report(&Report { test_name: "test_deletion", verdict }),
            200,
            r#"{"success":false,"test_name":"test_deletion","error":"a \"quoted\"\nline é","step":"store"}"#,
        );
    }

    #[test]
    fn refusals_are_those_of_the_contract_to_the_byte() {
        check(&ApiError::NoSuchRoute.into(), 404, r#"{"detail":"Not Found"}"#);
        let refused: Response = ApiError::MethodNotAllowed { allow: "POST" }.into();
        check(&refused, 405, r#"{"detail":"Method Not Allowed"}"#);
        assert_eq!(refused.headers[..], [("Allow", "POST".into())]);
        let refused: Response = ApiError::TooManyRuns.into();
        check(
            &refused,
            503,
            r#"{"detail":{"success":false,"error":"Too many tests at once: 16 run and 128 wait"}}"#,
        );
        assert_eq!(refused.headers[..], [("Retry-After", "10".into())]);
    }
}
