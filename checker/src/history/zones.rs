//! The fast path: a register whose written values are all different, with nothing but puts and gets
//! (Gibbons and Korach, "Testing shared memories", 1997, section 4).
//!
//! A value's cluster is its write and all its reads. From the first return in it to the last call
//! of it, the register certainly held the value: a forward zone. Where the last call comes before
//! the first return, the calls all have an instant in common: a backward zone. The history is
//! linearizable if and only if no read returned before its write was called, no two forward zones
//! overlap, and no backward zone lies within a forward one. O(n log n).

use super::model::{Effect, Guard, OTHER, ValueGuard};
use super::problem::{Call, Problem};

/// What the fast path says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Zones {
    /// There is more to this history than puts and gets.
    NotForThis,
    Linearizable,
    /// These calls contradict each other: places in `Problem::required`.
    Contradiction(Vec<usize>),
}

#[derive(Debug, Clone, Copy)]
struct Zone {
    /// The places of the write, of the call that returned first and of that which was called last;
    /// the start value has no write.
    write: usize,
    first: usize,
    last: usize,
    first_returned: u32,
    last_called: u32,
}

const NOBODY: usize = usize::MAX;

/// Decides by the zones, if it can.
pub(super) fn zones(problem: &Problem) -> Zones {
    if problem.slots > 0 || !problem.optional.is_empty() {
        return Zones::NotForThis;
    }
    let mut zones = match clusters(problem) {
        Ok(zones) => zones,
        Err(answer) => return answer,
    };
    zones.sort_unstable_by_key(|zone| zone.first_returned.min(zone.last_called));
    let mut forward: Option<Zone> = None;
    // Sorted by their beginnings: a zone that meets a forward one begins before its end.
    for zone in zones {
        let end = zone.first_returned.max(zone.last_called);
        let is_forward = zone.first_returned < zone.last_called;
        match forward {
            Some(open) if is_forward && zone.first_returned < open.last_called => {
                return contradiction(open, zone);
            }
            Some(open) if !is_forward && end < open.last_called => {
                return contradiction(open, zone);
            }
            Some(_) | None => {}
        }
        if is_forward {
            forward = Some(zone);
        }
    }
    Zones::Linearizable
}

fn clusters(problem: &Problem) -> Result<Vec<Zone>, Zones> {
    let start =
        Zone { write: NOBODY, first: NOBODY, last: NOBODY, first_returned: 0, last_called: 0 };
    let mut by_value: Vec<Option<Zone>> = vec![None; problem.values.count()];
    by_value[problem.initial.value as usize] = Some(start);
    let mut zones = Vec::new();
    for (at, call) in problem.required.iter().enumerate() {
        let step = problem.step_of(call);
        match (step.guard, step.effect) {
            (Guard::ANY, Effect::Set(value)) => {
                let own = Some(alone(at, call));
                if value == OTHER {
                    zones.extend(own);
                } else if std::mem::replace(&mut by_value[value as usize], own).is_some() {
                    return Err(Zones::NotForThis);
                }
            }
            (guard, Effect::None) if is_get(guard) => {}
            (_, Effect::None | Effect::Set(_) | Effect::Append(_) | Effect::Add(_)) => {
                return Err(Zones::NotForThis);
            }
        }
    }
    for (at, call) in problem.required.iter().enumerate() {
        let step = problem.step_of(call);
        if let (Some(value), Effect::None) = (step.guard.needed(), step.effect) {
            let Some(zone) = &mut by_value[value as usize] else {
                return Err(Zones::Contradiction(vec![at]));
            };
            if zone.write != NOBODY && call.returned < problem.required[zone.write].called {
                return Err(Zones::Contradiction(vec![zone.write, at]));
            }
            // The write of an early read counts as returned with it; the evidence is the read.
            if call.returned <= zone.first_returned {
                (zone.first, zone.first_returned) = (at, call.returned);
            }
            if call.called > zone.last_called {
                (zone.last, zone.last_called) = (at, call.called);
            }
        }
    }
    zones.extend(by_value.into_iter().flatten());
    Ok(zones)
}

fn alone(at: usize, call: &Call) -> Zone {
    Zone { write: at, first: at, last: at, first_returned: call.returned, last_called: call.called }
}

fn is_get(guard: Guard) -> bool {
    matches!(guard.value, ValueGuard::Is(_)) && guard == Guard { value: guard.value, ..Guard::ANY }
}

fn contradiction(one: Zone, other: Zone) -> Zones {
    let mut calls: Vec<usize> = [one, other]
        .iter()
        .flat_map(|zone| [zone.write, zone.first, zone.last])
        .filter(|at| *at != NOBODY)
        .collect();
    calls.sort_unstable();
    calls.dedup();
    Zones::Contradiction(calls)
}
