//! Prometheus's text format, version 0.0.4.

use std::fmt::{self, Display, Formatter, Write};

use http::StatusCode;

use crate::http::Response;

/// Metrics as text: families, each followed by its samples.
#[derive(Debug)]
pub struct Text {
    program: &'static str,
    /// The family whose samples follow.
    family: String,
    out: String,
}

/// What a family's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows, and starts at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Text {
    /// Nothing yet; the names of families will begin with the program's.
    pub fn new(program: &'static str) -> Self {
        Text { program, family: String::new(), out: String::with_capacity(16 << 10) }
    }

    /// Begins a family of this program.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.begin(format!("{}_{name}", self.program), kind, help);
    }

    /// Begins a family whose name is the same in every program.
    pub(super) fn process_family(&mut self, name: &str, kind: Kind, help: &str) {
        self.begin(format!("process_{name}"), kind, help);
    }

    /// Adds a sample to the family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Adds a histogram to the family: a count for each upper bound, without those before it, and
    /// one more for all that is larger.
    pub fn histogram<'a>(
        &mut self,
        labels: &[(&str, &str)],
        bounds: impl Iterator<Item = &'a str>,
        counts: &[u64],
        sum: f64,
    ) {
        let mut total = 0;
        for (bound, count) in bounds.chain(["+Inf"]).zip(counts) {
            total += count;
            self.line("_bucket", labels, Some(("le", bound)), total);
        }
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, total);
    }

    /// The answer that holds it.
    pub fn into_response(self) -> Response {
        Response::with_body(StatusCode::OK, CONTENT_TYPE, self.out)
    }

    fn begin(&mut self, family: String, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Neither this nor any other write can fail: a string grows.
        let _ = write!(self.out, "# HELP {family} {help}\n# TYPE {family} {kind}\n");
        self.family = family;
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        last: Option<(&str, &str)>,
        value: impl Display,
    ) {
        self.out += &self.family;
        self.out += suffix;
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(last) {
            let _ = write!(self.out, "{separator}{name}=\"{}\"", Escaped(value));
            separator = ',';
        }
        let end = if separator == ',' { "}" } else { "" };
        let _ = writeln!(self.out, "{end} {value}");
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.out)
    }
}

/// A label's value.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str(r"\\")?,
                '"' => f.write_str(r#"\""#)?,
                '\n' => f.write_str(r"\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_samples_have_the_format_of_prometheus() {
        let mut text = Text::new("toy");
        text.family("toys_total", Kind::Counter, "Toys made.");
        text.sample(&[], 3);
        text.sample(&[("kind", "a\\b\"c\nd"), ("for", "größe")], 0.000_025);
        text.process_family("open_fds", Kind::Gauge, "Files.");
        text.sample(&[], u64::MAX);
        text.family("size", Kind::Histogram, "Sizes.");
        text.histogram(&[("a", "b")], ["1", "2.5"].into_iter(), &[1, 0, 2], 9.5);
        text.histogram(&[], ["1"].into_iter(), &[4, 0], 0.0);
        assert_eq!(
            text.to_string(),
            "\
# HELP toy_toys_total Toys made.
# TYPE toy_toys_total counter
toy_toys_total 3
toy_toys_total{kind=\"a\\\\b\\\"c\\nd\",for=\"größe\"} 0.000025
# HELP process_open_fds Files.
# TYPE process_open_fds gauge
process_open_fds 18446744073709551615
# HELP toy_size Sizes.
# TYPE toy_size histogram
toy_size_bucket{a=\"b\",le=\"1\"} 1
toy_size_bucket{a=\"b\",le=\"2.5\"} 1
toy_size_bucket{a=\"b\",le=\"+Inf\"} 3
toy_size_sum{a=\"b\"} 9.5
toy_size_count{a=\"b\"} 3
toy_size_bucket{le=\"1\"} 4
toy_size_bucket{le=\"+Inf\"} 4
toy_size_sum 0
toy_size_count 4
"
        );
    }
}
