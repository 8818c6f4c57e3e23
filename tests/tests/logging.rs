//! The log: a line a request, nothing secret, and never in the way of an answer.

use tests::{Launch, ReservedPort, Server, checker, kv, request};

const HEALTHY: &str = r#"{"status":"healthy"}"#;

/// Level and message of a line: `2026-01-31T12:00:00Z INFO stopped`.
#[track_caller]
fn level_and_message(line: &str) -> (&str, &str) {
    let (time, rest) = line.split_once(' ').expect("a time");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00Z", "{line}");
    rest.split_once(' ').expect("a level")
}

/// A request's line without its time: `GET /keys/a 200`.
fn access(line: &str) -> Option<&str> {
    let (level, message) = level_and_message(line);
    let (request, time) = message.rsplit_once(' ')?;
    let micros = time.strip_suffix("us")?;
    micros.parse::<u64>().ok().filter(|_| level == "INFO").map(|_| request)
}

#[test]
fn every_request_has_a_line() {
    let server = kv().start();
    let mut client = server.connect();
    client.request("PUT", "/keys/a", &[], Some(r#"{"key":"a","value":1}"#));
    client.request("GET", "/keys/a?secret=1", &[], None);
    client.request("HEAD", "/keys/%61/b", &[], None);
    client.request("DELETE", "/keys/a", &[], None);
    client.request("BREW", "/keys/a", &[], None);
    client.request("GET", "/", &[], None);
    client.send("GET /health HTTP/1.0\r\n\r\n");
    let log = server.stop().log;
    let requests: Vec<_> = log.iter().filter_map(|line| access(line)).collect();
    assert_eq!(
        requests,
        [
            "PUT /keys/a 200",
            "GET /keys/a 200",
            "HEAD /keys/%61/b 404",
            "DELETE /keys/a 200",
            "BREW /keys/a 405",
            "GET / 307",
            "GET /health 200",
        ]
    );
    let others: Vec<_> = log.iter().filter(|line| access(line).is_none()).collect();
    assert_eq!(others.len(), 3, "start, stopping, stopped: {others:#?}");
}

#[test]
fn no_character_of_a_path_forges_a_line() {
    let server = kv().start();
    let check = |path: &str, shown: &str| {
        server.connect().request("GET", path, &[], None);
        let line = server.log().wait_for(shown);
        assert!(line.bytes().all(|byte| !byte.is_ascii_control()), "{line:?}");
    };
    check("/keys/one%0a%1b[31m%0d", " GET /keys/one%0a%1b[31m%0d 404 ");
    check("/keys/two\u{85}\u{2028}\u{202e}é", r" GET /keys/two\u{85}\u{2028}\u{202e}é 404 ");
    for path in ["/keys/\u{1b}[31m", "/keys/\u{7f}", "/keys/a\nGET", "/keys/\u{8}"] {
        server.connect().send(request("GET", path, &[], None)).assert_refused(400);
    }
    let log = server.stop().log;
    assert!(log.iter().all(|line| !line.contains(['\u{1b}', '\r', '\u{202e}'])), "{log:#?}");
    assert_eq!(log.iter().filter(|line| line.ends_with("us")).count(), 6, "{log:#?}");
}

#[test]
fn a_token_is_never_logged() {
    let token = "c2VjcmV0LXRva2Vu";
    let bearer = format!("Bearer {token}");
    let header = &[("Authorization", bearer.as_str())];
    for program in [kv as fn() -> Launch, checker] {
        let server = program().env("LOG_LEVEL", "DEBUG").env("KV_TOKEN", token).start();
        for target in ["/keys/a", "/nope", &format!("/health?token={token}"), "/test/status"] {
            server.connect().request("GET", target, header, None);
        }
        for bad in ["GET /a HTTP/3.0", "GET /\u{1b} HTTP/1.1", "GET  HTTP/1.1"] {
            let bytes = format!("{bad}\r\nHost: a\r\nAuthorization: {bearer}\r\n\r\n");
            server.connect().send(bytes);
        }
        server.connect().send(format!("GET / HTTP/1.1\r\nHost: a\r\nAuth({bearer}\r\n\r\n"));
        let log = server.stop().log;
        assert!(log.iter().any(|line| line.contains("GET /nope 404")), "{log:#?}");
        assert!(log.iter().all(|line| !line.contains(token)), "{log:#?}");
    }
}

/// The wait for a signal once stood among the arguments of a line at INFO: with `LOG_LEVEL=WARNING`
/// nobody evaluated it, and the program stopped as soon as it had started, with exit code 0.
#[test]
fn the_level_decides_what_is_logged() {
    let port = ReservedPort::new();
    for (level, is_logged) in [
        ("DEBUG", true),
        ("debug", true),
        ("Info", true),
        ("", true),
        ("WARNING", false),
        ("warning", false),
        ("Error", false),
    ] {
        let server = kv().env("LOG_LEVEL", level).start_at(&port);
        server.get("/health").assert_json(200, HEALTHY);
        let log = server.stop().log;
        assert_eq!(log.iter().any(|line| line.contains("GET /health 200")), is_logged, "{level}");
        assert!(is_logged || log.is_empty(), "{level}: {log:#?}");
    }
}

/// Sends so many requests, many at a time, and reads the answers.
fn load(server: &Server, requests: usize) {
    const AT_ONCE: usize = 100;
    let batch = request("GET", "/health", &[], None).repeat(AT_ONCE);
    let mut client = server.connect();
    for _ in 0..requests / AT_ONCE {
        client.write(&batch);
        for _ in 0..AT_ONCE {
            client.read().assert_json(200, HEALTHY);
        }
    }
}

/// The pipe, the queue and the batches hold some thousand lines; the others are lost, and counted
/// as soon as somebody reads.
#[test]
fn a_log_that_nobody_reads_stops_no_answer() {
    const REQUESTS: usize = 50_000;
    let server = kv().start_with_log_unread();
    load(&server, REQUESTS);
    let lost = |line: &str| {
        let (level, message) = level_and_message(line);
        let count = message.strip_prefix("log: ")?.split_once(" lines lost")?.0;
        assert_eq!(level, "WARN");
        count.parse::<usize>().ok()
    };
    let (mut read_count, mut lost_count) = (0, 0);
    server.log().wait_until("the last request", |line| {
        read_count += usize::from(access(line).is_some());
        lost_count += lost(line).unwrap_or_default();
        read_count + lost_count == REQUESTS
    });
    assert!(read_count > 0 && lost_count > 0, "{lost_count} lost, {read_count} read");
}

#[test]
fn a_log_that_is_closed_stops_no_answer() {
    let server = kv().start_at_with_log_closed(&ReservedPort::new());
    load(&server, 5_000);
    assert_eq!(server.stop().code, 0);
}
