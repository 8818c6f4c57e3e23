//! An open loop: requests are due at a set rate, whether or not the answers before them are there.
//!
//! Latency is counted from the moment a call was due (Tene, "How NOT to Measure Latency"), so a
//! service that stops for a second shows in the percentiles with all the calls that were due
//! meanwhile, and not with the one that waited.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::call::Call;
use crate::audit::run::Run;
use crate::audit::session::Effect;
use crate::audit::worker::{Step, Worker, shown};
use crate::report::latency::Recorder;
use crate::report::{Interval, Load};

use super::Workflow;
use super::gate::Gate;

pub(super) static LOAD: Workflow = Workflow {
    name: "load",
    promise: "under load every answer is right, and as fast as the report says",
    needs: &[],
    run,
};

const RIGHT: &str = "under load a client reads what it wrote last";

/// The report has about as many intervals, and never more than the second number.
const INTERVALS_MAX: u64 = 120;
const BINS_MAX: usize = 240;
const INTERVAL_MS_MIN: u64 = 100;
/// Clients beyond this many take more from the machine than they give.
const CLIENTS_MAX: usize = 256;
/// Of ten calls, this many are reads.
const READS_OF_TEN: u8 = 7;
/// A generator that is later than this with one call of a hundred measures itself.
const LATENESS_US_MAX: u64 = 5_000;
/// A share of the wanted rate that is near enough.
const RATE_REACHED: f64 = 0.98;

/// What is measured of the calls that were due in one interval.
#[derive(Debug, Clone, Default)]
struct Bin {
    latency: Recorder,
    count: u64,
    errors: u64,
}

/// What clients have measured.
#[derive(Debug, Default)]
struct Measured {
    bins: Vec<Bin>,
    lateness: Recorder,
    sent: u64,
    errors: u64,
    last_due: Duration,
}

/// When calls are due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start: Instant,
    duration: Duration,
    /// Between two calls of one client; none without a rate.
    every: Option<Duration>,
    interval: Duration,
}

fn run(run: &Run<'_>) {
    let settings = run.plan.settings;
    let clients = (settings.clients as usize * 2).clamp(1, CLIENTS_MAX);
    let duration = Duration::from_millis(settings.duration_ms);
    let interval_ms = (settings.duration_ms / INTERVALS_MAX).max(INTERVAL_MS_MIN);
    let every = settings.rate.map(|rate| {
        let clients = u32::try_from(clients).unwrap_or(u32::MAX);
        Duration::from_secs(1) * clients / rate.max(1)
    });
    let (gate, start) = (Gate::new(clients), Mutex::new(None));
    let measured = Mutex::new(Measured::default());
    run.workers(clients, |worker| {
        let keys = own_keys(worker, clients);
        gate.wait();
        let mut start = start.lock().unwrap_or_else(PoisonError::into_inner);
        let started = *start.get_or_insert_with(Instant::now);
        drop(start);
        // One after the other, so that the rate is even.
        let index = u32::try_from(worker.index).unwrap_or(u32::MAX);
        let offset = every.map_or(Duration::ZERO, |every| {
            every * index / u32::try_from(clients).unwrap_or(u32::MAX)
        });
        let interval = Duration::from_millis(interval_ms);
        let schedule = Schedule { start: started + offset, duration, every, interval };
        let own = generate(worker, schedule, &keys);
        measured.lock().unwrap_or_else(PoisonError::into_inner).merge(&own);
    });
    let elapsed = start.into_inner().unwrap_or_else(PoisonError::into_inner);
    let elapsed = elapsed.map_or(duration, |start| start.elapsed());
    let measured = measured.into_inner().unwrap_or_else(PoisonError::into_inner);
    let load = measured.report(settings.rate, elapsed, duration, interval_ms, clients);
    run.ledger.entries().load = Some(load);
}

/// A client's own keys, which nobody else writes, with what it wrote last; none is unknown.
struct OwnKey {
    name: String,
    written: Option<u64>,
    is_known: bool,
}

fn own_keys(worker: &mut Worker<'_>, clients: usize) -> Vec<OwnKey> {
    let count = (worker.run.plan.settings.keys as usize).div_ceil(clients).max(1);
    (0..count)
        .map(|number| {
            let name = worker.run.key(&format!("{}-{number}", worker.index));
            OwnKey { name, written: None, is_known: true }
        })
        .collect()
}

fn generate(worker: &mut Worker<'_>, schedule: Schedule, keys: &[OwnKey]) -> Measured {
    let mut keys: Vec<_> = keys
        .iter()
        .map(|key| OwnKey { name: key.name.clone(), written: key.written, is_known: key.is_known })
        .collect();
    let mut measured = Measured::default();
    let mut free = schedule.start;
    for number in 0_u32.. {
        let due = match schedule.every {
            Some(every) => schedule.start + every.saturating_mul(number),
            None => Instant::now().max(schedule.start),
        };
        let offset = due.saturating_duration_since(schedule.start);
        if offset >= schedule.duration || worker.run.is_over() {
            break;
        }
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        let sent_at = Instant::now();
        measured.lateness.add(sent_at.saturating_duration_since(due.max(free)));
        let is_good = one(worker, number.into(), &mut keys);
        free = Instant::now();
        measured.add(schedule, offset, free.saturating_duration_since(due), is_good);
    }
    measured
}

