//! Latency over the time of a load run, as SVG, and the same as a table.

use std::fmt::Write;

use maud::{Markup, html};

use crate::report::latency::short;
use crate::report::{Interval, Load};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 784.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 270.0;
/// Above this the smallest would be a line on the ground of a linear scale.
const LINEAR_RATIO_MAX: u64 = 20;
/// More ticks than this are thinned.
const TICKS_MAX: usize = 8;
/// Up to this many intervals have dots.
const DOTS_MAX: usize = 60;

/// What is drawn: its class, its words, and where it is.
type Series = (&'static str, &'static str, fn(&Interval) -> u64);

const SERIES: [Series; 3] = [
    ("max", "longest", |interval| interval.max_us),
    ("p99", "99 of 100", |interval| interval.p99_us),
    ("p50", "median", |interval| interval.p50_us),
];

/// The plot; nothing without intervals.
pub(super) fn over_time(load: &Load) -> Markup {
    let filled: Vec<_> = load.intervals.iter().filter(|interval| interval.count > 0).collect();
    let low = filled.iter().map(|interval| interval.p50_us).min();
    let high = filled.iter().map(|interval| interval.max_us).max();
    let (Some(low), Some(high)) = (low, high) else { return html! {} };
    let end_ms = load.intervals.last().map_or(1, |last| last.start_ms + load.interval_ms).max(1);
    let scale = Scale::of(low, high);
    let x = |ms: u64| LEFT + number(ms) / number(end_ms) * (RIGHT - LEFT);
    let middle = |interval: &Interval| x(interval.start_ms + load.interval_ms / 2);
    let kind = if matches!(scale, Scale::Log { .. }) { ", logarithmic scale" } else { "" };
    let failing = load.intervals.iter().filter(|interval| interval.errors > 0);
    html! {
        figure {
            h3 { "Latency over time, from when a call was due" (kind) }
            div.wide tabindex="0" role="region" aria-label="Latency over time" {
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img"
                    aria-label={ "Latency in intervals of " (load.interval_ms) " ms: medians from " (short(low)) ", longest " (short(high)) } {
                    (legend())
                    (axes(&scale, end_ms, x))
                    @for (class, _, value) in SERIES {
                        g class=(class) { (line(&load.intervals, middle, |interval| scale.y(value(interval)))) }
                    }
                    @for interval in failing {
                        path.mark d=(triangle(middle(interval), BOTTOM)) {
                            title { (interval.errors) " of " (interval.count) " calls without a good answer" }
                        }
                    }
                }
            }
            (table(load))
        }
    }
}

fn legend() -> Markup {
    html! {
        @for ((class, words, _), at) in SERIES.iter().rev().zip([0.0, 110.0, 230.0]) {
            @let from = LEFT + at;
            g class=(class) {
                path.line d={ "M" (from) " 14h24" } {}
                text x=(from + 30.0) y="18" { (words) }
            }
        }
        path.mark d=(triangle(LEFT + 350.0, 19.0)) {}
        text x=(LEFT + 362.0) y="18" { "calls without a good answer" }
    }
}

