//! Threads for work that blocks, as few as there is work for.
//!
//! A thread starts when work comes and ends when none waits, so an idle program holds none.
//!
//! Invariant: while a job waits, as many threads run as may. Both sides change `running` and look
//! at the queue under one lock, so no job is left behind by the last thread.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError};

/// The stack of a thread: JSON nested as deep as the parser allows fits in twice over.
const STACK_BYTES: usize = 1024 * 1024;

/// A bounded pool that does the same work on each job.
pub struct Runner<J> {
    shared: Arc<Shared<J>>,
    waiting: Sender<J>,
    threads_max: usize,
}

struct Shared<J> {
    work: fn(J),
    waiting: Receiver<J>,
    running: Mutex<usize>,
}

impl<J: Send + 'static> Runner<J> {
    /// At most `threads_max` jobs run at once and `waiting_max` wait. Starts no thread yet.
    pub fn new(threads_max: usize, waiting_max: usize, work: fn(J)) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(waiting_max);
        let shared = Shared { work, waiting: receiver, running: Mutex::new(0) };
        Runner { shared: Arc::new(shared), waiting: sender, threads_max }
    }

    /// Takes the job and returns at once.
    ///
    /// # Errors
    ///
    /// Hands the job back when there is no room for it.
    pub fn submit(&self, job: J) -> Result<(), J> {
        let mut running = self.shared.running();
        self.waiting.try_send(job).map_err(TrySendError::into_inner)?;
        if *running < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let started = thread::Builder::new()
                .name("run".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || shared.run());
            match started {
                Ok(_) => *running += 1,
                // Another thread will come to the job.
                Err(error) if *running > 0 => log::warn!("cannot start a thread: {error}"),
                Err(error) => {
                    log::error!("cannot start a thread: {error}");
                    return self.shared.waiting.try_recv().map_or(Ok(()), Err);
                }
            }
        }
        Ok(())
    }
}

impl<J> Shared<J> {
    fn run(&self) {
        while let Some(job) = self.next() {
            // The job's own drops tell whoever waits for it; the pool keeps its thread.
            if panic::catch_unwind(AssertUnwindSafe(|| (self.work)(job))).is_err() {
                log::error!("a run has panicked");
            }
        }
    }

    /// The next job, or none and this thread no longer counts.
    fn next(&self) -> Option<J> {
        let mut running = self.running();
        let job = self.waiting.try_recv().ok();
        if job.is_none() {
            *running -= 1;
        }
        job
    }

    fn running(&self) -> MutexGuard<'_, usize> {
        // A number is never half changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::client::{Client, REQUEST_TIMEOUT};
    use crate::fake::{Fake, Fault};
    use crate::steps::{Failure, Report, deletion::DELETION};

    const DEADLINE: Duration = Duration::from_secs(20);

    /// Says that it runs, waits to be let go, and panics if it is told to.
    struct Job {
        begun: Sender<()>,
        go: Receiver<()>,
        panics: bool,
        _ended: Sender<()>,
    }

    /// A runner for tests, and both ends of what its jobs wait for.
    struct Bench {
        runner: Runner<Job>,
        begun: (Sender<()>, Receiver<()>),
        go: (Sender<()>, Receiver<()>),
    }

    fn work(Job { begun, go, panics, _ended }: Job) {
        begun.send(()).unwrap();
        go.recv_timeout(DEADLINE).unwrap();
        assert!(!panics, "on purpose");
    }

    impl Bench {
        fn new(threads_max: usize, waiting_max: usize) -> Self {
            Bench {
                runner: Runner::new(threads_max, waiting_max, work),
                begun: crossbeam_channel::unbounded(),
                go: crossbeam_channel::unbounded(),
            }
        }

        /// Submits a job; the receiver is disconnected when the job is over. None if refused.
        fn submit(&self, panics: bool) -> Option<Receiver<()>> {
            let (sender, ended) = crossbeam_channel::bounded(0);
            let (begun, go) = (self.begun.0.clone(), self.go.1.clone());
            self.runner.submit(Job { begun, go, panics, _ended: sender }).is_ok().then_some(ended)
        }

        #[track_caller]
        fn wait_until_begun(&self) {
            self.begun.1.recv_timeout(DEADLINE).unwrap();
        }

        #[track_caller]
        fn let_go(&self, job: &Receiver<()>) {
            self.go.0.send(()).unwrap();
            assert!(job.recv_timeout(DEADLINE).unwrap_err().is_disconnected());
        }

        #[track_caller]
        fn wait_until_no_thread_runs(&self) {
            let started = Instant::now();
            while *self.runner.shared.running() > 0 {
                assert!(started.elapsed() < DEADLINE, "a thread stays");
                thread::yield_now();
            }
        }
    }

    #[test]
    fn what_has_no_room_is_handed_back() {
        let bench = Bench::new(2, 1);
        let first = bench.submit(false).unwrap();
        bench.wait_until_begun();
        let second = bench.submit(false).unwrap();
        bench.wait_until_begun();
        let waiting = bench.submit(false).unwrap();
        assert!(bench.submit(false).is_none());
        assert!(bench.begun.1.try_recv().is_err(), "two run, no more");
        for _ in 0..3 {
            bench.go.0.send(()).unwrap();
        }
        for job in [first, second, waiting] {
            assert!(job.recv_timeout(DEADLINE).unwrap_err().is_disconnected());
        }
    }

    #[test]
    fn threads_end_with_the_work_and_start_again() {
        let bench = Bench::new(4, 4);
        assert_eq!(*bench.runner.shared.running(), 0);
        for _ in 0..3 {
            let job = bench.submit(false).unwrap();
            bench.wait_until_begun();
            assert_eq!(*bench.runner.shared.running(), 1);
            bench.let_go(&job);
            bench.wait_until_no_thread_runs();
        }
    }

    #[test]
    fn a_panic_ends_its_job_alone() {
        let bench = Bench::new(1, 4);
        for panics in [true, false, true, false] {
            let job = bench.submit(panics).unwrap();
            bench.let_go(&job);
        }
        bench.wait_until_no_thread_runs();
    }

    #[test]
    fn jobs_that_are_taken_end_without_the_runner() {
        let bench = Bench::new(1, 4);
        let jobs = [(); 3].map(|()| bench.submit(false).unwrap());
        drop(bench.runner);
        for job in jobs {
            bench.go.0.send(()).unwrap();
            assert!(job.recv_timeout(DEADLINE).unwrap_err().is_disconnected());
        }
    }

    #[test]
    fn the_deepest_answer_fits_on_the_stack() {
        let nested = "{\"a\":".repeat(126) + "1" + &"}".repeat(126);
        let body = format!("{{\"value\":{nested}}}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
        serde_json::from_str::<serde_json::Value>(&format!("[{body}]")).unwrap_err();
        let fake = Fake::with_fault(1, Fault::Answers(200, body.leak()));
        let runner = Runner::new(1, 1, |(url, report): (String, Sender<Report>)| {
            DELETION.run(&Client::new(&url, REQUEST_TIMEOUT), |came_of_it| {
                report.send(came_of_it).unwrap();
            });
        });
        let (sender, report) = crossbeam_channel::bounded(1);
        runner.submit((fake.url(), sender)).unwrap();
        let failure = Failure { step: "retrieve", error: "Value mismatch".to_owned() };
        assert_eq!(report.recv_timeout(DEADLINE).unwrap().verdict, Err(failure));
    }
}
