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
const SEED: u64 = 1;

fn main() {
    println!("| histories | checker | porcupine-rs 0.3 | times faster |");
    println!("|---|---:|---:|---:|");
    if let Some(folder) = env::args().nth(1) {
        logs(Path::new(&folder));
    }
    let plain = Plan { operations: 1_000_000, clients: 32, keys: 1, is_plain: true, unknown_per_mille: 0 };
    made("1,000,000 puts and gets of 32 clients, one key, values all different", &plain, false);
    let keys = Plan { keys: 1_000, ..plain };
    made("the same on 1,000 keys", &keys, false);
    for keys in [10, 1] {
        let plan = Plan { operations: 100_000, clients: 32, keys, is_plain: false, unknown_per_mille: 10 };
        let name = format!(
            "100,000 puts, gets, deletes, conditional puts of 32 clients on {keys} keys, 1 % unknown"
        );
        made(&name, &plan, true);
        made(&format!("{name}, no versions"), &plan, false);
    }
}

fn made(name: &str, plan: &Plan, has_versions: bool) {
    let mut history = made::history(plan, &mut Rng::with_seed(SEED));
    if !has_versions {
        made::without_versions(&mut history);
    }
    let time = median(3, || {
        let limits = Limits { time: Duration::from_secs(600), memory_bytes_max: 8 << 30, ..Limits::default() };
        let verdict = check(&history, &limits);
        assert_eq!(verdict, Verdict::Linearizable, "{name}");
    });
    println!("| {name} | {} | | |", shown(time));
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
        our_times.push(timed(|| {
            for history in &histories {
                assert!(!matches!(check(history, &Limits::default()), Verdict::Unknown(_)));
            }
        }));
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

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn shown(time: Duration) -> String {
    if time < Duration::from_millis(10) {
        format!("{:.0} µs", time.as_secs_f64() * 1e6)
    } else {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    }
}