/// One call and what must come of it; false if the answer is none or no good one.
fn one(worker: &mut Worker<'_>, number: u64, keys: &mut [OwnKey]) -> bool {
    let at = worker.rng.usize(..keys.len());
    let is_read = worker.rng.u8(..10) < READS_OF_TEN;
    let key = &mut keys[at];
    if !is_read {
        let sent = worker.send_untracked(&Call::put(&key.name, &number.to_string()));
        let is_done = sent.outcome.as_ref().is_ok_and(|answer| answer.status == 200);
        match sent.effect() {
            Effect::Told if is_done => (key.written, key.is_known) = (Some(number), true),
            Effect::Told | Effect::Unknown => key.is_known = false,
            Effect::None => {}
        }
        return is_done;
    }
    let call = Call::get(&key.name);
    let sent = worker.send_untracked(&call);
    let Ok(answer) = sent.outcome else { return false };
    if answer.effect() != Effect::Told {
        return false;
    }
    if !key.is_known {
        return true;
    }
    let written = key.written;
    worker.case(RIGHT, |worker| reads(worker, &call, &answer, written))
}

fn reads(
    worker: &mut Worker<'_>,
    call: &Call,
    answer: &crate::audit::session::Answer,
    written: Option<u64>,
) -> Step {
    if let Some(number) = written {
        return worker.value(RIGHT, answer, &number.to_string());
    }
    let seen = format!("{} to {}", shown(answer), worker.curl(call));
    worker.holds(RIGHT, answer.status == 404, "404", seen)
}

impl Measured {
    fn add(&mut self, schedule: Schedule, offset: Duration, latency: Duration, is_good: bool) {
        let at = usize::try_from(offset.as_nanos() / schedule.interval.as_nanos().max(1));
        let at = at.unwrap_or(usize::MAX).min(BINS_MAX);
        if self.bins.len() <= at {
            self.bins.resize_with(at + 1, Bin::default);
        }
        let bin = &mut self.bins[at];
        bin.count += 1;
        bin.latency.add(latency);
        bin.errors += u64::from(!is_good);
        self.sent += 1;
        self.errors += u64::from(!is_good);
        self.last_due = self.last_due.max(offset);
    }

    fn merge(&mut self, other: &Measured) {
        if self.bins.len() < other.bins.len() {
            self.bins.resize_with(other.bins.len(), Bin::default);
        }
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.latency.merge(&other.latency);
            bin.count += other.count;
            bin.errors += other.errors;
        }
        self.lateness.merge(&other.lateness);
        self.sent += other.sent;
        self.errors += other.errors;
        self.last_due = self.last_due.max(other.last_due);
    }

    fn report(
        &self,
        rate_wanted: Option<u32>,
        elapsed: Duration,
        duration: Duration,
        interval_ms: u64,
        clients: usize,
    ) -> Load {
        let mut all = Recorder::default();
        for bin in &self.bins {
            all.merge(&bin.latency);
        }
        let seconds = elapsed.max(duration).as_secs_f64();
        let answered = u32::try_from(self.sent - self.errors).unwrap_or(u32::MAX);
        let rate_reached = f64::from(answered) / seconds.max(0.001);
        let lateness = self.lateness.summary();
        let is_late = lateness.is_some_and(|lateness| lateness.p99_us > LATENESS_US_MAX);
        let p50_us = all.quantile_us(0.5);
        let bottleneck = match rate_wanted {
            None => Some(format!(
                "it sends as fast as {clients} clients can, each after the answer before"
            )),
            Some(_) if is_late => {
                let late = lateness.map_or(0, |lateness| lateness.p99_us);
                Some(format!(
                    "1 of 100 calls was sent {late} µs late or more, with no call before it to wait for"
                ))
            }
            Some(rate) if rate_reached < RATE_REACHED * f64::from(rate) && self.errors == 0 => {
                Some(format!(
                    "{clients} clients that wait {p50_us} µs for each answer are too few for {rate}/s"
                ))
            }
            Some(_) => None,
        };
        let intervals = self.bins.iter().zip(0..).map(|(bin, number)| Interval {
            start_ms: number * interval_ms,
            count: bin.count,
            errors: bin.errors,
            p50_us: bin.latency.quantile_us(0.5),
            p99_us: bin.latency.quantile_us(0.99),
            max_us: bin.latency.quantile_us(1.0),
        });
        Load {
            rate_wanted,
            rate_reached: rate_reached.round(),
            sent: self.sent,
            errors: self.errors,
            latency: all.summary(),
            lateness,
            bottleneck,
            interval_ms,
            intervals: intervals.collect(),
        }
    }
}
