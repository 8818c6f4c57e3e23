//! The service: a request's route, and the handler for it.

use std::sync::Arc;

use common::docs::{self, Page};
use common::http::{Lane, Reply, Request, Response, Service, StatusCode};
use common::metrics::Metrics;

use crate::access::Access;
use crate::error::ApiError;
use crate::handlers::export::{self, Exports};
use crate::handlers::{self, batch, health, import, incr, keys, list};
use crate::metrics::place;
use crate::openapi::OPENAPI;
use crate::routes::{Route, SERVER, route};
use crate::store::Store;

/// The API pages of kv.
const PAGE: Page = Page { title: "kv", openapi: OPENAPI };

/// kv over any store; clones of a store share what it keeps.
#[derive(Debug)]
pub struct Kv<S> {
    store: S,
    access: Access,
    metrics: Arc<Metrics>,
    exports: Exports,
}

impl<S: Store> Kv<S> {
    /// Serves what `store` keeps to those whom `access` lets in. `metrics` is what the engine counts
    /// in, with the routes of [`ROUTES`](crate::metrics::ROUTES).
    pub fn new(store: S, access: Access, metrics: Arc<Metrics>) -> Self {
        Kv { store, access, metrics, exports: Exports::default() }
    }
}

impl<S: Store + Clone> Service for Kv<S> {
    fn call(&self, request: &Request<'_>, mut reply: Reply) {
        let routed = route(&request.method, request.path);
        reply.count_as(place(&routed));
        let authorizations = request.headers.all("Authorization");
        if let Err(denied) = self.access.check(&request.method, request.path, authorizations) {
            return reply.send(ApiError::Denied(denied).response());
        }
        match routed {
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
            Ok(Route::Export) => export::get(&self.store, &self.exports, request, reply),
            Ok(Route::Import) => import::post(&self.store, request, reply),
            Ok(Route::Increment(key)) => incr::post(&self.store, &key, request, reply),
            Ok(Route::Health) => health::get(reply),
            Ok(Route::Ready) => health::ready(&self.store, reply),
            Ok(Route::Metrics) => handlers::metrics::get(&self.store, &self.metrics, reply),
            Ok(Route::Docs) => {
                let page = docs::respond(request, &PAGE);
                reply.send(page.unwrap_or_else(|| ApiError::NoSuchRoute.response()));
            }
            Ok(Route::Redirect(path)) => {
                reply.send(docs::redirect(path, request.query));
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

    fn attach(&self, lane: Box<dyn Lane>) {
        self.store.attach(lane);
    }
}
