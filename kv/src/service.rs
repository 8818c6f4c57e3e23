//! The service: a request's route, and the handler for it.

use common::docs::{self, Page};
use common::http::{Reply, Request, Response, Service, StatusCode};

use crate::error::ApiError;
use crate::handlers::{batch, health, incr, keys, list};
use crate::openapi::OPENAPI;
use crate::routes::{Route, SERVER, route};
use crate::store::Store;

/// The API pages of kv.
const PAGE: Page = Page { title: "kv", openapi: OPENAPI };

/// kv over any store.
#[derive(Debug)]
pub struct Kv<S> {
    store: S,
}

impl<S: Store> Kv<S> {
    /// Serves what `store` keeps.
    pub fn new(store: S) -> Self {
        Kv { store }
    }
}

impl<S: Store> Service for Kv<S> {
    fn call(&self, request: &Request<'_>, reply: Reply) {
        match route(&request.method, request.path) {
            Ok(Route::Get(key)) => keys::get(&self.store, &key, request, reply),
            Ok(Route::Create(key)) => {
                keys::store(&self.store, &key, request, StatusCode::CREATED, reply);
            }
            Ok(Route::Replace(key)) => {
                keys::store(&self.store, &key, request, StatusCode::OK, reply);
            }
            Ok(Route::Delete(key)) => keys::delete(&self.store, &key, request, reply),
            Ok(Route::List) => list::get(&self.store, request, reply),
            Ok(Route::DeletePrefix) => list::delete(&self.store, request, reply),
            Ok(Route::Batch) => batch::post(&self.store, request, reply),
            Ok(Route::Increment(key)) => incr::post(&self.store, &key, request, reply),
            Ok(Route::Health) => health::get(reply),
            Ok(Route::Docs) => {
                let page = docs::respond(request, &PAGE);
                reply.send(page.unwrap_or_else(|| ApiError::NoSuchRoute.response()));
            }
            Ok(Route::Redirect(path)) => {
                let redirect = Response::new(StatusCode::TEMPORARY_REDIRECT);
                reply.send(redirect.header("Location", path.to_owned()));
            }
            Ok(Route::Server) => {
                reply.send(Response::new(StatusCode::NO_CONTENT).header("Allow", SERVER));
            }
            Err(error) => reply.send(ApiError::from(error).response()),
        }
    }

    fn drain(&self) {
        self.store.release_waiters();
    }
}
