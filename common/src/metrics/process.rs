//! What the kernel knows of this process, under the names that all Prometheus clients use.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::{Kind, Text};

/// When the process started.
#[derive(Debug)]
pub(super) struct Process {
    started: SystemTime,
}

/// What is taken from `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Process {
    /// For the start of a program. The kernel has the exact time, but to find it takes longer than
    /// a whole scrape may on a machine with many cores.
    pub(super) fn new() -> Self {
        Process { started: SystemTime::now() }
    }

    /// Adds what can be found out; without `/proc` that is little.
    #[allow(clippy::cast_precision_loss, reason = "ticks are counted to 2^53 exactly")]
    pub(super) fn write(&self, text: &mut Text) {
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "When the process started, in seconds since 1970.";
        text.process_family("start_time_seconds", Kind::Gauge, help);
        text.sample(&[], started.as_secs_f64());
        if let Some(max) = getrlimit(Resource::Nofile).current {
            text.process_family("max_fds", Kind::Gauge, "File descriptors that may be open.");
            text.sample(&[], max);
        }
        if let Some(count) = open_fds() {
            text.process_family("open_fds", Kind::Gauge, "File descriptors that are open.");
            text.sample(&[], count);
        }
        let stat = fs::read_to_string("/proc/self/stat");
        let Some(stat) = stat.ok().and_then(|line| Stat::parse(&line)) else { return };
        let cpu_seconds = stat.cpu_ticks as f64 / clock_ticks_per_second() as f64;
        let help = "Seconds of processor time, in the program and in the kernel for it.";
        text.process_family("cpu_seconds_total", Kind::Counter, help);
        text.sample(&[], cpu_seconds);
        text.process_family("threads", Kind::Gauge, "Threads.");
        text.sample(&[], stat.threads);
        text.process_family("virtual_memory_bytes", Kind::Gauge, "Size of the address space.");
        text.sample(&[], stat.virtual_bytes);
        text.process_family("resident_memory_bytes", Kind::Gauge, "Memory in use.");
        text.sample(&[], stat.resident_pages * page_size() as u64);
    }
}

/// Since Linux 6.2 the directory's size says how many there are; before, they have to be counted.
fn open_fds() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY).ok()?.len() {
        // Less the one that reads the directory.
        0 => Some((fs::read_dir(DIRECTORY).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

impl Stat {
    /// See proc(5). The second field is a name in parentheses that may hold anything.
    fn parse(line: &str) -> Option<Self> {
        let (_, line) = line.rsplit_once(')')?;
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // The field that proc(5) numbers so.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_understood() {
        let line =
            "7 (a) 1 (b) S 1 7 7 0 -1 4194304 100 0 0 0 11 22 0 0 20 0 5 0 999 4096000 321 18";
        let stat =
            Stat { cpu_ticks: 33, threads: 5, virtual_bytes: 4_096_000, resident_pages: 321 };
        assert_eq!(Stat::parse(line), Some(stat));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn this_process_is_found() {
        let mut text = Text::new("toy");
        Process::new().write(&mut text);
        let text = text.to_string();
        for name in ["start_time_seconds", "open_fds", "threads", "resident_memory_bytes"] {
            let sample =
                text.lines().find_map(|line| line.strip_prefix(&format!("process_{name} ")));
            let value: f64 = sample.unwrap().parse().unwrap();
            assert!(value >= 1.0, "{name} is {value}");
        }
    }
}
