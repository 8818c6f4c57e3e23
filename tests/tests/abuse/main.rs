//! Clients that send too much, too little or nothing, that do not read or go away: each is ended or
//! kept within its limits, and others are served meanwhile.
//!
//! Deadlines are set short; no test measures more than that something came before a far deadline.

mod connections;
mod limits;
mod readers;
mod too_much;

use std::thread;
use std::time::Duration;

use tests::{Bystander, Server, eventually};

const HEALTHY: &str = r#"{"status":"healthy"}"#;
/// Between two bytes of a client that drips; less than any deadline here.
const DRIP: Duration = Duration::from_millis(100);
/// What abuse may add to kv's memory, in a build for debugging too.
const GROWTH_KIB_MAX: u64 = 32 << 10;

/// What the abuse of a server must leave as it was.
struct Watch {
    server: Server,
    bystander: Bystander,
    resident_kib: u64,
    threads: u64,
    descriptors: usize,
}

impl Watch {
    fn over(server: Server) -> Self {
        Watch::with(Bystander::of(&server), server)
    }

    fn with(bystander: Bystander, server: Server) -> Self {
        let process = server.process();
        Watch {
            resident_kib: process.resident_kib(),
            threads: process.threads(),
            // One of them is the bystander's own, and another one comes and goes.
            descriptors: process.descriptors() + 1,
            server,
            bystander,
        }
    }

    /// The abuse goes on: the bystander is served, no thread has been started, and memory has a
    /// limit.
    #[track_caller]
    fn holds(&self) {
        self.bystander.is_served();
        let process = self.server.process();
        assert_eq!(process.threads(), self.threads);
        let resident_kib = process.resident_kib();
        let limit_kib = self.resident_kib + GROWTH_KIB_MAX;
        assert!(resident_kib < limit_kib, "{resident_kib} KiB, {} before", self.resident_kib);
    }

    /// The abuse is over: nothing of it is kept.
    #[track_caller]
    fn finish(self) {
        self.holds();
        self.waits_for_descriptors(0);
        self.bystander.finish();
        let stopped = self.server.stop();
        assert_eq!(stopped.code, 0, "{:#?}", stopped.log);
    }

    /// Until the abusers have this many connections at most.
    #[track_caller]
    fn waits_for_descriptors(&self, abusers: usize) {
        eventually("end of the abusers' connections", || {
            thread::park_timeout(DRIP);
            (self.server.process().descriptors() <= self.descriptors + abusers).then_some(())
        });
    }
}
