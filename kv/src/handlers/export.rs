//! `/export`

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::http::{Method, Reply, Request, Response, StatusCode};

use crate::body::lines;
use crate::error::ApiError;
use crate::query::Query;
use crate::store::Store;

/// Exports that may run at once; each has a thread, and keeps what has been overwritten since.
pub const EXPORTS_MAX: usize = 4;

/// A line's buffer that grew past this for a large value is given back.
const LINE_KEPT_BYTES_MAX: usize = 64 << 10;

/// The exports that are running.
#[derive(Debug, Clone, Default)]
pub struct Exports(Arc<AtomicUsize>);

/// One of them; dropped when it has ended.
struct Permit(Arc<AtomicUsize>);

/// `GET`: everything that is kept, a line a key, as it is at one moment.
pub fn get<S: Store + Clone>(store: &S, exports: &Exports, request: &Request<'_>, reply: Reply) {
    let prefix = match Query::new(request.query).prefix() {
        Ok(prefix) => prefix,
        Err(error) => return reply.send(ApiError::from(error).response()),
    };
    if request.method == Method::HEAD {
        return reply.stream(head()).finish();
    }
    let Some(permit) = exports.begin() else {
        return reply.send(ApiError::TooManyExports.response());
    };
    let store = store.clone();
    let thread = thread::Builder::new().name("export".to_owned());
    // Without a thread the reply is dropped, and answers 500.
    if let Err(error) = thread.spawn(move || {
        export(&store, &prefix, reply);
        drop(permit);
    }) {
        log::error!("cannot start a thread for an export: {error}");
    }
}

/// The client knows that it has everything when the body has come to its end.
fn export(store: &impl Store, prefix: &str, reply: Reply) {
    let entries = match store.export() {
        Ok(entries) => entries,
        Err(refused) => return reply.send(ApiError::Refused(refused).response()),
    };
    let mut body = reply.stream(head());
    let (prefix, mut line) = (prefix.as_bytes(), Vec::new());
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(refused) => return log::error!("an export breaks off: {refused}"),
        };
        if !entry.key().starts_with(prefix) {
            if entry.key() > prefix {
                break;
            }
            continue;
        }
        line.clear();
        lines::push(&mut line, &entry);
        if body.write(&line).is_err() {
            return log::debug!("the client of an export has gone");
        }
        if line.capacity() > LINE_KEPT_BYTES_MAX {
            line = Vec::new();
        }
    }
    body.finish();
}

fn head() -> Response {
    Response::with_body(StatusCode::OK, "application/x-ndjson", "")
}

impl Exports {
    fn begin(&self) -> Option<Permit> {
        let one_more = |running| (running < EXPORTS_MAX).then_some(running + 1);
        let begun = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        begun.is_ok().then(|| Permit(Arc::clone(&self.0)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
