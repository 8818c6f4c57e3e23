//! The search for an order: Wing and Gong ("Testing and verifying concurrent objects", 1993) with
//! Lowe's memory of failures (2017), and rules that leave out orders without leaving out verdicts.
//!
//! - What sees the present state and changes nothing is linearized at once.
//! - Of candidates that do the same, the one that has to return first goes first.
//! - An unknown operation goes only right before one that could not go, or would do something else,
//!   without it; those that do the same are interchangeable, so only their number is remembered.
//! - A state is not left while somebody still has to see it and nothing can bring it back.
//! - First, unknown operations may be used any number of times: if there is no order then, there is
//!   none at all, and what has been learnt stays true.

use super::budget::{Budget, Share};
use super::counts::{Counts, Pruning};
use super::model::{Effect, State, Step, Values, number_of};
use super::nogoods::{Hashes, Kinds, Nogoods, Place, kind_bit};
use super::problem::{Call, OPEN, Problem, START};
use super::sequence::Sequence;
use super::unknown::{Link, LinksUp, NO_LINK, Pool, depends_on, in_chain, pools, possible};
use super::verdict::Reason;

/// What the search found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Order,
    /// The longest order found, as places among the key's operations.
    NoOrder(Vec<u32>),
}

struct Search<'a> {
    calls: Vec<Call>,
    steps: Vec<Step>,
    values: Values,
    pools: Vec<Pool>,
    sequence: Sequence,
    counts: Counts,
    nogoods: Nogoods,
    hashes: Hashes,
    share: Share<'a>,
    /// Unknown operations may be used more often than there are any.
    is_relaxed: bool,
    used: Vec<u32>,
    /// How many uses there are too many.
    overdrawn: usize,
    lifted: Place,
    trail: Vec<Move>,
    frames: Vec<Frame>,
    options: Vec<Choice>,
    links: Vec<Link>,
    longest: Vec<Move>,
    /// How much of the trail is still as it was when `longest` was noted.
    longest_common: usize,
    ticks: u32,
}

/// One more in the order.
#[derive(Debug, Clone, Copy)]
enum Move {
    Call(u32),
    /// One of a pool, and whether the pool had none left.
    Unknown(u32, bool),
}

/// A place on the way, and what has not been tried there.
struct Frame {
    place: Place,
    state: State,
    trail: usize,
    kinds: Kinds,
    options_from: usize,
    next: usize,
    links_from: usize,
    /// Where the longest chains of unknown operations begin.
    level_from: usize,
}

/// What could come next: a chain of unknown operations, and a call.
#[derive(Debug, Clone, Copy)]
struct Choice {
    call: u32,
    state: State,
    link: u32,
    returned: u32,
}

enum Entered {
    Solved,
    Dead(Kinds),
    Open,
}

/// After how many places the limits are looked at.
const TICKS: u32 = 128;

/// Searches an order for all required calls of `problem`, which has been classified.
pub(super) fn search(problem: Problem, pruning: Pruning, budget: &Budget) -> Result<Found, Reason> {
    let initial = problem.initial;
    // Texts that are made without end would be no help, and a longest order has to be one.
    let is_relaxed = pruning == Pruning::On && !problem.optional.is_empty() && !problem.is_dynamic;
    let mut search = Search::new(problem, pruning, budget);
    search.is_relaxed = is_relaxed;
    search.check_limits()?;
    if search.counts.is_hopeless(initial) {
        return Ok(Found::NoOrder(Vec::new()));
    }
    let mut is_solved = search.run(initial)?;
    if is_solved && search.overdrawn > 0 {
        search.start_again();
        is_solved = search.run(initial)?;
    }
    Ok(if is_solved { Found::Order } else { Found::NoOrder(search.longest()) })
}

