//! The page and the `JUnit` report are well-formed and escaped, whatever is in the report.

use roxmltree::{Document, Node};

use super::*;
use crate::report::{Interval, Operations, SCHEMA, Timeline, TimelineOperation, quoted};

const NASTY: &str = "</pre><script>alert(1)</script> \"'&amp; \u{1b}[2J\u{ffff} ]]> <!-- é🦀";

fn workflow(name: &'static str, verdict: Verdict) -> WorkflowReport {
    WorkflowReport {
        name,
        promise: "it holds",
        verdict,
        reason: None,
        started_unix_ms: 1_700_000_000_000,
        duration_ms: 1_234,
        operations: Operations { sent: 10, ok: 8, failed: 1, unknown: 1 },
        checks: 5,
        evidence: Vec::new(),
        evidence_left_out: 0,
        notes: Vec::new(),
        latency: None,
        load: None,
        repeat: format!("checker run {name}"),
    }
}

fn operation(process: u64, called_us: u64, returned_us: Option<u64>) -> TimelineOperation {
    let text = quoted(&format!("put {NASTY}"));
    let order = (process != 2).then_some(process + 1);
    TimelineOperation { process, text, called_us, returned_us, order, curl: quoted(NASTY) }
}

fn latency() -> Latency {
    Latency {
        count: 9,
        mean_us: 1_234.5,
        p50_us: 900,
        p90_us: 2_000,
        p99_us: 9_000,
        p999_us: 9_000,
        max_us: 1_100_000,
    }
}

fn load() -> Load {
    let interval = |start_ms, count, errors| Interval {
        start_ms,
        count,
        errors,
        p50_us: count * 100,
        p99_us: count * 200,
        max_us: count * 90_000,
    };
    Load {
        rate_wanted: Some(1_000),
        rate_reached: 812.0,
        sent: 18,
        errors: 1,
        latency: Some(latency()),
        lateness: Some(latency()),
        bottleneck: Some(quoted(NASTY)),
        interval_ms: 100,
        intervals: vec![interval(0, 9, 0), interval(100, 0, 0), interval(200, 9, 1)],
    }
}

/// Every verdict, and hostile text wherever text can be.
fn report() -> Report {
    let timeline = Timeline {
        key: quoted(NASTY),
        initial: Some(quoted(NASTY)),
        operations: vec![
            operation(0, 0, Some(400)),
            operation(1, 100, None),
            operation(2, 401, Some(402)),
            operation(0, 500, Some(90_000)),
        ],
    };
    let evidence = Evidence {
        promise: quoted(NASTY),
        expected: quoted(NASTY),
        seen: quoted(NASTY),
        replay: vec![quoted(NASTY); 2],
        timeline: Some(timeline),
    };
    let mut workflows = vec![
        workflow("deletion", Verdict::Passed),
        workflow("linearizability", Verdict::Failed),
        workflow("types", Verdict::Unknown),
        workflow("batch", Verdict::Skipped),
        workflow("load", Verdict::Unreachable),
    ];
    workflows[1].evidence = vec![evidence];
    workflows[1].evidence_left_out = 3;
    for workflow in &mut workflows[2..] {
        workflow.reason = Some(quoted(NASTY));
        workflow.notes = vec![quoted(NASTY)];
    }
    workflows[4].latency = Some(latency());
    workflows[4].load = Some(load());
    Report {
        schema: SCHEMA,
        checker_version: "0.1.0",
        target: quoted(&format!("http://kv/{NASTY}")),
        verdict: Verdict::Failed,
        started_unix_ms: 1_700_000_000_000,
        duration_ms: 61_234,
        settings: Settings::default(),
        features: vec!["versions", "lists"],
        repeat: quoted(NASTY),
        workflows,
    }
}

/// The page as XML: the elements that HTML never closes are closed.
pub(crate) fn as_xml(html: &str) -> String {
    let body = html.strip_prefix("<!DOCTYPE html>").expect("a document type");
    let parts = body.split_inclusive('>').map(|part| {
        let at = part.rfind('<').unwrap_or(0);
        if part[at..].starts_with("<meta ") { part.replace('>', "/>") } else { part.to_owned() }
    });
    parts.collect::<String>().replace('\u{ffff}', "?")
}

