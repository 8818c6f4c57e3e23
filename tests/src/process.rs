//! What a running program takes of the machine, and what this one may take.

use std::fs;
use std::str::FromStr;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// A running program, seen from outside.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pid: Pid,
}

impl Process {
    pub(crate) fn new(pid: Pid) -> Self {
        Process { pid }
    }

    /// Resident memory.
    #[track_caller]
    pub fn resident_kib(self) -> u64 {
        self.status("VmRSS:")
    }

    /// Its threads.
    #[track_caller]
    pub fn threads(self) -> u64 {
        self.status("Threads:")
    }

    /// How often those of its threads whose names begin so have gone to sleep.
    #[track_caller]
    pub fn sleeps(self, name: &str) -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid.as_raw_nonzero()));
        let statuses = threads.expect("it runs").map(|thread| {
            fs::read_to_string(thread.expect("it runs").path().join("status")).expect("it runs")
        });
        let named = statuses.filter(|status| status.starts_with(&format!("Name:\t{name}")));
        named.map(|status| field(&status, "voluntary_ctxt_switches:")).sum()
    }

    /// Its open descriptors.
    #[track_caller]
    pub fn descriptors(self) -> usize {
        let path = format!("/proc/{}/fd", self.pid.as_raw_nonzero());
        fs::read_dir(path).expect("it runs").count()
    }

    /// Lowers the number of its descriptors from now on.
    #[track_caller]
    pub fn limit_descriptors(self, limit: u64) {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        prlimit(Some(self.pid), Resource::Nofile, limit).expect("it is ours");
    }

    #[track_caller]
    /// Processor time used so far, in clock ticks of 10 ms.
    pub fn processor_ticks(self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero()));
        let stat = stat.expect("it runs");
        // The second field is a name in parentheses; user and system time are the 14th and 15th.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    fn status(self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        field(&fs::read_to_string(path).expect("it runs"), name)
    }
}

/// A number in the status of a process or a thread.
#[track_caller]
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.map(u64::from_str).expect("the kernel names it").expect("a number")
}

/// Lets this program open so many descriptors; false when the machine does not allow it.
pub fn raise_descriptors(wanted: u64) -> bool {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    enough(current)
        || enough(maximum)
            && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok()
}
