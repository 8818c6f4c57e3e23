//! A well-behaved client that goes on asking while others misbehave.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Client, DEADLINE, Server, eventually, request};

/// What an answer may take at most while the server is abused; far above what it does take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Between two questions, so that the bystander does not become a load itself.
const PAUSE: Duration = Duration::from_millis(2);

/// Asks in a thread of its own, on a connection that it keeps and on fresh ones, and holds every
/// answer to what it must be.
#[derive(Debug)]
pub struct Bystander {
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Bystander {
    /// Begins, and returns when the first answers are there.
    #[track_caller]
    pub fn of(server: &Server) -> Self {
        let mut kept = server.connect();
        Self::asking(server, move |address, round| {
            store_and_read(&mut kept, round);
            fresh(address);
        })
    }

    /// One that is used to being closed to make room, and then asks again on a fresh connection.
    #[track_caller]
    pub fn patient(server: &Server) -> Self {
        Self::asking(server, |address, _| {
            eventually("answer that is not cut off", || is_answered(address).ok()?.then_some(()));
        })
    }

    #[track_caller]
    fn asking(server: &Server, mut ask: impl FnMut(SocketAddr, u64) + Send + 'static) -> Self {
        let (address, rounds) = (server.address, Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let (counted, stopped) = (Arc::clone(&rounds), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let round = counted.load(Ordering::Relaxed);
                let started = Instant::now();
                ask(address, round);
                slowest = slowest.max(started.elapsed());
                counted.fetch_add(1, Ordering::Release);
                thread::park_timeout(PAUSE);
            }
            slowest
        });
        let bystander = Bystander { rounds, stop, thread };
        bystander.is_served();
        bystander
    }

    /// Waits for answers to questions that are asked from now on.
    #[track_caller]
    pub fn is_served(&self) {
        let before = self.rounds.load(Ordering::Acquire);
        eventually("answer to the bystander", || {
            assert!(!self.thread.is_finished(), "the bystander got a wrong answer");
            (self.rounds.load(Ordering::Acquire) >= before + 2).then_some(())
        });
    }

    /// Ends; every answer was right, and none took long.
    #[track_caller]
    pub fn finish(self) {
        self.is_served();
        self.stop.store(true, Ordering::Relaxed);
        let slowest = self.thread.join().expect("the bystander got what it asked for");
        assert!(slowest < ANSWER_TIME_MAX, "an answer took {slowest:?}");
    }
}

fn store_and_read(client: &mut Client, round: u64) {
    let body = format!(r#"{{"key":"bystander","value":{round}}}"#);
    assert_eq!(client.request("PUT", "/keys/bystander", &[], Some(&body)).status, 200);
    let answer = client.request("GET", "/keys/bystander", &[], None);
    answer.assert_json(200, &format!(r#"{{"success":true,"key":"bystander","value":{round}}}"#));
}

fn fresh(address: SocketAddr) {
    let answer = Client::connect(address).request("GET", "/health", &[], None);
    answer.assert_json(200, r#"{"status":"healthy"}"#);
}

/// Whether a fresh connection lasted for a question and its answer.
fn is_answered(address: SocketAddr) -> io::Result<bool> {
    let mut stream = crate::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(request("GET", "/health", &[("Connection", "close")], None).as_bytes())?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    Ok(received.starts_with(b"HTTP/1.1 200 ") && received.ends_with(br#"{"status":"healthy"}"#))
}
