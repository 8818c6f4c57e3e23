//! Under which routes requests are counted: templates, so that no key shows and their number is
//! small.

use crate::routes::{Route, RouteError};

/// The templates; the first is for what asks for nothing that is here.
pub const ROUTES: &[&str] = &[
    "unmatched",
    "/keys/{key}",
    "/keys",
    "/incr/{key}",
    "/batch",
    "/export",
    "/import",
    "/health",
    "/ready",
    "/metrics",
    "/docs",
    "*",
];

/// The place in [`ROUTES`].
pub fn place(routed: &Result<Route<'_>, RouteError>) -> usize {
    match routed {
        Err(RouteError::NotFound | RouteError::MethodNotAllowed(_)) | Ok(Route::Redirect(_)) => 0,
        Ok(Route::Get(_) | Route::Create(_) | Route::Replace(_) | Route::Delete(_))
        | Err(RouteError::Key(_)) => 1,
        Ok(Route::List | Route::DeletePrefix) => 2,
        Ok(Route::Increment(_)) => 3,
        Ok(Route::Batch) => 4,
        Ok(Route::Export) => 5,
        Ok(Route::Import) => 6,
        Ok(Route::Health) => 7,
        Ok(Route::Ready) => 8,
        Ok(Route::Metrics) => 9,
        Ok(Route::Docs) => 10,
        Ok(Route::Server) => 11,
    }
}
