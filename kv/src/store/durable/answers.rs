//! The answers of a group, given when it is known whether the disk keeps it.
//!
//! To answer is to write to a socket, which is half of the work of a group. Where more jobs wait,
//! another thread does it, and the commit thread goes on to the next group and its sync.

use std::io;
use std::num::NonZero;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{SendError, Sender, unbounded};

use crate::store::{Done, Op, Refused, Version};

/// Answers that the commit thread gives by itself sooner than it has another thread woken.
const INLINE_MAX: usize = 16;

pub(super) type StepAnswer = Box<dyn FnOnce(&Op<'_>, Result<(Done, Version), Refused>) + Send>;

/// An answer that waits until it is known whether the group is kept.
pub(super) enum Pending {
    Step { op: Op<'static>, outcome: Result<(Done, Version), Refused>, done: StepAnswer },
    Other(Box<dyn FnOnce(Result<(), Refused>) + Send>),
}

/// Those of one group, and how it came out.
struct Settled {
    answers: Vec<Pending>,
    outcome: Result<(), Refused>,
}

/// Whoever answers. Dropping it waits until all is answered.
pub(super) struct Answerer {
    other: Option<(Sender<Settled>, JoinHandle<()>)>,
}

impl Answerer {
    /// Starts the other thread, where there is a core for it.
    pub(super) fn start() -> io::Result<Self> {
        if thread::available_parallelism().is_ok_and(|cores| cores == NonZero::<usize>::MIN) {
            return Ok(Answerer { other: None });
        }
        // A connection has one request at a time, so their limit is this queue's too.
        let (settled, waiting) = unbounded::<Settled>();
        let thread = thread::Builder::new().name("answers".to_owned());
        let thread = thread.spawn(move || waiting.into_iter().for_each(Settled::answer))?;
        Ok(Answerer { other: Some((settled, thread)) })
    }

    /// Answers a group, at once if no others wait for theirs; says whether all has been answered.
    pub(super) fn answer(
        &self,
        answers: Vec<Pending>,
        outcome: Result<(), Refused>,
        others_wait: bool,
    ) -> bool {
        let mut settled = Settled { answers, outcome };
        if let Some((other, _)) = &self.other
            && others_wait
            && settled.answers.len() > INLINE_MAX
        {
            match other.send(settled) {
                Ok(()) => return false,
                // It has panicked.
                Err(SendError(unsent)) => settled = unsent,
            }
        }
        settled.answer();
        true
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        if let Some((settled, thread)) = self.other.take() {
            drop(settled);
            if thread.join().is_err() {
                log::error!("the thread that answers for the store has panicked");
            }
        }
    }
}

impl Settled {
    fn answer(self) {
        for answer in self.answers {
            let kept = self.outcome.clone();
            match answer {
                Pending::Step { op, outcome, done } => done(&op, kept.and(outcome)),
                Pending::Other(done) => done(kept),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Small groups and large ones, with others waiting and without: nobody goes without an
    /// answer, and each gets that of its group.
    #[test]
    fn all_are_answered_before_it_ends() {
        let (kept, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let answerer = Answerer::start().unwrap();
        for round in 0..1_000 {
            let answers = (0..round % 40).map(|_| {
                let (kept, lost) = (Arc::clone(&kept), Arc::clone(&lost));
                Pending::Other(Box::new(move |outcome| {
                    let sum = if outcome.is_ok() { kept } else { lost };
                    sum.fetch_add(1, Ordering::Relaxed);
                }))
            });
            let outcome = if round % 2 == 0 { Ok(()) } else { Err(Refused::DiskFull) };
            answerer.answer(answers.collect(), outcome, round % 3 > 0);
        }
        drop(answerer);
        assert_eq!(kept.load(Ordering::Relaxed), 25 * (0..40).step_by(2).sum::<usize>());
        assert_eq!(lost.load(Ordering::Relaxed), 25 * (1..40).step_by(2).sum::<usize>());
    }
}
