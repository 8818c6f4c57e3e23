//! Workflows against services that are slow, flaky, silent, loud or gone. None of them has broken a
//! promise, so none may be found to have.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, JoinHandle};

use super::*;
use crate::fake::{Fake, Fault, Nobody};
use crate::selftest;

const SETTINGS: Settings =
    Settings { clients: 4, ops: 120, keys: 3, seed: 1, rate: Some(500), duration_ms: 300 };

fn check(url: &str, settings: Settings, names: &[&str]) -> Report {
    let chosen: Vec<_> = workflows_of(names);
    let target = Target { url: url.to_owned(), token: None };
    run(target, settings, &chosen, &Arc::default(), &Arc::default())
}

fn workflows_of(names: &[&str]) -> Vec<&'static Workflow> {
    let all = crate::workflows::ALL.into_iter();
    all.filter(|workflow| names.is_empty() || names.contains(&workflow.name)).collect()
}

/// Passes bytes on to a service, both ways, and does something at times.
struct Proxy {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

/// What happens to a chunk of bytes from the service.
type Disturb = fn(u64) -> Disturbance;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    None,
    /// The connection is closed in place of it.
    Closed,
    /// A part of it, and the connection is closed.
    Cut,
}

impl Proxy {
    fn new(to: &str, disturb: Disturb) -> Proxy {
        let to: SocketAddr = to.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stopping, chunks) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let stop = Arc::clone(&stopping);
        let acceptor = thread::spawn(move || {
            for near in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (near, far) = (near.unwrap(), TcpStream::connect(to).unwrap());
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let chunks = Arc::clone(&chunks);
                let (there, back) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                thread::spawn(move || pass(&there, &far, || Disturbance::None));
                thread::spawn(move || {
                    pass(&back, &near, || disturb(chunks.fetch_add(1, Ordering::Relaxed)));
                });
            }
        });
        Proxy { address, stopping, acceptor: Some(acceptor) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.acceptor.take().map(JoinHandle::join);
    }
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, disturb: impl Fn() -> Disturbance) {
    let mut bytes = [0; 16 << 10];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let kept = match disturb() {
            Disturbance::None => count,
            Disturbance::Closed => 0,
            Disturbance::Cut => count / 2,
        };
        if to.write_all(&bytes[..kept]).is_err() || kept < count {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_correct_service_passes_everything() {
    let (url, _running) = selftest::correct();
    let report = check(&url, SETTINGS, &[]);
    assert_eq!(report.verdict, Verdict::Passed, "{}", report.to_text(crate::report::Style::Plain));
}

#[test]
fn a_flaky_network_breaks_no_promise() {
    let (url, _running) = selftest::correct();
    for disturb in [
        (|chunk| if chunk % 23 == 22 { Disturbance::Closed } else { Disturbance::None }) as Disturb,
        |chunk| if chunk % 17 == 16 { Disturbance::Cut } else { Disturbance::None },
    ] {
        let proxy = Proxy::new(&url, disturb);
        let report = check(&proxy.url(), SETTINGS, &[]);
        let text = report.to_text(crate::report::Style::Plain);
        for workflow in &report.workflows {
            assert_ne!(workflow.verdict, Verdict::Failed, "{text}");
            assert_ne!(workflow.verdict, Verdict::Skipped, "{text}");
        }
        let unknown: u64 = report.workflows.iter().map(|w| w.operations.unknown).sum();
        assert!(unknown > 20, "{text}");
        // A history with unknown outcomes can be judged all the same.
        let history = report.workflows.iter().find(|w| w.name == "linearizability").unwrap();
        assert_eq!(history.verdict, Verdict::Passed, "{text}");
    }
}

#[test]
fn a_service_that_dies_breaks_no_promise() {
    let (url, _running) = selftest::correct();
    // From some answer on every connection is closed at once.
    let proxy =
        Proxy::new(&url, |chunk| if chunk > 300 { Disturbance::Closed } else { Disturbance::None });
    let report = check(&proxy.url(), SETTINGS, &["deletion", "counter", "linearizability", "load"]);
    for workflow in &report.workflows {
        let is_undecided = matches!(workflow.verdict, Verdict::Unknown | Verdict::Passed);
        assert!(is_undecided, "{}", report.to_text(crate::report::Style::Plain));
    }
    assert_ne!(report.verdict, Verdict::Passed);
}

#[test]
fn a_service_that_is_not_there_is_unreachable() {
    let report = check(&Nobody::new().url(), SETTINGS, &[]);
    assert_eq!(report.verdict, Verdict::Unreachable);
    assert_eq!(report.verdict.exit_code(), 3);
}

#[test]
fn what_is_no_kv_does_not_pass() {
    for (fault, verdicts) in [
        (Fault::Answers(200, "hello"), &[Verdict::Failed][..]),
        (Fault::Answers(500, "broken"), &[Verdict::Failed, Verdict::Unknown]),
        (Fault::Writes(b"SSH-2.0-x\r\n"), &[Verdict::Unreachable]),
        (Fault::Floods(b"HTTP/1.1 200 OK\r\n\r\n", b"a"), &[Verdict::Unreachable]),
        (Fault::Answers(200, "\u{1b}[2J{\"value\":\u{1b}"), &[Verdict::Failed]),
    ] {
        let fake = Fake::always(fault);
        let report = check(&fake.url(), SETTINGS, &["deletion", "types", "linearizability"]);
        let text = report.to_text(crate::report::Style::Plain);
        assert!(verdicts.contains(&report.verdict), "{fault:?}: {text}");
        assert!(!text.contains('\u{1b}') && text.len() < 200_000, "{fault:?}");
    }
}

#[test]
fn a_run_that_is_cancelled_ends_at_once() {
    let fake = Fake::always(Fault::IsSilent);
    let cancel = Arc::<Cancel>::default();
    let (started, cancelled) = (Instant::now(), Arc::clone(&cancel));
    let running = thread::spawn(move || {
        let target = Target { url: fake.url(), token: None };
        run(target, SETTINGS, &workflows_of(&[]), &cancelled, &Arc::default())
    });
    cancel.cancel();
    let report = running.join().unwrap();
    assert_ne!(report.verdict, Verdict::Passed);
    assert!(started.elapsed() < session::CALL_TIMEOUT, "{:?}", started.elapsed());
}

#[test]
fn a_stall_shows_in_the_percentiles() {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    static STALL: Mutex<()> = Mutex::new(());
    let (url, _running) = selftest::correct();
    // After a second all answers wait for the end of the next one.
    let proxy = Proxy::new(&url, |_| {
        let since = STARTED.get_or_init(Instant::now).elapsed();
        let second = Duration::from_secs(1);
        if since > second && since < 2 * second {
            let _one_after_the_other = STALL.lock();
            thread::sleep((2 * second).saturating_sub(STARTED.get().unwrap().elapsed()));
        }
        Disturbance::None
    });
    let settings = Settings { duration_ms: 3_000, rate: Some(200), ..SETTINGS };
    let report = check(&proxy.url(), settings, &["load"]);
    let text = report.to_text(crate::report::Style::Plain);
    assert_eq!(report.verdict, Verdict::Passed, "{text}");
    let load = report.workflows[0].load.clone().unwrap();
    let latency = load.latency.unwrap();
    // A third of all calls was due in the stall, and the first of them waited for all of it.
    assert!(latency.p99_us > 700_000, "{text}");
    assert!(latency.p90_us > 200_000, "{text}");
    let slow = load.intervals.iter().filter(|interval| interval.p50_us > 200_000).count();
    assert!(slow >= 4, "{:?}", load.intervals);
    assert!(report.to_json().contains("\"schema\": \"checker-report/1\""));
}

#[test]
fn the_same_seed_makes_the_same_operations() {
    let sequence = |seed| {
        let fake = Fake::healthy();
        let settings = Settings { clients: 1, seed, ops: 60, ..SETTINGS };
        check(&fake.url(), settings, &["linearizability"]);
        let prefix_free = |line: String| {
            let (method, path) = line.split_once(' ').unwrap();
            let suffix = path.rsplit('-').next().unwrap();
            format!("{method} {suffix}")
        };
        // Keys that are there at the end are removed, and which those are is up to the interleaving.
        let is_told =
            |line: &String| line.contains("linearizability") && !line.starts_with("DELETE");
        let seen = fake.seen().into_iter().filter(is_told);
        // Two clients, whose calls interleave as the machine has it.
        let mut calls: Vec<_> = seen.map(prefix_free).collect();
        calls.sort();
        calls
    };
    assert_eq!(sequence(5), sequence(5));
    assert_ne!(sequence(5), sequence(6));
}
