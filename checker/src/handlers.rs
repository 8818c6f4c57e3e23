//! What each endpoint answers. The fields of an answer stand in the order of the contract.

use std::collections::BTreeMap;

use common::http::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::audit::unix_ms;
use crate::board::Snapshot;
use crate::error::ApiError;
use crate::report::Settings;
use crate::routes::SERVER;
use crate::steps::Report;
use crate::{board, report, settings, status, workflows};

/// `GET /health`.
pub fn health() -> Response {
    Response::json(StatusCode::OK, r#"{"status":"healthy"}"#)
}

/// `GET /test/status`.
pub fn kv_status(kv_service_url: &str) -> Response {
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

/// `GET /tests`.
pub fn tests(running: &[&str]) -> Response {
    let tests = workflows::ALL.into_iter().map(|workflow| Test {
        name: workflow.name,
        promise: workflow.promise,
        needs: workflow.needs.iter().map(|feature| feature.word()).collect(),
        running: running.contains(&workflow.name) || running.contains(&board::ALL),
    });
    json(StatusCode::OK, &Tests { tests: tests.collect() })
}

/// `GET /report.json`, and the answer to a run.
pub fn last(report: Option<&report::Report>) -> Response {
    match report {
        Some(report) => Response::json(StatusCode::OK, report.to_json()),
        None => ApiError::NoReport.into(),
    }
}

/// `GET /report.xml`.
pub fn junit(report: Option<&report::Report>) -> Response {
    match report {
        Some(report) => Response::with_body(StatusCode::OK, "application/xml", report.to_junit())
            .header("X-Content-Type-Options", "nosniff"),
        None => ApiError::NoReport.into(),
    }
}

/// `GET /report`.
pub fn report_page(report: Option<&report::Report>) -> Response {
    match report {
        Some(report) => html(StatusCode::OK, report.to_html()),
        None => html(StatusCode::NOT_FOUND, status::no_report().into_string()),
    }
}

/// `GET /`.
pub fn status_page(target: &str, snapshot: &Snapshot) -> Response {
    html(StatusCode::OK, status::status(target, snapshot, unix_ms()).into_string())
}

/// To the status page, as a link relative to `/test/{name}`: it also works behind a path prefix.
pub fn to_status_page() -> Response {
    Response::new(StatusCode::SEE_OTHER).header("Location", "../")
}

/// Whether a button of the status page was pressed, and the answer is to lead back to it.
pub fn is_form(request: &Request<'_>) -> bool {
    const FORMS: &[u8] = b"application/x-www-form-urlencoded";
    let content_type = request.headers.get("Content-Type").unwrap_or_default();
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(FORMS) && request.body == status::FORM.as_bytes()
}

/// What a page may load: nothing, and its own style; what it may be part of: nothing.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

fn html(status: StatusCode, page: String) -> Response {
    Response::with_body(status, "text/html; charset=utf-8", page)
        .header("Cache-Control", "no-store")
        .header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        // Without a referrer browsers hide the origin too, and the buttons would be refused.
        .header("Referrer-Policy", "same-origin")
        .header("X-Content-Type-Options", "nosniff")
}

/// What the query of `POST /test/{name}` asks for. A name that is none of the parameters' is
/// refused, for it was meant as one.
pub fn settings(query: Option<&str>) -> Result<Settings, ApiError> {
    let mut given = BTreeMap::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = percent_decode_str(text).decode_utf8_lossy().into_owned();
        if !PARAMETERS.contains(&name) {
            let (name, text) = (report::quoted(name), report::quoted(&decoded));
            let reason = "is none of clients, ops, keys, seed, rate and duration";
            return Err(ApiError::Parameter { name, text, reason });
        }
        given.insert(name.to_ascii_uppercase(), decoded);
    }
    let read = settings::read(|name| given.get(name).cloned());
    read.map_err(|(name, text, reason)| ApiError::Parameter {
        name: name.to_ascii_lowercase(),
        text: report::quoted(&text),
        reason,
    })
}

const PARAMETERS: [&str; 6] = ["clients", "ops", "keys", "seed", "rate", "duration"];

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
struct Tests {
    tests: Vec<Test>,
}

#[derive(Serialize)]
struct Test {
    name: &'static str,
    promise: &'static str,
    needs: Vec<&'static str>,
    running: bool,
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
    use crate::steps;

    #[test]
    fn parameters_are_refused_by_name() {
        let read = |query| settings(Some(query)).map_err(|error| error.to_string());
        let defaults = Settings { seed: 7, ..Settings::default() };
        assert_eq!(read("seed=7"), Ok(defaults));
        let all = "clients=1&ops=2&keys=3&seed=4&rate=max&duration=500ms";
        let wanted =
            Settings { clients: 1, ops: 2, keys: 3, seed: 4, rate: None, duration_ms: 500 };
        assert_eq!(read(all), Ok(wanted));
        for (query, error) in [
            ("clients=0", "Parameter clients: '0' is not a count (1 to 256)"),
            ("clients=257", "Parameter clients: '257' is not a count (1 to 256)"),
            ("ops=1e3", "Parameter ops: '1e3' is not a count (1 to 1000000)"),
            ("keys=", "Parameter keys: '' is not a count (1 to 10000)"),
            (
                "seed=-1",
                "Parameter seed: '-1' is not a seed (0 to 18446744073709551615, or random)",
            ),
            ("rate=1000001", "Parameter rate: '1000001' is not a rate (1 to 1000000, or max)"),
            (
                "duration=2h",
                "Parameter duration: '2h' is not a duration (500ms, 30s, 5m, or seconds; 1ms to 1h)",
            ),
            ("x=%0A", r"Parameter x: '\n' is none of clients, ops, keys, seed, rate and duration"),
        ] {
            assert_eq!(read(query), Err(error.to_owned()), "{query}");
        }
    }

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
            &kv_status("http://kv-service:8000"),
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
