//! Operations that no order explains, as SVG: a lane a client, a bar from call to answer.
//!
//! What matters is what came before what, so moments that are close together are drawn apart: each
//! step from one moment to the next is as wide as its share of the time, and [`STEP_MIN`] more.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use crate::report::latency::short;
use crate::report::{Timeline, TimelineOperation};

const WIDTH: f64 = 800.0;
/// Where time begins: before it stand the names of the lanes.
const LEFT: f64 = 96.0;
const RIGHT: f64 = 760.0;
/// Where an operation goes on to that had no answer yet.
const OPEN_END: f64 = 784.0;
/// Less than this and two moments look like one.
const STEP_MIN: f64 = 14.0;
const BAR_HEIGHT: f64 = 14.0;
const LABEL_HEIGHT: f64 = 16.0;
const LANE_GAP: f64 = 6.0;
const AXIS_HEIGHT: f64 = 48.0;
/// Longer labels are cut; the list below has them whole.
const LABEL_CHARS_MAX: usize = 44;
const CHAR_WIDTH: f64 = 7.4;
/// Operations that are drawn; the list below has the others.
const DRAWN_MAX: usize = 48;

/// A bar and its label.
struct Bar<'a> {
    operation: &'a TimelineOperation,
    from: f64,
    to: f64,
    label: String,
    label_at: f64,
    /// How far its label is above the bar: 0 is next to it.
    level: usize,
}

/// The operations of one client.
struct Lane<'a> {
    process: u64,
    top: f64,
    height: f64,
    bars: Vec<Bar<'a>>,
}

impl Timeline {
    pub(super) fn markup(&self) -> Markup {
        let drawn = &self.operations[..self.operations.len().min(DRAWN_MAX)];
        let axis = Axis::of(drawn);
        let lanes = lanes(drawn, &axis);
        let bottom = lanes.last().map_or(0.0, |lane| lane.top + lane.height);
        let count = self.operations.len();
        html! {
            figure {
                h4 { "Timeline of key " code { (self.key) } }
                p {
                    "Before the first of them it held "
                    @match &self.initial {
                        Some(value) => { span.quote { (value) } },
                        None => { "nothing" },
                    }
                    "."
                }
                div.wide tabindex="0" role="region" aria-label="Timeline" {
                    svg viewBox=(format!("0 0 {WIDTH} {:.0}", bottom + AXIS_HEIGHT)) role="img"
                        aria-label={ "Timeline of " (count) " operations; the list below says the same" } {
                        @for lane in &lanes { (lane.markup()) }
                        (axis.markup(bottom))
                    }
                }
                figcaption.soft {
                    "A bar lasts from the call to its answer; a dashed one is open: the answer came later or never, so it need not have taken effect. "
                    "Blue: the longest order that was found; red: what is left over and cannot follow it; "
                    "grey: what need not have happened. "
                    "Short times are drawn longer than they are."
                }
                (self.list())
            }
        }
    }

    /// The same in words.
    fn list(&self) -> Markup {
        html! {
            ol { @for operation in &self.operations {
                li class=[operation.is_out().then_some("out")] {
                    "client " (operation.process) ", "
                    @match operation.returned_us {
                        Some(returned) => { (short(operation.called_us)) " to " (short(returned)) },
                        None => { "from " (short(operation.called_us)) " on" },
                    }
                    ": " span.quote { (operation.text) }
                    @match operation.order {
                        Some(place) => { span.soft { " (number " (place) " of the longest order)" } },
                        None if operation.is_out() => { " (left over)" },
                        None => { span.soft { " (left over, and need not have happened)" } },
                    }
                }
            } }
        }
    }
}

impl TimelineOperation {
    /// Whether it has to be in an order and is in none.
    fn is_out(&self) -> bool {
        self.order.is_none() && self.returned_us.is_some()
    }
}

impl Lane<'_> {
    fn markup(&self) -> Markup {
        let middle = self.top + self.height - BAR_HEIGHT + 5.0;
        html! {
            rect.lane x="0" y=(px(self.top)) width=(WIDTH) height=(px(self.height + 2.0)) {}
            text.axis x="8" y=(px(middle)) { "client " (self.process) }
            @for bar in &self.bars { (bar.markup(self.top + self.height - BAR_HEIGHT - 2.0)) }
        }
    }
}

impl Bar<'_> {
    fn markup(&self, top: f64) -> Markup {
        let Bar { operation, from, to, .. } = self;
        let is_open = operation.returned_us.is_none();
        let label_bottom = top - 4.0 - place(self.level) * LABEL_HEIGHT;
        let mut classes = String::from("op");
        for (class, holds) in [
            ("out", operation.is_out()),
            ("spare", is_open && operation.order.is_none()),
            ("open", is_open),
        ] {
            if holds {
                classes.push(' ');
                classes += class;
            }
        }
        let bottom = top + BAR_HEIGHT;
        // The open one has no right side.
        let outline = if is_open {
            format!("M{to:.1} {top:.1}H{from:.1}V{bottom:.1}H{to:.1}")
        } else {
            format!("M{from:.1} {top:.1}H{to:.1}V{bottom:.1}H{from:.1}z")
        };
        html! {
            g class=(classes) {
                title { (operation.text) }
                @if self.level > 0 { path.lead d=(format!("M{from:.1} {label_bottom:.1}V{top:.1}")) {} }
                path.bar d=(outline) {}
                text x=(px(self.label_at)) y=(px(label_bottom)) { (self.label) }
            }
        }
    }
}

