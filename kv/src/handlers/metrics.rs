//! `GET /metrics`

use common::http::Reply;
use common::metrics::{Kind, Metrics};

use crate::store::Store;

/// What the service and its store count, as text for Prometheus.
pub fn get(store: &impl Store, metrics: &Metrics, reply: Reply) {
    let mut text = metrics.text(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let stats = store.stats();
    text.family("keys", Kind::Gauge, "Keys that have a value.");
    text.sample(&[], stats.keys);
    text.family("store_bytes", Kind::Gauge, "Bytes of memory that the store needs.");
    text.sample(&[], stats.bytes);
    text.family("waiters", Kind::Gauge, "Clients that wait for a key to change.");
    text.sample(&[], stats.waiters);
    text.family("keys_expired_total", Kind::Counter, "Keys that have expired and been removed.");
    text.sample(&[], stats.expired);
    text.family("writes_total", Kind::Counter, "Steps that have changed something.");
    text.sample(&[], stats.writes);
    reply.send(text.into_response());
}
