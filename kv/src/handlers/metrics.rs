//! `GET /metrics`

use common::http::Reply;
use common::metrics::{Kind, Metrics, Text};

use crate::store::{DiskStats, Store};

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
    if let Some(disk) = stats.disk {
        disk_samples(&mut text, disk);
    }
    reply.send(text.into_response());
}

/// What only a store on a disk counts.
fn disk_samples(text: &mut Text, disk: DiskStats) {
    let DiskStats { commits, syncs, sync_time, statistics } = disk;
    text.family("commits_total", Kind::Counter, "Groups of steps that were written as one.");
    text.sample(&[], commits);
    text.family("syncs_total", Kind::Counter, "Syncs of what was written.");
    text.sample(&[], syncs);
    text.family("sync_seconds_total", Kind::Counter, "What those syncs took.");
    text.sample(&[], sync_time.as_secs_f64());
    text.family("disk_bytes", Kind::Gauge, "Bytes of files, with room that is set aside.");
    text.sample(&[], statistics.disk_bytes);
    text.family("journals", Kind::Gauge, "Journals that are not in tables yet.");
    text.sample(&[], statistics.journals);
    text.family("tables", Kind::Gauge, "Tables on the disk.");
    text.sample(&[], statistics.tables);
    text.family("compactions_total", Kind::Counter, "Merges of tables.");
    text.sample(&[], statistics.compactions);
}