fn named<'a>(document: &'a Document<'_>, name: &str) -> Vec<Node<'a, 'a>> {
    document.descendants().filter(|node| node.has_tag_name(name)).collect()
}

#[test]
fn a_page_is_well_formed_and_needs_nothing_else() {
    let html = report().to_html();
    let xml = as_xml(&html);
    let page = Document::parse(&xml).unwrap();
    for tag in ["script", "link", "img", "iframe", "object", "image", "use", "base"] {
        assert!(named(&page, tag).is_empty(), "{tag}");
    }
    for node in page.descendants() {
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            assert!(!name.starts_with("on") && name != "src" && name != "style", "{name}={value}");
            assert!(name != "href" || value.starts_with('#'), "{name}={value}");
        }
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import") && !STYLE.contains('<'));
    let ids = named(&page, "section").into_iter().filter_map(|node| node.attribute("id"));
    assert_eq!(ids.collect::<Vec<_>>(), ["linearizability"]);
    assert_eq!(named(&page, "svg").len(), 2);
}

#[test]
fn what_came_from_a_server_is_text() {
    let html = report().to_html();
    assert!(!html.contains("<script"), "{html}");
    assert!(!html.contains('\u{1b}'));
    let xml = as_xml(&html);
    let page = Document::parse(&xml).unwrap();
    let seen = quoted(NASTY).replace('\u{ffff}', "?");
    let quotes: Vec<_> = named(&page, "dd").iter().filter_map(Node::text).collect();
    assert_eq!(quotes, [seen.as_str(), &seen]);
    let lines = named(&page, "span").into_iter();
    let lines = lines.filter(|node| node.attribute("class") == Some("line"));
    let lines: Vec<_> = lines.filter_map(|node| node.text().map(str::to_owned)).collect();
    assert_eq!(lines, vec![format!("{seen}\n"); 2]);
}

#[test]
fn a_timeline_has_a_lane_a_client_and_says_what_does_not_fit() {
    let xml = as_xml(&report().to_html());
    let page = Document::parse(&xml).unwrap();
    let with = |class: &str| {
        let holds = |node: &Node<'_, '_>| {
            node.attribute("class").is_some_and(|own| own.split(' ').any(|own| own == class))
        };
        page.descendants().filter(holds).count()
    };
    assert_eq!((with("lane"), with("op"), with("open")), (3, 4, 1));
    // The bar and its line in the list.
    assert_eq!(with("out"), 2);
}

#[test]
fn a_page_without_anything_is_a_page() {
    let nothing = Report { workflows: Vec::new(), features: Vec::new(), ..report() };
    Document::parse(&as_xml(&nothing.to_html())).unwrap();
    let mut empty = report();
    empty.workflows[1].evidence[0].timeline =
        Some(Timeline { key: String::new(), initial: None, operations: vec![] });
    empty.workflows[4].load = Some(Load { intervals: vec![], latency: None, ..load() });
    Document::parse(&as_xml(&empty.to_html())).unwrap();
}

#[test]
fn junit_counts_what_there_is() {
    let xml = report().to_junit();
    let document = Document::parse(&xml).unwrap();
    let suite = named(&document, "testsuite")[0];
    for (name, value) in [("tests", "5"), ("failures", "1"), ("errors", "2"), ("skipped", "1")] {
        assert_eq!(suite.attribute(name), Some(value), "{name}");
    }
    assert_eq!(suite.attribute("timestamp"), Some("2023-11-14T22:13:20Z"));
    assert_eq!(suite.attribute("time"), Some("61.234"));
    for (name, count) in [("testcase", 5), ("failure", 1), ("error", 2), ("skipped", 1)] {
        assert_eq!(named(&document, name).len(), count, "{name}");
    }
    let failure = named(&document, "failure")[0];
    let text = failure.text().unwrap();
    assert!(text.contains("<script>alert(1)</script>") && text.contains("expected:"), "{text}");
    assert_eq!(failure.attribute("message"), Some(&*quoted(NASTY).replace('\u{ffff}', "\u{fffd}")));
    let error = named(&document, "error")[0];
    assert_eq!(error.attribute("type"), Some("unknown"));
}
