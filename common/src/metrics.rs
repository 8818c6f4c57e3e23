//! What a service counts about itself, and the text that Prometheus reads.
//!
//! Counting must not cost: each thread has counters of its own, in memory that no other thread
//! writes to, and the sum is made by who asks. Counters are created when they are first needed, so
//! an idle service has none.

mod process;
mod text;

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::http::Refusal;
use crate::logging;
use process::Process;
pub use text::{Kind, Text};

/// Counters of one service.
#[derive(Debug)]
pub struct Metrics {
    routes: &'static [&'static str],
    shards: [OnceLock<Shard>; SHARDS],
    refusals: [AtomicU64; Refusal::REASONS.len()],
    connections: AtomicUsize,
    process: Process,
}

/// Threads beyond this many share.
const SHARDS: usize = 64;

/// By route and method.
type Shard = Box<[OnceLock<Box<Endpoint>>]>;

/// What is counted of the requests with one method to one route. In cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Endpoint {
    /// In the order of `STATUSES`, and all others behind.
    statuses: [AtomicU64; STATUSES.len() + 1],
    /// In the order of `BOUNDS`, each without those before it, and the slower ones behind.
    durations: [AtomicU64; BOUNDS.len() + 1],
    duration_ns_sum: AtomicU64,
}

/// The same, over all threads.
struct Sums {
    statuses: [u64; STATUSES.len() + 1],
    durations: [u64; BOUNDS.len() + 1],
    duration_ns_sum: u64,
}

const METHODS: [&str; 6] = ["GET", "PUT", "POST", "DELETE", "HEAD", "other"];

/// The statuses that are counted one by one, the frequent ones first.
const STATUSES: [u16; 26] = [
    200, 201, 404, 304, 412, 204, 307, 400, 401, 403, 405, 408, 409, 413, 414, 415, 417, 422, 429,
    431, 500, 501, 502, 503, 505, 507,
];

/// Upper bounds of a request's duration as Prometheus has them, and in nanoseconds.
const BOUNDS: [(&str, u64); 18] = [
    ("0.00001", 10_000),
    ("0.000025", 25_000),
    ("0.00005", 50_000),
    ("0.0001", 100_000),
    ("0.00025", 250_000),
    ("0.0005", 500_000),
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("10", 10_000_000_000),
];

impl Metrics {
    /// Counts requests by these routes; the first one is for requests that have been given none.
    pub fn new(routes: &'static [&'static str]) -> Self {
        Metrics {
            routes,
            shards: [const { OnceLock::new() }; SHARDS],
            refusals: [const { AtomicU64::new(0) }; Refusal::REASONS.len()],
            connections: AtomicUsize::new(0),
            process: Process::new(),
        }
    }

    /// The common part of a service's metrics, whose names begin with the program's; the service adds
    /// its own.
    pub fn text(&self, program: &'static str, version: &str) -> Text {
        let mut text = Text::new(program);
        text.family("build_info", Kind::Gauge, "Which build this is; always 1.");
        text.sample(&[("version", version)], 1);
        self.write_requests(&mut text);
        text.family("http_connections", Kind::Gauge, "Open connections.");
        text.sample(&[], self.connections());
        let help = "Requests and connections that the HTTP engine itself has refused.";
        text.family("http_refusals_total", Kind::Counter, help);
        for (reason, count) in Refusal::REASONS.iter().zip(&self.refusals) {
            text.sample(&[("reason", reason)], count.load(Ordering::Relaxed));
        }
        let help = "Log lines that were dropped because the output is too slow.";
        text.family("log_lines_lost_total", Kind::Counter, help);
        text.sample(&[], logging::lines_lost());
        self.process.write(&mut text);
        text
    }

    /// A request has been answered. `route` is its place in the table of routes.
    pub(crate) fn answered(
        &self,
        route: usize,
        method: &Method,
        status: StatusCode,
        took: Duration,
    ) {
        let route = if route < self.routes.len() { route } else { 0 };
        let shard = self.shards[own_shard()].get_or_init(|| self.new_shard());
        let Some(endpoint) = shard.get(route * METHODS.len() + method_place(method)) else {
            return;
        };
        endpoint.get_or_init(Box::default).answered(status.as_u16(), took);
    }

    /// The engine has refused a request or a connection.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refusals[refusal.reason()].fetch_add(1, Ordering::Relaxed);
    }

    /// Open connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    #[cfg_attr(feature = "tiny_http", allow(dead_code, reason = "it does not tell"))]
    pub(crate) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::AcqRel);
    }

    #[cfg_attr(feature = "tiny_http", allow(dead_code, reason = "it does not tell"))]
    pub(crate) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }

    fn new_shard(&self) -> Shard {
        (0..self.routes.len() * METHODS.len()).map(|_| OnceLock::new()).collect()
    }

    fn write_requests(&self, text: &mut Text) {
        let mut endpoints = Vec::new();
        for (route_place, route) in self.routes.iter().enumerate() {
            for (method_place, method) in METHODS.iter().enumerate() {
                if let Some(sums) = self.sums(route_place * METHODS.len() + method_place) {
                    endpoints.push((*route, *method, sums));
                }
            }
        }
        text.family("http_requests_total", Kind::Counter, "Requests answered.");
        for (route, method, sums) in &endpoints {
            for (place, count) in sums.statuses.iter().enumerate().filter(|(_, count)| **count > 0)
            {
                let status = STATUSES.get(place).map_or("other".to_owned(), u16::to_string);
                let labels = [("route", *route), ("method", *method), ("status", &status)];
                text.sample(&labels, count);
            }
        }
        let help = "From a request's last byte to its answer, which is not sent yet.";
        text.family("http_request_duration_seconds", Kind::Histogram, help);
        for (route, method, sums) in &endpoints {
            let bounds = BOUNDS.iter().map(|(bound, _)| *bound);
            let labels = [("route", *route), ("method", *method)];
            text.histogram(&labels, bounds, &sums.durations, seconds(sums.duration_ns_sum));
        }
    }

    /// What all threads have counted; none if there was no such request.
    fn sums(&self, place: usize) -> Option<Sums> {
        let shards = self.shards.iter().filter_map(OnceLock::get);
        let counted = shards.filter_map(|shard| shard.get(place)?.get());
        counted.fold(None, |sums, endpoint| {
            let mut sums = sums.unwrap_or_else(Sums::zero);
            add(&mut sums.statuses, &endpoint.statuses);
            add(&mut sums.durations, &endpoint.durations);
            sums.duration_ns_sum += endpoint.duration_ns_sum.load(Ordering::Relaxed);
            Some(sums)
        })
    }
}

