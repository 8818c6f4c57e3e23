//! The jobs that wait for the commit thread, and the connections that it reads some from itself.

use std::sync::OnceLock;
use std::task::Waker;
use std::time::Duration;

use common::http::Lane;
use crossbeam_channel::{Receiver, Sender, unbounded};

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
            let queued = self.jobs.recv_timeout(timeout).ok()?;
            return self.unpack(queued);
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
