//! Leases that have etcd remove what has expired.
//!
//! A value's deadline is kept with it and is what counts; a lease only cleans up, some time later.
//! So one lease serves all values that expire in the same stretch of time.
//!
//! Invariant: a lease ends after the deadline of every value that it is given to. etcd measures its
//! time from the grant on, and gives it more when a leader changes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::call::CallError;
use super::cluster::{Cluster, Failure, Resend, parse};
use super::wire::LeaseAnswer;
use crate::store::entry::NEVER;

/// The shortest stretch; values that expire later share longer ones.
const STRETCH_MS_MIN: u64 = 1 << 15;
/// A stretch is no longer than this part of the time left.
const STRETCH_PART: u64 = 8;
/// How much later than the stretch the lease ends: what a grant and a commit may take.
const MARGIN_MS: u64 = 10_000;
/// Values that share a lease: etcd removes them in one transaction.
const LEASE_KEYS_MAX: u32 = 1_000;
/// Leases that are known here; one that is forgotten ends all the same.
const LEASES_MAX: usize = 4_096;
/// What lives longer has no lease, for etcd takes no longer one: 285 years.
const LEASE_SECONDS_MAX: u64 = 9_000_000_000;

#[derive(Default)]
pub(super) struct Leases {
    /// By the end of the stretch, in milliseconds of Unix time.
    by_end: Mutex<BTreeMap<u64, Lease>>,
}

struct Lease {
    id: u64,
    keys_left: u32,
}

impl Leases {
    /// The lease for a value with this deadline, from the cluster if there is none yet; 0 for what
    /// needs none.
    pub(super) fn get(
        &self,
        cluster: &Cluster,
        deadline_ms: u64,
        now_ms: u64,
    ) -> Result<u64, Failure> {
        if deadline_ms == NEVER {
            return Ok(0);
        }
        let end_ms = end_of_stretch(deadline_ms, now_ms);
        let seconds = (end_ms + MARGIN_MS).saturating_sub(now_ms).div_ceil(1_000);
        if seconds > LEASE_SECONDS_MAX {
            return Ok(0);
        }
        if let Some(id) = self.take(end_ms, now_ms) {
            return Ok(id);
        }
        // Without the lock: who needs one at the same time is given another.
        let body = format!(r#"{{"TTL":"{seconds}","ID":"0"}}"#);
        let id = cluster.ask("/v3/lease/grant", &body, Resend::Safe, |bytes| {
            let LeaseAnswer { id } = parse(bytes)?;
            if id.0 == 0 { Err(CallError::Lost("grants no lease".into())) } else { Ok(id.0) }
        })?;
        self.lock().insert(end_ms, Lease { id, keys_left: LEASE_KEYS_MAX - 1 });
        Ok(id)
    }

    /// Forgets all: one of them is not there any more.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn take(&self, end_ms: u64, now_ms: u64) -> Option<u64> {
        let mut by_end = self.lock();
        while by_end.first_key_value().is_some_and(|(&end_ms, _)| end_ms <= now_ms) {
            by_end.pop_first();
        }
        if by_end.len() > LEASES_MAX {
            by_end.pop_last();
        }
        let lease = by_end.get_mut(&end_ms)?;
        lease.keys_left = lease.keys_left.checked_sub(1)?;
        Some(lease.id)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Lease>> {
        self.by_end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the stretch that the deadline is in.
fn end_of_stretch(deadline_ms: u64, now_ms: u64) -> u64 {
    let part = deadline_ms.saturating_sub(now_ms) / STRETCH_PART;
    // The power of two below it, so that there are few lengths and their ends fall together.
    let stretch = part.checked_ilog2().map_or(0, |log| 1 << log).max(STRETCH_MS_MIN);
    (deadline_ms / stretch + 1).saturating_mul(stretch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_ends_soon_behind_the_deadline() {
        let now_ms = 1_700_000_000_000;
        for ttl_ms in [1, 1_000, 60_000, 3_600_000, 86_400_000, 1 << 45] {
            let deadline_ms = now_ms + ttl_ms;
            let end_ms = end_of_stretch(deadline_ms, now_ms);
            assert!(end_ms > deadline_ms, "{ttl_ms}");
            assert!(end_ms - deadline_ms <= STRETCH_MS_MIN.max(ttl_ms / STRETCH_PART), "{ttl_ms}");
        }
        let ends = (0..100).map(|ms| end_of_stretch(now_ms + 86_400_000 + ms, now_ms));
        let ends: std::collections::BTreeSet<u64> = ends.collect();
        assert!(ends.len() <= 2, "{ends:?}");
    }
}
