//! Who is let in: every operation of the contract with every kind of credentials, and tokens that
//! are shown to nobody.

use std::collections::BTreeSet;
use std::fs;

use tests::{Client, Finished, Json, Launch, Response, checker, kv};

tests::on_every_store! {
    each_operation_takes_the_tokens_that_are_meant_for_it,
    what_is_denied_is_not_done,
    no_token_is_ever_shown,
    the_checker_shows_its_token_to_kv_alone,
    a_token_that_is_none_stops_the_start,
    a_start_without_a_token_warns_who_can_be_reached,
}

const TOKEN: &str = "s3cret-for-everything";
const READ_TOKEN: &str = "s3cret-for-reading";

/// Whoever has none of these is asked nothing: a health check, a browser.
const PUBLIC: &[&str] = &["/health", "/ready", "/docs", "/openapi.json"];

fn guarded() -> Launch {
    kv().env("KV_TOKEN", TOKEN).env("KV_READ_TOKEN", READ_TOKEN).env("LOG_LEVEL", "DEBUG")
}

fn send(client: &mut Client, operation: &str, credentials: &[&str]) -> Response {
    let (method, path) = operation.split_once(' ').expect("a method and a path");
    let fields: Vec<_> = credentials.iter().map(|value| ("Authorization", *value)).collect();
    let body = matches!(method, "POST" | "PUT").then_some(r#"{"key":"a","value":1}"#);
    client.request(method, path, &fields, body)
}

/// The name of a file that holds this.
fn file(name: &str, content: &str) -> String {
    let path = format!("{}/access-{name}", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&path, content).expect("a file");
    path
}

/// A refusal in the house's shape, with its challenge.
#[track_caller]
fn check_denied(answer: &Response, operation: &str, status: u16, challenge: &str) {
    assert_eq!(answer.status, status, "{operation}");
    assert_eq!(answer.header("WWW-Authenticate"), Some(challenge), "{operation}");
    if !operation.starts_with("HEAD ") {
        answer.assert_refused(status);
    }
}

/// `GET /keys/a` and so on: what the document of the running service names, and what it does not.
fn operations(client: &mut Client) -> BTreeSet<String> {
    let document = client.request("GET", "/openapi.json", &[], None).json();
    let Json::Object(paths) = document.at(&["paths"]) else { panic!("no paths in {document}") };
    let mut operations = BTreeSet::new();
    for (path, item) in paths {
        let Json::Object(item) = item else { panic!("{path} is {item}") };
        for method in item.keys().filter(|name| *name != "parameters") {
            let path = path.replace("{key}", "a");
            operations.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert!(operations.contains("DELETE /keys/a"), "{operations:?}");
    let unnamed = ["GET /nowhere", "POST /nowhere", "PATCH /keys/a", "GET /keys/%zz", "POST /"];
    operations.extend(unnamed.map(str::to_owned));
    operations
}

fn each_operation_takes_the_tokens_that_are_meant_for_it() {
    let server = guarded().start();
    let mut client = server.connect();
    for operation in &operations(&mut client) {
        let (method, path) = operation.split_once(' ').expect("a method and a path");
        if PUBLIC.contains(&path) || path == "/" {
            let answer = send(&mut client, operation, &[]);
            assert!(!matches!(answer.status, 401 | 403), "{operation}: {}", answer.status);
            continue;
        }
        let mut answer = |credentials: &[&str]| send(&mut client, operation, credentials);
        for missing in [&[][..], &[""], &["Bearer"], &["Basic YTpi"], &[TOKEN]] {
            check_denied(&answer(missing), operation, 401, "Bearer");
        }
        let twice = [format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}")];
        check_denied(&answer(&[&twice[0], &twice[1]]), operation, 401, "Bearer");
        let prefix = format!("Bearer {}", &TOKEN[..TOKEN.len() - 1]);
        let longer = format!("Bearer {TOKEN}x");
        for wrong in ["Bearer wrong", "Bearer \u{e9}", &prefix, &longer] {
            let challenge = r#"Bearer error="invalid_token""#;
            check_denied(&answer(&[wrong]), operation, 401, challenge);
        }
        let read = format!("Bearer {READ_TOKEN}");
        if matches!(method, "GET" | "HEAD") {
            assert!(!matches!(answer(&[&read]).status, 401 | 403), "{operation}");
        } else {
            let challenge = r#"Bearer error="insufficient_scope""#;
            check_denied(&answer(&[&read]), operation, 403, challenge);
        }
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let all = format!("{scheme} {TOKEN}");
            assert!(!matches!(answer(&[&all]).status, 401 | 403), "{operation}");
        }
    }
}

fn what_is_denied_is_not_done() {
    let server = guarded().start();
    let mut client = server.connect();
    let all = format!("Bearer {TOKEN}");
    assert_eq!(send(&mut client, "PUT /keys/a", &[&all]).status, 200);
    assert_eq!(send(&mut client, "DELETE /keys/a", &["Bearer wrong"]).status, 401);
    assert_eq!(send(&mut client, "DELETE /keys/a", &[&format!("Bearer {READ_TOKEN}")]).status, 403);
    let answer = send(&mut client, "GET /keys/a", &[&all]);
    answer.assert_json(200, r#"{"success":true,"key":"a","value":1}"#);
}

fn no_token_is_ever_shown() {
    let server = guarded().start();
    let mut client = server.connect();
    let mut shown = String::new();
    for operation in &operations(&mut client) {
        for token in [TOKEN, READ_TOKEN] {
            for credentials in [format!("Bearer {token}"), format!("Bearer {token}x")] {
                let answer = send(&mut client, operation, &[&credentials]);
                shown.extend(answer.headers.iter().flat_map(|(name, value)| [&**name, value]));
                shown += &String::from_utf8_lossy(&answer.body);
            }
        }
    }
    shown += &server.stop().log.join("\n");
    assert!(shown.contains("GET /keys/a 401"), "the log is not there: {shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(!guarded().args("--help").run().stdout.contains("s3cret"));
}

fn the_checker_shows_its_token_to_kv_alone() {
    let path = file("token", &format!("{TOKEN}\n"));
    let kv = guarded().env("KV_TOKEN", "").env("KV_TOKEN_FILE", &path).start();
    let run = |launch: Launch| {
        let server = launch.env("KV_SERVICE_URL", &kv.url()).env("LOG_LEVEL", "DEBUG").start();
        let answer = server.connect().request("POST", "/test/deletion", &[], None);
        let status = server.get("/test/status").text().to_owned();
        let log = server.stop().log.join("\n");
        let shown = format!("{}{status}{log}", answer.text());
        assert!(!shown.contains("s3cret"), "{shown}");
        answer.json().at(&["success"]).clone()
    };
    let (yes, no) = (Json::parse("true"), Json::parse("false"));
    assert_eq!(run(checker().env("KV_TOKEN", TOKEN)), yes);
    assert_eq!(run(checker().env("KV_TOKEN_FILE", &path)), yes);
    assert_eq!(run(checker()), no);
    assert_eq!(run(checker().env("KV_TOKEN", READ_TOKEN)), no);
}

#[track_caller]
fn check_refused(launch: Launch, error: &str) {
    let Finished { code, stdout, stderr } = launch.run();
    assert_eq!((code, stdout.as_str()), (Some(64), ""), "{stderr}");
    assert_eq!(stderr, format!("error: {error}\n"));
}

fn a_token_that_is_none_stops_the_start() {
    let none = "is no token (1 to 4096 visible ASCII characters)";
    for program in [kv as fn() -> Launch, checker] {
        for text in ["s3cret s3cret", "s3cret\u{e9}", "s3cret\t"] {
            check_refused(program().env("KV_TOKEN", text), &format!("KV_TOKEN: {none}"));
        }
        check_refused(program().args("--kv-token="), &format!("--kv-token: {none}"));
        let gone = file("gone", "");
        fs::remove_file(&gone).expect("it is there");
        let error = format!("KV_TOKEN_FILE: '{gone}' cannot be read: entity not found");
        check_refused(program().env("KV_TOKEN_FILE", &gone), &error);
        for content in ["", "\n", "s3cret\ns3cret\n"] {
            let path = file("wrong", content);
            let error = format!(
                "KV_TOKEN_FILE: '{path}' holds no token (1 to 4096 visible ASCII characters)"
            );
            check_refused(program().env("KV_TOKEN_FILE", &path), &error);
        }
        let path = file("right", "s3cret\n");
        let both = program().env("KV_TOKEN", "s3cret").env("KV_TOKEN_FILE", &path);
        check_refused(both, "KV_TOKEN and KV_TOKEN_FILE cannot be given together");
    }
    check_refused(kv().env("KV_READ_TOKEN", "s3 cret"), &format!("KV_READ_TOKEN: {none}"));
}

/// The warnings of a start.
fn warnings(launch: Launch) -> Vec<String> {
    let log = launch.start().stop().log;
    log.into_iter().filter(|line| line.contains(" WARN ")).collect()
}

fn a_start_without_a_token_warns_who_can_be_reached() {
    let check = |launch: Launch, expected: Option<&str>| {
        let warnings = warnings(launch);
        assert_eq!(warnings.len(), usize::from(expected.is_some()), "{warnings:?}");
        let holds = warnings.iter().zip(expected).all(|(line, text)| line.contains(text));
        assert!(holds, "{warnings:?}");
    };
    let open = "everyone who reaches 0.0.0.0 may read and write: set KV_TOKEN";
    check(kv().env("HOST", "0.0.0.0"), Some(open));
    check(kv().env("HOST", "0.0.0.0").env("KV_TOKEN", TOKEN), None);
    check(kv(), None);
    check(kv().env("HOST", "localhost"), None);
    let closed = "nobody may write: KV_READ_TOKEN is set, and KV_TOKEN is not";
    check(kv().env("KV_READ_TOKEN", READ_TOKEN), Some(closed));
}