impl Endpoint {
    fn answered(&self, status: u16, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let status = STATUSES.iter().position(|counted| *counted == status);
        let bound = BOUNDS.iter().position(|(_, bound_ns)| took_ns <= *bound_ns);
        let counters = [
            (&self.statuses[status.unwrap_or(STATUSES.len())], 1),
            (&self.durations[bound.unwrap_or(BOUNDS.len())], 1),
            (&self.duration_ns_sum, took_ns),
        ];
        for (counter, by) in counters {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Endpoint {
            statuses: array::from_fn(|_| AtomicU64::new(0)),
            durations: array::from_fn(|_| AtomicU64::new(0)),
            duration_ns_sum: AtomicU64::new(0),
        }
    }
}

impl Sums {
    fn zero() -> Self {
        Sums {
            statuses: [0; STATUSES.len() + 1],
            durations: [0; BOUNDS.len() + 1],
            duration_ns_sum: 0,
        }
    }
}

fn add(sums: &mut [u64], counters: &[AtomicU64]) {
    for (sum, counter) in sums.iter_mut().zip(counters) {
        *sum += counter.load(Ordering::Relaxed);
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact for a hundred days, near enough beyond")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn method_place(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::PUT => 1,
        Method::POST => 2,
        Method::DELETE => 3,
        Method::HEAD => 4,
        _ => 5,
    }
}

/// The place of this thread's counters.
fn own_shard() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    OWN.with(|own| *own)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// The samples of one metric.
    fn samples(text: &str, name: &str) -> Vec<String> {
        let is_sample = |line: &&str| line.starts_with(name);
        text.lines().filter(is_sample).map(str::to_owned).collect()
    }

    #[test]
    fn requests_are_counted_by_route_method_and_status_over_all_threads() {
        let metrics = Metrics::new(&["unmatched", "/a"]);
        let answered = |route, method: &str, status: u16, took| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            metrics.answered(route, &method, StatusCode::from_u16(status).unwrap(), took);
        };
        thread::scope(|scope| {
            for _ in 0..SHARDS + 2 {
                scope.spawn(|| answered(1, "GET", 200, Duration::from_micros(10)));
            }
        });
        answered(1, "GET", 200, Duration::from_nanos(10_001));
        answered(1, "GET", 418, Duration::from_secs(1_000));
        answered(0, "BREW", 404, Duration::ZERO);
        answered(9, "PUT", 507, Duration::from_secs(10));
        let text = metrics.text("toy", "1.2.3").to_string();
        assert_eq!(
            samples(&text, "toy_http_requests_total"),
            [
                r#"toy_http_requests_total{route="unmatched",method="PUT",status="507"} 1"#,
                r#"toy_http_requests_total{route="unmatched",method="other",status="404"} 1"#,
                r#"toy_http_requests_total{route="/a",method="GET",status="200"} 67"#,
                r#"toy_http_requests_total{route="/a",method="GET",status="other"} 1"#,
            ]
        );
        let get = r#"toy_http_request_duration_seconds_bucket{route="/a",method="GET",le="#;
        let buckets = samples(&text, get);
        assert_eq!(buckets.len(), BOUNDS.len() + 1);
        assert_eq!(buckets[0], format!("{get}\"0.00001\"}} 66"));
        assert_eq!(buckets[1], format!("{get}\"0.000025\"}} 67"));
        assert_eq!(buckets[BOUNDS.len()], format!("{get}\"+Inf\"}} 68"));
        let slow = r#"toy_http_request_duration_seconds_sum{route="unmatched",method="PUT"}"#;
        assert_eq!(samples(&text, slow), [format!("{slow} 10")]);
    }

    #[test]
    fn refusals_and_connections_are_counted() {
        let metrics = Metrics::new(&["unmatched"]);
        metrics.connection_opened();
        metrics.connection_opened();
        metrics.connection_closed();
        metrics.refused(Refusal::HeadTimeout);
        let text = metrics.text("toy", "1.2.3").to_string();
        assert_eq!(samples(&text, "toy_http_connections"), ["toy_http_connections 1"]);
        let refusals = samples(&text, "toy_http_refusals_total");
        assert_eq!(refusals.len(), Refusal::REASONS.len());
        let counted: Vec<_> = refusals.iter().filter(|line| !line.ends_with(" 0")).collect();
        assert_eq!(counted, [r#"toy_http_refusals_total{reason="head_timeout"} 1"#]);
    }

    #[test]
    fn the_bounds_are_what_their_names_say() {
        for (name, bound_ns) in BOUNDS {
            assert!((name.parse::<f64>().unwrap() - seconds(bound_ns)).abs() < 1e-12, "{name}");
        }
        assert!(BOUNDS.is_sorted_by_key(|(_, bound_ns)| *bound_ns));
    }
}
