//! Method and path to the endpoint that is meant.

use common::docs::PATHS;
use common::http::Method;

use crate::key::{Key, KeyError};

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `GET /health`
    Health,
    /// `GET /ready`
    Ready,
    /// `GET /metrics`
    Metrics,
    /// `GET /keys/{key}`
    Get(Key<'a>),
    /// `POST /keys/{key}`
    Create(Key<'a>),
    /// `PUT /keys/{key}`
    Replace(Key<'a>),
    /// `DELETE /keys/{key}`
    Delete(Key<'a>),
    /// `GET /keys`
    List,
    /// `DELETE /keys`
    DeletePrefix,
    /// `POST /batch`
    Batch,
    /// `GET /export`
    Export,
    /// `POST /import`
    Import,
    /// `POST /incr/{key}`
    Increment(Key<'a>),
    /// `GET` of an API page
    Docs,
    /// A known path with a slash too many, without it
    Redirect(&'a str),
    /// `OPTIONS *`
    Server,
}

/// Why a request asks for nothing that is here.
#[derive(Debug, PartialEq, Eq)]
pub enum RouteError {
    /// There is nothing at this path.
    NotFound,
    /// The path is known, but not with this method; the methods that are.
    MethodNotAllowed(&'static str),
    /// The path has a key that is none.
    Key(KeyError),
}

const READ: &str = "GET, HEAD";
const KEY: &str = "DELETE, GET, HEAD, POST, PUT";
const LIST: &str = "DELETE, GET, HEAD";
const POST: &str = "POST";

/// What one path or another takes: the `Allow` of the server in general (RFC 9110, section 9.3.7).
pub const SERVER: &str = "DELETE, GET, HEAD, OPTIONS, POST, PUT";

/// Finds the route. HEAD goes where GET goes (RFC 9110, section 9.3.2).
pub fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, RouteError> {
    if let Some(key) = below("/keys/", path) {
        return key_route(method, key);
    }
    if let Some(key) = below("/incr/", path) {
        return match *method {
            Method::POST => Key::from_path(key).map(Route::Increment).map_err(RouteError::Key),
            _ => Err(RouteError::MethodNotAllowed(POST)),
        };
    }
    let route = match path {
        // The engine lets it pass with OPTIONS only.
        "*" => return Ok(Route::Server),
        "/keys" => return list_route(method),
        "/batch" if *method == Method::POST => return Ok(Route::Batch),
        "/import" if *method == Method::POST => return Ok(Route::Import),
        "/batch" | "/import" => return Err(RouteError::MethodNotAllowed(POST)),
        "/export" => Route::Export,
        "/health" => Route::Health,
        "/ready" => Route::Ready,
        "/metrics" => Route::Metrics,
        path if PATHS.contains(&path) => Route::Docs,
        _ => Route::Redirect(without_slash(path).ok_or(RouteError::NotFound)?),
    };
    match *method {
        Method::GET | Method::HEAD => Ok(route),
        _ => Err(RouteError::MethodNotAllowed(READ)),
    }
}

/// The known path that has one slash too many here; the original redirects there too.
fn without_slash(path: &str) -> Option<&str> {
    path.strip_suffix('/').filter(|path| *path == "/health" || *path != "/" && PATHS.contains(path))
}

/// What follows `start` in the path, which may be anything but nothing.
fn below<'a>(start: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(start).filter(|key| !key.is_empty())
}

fn list_route<'a>(method: &Method) -> Result<Route<'a>, RouteError> {
    match *method {
        Method::GET | Method::HEAD => Ok(Route::List),
        Method::DELETE => Ok(Route::DeletePrefix),
        _ => Err(RouteError::MethodNotAllowed(LIST)),
    }
}

fn key_route<'a>(method: &Method, key: &'a str) -> Result<Route<'a>, RouteError> {
    let route = match *method {
        Method::GET | Method::HEAD => Route::Get,
        Method::POST => Route::Create,
        Method::PUT => Route::Replace,
        Method::DELETE => Route::Delete,
        _ => return Err(RouteError::MethodNotAllowed(KEY)),
    };
    Key::from_path(key).map(route).map_err(RouteError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, expected: &Result<Route<'_>, RouteError>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(&route(&method, path), expected, "{method} {path}");
    }

    fn key(text: &str) -> Key<'_> {
        Key::from_path(text).unwrap()
    }

    #[test]
    fn each_method_and_path_has_its_route() {
        check("GET", "/health", &Ok(Route::Health));
        check("HEAD", "/health", &Ok(Route::Health));
        check("POST", "/health", &Err(RouteError::MethodNotAllowed(READ)));
        check("GET", "/health/", &Ok(Route::Redirect("/health")));
        check("GET", "/ready", &Ok(Route::Ready));
        check("HEAD", "/metrics", &Ok(Route::Metrics));
        check("DELETE", "/metrics", &Err(RouteError::MethodNotAllowed(READ)));
        check("GET", "/metrics/", &Err(RouteError::NotFound));
        check("GET", "/docs", &Ok(Route::Docs));
        check("GET", "/docs/", &Ok(Route::Redirect("/docs")));
        check("GET", "/", &Ok(Route::Docs));
        check("PUT", "/openapi.json", &Err(RouteError::MethodNotAllowed(READ)));
        check("GET", "/keys/a", &Ok(Route::Get(key("a"))));
        check("HEAD", "/keys/a", &Ok(Route::Get(key("a"))));
        check("POST", "/keys/a", &Ok(Route::Create(key("a"))));
        check("PUT", "/keys/a", &Ok(Route::Replace(key("a"))));
        check("DELETE", "/keys/a", &Ok(Route::Delete(key("a"))));
        check("PATCH", "/keys/a", &Err(RouteError::MethodNotAllowed(KEY)));
        check("BREW", "/keys/a", &Err(RouteError::MethodNotAllowed(KEY)));
        check("GET", "/keys/app/db/", &Ok(Route::Get(key("app/db/"))));
        check("GET", "/keys//", &Ok(Route::Get(key("/"))));
        check("GET", "/keys/%zz", &Err(RouteError::Key(KeyError::Escape)));
        check("POST", "/incr/a/b", &Ok(Route::Increment(key("a/b"))));
        check("POST", "/incr/%zz", &Err(RouteError::Key(KeyError::Escape)));
        check("GET", "/incr/a", &Err(RouteError::MethodNotAllowed(POST)));
        check("POST", "/incr/", &Err(RouteError::NotFound));
        check("POST", "/incr", &Err(RouteError::NotFound));
        check("GET", "/keys", &Ok(Route::List));
        check("HEAD", "/keys", &Ok(Route::List));
        check("DELETE", "/keys", &Ok(Route::DeletePrefix));
        check("POST", "/keys", &Err(RouteError::MethodNotAllowed(LIST)));
        check("POST", "/batch", &Ok(Route::Batch));
        check("GET", "/batch", &Err(RouteError::MethodNotAllowed(POST)));
        check("GET", "/export", &Ok(Route::Export));
        check("HEAD", "/export", &Ok(Route::Export));
        check("POST", "/export", &Err(RouteError::MethodNotAllowed(READ)));
        check("GET", "/export/", &Err(RouteError::NotFound));
        check("POST", "/import", &Ok(Route::Import));
        check("GET", "/import", &Err(RouteError::MethodNotAllowed(POST)));
        check("PUT", "/import", &Err(RouteError::MethodNotAllowed(POST)));
        check("POST", "/batch/", &Err(RouteError::NotFound));
        check("GET", "/keys/", &Err(RouteError::NotFound));
        check("GET", "//", &Err(RouteError::NotFound));
        check("GET", "/nope", &Err(RouteError::NotFound));
        check("GET", "/Health", &Err(RouteError::NotFound));
        check("OPTIONS", "*", &Ok(Route::Server));
    }
}
