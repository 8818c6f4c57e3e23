//! What the durable store counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Statistics;
use super::group::Group;
use crate::store::{DiskStats, Stats};

#[derive(Default)]
pub(super) struct Counters {
    steps: AtomicU64,
    expired: AtomicU64,
    commits: AtomicU64,
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    statistics: Mutex<Statistics>,
}

impl Counters {
    /// A group was written.
    pub(super) fn groups(&self, group: &Group<'_>) {
        self.steps.fetch_add(group.steps, Ordering::Relaxed);
        self.expired.fetch_add(group.expired, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// The disk was made to keep what was written, in so long.
    pub(super) fn synced(&self, took: Duration) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sync_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What the background work has come to.
    pub(super) fn note(&self, statistics: Statistics) {
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner) = statistics;
    }

    /// The sums; keys and waiters are not counted here.
    pub(super) fn stats(&self) -> Stats {
        let statistics = *self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        Stats {
            expired: self.expired.load(Ordering::Relaxed),
            writes: self.steps.load(Ordering::Relaxed),
            disk: Some(DiskStats {
                commits: self.commits.load(Ordering::Relaxed),
                syncs: self.syncs.load(Ordering::Relaxed),
                sync_time: Duration::from_micros(self.sync_micros.load(Ordering::Relaxed)),
                statistics,
            }),
            ..Stats::default()
        }
    }
}
