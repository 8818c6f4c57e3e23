//! Times the history checker, on one thread: `history-bench FOLDER`, the folder with etcd's logs.
//!
//! The logs are checked by both checkers in turn, and medians are compared; what they say has to be
//! the same. Reading the files is no part of the time.

mod made;
mod porcupine;

use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use checker::history::format::{Format, Model};
use checker::history::{Limits, Operation, Verdict, check};
use fastrand::Rng;
use made::Plan;

const ROUNDS: usize = 21;
const REPEATS: usize = 100;
const SEED: u64 = 1;

fn main() {
    println!("| histories | checker | porcupine-rs 0.3 | times faster |");
    println!("|---|---:|---:|---:|");
    if let Some(folder) = env::args().nth(1) {
        logs(Path::new(&folder));
    }
    let plain = Plan {
        operations: 1_000_000,
        clients: 32,
        keys: 1,
        is_plain: true,
        has_versions: false,
        unknown_per_mille: 0,
    };
    made("1,000,000 puts and gets of 32 clients, one key, values all different", &plain);
    made("the same on 1,000 keys", &Plan { keys: 1_000, ..plain });
    for (keys, has_versions) in [(10, true), (10, false), (1, true), (1, false)] {
        let plan = Plan {
            operations: 100_000,
            clients: 32,
            keys,
            is_plain: false,
            has_versions,
            unknown_per_mille: 10,
        };
        let mut name = format!(
            "100,000 puts, gets, deletes, conditional puts of 32 clients, 1 % unknown, keys: {keys}"
        );
        if !has_versions {
            name += ", no versions recorded";
        }
        made(&name, &plan);
    }
}

fn made(name: &str, plan: &Plan) {
    let history = made::history(plan, &mut Rng::with_seed(SEED));
    let mut verdict = Verdict::Linearizable;
    let time = median(3, || verdict = check(&history, &Limits::default()));
    let shown = match verdict {
        Verdict::Linearizable => shown(time),
        other => other.to_string(),
    };
    println!("| {name} | {shown} | | |");
}

fn logs(folder: &Path) {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    let histories: Vec<Vec<Operation>> = files
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).expect("the file can be read");
            let read = Format::JepsenLog.read(&text, Model::CasRegister);
            read.expect("the file is a log").operations
        })
        .collect();
    let theirs: Vec<_> = histories.iter().map(|history| porcupine::history(history)).collect();
    for ((history, same), file) in histories.iter().zip(&theirs).zip(&files) {
        let ours = check(history, &Limits::default()) == Verdict::Linearizable;
        assert_eq!(ours, porcupine_rs::check_operations(same), "{}", file.display());
    }
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // The kernel counts in ticks, so that a few milliseconds are too few.
        let time = timed(|| {
            for history in histories.iter().cycle().take(histories.len() * REPEATS) {
                assert!(!matches!(check(history, &Limits::default()), Verdict::Unknown(_)));
            }
        });
        our_times.push(time / REPEATS as u32);
        their_times.push(timed(|| {
            for history in &theirs {
                std::hint::black_box(porcupine_rs::check_operations(history));
            }
        }));
    }
    our_times.sort();
    their_times.sort();
    let (ours, their) = (our_times[ROUNDS / 2], their_times[ROUNDS / 2]);
    let times = their.as_secs_f64() / ours.as_secs_f64();
    println!(
        "| {} logs of etcd, checked one after the other | {} | {} | {times:.1} |",
        files.len(),
        shown(ours),
        shown(their)
    );
}

fn median(rounds: usize, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..rounds).map(|_| timed(&mut work)).collect();
    times.sort();
    times[rounds / 2]
}

/// The processor time of `work`, so that others on the machine do not count; wall time where the
/// kernel does not say.
fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    let before = processor_time();
    work();
    match (before, processor_time()) {
        (Some(before), Some(after)) => after - before,
        (None, _) | (_, None) => start.elapsed(),
    }
}

fn processor_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn shown(time: Duration) -> String {
    if time < Duration::from_millis(10) {
        format!("{:.0} µs", time.as_secs_f64() * 1e6)
    } else {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    }
}