fn axes(scale: &Scale, end_ms: u64, x: impl Fn(u64) -> f64) -> Markup {
    let step = step_above(end_ms.div_ceil(TICKS_MAX as u64));
    let moments = (0..).map(|number| number * step).take_while(|ms| *ms <= end_ms);
    let seconds = |ms: u64| {
        let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    html! {
        @for tick in scale.ticks() {
            @let y = scale.y(tick);
            path.grid d=(format!("M{LEFT} {y:.1}H{RIGHT}")) {}
            text.axis x=(LEFT - 8.0) y=(format!("{:.1}", y + 4.0)) text-anchor="end" { (rounded(tick)) }
        }
        @for ms in moments {
            @let at = x(ms);
            path.grid d=(format!("M{at:.1} {BOTTOM}v6")) {}
            text.axis x=(format!("{at:.1}")) y=(BOTTOM + 20.0) text-anchor="middle" { (seconds(ms)) }
        }
        text.axis x=(f64::midpoint(LEFT, RIGHT)) y=(BOTTOM + 40.0) text-anchor="middle" { "seconds since the start" }
    }
}

/// A line that is broken where nothing was due.
fn line(
    intervals: &[Interval],
    x: impl Fn(&Interval) -> f64,
    y: impl Fn(&Interval) -> f64,
) -> Markup {
    let mut path = String::new();
    let mut is_down = false;
    for interval in intervals {
        if interval.count > 0 {
            path.push(if is_down { 'L' } else { 'M' });
            // Writing to a string cannot fail.
            let _ = write!(path, "{:.1} {:.1}", x(interval), y(interval));
        }
        is_down = interval.count > 0;
    }
    html! {
        path.line d=(path) {}
        @if intervals.len() <= DOTS_MAX {
            @for interval in intervals.iter().filter(|interval| interval.count > 0) {
                circle.dot cx=(format!("{:.1}", x(interval))) cy=(format!("{:.1}", y(interval))) r="2.5" {}
            }
        }
    }
}

fn table(load: &Load) -> Markup {
    html! {
        details {
            summary { "The same as a table" }
            div.wide tabindex="0" role="region" aria-label="Latency by interval" { table {
                thead { tr {
                    @for name in ["from", "calls", "errors", "p50", "p99", "max"] {
                        th.number scope="col" { (name) }
                    }
                } }
                tbody { @for interval in &load.intervals {
                    tr {
                        th.number scope="row" { (interval.start_ms) " ms" }
                        td.number { (interval.count) }
                        td.number { (interval.errors) }
                        @for micros in [interval.p50_us, interval.p99_us, interval.max_us] {
                            td.number { (if interval.count > 0 { short(micros) } else { "–".to_owned() }) }
                        }
                    }
                } }
            } }
        }
    }
}

/// A tick, without the zeros that say nothing.
fn rounded(micros: u64) -> String {
    short(micros).replace(".00 ", " ").replace(".0 ", " ")
}

/// Its point is up, its foot here.
fn triangle(x: f64, y: f64) -> String {
    format!("M{x:.1} {:.1}l5 9h-10z", y - 9.0)
}

/// What latencies are drawn on.
enum Scale {
    Linear { step: u64, high: u64 },
    Log { low: u64, high: u64 },
}

impl Scale {
    fn of(low: u64, high: u64) -> Scale {
        let (low, high) = (low.max(1), high.max(1));
        if high / low <= LINEAR_RATIO_MAX {
            let step = step_above(high.div_ceil(5));
            return Scale::Linear { step, high: high.div_ceil(step) * step };
        }
        Scale::Log {
            low: steps().take_while(|step| *step <= low).last().unwrap_or(1),
            high: step_above(high),
        }
    }

    fn y(&self, micros: u64) -> f64 {
        let share = match self {
            Scale::Linear { high, .. } => number(micros) / number(*high),
            Scale::Log { low, high } => {
                let low = number(*low).ln();
                (number(micros.max(1)).ln() - low) / (number(*high).ln() - low)
            }
        };
        BOTTOM - share.clamp(0.0, 1.0) * (BOTTOM - TOP)
    }

    fn ticks(&self) -> Vec<u64> {
        match *self {
            Scale::Linear { step, high } => (0..=high / step).map(|number| number * step).collect(),
            Scale::Log { low, high } => {
                let all = || steps().filter(|step| (low..=high).contains(step));
                let is_decade = |step: &u64| step.to_string().starts_with('1');
                if all().count() > TICKS_MAX {
                    all().filter(is_decade).collect()
                } else {
                    all().collect()
                }
            }
        }
    }
}

/// 1, 2, 5, 10, 20, 50 and so on, beyond any latency.
fn steps() -> impl Iterator<Item = u64> {
    (0..12).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)))
}

fn step_above(least: u64) -> u64 {
    steps().find(|step| *step >= least).unwrap_or(u64::MAX)
}

/// What is drawn is far below the limit: an hour in milliseconds, and the longest latency.
fn number(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_has_few_round_ticks_and_holds_all_values() {
        #[track_caller]
        fn check(low: u64, high: u64, ticks: &[u64]) {
            let scale = Scale::of(low, high);
            assert_eq!(scale.ticks(), ticks);
            for value in [low, high] {
                assert!((TOP..=BOTTOM).contains(&scale.y(value)), "{value}");
            }
            assert!(scale.y(high) <= scale.y(low));
        }
        check(100, 950, &[0, 200, 400, 600, 800, 1_000]);
        check(0, 0, &[0, 1]);
        check(7, 7, &[0, 2, 4, 6, 8]);
        check(90, 9_000, &[50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000]);
        check(
            90,
            600_000_000,
            &[100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000],
        );
    }
}
