//! Method and path to [`Route`]: the list of what the checker does.

use common::docs::PATHS;
use common::http::Method;

use crate::error::ApiError;
use crate::steps::{self, Workflow};

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub enum Route {
    /// Is the checker alive?
    Health,
    /// Which service does it check?
    Status,
    /// Run the steps of this name, and answer as the original does.
    Steps(&'static str, &'static Workflow),
    /// Run the workflow of this name.
    Audit(&'static str),
    /// Run all workflows.
    AuditAll,
    /// Which workflows are there?
    Tests,
    /// What came of the last run?
    Report,
    /// The same, as a page.
    ReportPage,
    /// The same, as `JUnit` XML.
    ReportJunit,
    /// Everything at a glance, and buttons.
    StatusPage,
    /// How is it all going?
    Metrics,
    /// Show an API page.
    Docs,
    /// A known path with a slash too many: where it goes on.
    Redirect(&'static str),
    /// What does the server take in general?
    Server,
}

/// Which methods an endpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET, and HEAD as RFC 9110, section 9.3.2, has it.
    Get,
    /// POST alone.
    Post,
}

/// What one path or another takes: the `Allow` of the server in general (RFC 9110, section 9.3.7).
pub const SERVER: &str = "GET, HEAD, OPTIONS, POST";

/// Every endpoint but the API pages.
pub const ENDPOINTS: &[(&str, Verb, Route)] = &[
    ("/health", Verb::Get, Route::Health),
    ("/test/status", Verb::Get, Route::Status),
    ("/test/deletion", Verb::Post, Route::Steps("deletion", &steps::deletion::DELETION)),
    ("/test/overwrite", Verb::Post, Route::Steps("overwrite", &steps::overwrite::OVERWRITE)),
    ("/test/types", Verb::Post, Route::Audit("types")),
    ("/test/errors", Verb::Post, Route::Audit("errors")),
    ("/test/conditions", Verb::Post, Route::Audit("conditions")),
    ("/test/expiry", Verb::Post, Route::Audit("expiry")),
    ("/test/listing", Verb::Post, Route::Audit("listing")),
    ("/test/batch", Verb::Post, Route::Audit("batch")),
    ("/test/counter", Verb::Post, Route::Audit("counter")),
    ("/test/linearizability", Verb::Post, Route::Audit("linearizability")),
    ("/test/load", Verb::Post, Route::Audit("load")),
    ("/test/all", Verb::Post, Route::AuditAll),
    ("/tests", Verb::Get, Route::Tests),
    ("/", Verb::Get, Route::StatusPage),
    ("/report", Verb::Get, Route::ReportPage),
    ("/report.json", Verb::Get, Route::Report),
    ("/report.xml", Verb::Get, Route::ReportJunit),
    ("/metrics", Verb::Get, Route::Metrics),
];

/// The route of a request.
pub fn find(method: &Method, path: &str) -> Result<Route, ApiError> {
    // The engine lets it pass with OPTIONS only.
    if path == "*" {
        return Ok(Route::Server);
    }
    let (verb, route) = known(path).ok_or(ApiError::NoSuchRoute)?;
    if verb.allows(method) {
        Ok(route)
    } else {
        Err(ApiError::MethodNotAllowed { allow: verb.allow() })
    }
}

/// The endpoint or the page at this path, or the one that a slash too many has hidden; the
/// original redirects there too.
fn known(path: &str) -> Option<(Verb, Route)> {
    let endpoints = ENDPOINTS.iter().map(|&(path, verb, route)| (path, verb, route));
    let pages = PATHS.iter().map(|&path| (path, Verb::Get, Route::Docs));
    let shorter = path.strip_suffix('/').filter(|shorter| !shorter.is_empty());
    endpoints.chain(pages).find_map(|(known, verb, route)| {
        if known == path {
            Some((verb, route))
        } else {
            (known != "/" && shorter == Some(known)).then_some((verb, Route::Redirect(known)))
        }
    })
}

impl Verb {
    /// The value of the `Allow` field.
    pub fn allow(self) -> &'static str {
        match self {
            Verb::Get => "GET, HEAD",
            Verb::Post => "POST",
        }
    }

    fn allows(self, method: &Method) -> bool {
        match self {
            Verb::Get => method == Method::GET || method == Method::HEAD,
            Verb::Post => method == Method::POST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: ApiError = ApiError::MethodNotAllowed { allow: "GET, HEAD" };
    const POST: ApiError = ApiError::MethodNotAllowed { allow: "POST" };

    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "tables read better")]
    fn check(method: &str, path: &str, want: Result<&str, ApiError>) {
        let route = find(&Method::from_bytes(method.as_bytes()).unwrap(), path);
        let name = route.map(|route| match route {
            Route::Health => "health",
            Route::Status => "status",
            Route::Steps(_, workflow) => workflow.test_name,
            Route::Audit(name) => name,
            Route::AuditAll => "all",
            Route::Tests => "tests",
            Route::Report => "report",
            Route::ReportPage => "report page",
            Route::ReportJunit => "junit",
            Route::StatusPage => "page",
            Route::Metrics => "metrics",
            Route::Docs => "docs",
            Route::Redirect(path) => path,
            Route::Server => "server",
        });
        assert_eq!(name.as_ref(), want.as_ref(), "{method} {path}");
    }

    #[test]
    fn a_request_finds_its_endpoint() {
        check("GET", "/health", Ok("health"));
        check("HEAD", "/health", Ok("health"));
        check("GET", "/test/status", Ok("status"));
        check("HEAD", "/test/status", Ok("status"));
        check("POST", "/test/deletion", Ok("test_deletion"));
        check("POST", "/test/overwrite", Ok("test_overwrite"));
        check("POST", "/test/types", Ok("types"));
        check("POST", "/test/all", Ok("all"));
        check("GET", "/tests", Ok("tests"));
        check("GET", "/report.json", Ok("report"));
        check("GET", "/metrics", Ok("metrics"));
        check("GET", "/docs", Ok("docs"));
        check("HEAD", "/openapi.json", Ok("docs"));
        check("GET", "/report", Ok("report page"));
        check("GET", "/report.xml", Ok("junit"));
        check("GET", "/", Ok("page"));
        check("POST", "/", Err(GET));
        check("GET", "/redoc", Ok("docs"));
        check("OPTIONS", "*", Ok("server"));
    }

    #[test]
    fn every_workflow_has_an_endpoint() {
        for workflow in crate::workflows::ALL {
            let path = format!("/test/{}", workflow.name);
            match find(&Method::POST, &path) {
                Ok(Route::Audit(name)) => assert_eq!(name, workflow.name),
                Ok(Route::Steps(name, steps)) => {
                    assert_eq!(name, workflow.name);
                    assert_eq!(steps.test_name, format!("test_{}", workflow.name));
                }
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_slash_too_many_is_redirected() {
        check("GET", "/health/", Ok("/health"));
        check("GET", "/docs/", Ok("/docs"));
        check("GET", "/report/", Ok("/report"));
        check("POST", "/test/deletion/", Ok("/test/deletion"));
        check("GET", "/test/deletion/", Err(POST));
    }

    #[test]
    fn other_methods_are_refused_with_the_ones_there_are() {
        check("POST", "/health", Err(GET));
        check("OPTIONS", "/health", Err(GET));
        check("DELETE", "/test/status", Err(GET));
        check("get", "/test/status", Err(GET));
        check("POST", "/docs", Err(GET));
        check("GET", "/test/deletion", Err(POST));
        check("HEAD", "/test/overwrite", Err(POST));
        check("BREW", "/test/overwrite", Err(POST));
    }

    #[test]
    fn other_paths_are_not_there() {
        for path in ["/test", "/test/", "/test/crash", "/health//", "//", "//health", "/Health", ""]
        {
            check("GET", path, Err(ApiError::NoSuchRoute));
            check("POST", path, Err(ApiError::NoSuchRoute));
        }
    }
}
