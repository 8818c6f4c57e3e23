//! The jobs that wait for the commit thread, and the connections that it reads some from itself.

use std::sync::OnceLock;
use std::task::Waker;
use std::time::Duration;

use common::http::Lane;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::commit::Job;

/// Where jobs are handed in.
pub(super) struct Queue {
    /// A connection has one request at a time, so their limit is this queue's too.
    jobs: Sender<Queued>,
    /// Wakes the thread while it waits for its own connections.
    waker: OnceLock<Waker>,
}

enum Queued {
    Job(Job),
    Lane(Box<dyn Lane>),
}

/// Where the commit thread takes them.
pub(super) struct Incoming {
    jobs: Receiver<Queued>,
    /// Its own connections; what it reads from them comes by the same queue.
    lane: Option<Box<dyn Lane>>,
}

impl Queue {
    pub(super) fn new() -> (Self, Incoming) {
        let (jobs, waiting) = unbounded();
        (Queue { jobs, waker: OnceLock::new() }, Incoming { jobs: waiting, lane: None })
    }

    /// Hands a job to the commit thread. If that has ended, the job is dropped, and with it the
    /// reply, which says so.
    pub(super) fn send(&self, job: Job) {
        self.queue(Queued::Job(job));
    }

    /// Gives connections to the commit thread; it keeps those that it was given first.
    pub(super) fn attach(&self, lane: Box<dyn Lane>) {
        if self.waker.set(lane.waker()).is_ok() {
            self.queue(Queued::Lane(lane));
        }
    }

    /// Whether the thread may have connections of its own.
    pub(super) fn has_lane(&self) -> bool {
        self.waker.get().is_some()
    }

    fn queue(&self, queued: Queued) {
        let _ = self.jobs.send(queued);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

impl Incoming {
    /// The next job, waited for so long at most.
    pub(super) fn next(&mut self, timeout: Duration) -> Option<Job> {
        if self.lane.is_none() {
            return match self.jobs.recv_timeout(timeout) {
                Ok(queued) => self.unpack(queued),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Job::Stop),
            };
        }
        // Its own connections have their turn however much others send.
        self.serve(if self.jobs.is_empty() { timeout } else { Duration::ZERO });
        self.queued()
    }

    /// The next job, if there is one.
    pub(super) fn next_now(&mut self) -> Option<Job> {
        self.queued().or_else(|| {
            self.serve(Duration::ZERO);
            self.queued()
        })
    }

    /// Whether the thread is to have connections of its own.
    pub(super) fn set_open(&mut self, open: bool) {
        if let Some(lane) = &mut self.lane {
            lane.set_open(open);
        }
    }

    /// Jobs that wait in the queue.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    fn queued(&mut self) -> Option<Job> {
        let queued = self.jobs.try_recv().ok()?;
        self.unpack(queued)
    }

    fn unpack(&mut self, queued: Queued) -> Option<Job> {
        match queued {
            Queued::Job(job) => Some(job),
            Queued::Lane(lane) => {
                self.lane = Some(lane);
                None
            }
        }
    }

    fn serve(&mut self, timeout: Duration) {
        if let Some(lane) = &mut self.lane
            && let Err(error) = lane.serve(timeout)
        {
            log::error!("the workers serve all clients again: {error}");
            self.lane = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use crossbeam_channel::bounded;

    use super::*;

    /// A lane of one connection, whose requests are jobs already.
    struct Fake {
        requests: Receiver<Job>,
        queue: Arc<Queue>,
        woken: Receiver<()>,
        waker: Waker,
        is_open: Arc<AtomicBool>,
    }

    struct Wakes(Sender<()>);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            // Full means that it is to wake up already.
            let _ = self.0.try_send(());
        }
    }

    impl Lane for Fake {
        fn serve(&mut self, timeout: Duration) -> io::Result<()> {
            if let Ok(job) = self.requests.try_recv() {
                self.queue.send(job);
            } else if !timeout.is_zero() {
                self.woken.recv_timeout(timeout).map_err(io::Error::other)?;
            }
            Ok(())
        }

        fn set_open(&mut self, open: bool) {
            self.is_open.store(open, Ordering::Relaxed);
        }

        fn waker(&self) -> Waker {
            self.waker.clone()
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    fn sweep(entries_max: usize) -> Job {
        Job::Sweep { from_ms: 0, entries_max, done: unbounded().0 }
    }

    fn number(job: Option<Job>) -> Option<usize> {
        match job? {
            Job::Sweep { entries_max, .. } => Some(entries_max),
            _ => None,
        }
    }

    /// The queue with its lane, and where that one's requests come from.
    fn with_lane() -> (Arc<Queue>, Incoming, Sender<Job>, Arc<AtomicBool>) {
        let (queue, mut incoming) = Queue::new();
        let queue = Arc::new(queue);
        let (client, requests) = unbounded();
        let (wakes, woken) = bounded(1);
        let is_open = Arc::new(AtomicBool::new(true));
        queue.attach(Box::new(Fake {
            requests,
            queue: Arc::clone(&queue),
            woken,
            waker: Waker::from(Arc::new(Wakes(wakes))),
            is_open: Arc::clone(&is_open),
        }));
        assert!(incoming.next(LONG).is_none(), "the lane is no job");
        (queue, incoming, client, is_open)
    }

    #[test]
    fn jobs_come_from_the_queue_and_from_the_lane() {
        let (queue, mut incoming, client, is_open) = with_lane();
        client.send(sweep(1)).unwrap();
        assert_eq!(number(incoming.next(LONG)), Some(1));
        assert_eq!(number(incoming.next_now()), None);

        // However much others send, the lane has its turn.
        client.send(sweep(2)).unwrap();
        for other in 100..110 {
            queue.send(sweep(other));
        }
        let came: Vec<_> = (0..11).map(|_| number(incoming.next(LONG))).collect();
        let expected = (100..110).chain([2]).map(Some);
        assert!(came.iter().copied().eq(expected), "{came:?}");

        incoming.set_open(false);
        assert!(!is_open.load(Ordering::Relaxed));
    }

    #[test]
    fn who_waits_for_the_lane_is_woken_for_a_job() {
        let (queue, mut incoming, _client, _) = with_lane();
        for round in 0..1_000 {
            thread::scope(|scope| {
                scope.spawn(|| queue.send(sweep(round)));
                // The wake-up of the round before may be left.
                let came = (0..3).find_map(|_| number(incoming.next(LONG)));
                assert_eq!(came, Some(round));
            });
        }
    }

    #[test]
    fn without_its_lane_it_goes_on() {
        let (queue, mut incoming, client, _) = with_lane();
        drop(client);
        // A wake-up that is left, and then an error.
        for _ in 0..2 {
            assert_eq!(number(incoming.next(Duration::from_millis(1))), None);
        }
        assert!(incoming.lane.is_none(), "the lane has failed");
        queue.send(sweep(1));
        assert_eq!(number(incoming.next(LONG)), Some(1));
    }
}
