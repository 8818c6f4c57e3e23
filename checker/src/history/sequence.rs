//! The calls and returns that are left, in the order of their times: a doubly linked list from which
//! a call is lifted with its return, and put back, in constant time (Lowe 2017).

use super::model::number_of;
use super::problem::Call;

#[derive(Debug)]
pub(super) struct Sequence {
    /// Entry 2i is the call of call i, 2i + 1 its return; the last one is the ring's head.
    next: Vec<u32>,
    previous: Vec<u32>,
}

impl Sequence {
    /// `calls` are in the order of their calls.
    pub(super) fn new(calls: &[Call]) -> Sequence {
        let head = number_of(calls.len() * 2);
        let mut returns: Vec<(u32, u32)> =
            (0..).zip(calls).map(|(at, call)| (call.returned, at * 2 + 1)).collect();
        #[expect(clippy::stable_sort_primitive, reason = "it makes use of runs")]
        returns.sort();
        let mut sequence = Sequence {
            next: vec![head; calls.len() * 2 + 1],
            previous: vec![head; calls.len() * 2 + 1],
        };
        let mut last = head;
        let mut push = |entry: u32| {
            sequence.next[last as usize] = entry;
            sequence.previous[entry as usize] = last;
            last = entry;
        };
        let mut returns = returns.into_iter().peekable();
        for (at, call) in (0..).zip(calls) {
            while let Some((_, entry)) = returns.next_if(|(time, _)| *time < call.called) {
                push(entry);
            }
            push(at * 2);
        }
        returns.for_each(|(_, entry)| push(entry));
        push(head);
        sequence
    }

    /// The calls before the first return that is left: each could be the next in the order.
    pub(super) fn candidates(&self) -> Candidates<'_> {
        Candidates { sequence: self, entry: self.head() }
    }

    /// The call whose return is the first one left; `None` when nothing is left.
    pub(super) fn first_return(&self) -> Option<u32> {
        let mut entry = self.next[self.head() as usize];
        while entry.is_multiple_of(2) && entry != self.head() {
            entry = self.next[entry as usize];
        }
        (entry != self.head()).then_some(entry / 2)
    }

    pub(super) fn lift(&mut self, call: u32) {
        for entry in [call * 2, call * 2 + 1] {
            let (before, after) = (self.previous[entry as usize], self.next[entry as usize]);
            self.next[before as usize] = after;
            self.previous[after as usize] = before;
        }
    }

    /// Undoes [`Sequence::lift`]; the last one lifted is the first one to be put back.
    pub(super) fn put_back(&mut self, call: u32) {
        for entry in [call * 2 + 1, call * 2] {
            let (before, after) = (self.previous[entry as usize], self.next[entry as usize]);
            self.next[before as usize] = entry;
            self.previous[after as usize] = entry;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        (self.next.capacity() + self.previous.capacity()) * size_of::<u32>()
    }

    /// The candidate after this one; `None` goes in for the first, and comes out after the last.
    pub(super) fn candidate_after(&self, call: Option<u32>) -> Option<u32> {
        let entry = self.next[call.map_or(self.head(), |call| call * 2) as usize];
        (entry.is_multiple_of(2) && entry != self.head()).then_some(entry / 2)
    }

    fn head(&self) -> u32 {
        number_of(self.next.len() - 1)
    }
}

pub(super) struct Candidates<'a> {
    sequence: &'a Sequence,
    entry: u32,
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let head = self.sequence.head();
        let entry = self.sequence.next[self.entry as usize];
        self.entry = entry;
        (entry.is_multiple_of(2) && entry != head).then_some(entry / 2)
    }
}
