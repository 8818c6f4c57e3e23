//! The API pages of both programs: whole, compressed or not, and locked down.

use common::docs::PATHS;
use miniz_oxide::inflate::decompress_to_vec;
use tests::{Launch, Server, checker, kv};

const GZIP_HEADER_BYTES: usize = 10;
const GZIP_TRAILER_BYTES: usize = 8;

#[track_caller]
fn check(server: &Server, path: &str) {
    let mut client = server.connect();
    let mut get = |headers: &[(&str, &str)]| {
        let answer = client.request("GET", path, headers, None);
        let policy = answer.header("Content-Security-Policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{path}: {policy}");
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("Referrer-Policy"), Some("no-referrer"), "{path}");
        answer
    };
    let plain = get(&[]);
    assert_eq!(plain.header("Content-Encoding"), None, "{path}");
    if plain.status == 307 {
        assert_eq!(plain.header("Location"), Some("docs"), "{path}");
        return;
    }
    assert_eq!(plain.status, 200, "{path}");
    assert!(!plain.body.is_empty(), "{path}");
    let Some(tag) = plain.header("ETag") else { return };

    let packed = get(&[("Accept-Encoding", "br, gzip;q=0.5")]);
    assert_eq!(packed.header("Content-Encoding"), Some("gzip"), "{path}");
    let deflate = &packed.body[GZIP_HEADER_BYTES..packed.body.len() - GZIP_TRAILER_BYTES];
    assert!(decompress_to_vec(deflate).expect("gzip") == plain.body, "{path}");
    for response in [&plain, &packed] {
        assert_eq!(response.header("Vary"), Some("Accept-Encoding"), "{path}");
        assert_eq!(response.header("ETag"), Some(tag), "{path}");
    }
    for refused in ["identity", "gzip;q=0", "br"] {
        let answer = get(&[("Accept-Encoding", refused)]);
        assert_eq!(answer.header("Content-Encoding"), None, "{path} {refused}");
        assert!(answer.body == plain.body, "{path} {refused}");
    }

    for same in [tag, tag.trim_start_matches("W/"), "*", &format!("\"x\", {tag}")] {
        let answer = get(&[("If-None-Match", same)]);
        assert_eq!((answer.status, answer.header("ETag")), (304, Some(tag)), "{path} {same}");
    }
    assert_eq!(get(&[("If-None-Match", "\"x\"")]).status, 200, "{path}");
}

#[test]
fn every_page_is_whole_and_locked_down() {
    for program in [kv as fn() -> Launch, checker] {
        let server = program().start();
        // The checker has a page of its own there; `checker_pages.rs` looks at it.
        let is_checker = server.get("/").status == 200;
        for path in PATHS.iter().filter(|path| !is_checker || **path != "/") {
            check(&server, path);
        }
    }
}

#[test]
fn the_page_names_files_that_are_there_and_no_other_host() {
    for (program, title) in [(kv as fn() -> Launch, "kv"), (checker, "checker")] {
        let server = program().start();
        let page = server.get("/docs");
        let html = page.text();
        assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
        assert!(html.contains(&format!("<title>{title}</title>")), "{html}");
        let references = html.split(['"', '\'']).filter(|text| text.starts_with("docs/"));
        let found = references.map(|path| {
            let path = format!("/{path}");
            assert!(PATHS.contains(&path.as_str()), "{path}");
            assert_eq!(server.get(&path).status, 200, "{path}");
        });
        assert_eq!(found.count(), 4, "{html}");
        assert!(!html.contains("//"), "another host in {html}");
    }
}