/// Where a moment is drawn.
struct Axis(BTreeMap<u64, f64>);

impl Axis {
    fn of(operations: &[TimelineOperation]) -> Axis {
        let ends = operations.iter().flat_map(|op| [Some(op.called_us), op.returned_us]).flatten();
        let moments: BTreeSet<u64> = ends.collect();
        let (first, last) = (moments.first().copied(), moments.last().copied());
        let whole = last.unwrap_or(0).saturating_sub(first.unwrap_or(0)).max(1);
        let steps = place(moments.len().saturating_sub(1).max(1));
        let narrowest = STEP_MIN.min((RIGHT - LEFT) / steps);
        let rest = RIGHT - LEFT - narrowest * steps;
        let places = moments.iter().zip(0..).map(|(moment, number)| {
            let share = share(moment - first.unwrap_or(0), whole);
            (*moment, LEFT + place(number) * narrowest + share * rest)
        });
        Axis(places.collect())
    }

    fn at(&self, moment: u64) -> f64 {
        self.0.get(&moment).copied().unwrap_or(LEFT)
    }

    /// A line at each moment, and its time where there is room for it.
    fn markup(&self, bottom: f64) -> Markup {
        let mut free = 0.0;
        let mut shown = Vec::new();
        for (moment, x) in &self.0 {
            let text = short(*moment);
            let half = place(text.chars().count()) * CHAR_WIDTH / 2.0;
            let has_room = x - half >= free;
            if has_room {
                free = x + half + 6.0;
            }
            shown.push((*x, has_room.then_some(text)));
        }
        html! {
            path.grid d=(format!("M{LEFT} {:.1}H{OPEN_END}", bottom + 6.0)) {}
            @for (x, text) in shown {
                path.grid d=(format!("M{x:.1} {:.1}v6", bottom + 6.0)) {}
                @if let Some(text) = text {
                    text.axis x=(px(x)) y=(px(bottom + 24.0)) text-anchor="middle" { (text) }
                }
            }
            text.axis x=(LEFT) y=(px(bottom + 40.0)) { "since the first call" }
        }
    }
}

fn lanes<'a>(operations: &'a [TimelineOperation], axis: &Axis) -> Vec<Lane<'a>> {
    let mut by_process: BTreeMap<u64, Vec<Bar<'a>>> = BTreeMap::new();
    for (operation, number) in operations.iter().zip(1..) {
        let from = axis.at(operation.called_us);
        let to = operation.returned_us.map_or(OPEN_END, |returned| axis.at(returned));
        let label = label(number, operation);
        let width = place(label.chars().count()) * CHAR_WIDTH;
        let label_at = from.min(OPEN_END - width).max(LEFT);
        let bar = Bar { operation, from, to: to.max(from + 2.0), label, label_at, level: 0 };
        by_process.entry(operation.process).or_default().push(bar);
    }
    let mut top = 0.0;
    let mut lanes = Vec::new();
    for (process, mut bars) in by_process {
        let levels = stack_labels(&mut bars);
        let height = place(levels) * LABEL_HEIGHT + BAR_HEIGHT + 6.0;
        lanes.push(Lane { process, top, height, bars });
        top += height + LANE_GAP;
    }
    lanes
}

/// Lifts labels that would run into the next one, the last first: so no line from a label to its
/// bar crosses another label. Returns how many levels there are.
fn stack_labels(bars: &mut [Bar<'_>]) -> usize {
    let mut starts: Vec<f64> = Vec::new();
    for bar in bars.iter_mut().rev() {
        let end = bar.label_at + (place(bar.label.chars().count()) + 1.0) * CHAR_WIDTH;
        let level = starts.iter().position(|start| end <= *start).unwrap_or(starts.len());
        if level == starts.len() {
            starts.push(bar.label_at);
        } else {
            starts[level] = bar.label_at;
        }
        bar.level = level;
    }
    starts.len()
}

fn label(number: usize, operation: &TimelineOperation) -> String {
    let mut text: String = operation.text.chars().take(LABEL_CHARS_MAX).collect();
    if operation.text.chars().nth(LABEL_CHARS_MAX).is_some() {
        text.push('…');
    }
    format!("{number}. {text}")
}

fn px(value: f64) -> String {
    format!("{value:.1}")
}

fn share(part: u64, whole: u64) -> f64 {
    // Of a run that lasts an hour at most, in microseconds.
    f64::from(u32::try_from(part).unwrap_or(u32::MAX))
        / f64::from(u32::try_from(whole).unwrap_or(u32::MAX))
}

fn place(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