impl<'a> Search<'a> {
    fn new(problem: Problem, pruning: Pruning, budget: &'a Budget) -> Search<'a> {
        let pools = pools(&problem.optional);
        let totals: Vec<u32> = pools.iter().map(|pool| number_of(pool.called.len())).collect();
        let effects: Vec<Effect> =
            pools.iter().map(|pool| problem.steps[pool.steps.start as usize].effect).collect();
        Search {
            counts: Counts::new(&problem, &effects, totals, pruning),
            sequence: Sequence::new(&problem.required),
            used: vec![0; pools.len()],
            pools,
            calls: problem.required,
            steps: problem.steps,
            values: problem.values,
            nogoods: Nogoods::new(),
            hashes: Hashes::new(),
            share: Share::new(budget),
            is_relaxed: false,
            overdrawn: 0,
            lifted: 0,
            trail: Vec::new(),
            frames: Vec::new(),
            options: Vec::new(),
            links: Vec::new(),
            longest: Vec::new(),
            longest_common: 0,
            ticks: 0,
        }
    }

    /// Depth first, from where the search stands. Whether there is an order.
    fn run(&mut self, initial: State) -> Result<bool, Reason> {
        let mut entered = self.enter(initial, 0)?;
        loop {
            match entered {
                Entered::Solved => return Ok(true),
                Entered::Open => {}
                Entered::Dead(kinds) => match self.frames.last_mut() {
                    Some(frame) => frame.kinds |= kinds,
                    None => return Ok(false),
                },
            }
            entered = match self.next_choice()? {
                Some(choice) => self.take(choice)?,
                None => self.leave(),
            };
        }
    }

    fn start_again(&mut self) {
        self.undo_to(0);
        self.frames.clear();
        self.options.clear();
        self.links.clear();
        self.is_relaxed = false;
    }

    /// Comes to `state` by a move that began when the trail was `trail` long.
    fn enter(&mut self, state: State, trail: usize) -> Result<Entered, Reason> {
        self.ticks += 1;
        if self.ticks.is_multiple_of(TICKS) {
            self.check_limits()?;
        }
        self.lift_what_only_sees(state);
        if self.counts.is_settled() {
            return Ok(Entered::Solved);
        }
        let place = self.lifted ^ self.hashes.state(state.value, state.version, state.filled);
        if let Some(kinds) = self.nogoods.find(place, &self.used) {
            self.undo_to(trail);
            return Ok(Entered::Dead(kinds));
        }
        let (options_from, links_from) = (self.options.len(), self.links.len());
        self.frames.push(Frame {
            place,
            state,
            trail,
            kinds: 0,
            options_from,
            next: options_from,
            links_from,
            level_from: links_from,
        });
        self.offer(state, None);
        self.sort_options(options_from);
        Ok(Entered::Open)
    }

    fn leave(&mut self) -> Entered {
        let Some(frame) = self.frames.pop() else {
            return Entered::Dead(0);
        };
        self.nogoods.insert(frame.place, frame.kinds, &self.used);
        self.options.truncate(frame.options_from);
        self.links.truncate(frame.links_from);
        self.undo_to(frame.trail);
        Entered::Dead(frame.kinds)
    }

    fn lift_what_only_sees(&mut self, state: State) {
        let mut before = None;
        while let Some(call) = self.sequence.candidate_after(before) {
            let step = &self.steps[self.calls[call as usize].steps.start as usize];
            if step.is_pure() && step.guard.accepts(state, &self.values) {
                self.lift(call);
            } else {
                before = Some(call);
            }
        }
    }

    /// What is to be tried next from the last frame.
    fn next_choice(&mut self) -> Result<Option<Choice>, Reason> {
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Ok(None);
            };
            if let Some(choice) = self.options.get(frame.next) {
                frame.next += 1;
                return Ok(Some(*choice));
            }
            if self.pools.is_empty() {
                return Ok(None);
            }
            // Longer chains, when all shorter ones have failed.
            let level = self.lengthen_chains()?;
            if level.is_empty() {
                return Ok(None);
            }
            let from = self.options.len();
            for link in level {
                self.offer(self.links[link].state, Some(number_of(link)));
            }
            self.sort_options(from);
        }
    }

    fn sort_options(&mut self, from: usize) {
        self.options[from..].sort_by_key(|choice| choice.returned);
    }

    /// Adds the calls that can go from `state`, at the end of the chain `link`.
    fn offer(&mut self, state: State, link: Option<u32>) {
        let from = self.options.len();
        let last = link.map(|link| self.before(link));
        for call in self.sequence.candidates() {
            let Call { ref steps, class, returned, .. } = self.calls[call as usize];
            let twin = self.options[from..].iter_mut().find(|choice| {
                let other = &self.calls[choice.call as usize];
                other.class == class
            });
            if let Some(twin) = twin {
                // The same steps lead to the same states, whichever of the two goes.
                if returned >= twin.returned {
                    continue;
                }
                let old = twin.call;
                for choice in &mut self.options[from..] {
                    if choice.call == old {
                        (choice.call, choice.returned) = (call, returned);
                    }
                }
                continue;
            }
            for at in possible(&self.steps, steps, state) {
                let step = &self.steps[at as usize];
                let Some(after) = step.apply(state, &mut self.values) else {
                    continue;
                };
                let matters = last
                    .is_none_or(|(before, last)| depends_on(step, before, last, &mut self.values));
                if matters {
                    let link = link.unwrap_or(NO_LINK);
                    self.options.push(Choice { call, state: after, link, returned });
                }
            }
        }
    }

    /// The state before the last operation of a chain, and the effect of that.
    fn before(&self, link: u32) -> (State, Effect) {
        let Link { parent, step, state, .. } = self.links[link as usize];
        let frame_state = self.frames.last().map_or(state, |frame| frame.state);
        let before = self.links.get(parent as usize).map_or(frame_state, |link| link.state);
        (before, self.steps[step as usize].effect)
    }

    /// Makes chains one longer than the longest of the last frame.
    fn lengthen_chains(&mut self) -> Result<std::ops::Range<usize>, Reason> {
        let Some(frame) = self.frames.last() else {
            return Ok(0..0);
        };
        let parents = frame.level_from..self.links.len();
        let (is_first, state, links_from) =
            (frame.links_from == self.links.len(), frame.state, frame.links_from);
        let from = self.links.len();
        let until =
            self.sequence.first_return().map_or(OPEN, |call| self.calls[call as usize].returned);
        let mut kinds = 0;
        if is_first {
            self.lengthen(NO_LINK, state, until, links_from, &mut kinds);
        } else {
            for parent in parents {
                self.lengthen(
                    number_of(parent),
                    self.links[parent].state,
                    until,
                    links_from,
                    &mut kinds,
                );
                if parent.is_multiple_of(TICKS as usize) {
                    self.check_limits()?;
                }
            }
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.kinds |= kinds;
            // A level without links is the last one.
            frame.level_from = from;
        }
        Ok(from..self.links.len())
    }

    fn lengthen(
        &mut self,
        parent: u32,
        state: State,
        until: u32,
        links_from: usize,
        kinds: &mut Kinds,
    ) {
        let last = (parent != NO_LINK).then(|| self.before(parent));
        let frame_state = self.frames.last().map(|frame| frame.state);
        for (at, pool) in self.pools.iter().enumerate() {
            let is_offered = |call: u32| self.calls[call as usize].class == pool.class;
            if self.sequence.candidates().any(is_offered) {
                continue;
            }
            let called = pool.called.partition_point(|called| *called < until);
            let left =
                called.saturating_sub(self.used[at] as usize + in_chain(&self.links, parent, at));
            if called == 0 {
                continue;
            }
            for step_at in possible(&self.steps, &pool.steps, state) {
                let step = &self.steps[step_at as usize];
                let Some(after) = step.apply(state, &mut self.values) else {
                    continue;
                };
                let mut links = LinksUp { links: &self.links, at: parent };
                let has_been = frame_state == Some(after) || links.any(|link| link.state == after);
                let matters = last.is_none_or(|(before, last)| {
                    // Of sums one after the other, one order will do.
                    let is_sum = matches!((step.effect, last), (Effect::Add(_), Effect::Add(_)));
                    let is_in_order = || self.links[parent as usize].pool as usize <= at;
                    is_sum && is_in_order() || depends_on(step, before, last, &mut self.values)
                });
                if has_been || !matters {
                    continue;
                }
                if self.is_relaxed {
                    if self.links[links_from..].iter().any(|link| link.state == after) {
                        continue;
                    }
                } else if left == 0 {
                    *kinds |= kind_bit(at);
                    continue;
                }
                self.links.push(Link { parent, pool: number_of(at), step: step_at, state: after });
            }
        }
    }

    /// Goes on with `choice`, if it leaves no state that is still needed.
    fn take(&mut self, choice: Choice) -> Result<Entered, Reason> {
        let trail = self.trail.len();
        let Some(mut state) = self.frames.last().map(|frame| frame.state) else {
            return Ok(Entered::Dead(0));
        };
        let chain: Vec<Link> = LinksUp { links: &self.links, at: choice.link }.collect();
        let until =
            self.sequence.first_return().map_or(OPEN, |call| self.calls[call as usize].returned);
        for link in chain.iter().rev() {
            self.use_unknown(link.pool, until);
            if let Some(kinds) = self.dead_if_left(state, link.state, link.step) {
                self.undo_to(trail);
                return Ok(Entered::Dead(kinds));
            }
            state = link.state;
        }
        self.lift(choice.call);
        let step = self.calls[choice.call as usize].steps.start;
        if let Some(kinds) = self.dead_if_left(state, choice.state, step) {
            self.undo_to(trail);
            return Ok(Entered::Dead(kinds));
        }
        self.enter(choice.state, trail)
    }

    fn dead_if_left(&self, from: State, to: State, step: u32) -> Option<Kinds> {
        let used = if self.is_relaxed { None } else { Some(&*self.used) };
        let is_growth = self.steps[step as usize].effect.depends();
        self.counts.dead_if_left(from, to, is_growth, used)
    }

    fn use_unknown(&mut self, pool: u32, until: u32) {
        let called = self.pools[pool as usize].called.partition_point(|called| *called < until);
        let used = &mut self.used[pool as usize];
        *used += 1;
        let is_overdrawn = *used as usize > called;
        self.overdrawn += usize::from(is_overdrawn);
        self.trail.push(Move::Unknown(pool, is_overdrawn));
    }

    fn lift(&mut self, call: u32) {
        self.sequence.lift(call);
        self.counts.lift(call);
        self.lifted ^= self.hashes.call(call);
        self.trail.push(Move::Call(call));
    }

    fn undo_to(&mut self, trail: usize) {
        self.note_longest(trail);
        for undone in self.trail.drain(trail..).rev() {
            match undone {
                Move::Call(call) => {
                    self.sequence.put_back(call);
                    self.counts.put_back(call);
                    self.lifted ^= self.hashes.call(call);
                }
                Move::Unknown(pool, is_overdrawn) => {
                    self.used[pool as usize] -= 1;
                    self.overdrawn -= usize::from(is_overdrawn);
                }
            }
        }
    }

    /// Notes the trail if it is the longest so far, before it is cut to `trail`.
    fn note_longest(&mut self, trail: usize) {
        if self.trail.len() > self.longest.len() {
            self.longest.truncate(self.longest_common);
            self.longest.extend_from_slice(&self.trail[self.longest_common..]);
            self.longest_common = self.trail.len();
        }
        self.longest_common = self.longest_common.min(trail);
    }

    fn longest(&self) -> Vec<u32> {
        let mut used = vec![0; self.pools.len()];
        let operation = |step: &Move| match *step {
            Move::Call(call) => Some(self.calls[call as usize].operation),
            Move::Unknown(pool, _) => {
                let used: &mut usize = &mut used[pool as usize];
                *used += 1;
                self.pools[pool as usize].operations.get(*used - 1).copied()
            }
        };
        self.longest.iter().filter_map(operation).filter(|at| *at != START).collect()
    }

    fn check_limits(&mut self) -> Result<(), Reason> {
        let bytes = self.nogoods.bytes()
            + self.values.made_bytes()
            + self.sequence.bytes()
            + self.calls.capacity() * size_of::<Call>()
            + self.steps.capacity() * size_of::<Step>()
            + (self.trail.capacity() + self.longest.capacity()) * size_of::<Move>()
            + self.frames.capacity() * size_of::<Frame>()
            + self.options.capacity() * size_of::<Choice>()
            + self.links.capacity() * size_of::<Link>();
        self.share.hold(bytes)?;
        self.share.time()
    }
}
