//! How long calls took, in microseconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer than any call may take.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Significant decimal digits that are kept.
const DIGITS: u8 = 2;

/// The distribution of some durations.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// How many there are.
    pub count: u64,
    /// Their mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: u64,
    /// 90 of 100 took no longer.
    pub p90_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// 999 of 1,000 took no longer.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// What the load generator measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// Requests a second that were asked for; none means as many as possible.
    pub rate_wanted: Option<u32>,
    /// Answers a second that came.
    pub rate_reached: f64,
    /// Calls that were sent.
    pub sent: u64,
    /// Calls whose outcome is unknown or an error.
    pub errors: u64,
    /// From the moment a call was due to the last byte of its answer: a service that stalls
    /// shows, for what was due meanwhile waits too.
    pub latency: Option<Latency>,
    /// How late calls were sent that waited for nobody but the generator.
    pub lateness: Option<Latency>,
    /// Why the generator, and not the service, set the limit; none if it did not.
    pub bottleneck: Option<String>,
    /// The length of an interval.
    pub interval_ms: u64,
    /// The run in intervals of equal length, in order, by the moment calls were due.
    pub intervals: Vec<Interval>,
}

/// The calls that were due in one interval of a load run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Interval {
    /// When it began, from the start of the load.
    pub start_ms: u64,
    /// Calls that were due in it.
    pub count: u64,
    /// Those of them that have no good answer.
    pub errors: u64,
    /// The median; 0 without calls.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// Collects durations. The memory that it takes does not grow with their number.
#[derive(Debug, Clone)]
pub struct Recorder(Histogram<u64>);

impl Default for Recorder {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS);
        Recorder(histogram.expect("the bounds are in order and two digits are few"))
    }
}

impl Recorder {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.max(1));
    }

    /// Adds those of another.
    #[allow(clippy::missing_panics_doc, reason = "all recorders have the same bounds")]
    pub fn merge(&mut self, other: &Recorder) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The shortest duration that this share (0 to 1) of all does not exceed.
    pub fn quantile_us(&self, share: f64) -> u64 {
        // A bucket's upper end may lie above everything that was recorded.
        self.0.value_at_quantile(share).min(self.0.max())
    }

    /// The distribution; none without durations.
    pub fn summary(&self) -> Option<Latency> {
        (self.count() > 0).then(|| Latency {
            count: self.count(),
            mean_us: (self.0.mean() * 10.0).round() / 10.0,
            p50_us: self.quantile_us(0.5),
            p90_us: self.quantile_us(0.9),
            p99_us: self.quantile_us(0.99),
            p999_us: self.quantile_us(0.999),
            max_us: self.quantile_us(1.0),
        })
    }
}

/// A duration in the unit that makes it short, to three digits.
pub(super) fn short(micros: u64) -> String {
    let in_unit = |unit: u64, name: &str| {
        let (whole, rest) = (micros / unit, micros % unit * 100 / unit);
        match whole {
            0..10 => format!("{whole}.{rest:02} {name}"),
            10..100 => format!("{whole}.{} {name}", rest / 10),
            _ => format!("{whole} {name}"),
        }
    };
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => in_unit(1_000, "ms"),
        _ => in_unit(1_000_000, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_known_to_two_digits() {
        let mut recorder = Recorder::default();
        assert_eq!(recorder.summary(), None);
        for micros in 1..=1_000 {
            recorder.add(Duration::from_micros(micros));
        }
        let summary = recorder.summary().unwrap();
        assert_eq!(summary.count, 1_000);
        assert!(summary.p50_us.abs_diff(500) <= 5, "{summary:?}");
        assert!(summary.p99_us.abs_diff(990) <= 10, "{summary:?}");
        recorder.add(Duration::MAX);
        assert!(recorder.quantile_us(1.0) >= LATENCY_US_MAX);
    }

    #[test]
    fn durations_are_short() {
        for (micros, text) in [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.00 ms"),
            (1_059, "1.05 ms"),
            (12_345, "12.3 ms"),
            (999_999, "999 ms"),
            (1_000_000, "1.00 s"),
            (600_000_000, "600 s"),
        ] {
            assert_eq!(short(micros), text);
        }
    }
}
