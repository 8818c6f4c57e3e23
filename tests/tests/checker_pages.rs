//! The checker's own pages: the status, the report, and who may press the buttons.

use tests::{Response, Server, checker, eventually, kv};

const FORM: &str = "then=status";
const FORMS: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

#[track_caller]
fn press(server: &Server, target: &str, headers: &[(&str, &str)]) -> Response {
    server.connect().request("POST", target, headers, Some(FORM))
}

#[track_caller]
fn assert_page(answer: &Response, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("Content-Type"), Some("text/html; charset=utf-8"));
    let policy = answer.header("Content-Security-Policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline';"), "{policy}");
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    assert!(!answer.text().contains("<script"), "{}", answer.text());
}

/// Whether the status page says so.
#[track_caller]
fn shows(server: &Server, words: &str) -> bool {
    let answer = server.get("/");
    assert_page(&answer, 200);
    answer.text().contains(words)
}

#[test]
fn a_button_leads_back_to_the_page_that_shows_the_run() {
    let kv = kv().start();
    let server = checker().env("KV_SERVICE_URL", &kv.url()).start();
    assert_page(&server.get("/report"), 404);
    assert_eq!(server.get("/report.xml").status, 404);
    assert!(shows(&server, "not yet") && !shows(&server, "http-equiv=\"refresh\""));

    let answer = press(&server, "/test/load?duration=1h", &[FORMS]);
    assert_eq!((answer.status, answer.header("Location")), (303, Some("../")));
    assert!(shows(&server, "http-equiv=\"refresh\"") && shows(&server, "load</strong> is running"));
    // A second press is one too many, and no reason to leave the page.
    assert_eq!(press(&server, "/test/load", &[FORMS]).status, 303);
    assert_eq!(server.connect().request("POST", "/test/load", &[], None).status, 409);

    for name in ["deletion", "counter"] {
        let target = format!("/test/{name}?ops=100");
        assert_eq!(press(&server, &target, &[FORMS]).status, 303);
        let case = format!("<testcase name=\"{name}\"");
        let junit = eventually("report of the run", || {
            let answer = server.get("/report.xml");
            answer.text().contains(&case).then_some(answer)
        });
        assert_eq!(junit.header("Content-Type"), Some("application/xml"));
        assert!(junit.text().contains("failures=\"0\""), "{}", junit.text());
    }
    assert_page(&server.get("/report"), 200);

    // Nobody waits for the long run, and its keys are removed all the same.
    assert_eq!(server.stop().code, 0);
    let log = kv.stop().log;
    assert!(log.last().is_some_and(|line| line.ends_with("stopped with 0 keys")), "{log:#?}");
}

#[test]
fn the_page_of_another_site_starts_nothing() {
    let server = checker().env("KV_SERVICE_URL", "http://127.0.0.1:1").start();
    // The requests of these tests are sent to the host `test`.
    let refused: [&[(&str, &str)]; 4] = [
        &[FORMS, ("Origin", "http://elsewhere")],
        &[FORMS, ("Origin", "null")],
        &[FORMS, ("Origin", "http://test"), ("Sec-Fetch-Site", "cross-site")],
        &[FORMS, ("Sec-Fetch-Site", "same-site")],
    ];
    for path in ["/test/deletion", "/test/overwrite", "/test/types", "/test/all"] {
        for headers in refused {
            let answer = press(&server, path, headers);
            assert_eq!(answer.status, 403, "{path} {headers:?}");
            assert!(answer.text().contains("Refused: sent by a page"), "{}", answer.text());
            assert_eq!(server.connect().request("POST", path, headers, None).status, 403);
        }
    }
    assert!(shows(&server, "not yet") && !shows(&server, "is running"));
    assert_eq!(server.get("/report.json").status, 404);
    let ours: [&[(&str, &str)]; 3] = [
        &[FORMS],
        &[FORMS, ("Origin", "http://test")],
        &[FORMS, ("Sec-Fetch-Site", "same-origin"), ("Origin", "http://behind.a.proxy")],
    ];
    for headers in ours {
        assert_eq!(press(&server, "/test/types", headers).status, 303, "{headers:?}");
    }
}

/// Who sends no such form has the answer of the fixed API, to the byte.
#[test]
fn the_fixed_endpoints_answer_programs_as_ever() {
    let kv = kv().start();
    let server = checker().env("KV_SERVICE_URL", &kv.url()).start();
    let passed = r#"{"success":true,"test_name":"test_deletion","details":{"steps_executed":4,"all_assertions_passed":true}}"#;
    for (headers, body) in [
        (&[][..], None),
        (&[("Accept", "text/html")], None),
        (&[FORMS], Some("")),
        (&[("Content-Type", "text/plain")], Some(FORM)),
    ] {
        let answer = server.connect().request("POST", "/test/deletion", headers, body);
        assert_eq!((answer.status, answer.text()), (200, passed), "{headers:?}");
    }
}

#[test]
fn the_command_line_writes_pages_and_junit() {
    let kv = kv().start();
    for (format, begins, holds) in [
        ("html", "<!DOCTYPE html>", "<h1>checker report:"),
        ("junit", "<?xml version=\"1.0\"", "tests=\"1\" failures=\"0\" errors=\"0\""),
    ] {
        let args = format!("run counter --ops 50 --url {} --format {format}", kv.url());
        let finished = checker().args(&args).run();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(finished.stdout.starts_with(begins), "{}", finished.stdout);
        assert!(finished.stdout.contains(holds), "{}", finished.stdout);
    }
}
