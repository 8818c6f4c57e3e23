//! `/export`, `/import`, `kv export`, `kv import`: everything out and in again, whole, as it was at
//! one moment.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use tests::{
    Client, Finished, Launch, ReservedPort, Server, Store, current, eventually, kv, request,
};

tests::on_every_store! {
    what_goes_out_comes_in_as_it_was,
    versions_go_on_behind_what_was_imported,
    a_prefix_selects,
    an_export_is_one_moment,
    reading_is_enough_to_export_and_not_to_import,
    few_exports_run_at_once,
    an_export_that_is_cut_off_is_seen_to_be,
    a_file_goes_out_and_in,
    an_export_that_is_not_whole_leaves_no_file,
    wrong_settings_are_named,
}

/// Keys of the export while writers churn.
const STABLE_KEYS: usize = 100_000;
/// Lines in a request that fills a store.
const LINES: usize = 5_000;

/// A directory of this test alone, empty.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("export-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a directory");
    path
}

#[track_caller]
fn put(client: &mut Client, key: &str, query: &str, value: &str) {
    let target = format!("/keys/{key}?raw{query}");
    assert_eq!(client.request("PUT", &target, &[], Some(value)).status, 200);
}

#[track_caller]
fn export(server: &Server, query: &str) -> String {
    let answer = server.get(&format!("/export{query}"));
    assert_eq!((answer.status, answer.header("Transfer-Encoding")), (200, Some("chunked")));
    answer.text().to_owned()
}

#[track_caller]
fn import(server: &Server, lines: &str, read: usize, taken: usize) {
    let answer = server.connect().request("POST", "/import", &[], Some(lines));
    let expected = format!(r#"{{"success":true,"read":{read},"taken":{taken}}}"#);
    answer.assert_json(200, &expected);
}

/// A store of this many keys, `key-000000` on, each with its number as value.
#[track_caller]
fn fill(server: &Server, keys: usize) {
    let mut client = server.connect();
    for first in (0..keys).step_by(LINES) {
        let line = |number| format!(r#"{{"key":"key-{number:06}","value":{number}}}"#);
        let lines: Vec<_> = (first..keys.min(first + LINES)).map(line).collect();
        let lines = lines.join("\n");
        assert_eq!(client.request("POST", "/import", &[], Some(&lines)).status, 200);
    }
}

fn transfer(arguments: &str, server: &Server) -> Launch {
    kv().env("PORT", &server.address.port().to_string()).args(arguments)
}

#[track_caller]
fn assert_done(finished: &Finished, said: &str) {
    assert_eq!((finished.code, finished.stderr.trim_end()), (Some(0), said));
}

#[track_caller]
fn assert_failed(finished: &Finished, parts: &[&str]) {
    assert_eq!((finished.code, finished.stderr.lines().count()), (Some(1), 1), "{finished:?}");
    for part in parts {
        assert!(finished.stderr.contains(part), "{part}: {}", finished.stderr);
    }
}

/// Values that others round, reorder or break, and keys likewise.
fn difficult() -> Vec<(&'static str, String)> {
    vec![
        ("a%2Fb%20c", "1e400".to_owned()),
        ("a%22b%5Cc%0A", "9007199254740993".to_owned()),
        ("deep", "[".repeat(50_000) + &"]".repeat(50_000)),
        ("%C3%A9%F0%9F%94%91", r#""\ud800 \u0041 \u2028 é \" \\ \n""#.to_owned()),
        ("lines", "{\r\n\t\"b\": [1,\n 2 ],\r \"a\": 1.50E+02}".to_owned()),
        ("long", "1".repeat(100_000)),
        ("members", r#"{"b":1,"a":2,"b":3}"#.to_owned()),
        ("null", "null".to_owned()),
    ]
}

fn what_goes_out_comes_in_as_it_was() {
    let (from, to) = (kv().start(), kv().start());
    let mut client = from.connect();
    for (key, value) in difficult() {
        put(&mut client, key, "", &value);
    }
    put(&mut client, "session", "&ttl=1h", "1");
    put(&mut client, "gone", "&ttl=1ms", "1");
    eventually("end of its time", || (from.get("/keys/gone").status == 404).then_some(()));
    let lines = export(&from, "");
    let count = difficult().len() + 1;
    assert_eq!(lines.lines().count(), count);

    import(&to, &lines, count, count);
    import(&to, &lines, count, 0);
    for (key, value) in difficult() {
        let target = format!("/keys/{key}?raw");
        let (before, after) = (from.get(&target), to.get(&target));
        assert!(after.body == value.as_bytes(), "{key}");
        assert_eq!(after.header("ETag"), before.header("ETag"), "{key}");
    }
    let answer = to.get("/keys/session");
    let left: u64 = answer.header("KV-TTL-Ms").expect("it expires").parse().expect("a number");
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    // The last digits of a deadline are those of two clocks.
    let without_session = |lines: &str| -> Vec<String> {
        lines.lines().filter(|line| !line.contains("session")).map(str::to_owned).collect()
    };
    assert_eq!(without_session(&export(&to, "")), without_session(&lines));

    // What has been written since is later.
    put(&mut to.connect(), "null", "", "2");
    import(&to, &lines, count, 0);
    assert_eq!(to.get("/keys/null?raw").text(), "2");
}

fn versions_go_on_behind_what_was_imported() {
    let server = kv().start();
    let version = 4_611_686_018_427_000_000_u64;
    let line = format!(r#"{{"key":"late","value":1,"version":{version}}}"#);
    import(&server, &line, 1, 1);
    let late = server.get("/keys/late");
    assert_eq!(late.header("ETag"), Some(format!("\"{version}\"").as_str()));
    let answer = server.connect().request("PUT", "/keys/next?raw", &[], Some("1"));
    let next: u64 =
        answer.header("ETag").expect("a version").trim_matches('"').parse().expect("a number");
    assert!(next > version, "{next}");
    let unversioned = r#"{"key":"late","value":2}"#;
    import(&server, unversioned, 1, 1);
    assert_eq!(server.get("/keys/late?raw").text(), "2");
}

fn a_prefix_selects() {
    let server = kv().start();
    let mut client = server.connect();
    for key in ["a", "a%2F", "a%2F1", "a%2F2", "a0", "b"] {
        put(&mut client, key, "", "1");
    }
    let keys = |query: &str| -> Vec<String> {
        let lines = export(&server, query);
        let key = |line| serde_json::from_str::<Value>(line).expect("JSON")["key"].clone();
        lines.lines().map(|line| key(line).as_str().expect("a string").to_owned()).collect()
    };
    assert_eq!(keys(""), ["a", "a/", "a/1", "a/2", "a0", "b"]);
    assert_eq!(keys("?prefix=a/"), ["a/", "a/1", "a/2"]);
    assert_eq!(keys("?prefix=b"), ["b"]);
    assert_eq!(keys("?prefix=c"), [""; 0]);
    server.get("/export?prefix=%zz").assert_refused(422);
    let head = server.connect().request("HEAD", "/export", &[], None);
    assert_eq!((head.status, head.header("Content-Type")), (200, Some("application/x-ndjson")));
}

/// While it runs, stable keys stay, others come and go, and pairs are written together.
fn an_export_is_one_moment() {
    let server = kv().start();
    fill(&server, STABLE_KEYS);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..3 {
            let (done, mut client) = (&done, server.connect());
            scope.spawn(move || {
                for round in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    // Far from each other in the order of keys.
                    let ops = ["a-pair", "z-pair"].map(|key| {
                        format!(r#"{{"op":"put","key":"{key}-{writer}","value":{round}}}"#)
                    });
                    let body = format!(r#"{{"ops":[{}]}}"#, ops.join(","));
                    assert_eq!(client.request("POST", "/batch", &[], Some(&body)).status, 200);
                    let passing = format!("key-{:06}-passing", round % STABLE_KEYS);
                    put(&mut client, &passing, "", "1");
                    client.request("DELETE", &format!("/keys/{passing}"), &[], None);
                }
            });
        }
        let pairs = || server.get("/keys?prefix=z-pair").text().matches("z-pair").count();
        eventually("pair of each writer", || (pairs() == 3).then_some(()));
        for _ in 0..5 {
            check_moment(&export(&server, ""));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[track_caller]
fn check_moment(lines: &str) {
    let (mut before, mut stable, mut pairs) = (String::new(), 0, BTreeMap::new());
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let (key, value) = (line["key"].as_str().expect("a string"), &line["value"]);
        assert!(before.as_str() < key, "{before} and {key}");
        if let Some(number) = key.strip_prefix("key-").filter(|number| number.len() == 6) {
            assert_eq!((number, value), (&*format!("{stable:06}"), &Value::from(stable)));
            stable += 1;
        } else if let Some((_, writer)) = key.split_once("-pair-") {
            let both: &mut Vec<Value> = pairs.entry(writer.to_owned()).or_default();
            both.push(value.clone());
        }
        key.clone_into(&mut before);
    }
    assert_eq!((stable, pairs.len()), (STABLE_KEYS, 3));
    for (writer, both) in pairs {
        assert!(matches!(&both[..], [one, other] if one == other), "{writer}: {both:?}");
    }
}

#[test]
fn an_import_is_all_or_nothing() {
    let server = kv().start();
    let check = |lines: &str, status: u16, error: &str| {
        let answer = server.connect().request("POST", "/import", &[], Some(lines));
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(error), "{}", answer.text());
        assert_eq!(export(&server, ""), "");
    };
    let good = r#"{"key":"a","value":1}"#;
    check(&format!("{good}\nx"), 422, r#""error":"line 2: is not JSON: Expecting value"#);
    check(&format!("{good}\n\n{{\"key\":\"a\"}}"), 422, r#","line":3}}"#);
    check(&format!("{good}\n{{\"key\":\"b\",\"value\":NaN}}"), 422, "line 2: is not JSON");
    let late = r#"{"key":"b","value":1,"version":4611686018427387905}"#;
    check(&format!("{good}\n{late}"), 422, "line 2: 'version' is not a version");
    check(&format!("{good}\n[]"), 422, "line 2: is not an object");
    for nothing in ["", "\n \r\n", "\u{feff}"] {
        import(&server, nothing, 0, 0);
    }
    import(&server, r#"{"key":"a","value":1,"expires_at_ms":1}"#, 1, 0);
    let origin = [("Origin", "http://elsewhere"), ("Content-Type", "application/x-ndjson")];
    let answer = server.connect().request("POST", "/import", &origin, Some(good));
    answer.assert_refused(415);
    let large = " ".repeat((1 << 20) + 1);
    server.connect().request("POST", "/import", &[], Some(&large)).assert_refused(413);
    import(&server, &format!("\u{feff}{good}\r\n"), 1, 1);

    let full = kv().env("MAX_MEMORY", "500").start();
    let line = |number| format!(r#"{{"key":"{number}","value":{number}}}"#);
    let lines = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(line).join("\n");
    full.connect().request("POST", "/import", &[], Some(&lines)).assert_refused(507);
    assert_eq!(export(&full, ""), "");
}

fn reading_is_enough_to_export_and_not_to_import() {
    let server = kv().env("KV_TOKEN", "all").env("KV_READ_TOKEN", "read").start();
    let with = |token| [("Authorization", token)];
    let status = |method: &str, target: &str, headers: &[(&str, &str)]| {
        server.connect().request(method, target, headers, None).status
    };
    assert_eq!(status("GET", "/export", &[]), 401);
    assert_eq!(status("GET", "/export", &with("Bearer read")), 200);
    assert_eq!(status("POST", "/import", &[]), 401);
    assert_eq!(status("POST", "/import", &with("Bearer read")), 403);
    assert_eq!(status("POST", "/import", &with("Bearer all")), 200);

    let with = |arguments: &str, name: &str, token: &str| {
        transfer(arguments, &server).env(name, token).run()
    };
    assert_done(&with("export", "KV_READ_TOKEN", "read"), "0 keys");
    assert_done(&with("export", "KV_TOKEN", "all"), "0 keys");
    assert_done(&with("import", "KV_TOKEN", "all"), "0 keys read, 0 taken");
    put(&mut kv().start().connect(), "a", "", "1");
    let file = directory("token").join("kv.jsonl");
    fs::write(&file, "{}\n").expect("a file");
    let import = format!("import --file {}", file.display());
    assert_failed(&with(&import, "KV_TOKEN", "read"), &["/import answered 403: "]);
    assert_failed(&transfer("export", &server).run(), &["/export answered 401: A token is needed"]);
}

/// Clients that ask for an export and read nothing of it.
fn hold_exports(server: &Server, count: usize) -> Vec<Client> {
    let begin = |_| {
        let mut client = server.connect();
        client.write(request("GET", "/export", &[], None));
        client.stream().peek(&mut [0]).expect("it begins");
        client
    };
    (0..count).map(begin).collect()
}

/// A store whose export is more than the kernel keeps for a connection.
fn large(write_timeout: &str) -> Server {
    let server = kv().env("MAX_BODY", "20MiB").env("WRITE_TIMEOUT", write_timeout).start();
    // etcd takes no value as large as that, and as many more.
    let (each, bytes) = if current() == Store::Etcd { (8, 1 << 20) } else { (1, 16 << 20) };
    let value = format!("\"{}\"", "x".repeat(bytes));
    for key in ["a", "b", "c"] {
        for index in 0..each {
            let more = if index == 0 { String::new() } else { index.to_string() };
            put(&mut server.connect(), &format!("{key}{more}"), "", &value);
        }
    }
    server
}

fn few_exports_run_at_once() {
    let server = large("1h");
    let (resident_kib, threads) = (server.process().resident_kib(), server.process().threads());
    let held = hold_exports(&server, 4);
    let answer = server.get("/export");
    answer.assert_refused(503);
    assert_eq!(answer.header("Retry-After"), Some("10"));
    assert_eq!(server.process().threads(), threads + 4);
    // A line of each, which may have been twice as large while it grew, and little more.
    let grown_kib = server.process().resident_kib().saturating_sub(resident_kib);
    assert!(grown_kib < 4 * (40 << 10), "{grown_kib} KiB for four exports");
    drop(held);
    // A slow etcd has other things to do at first, and an export may be broken off.
    let is_whole = || {
        let mut client = server.connect();
        client.write(request("GET", "/export?prefix=0", &[("Connection", "close")], None));
        let answer = client.read_to_close();
        answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"0\r\n\r\n")
    };
    eventually("room", || is_whole().then_some(()));
    eventually("end of the threads", || (server.process().threads() == threads).then_some(()));
    // Who left has a line in the log too, and is counted.
    let metrics = server.get("/metrics");
    assert!(metrics.text().contains(r#"route="/export",method="GET",status="503"}"#));
    let log = server.stop().log;
    let exports = log.iter().filter(|line| line.contains("GET /export 200")).count();
    assert!(exports >= 5, "{log:#?}");
}

/// The stop waits no longer than usual for a client that does not read, and the client knows.
fn an_export_that_is_cut_off_is_seen_to_be() {
    let server = large("1s");
    let mut held = hold_exports(&server, 1);
    let stopped = server.stop();
    assert_eq!(stopped.code, 0, "{:#?}", stopped.log);
    assert!(!held[0].read_to_close().ends_with(b"0\r\n\r\n"), "it looks whole");
}

fn a_file_goes_out_and_in() {
    let directory = directory("file");
    let (from, to) = (kv().start(), kv().start());
    fill(&from, 30_000);
    let file = directory.join("kv.jsonl");
    let path = file.display();
    assert_done(&transfer(&format!("export --file {path}"), &from).run(), "30000 keys");
    let names = fs::read_dir(&directory).expect("a directory").count();
    assert_eq!(names, 1, "the draft is left");
    let content = fs::read_to_string(&file).expect("text");
    assert!(content == export(&from, ""));
    let printed = directory.join("printed");
    for export in
        [transfer("export", &from), kv().args(&format!("export --kv-url {}/", from.url()))]
    {
        let redirected = format!("\"$0\" \"$@\" >{}", printed.display());
        assert_done(&export.through("sh", &["-c", &redirected]).run(), "30000 keys");
        assert!(fs::read_to_string(&printed).expect("text") == content);
    }

    let read = transfer(&format!("import --file {path}"), &to).run();
    assert_done(&read, "30000 keys read, 30000 taken");
    let read = transfer(&format!("import --file {path}"), &to).run();
    assert_done(&read, "30000 keys read, 0 taken");
    assert!(export(&to, "") == content);
    let log = to.stop().log;
    let posts = log.iter().filter(|line| line.contains("POST /import 200")).count();
    assert!((8..=16).contains(&posts), "{posts} requests for {} bytes twice", content.len());

    let redirected = format!("\"$0\" \"$@\" <{path}");
    let piped = transfer("import", &from).through("sh", &["-c", &redirected]);
    assert_done(&piped.run(), "30000 keys read, 0 taken");
}

#[test]
fn an_import_that_fails_names_the_line() {
    let directory = directory("lines");
    let server = kv().start();
    let check = |name: &str, content: &str, server: &Server, parts: &[&str]| {
        let file = directory.join(name);
        fs::write(&file, content).expect("a file");
        let finished = transfer(&format!("import --file {}", file.display()), server).run();
        assert_failed(&finished, parts);
    };
    let value = "x".repeat(10_000);
    let line = |number| format!(r#"{{"key":"{number}","value":"{value}"}}"#);
    let many = (0..200).map(line).collect::<Vec<_>>().join("\n") + "\n";
    let bad = format!("\n{many}\n{{\"key\":\"a\"}}\n{many}");
    let parts =
        ["bad, line 203: 'value' is missing (before that, ", " taken; it can be run again)"];
    check("bad", &bad, &server, &parts);
    // What came before it in requests of its own is there.
    assert_eq!(server.get("/keys/50").status, 200);
    let long = format!("{many}{{\"key\":\"a\",\"value\":\"{}\"}}\n", "x".repeat(1 << 20));
    let parts = ["long, line 201: is longer than 1048576 bytes", "MAX_BODY"];
    check("long", &long, &server, &parts);
    let parts = ["text, line 1: is not JSON: Expecting value, character 0"];
    check("text", "hello", &server, &parts);
    let full = kv().env("MAX_MEMORY", "1000").start();
    check("full", &many, &full, &["full, lines 1 to 52: ", "answered 507: The store is full"]);
    let missing = transfer("import --file /nowhere/at/all", &server).run();
    assert_failed(&missing, &["/nowhere/at/all: "]);
}

/// Answers one request with these bytes, and closes.
fn fake(answer: &'static str) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut received = Vec::new();
        while !received.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            received.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).expect("it is read");
    });
    (format!("http://{address}"), answering)
}

fn an_export_that_is_not_whole_leaves_no_file() {
    let directory = directory("broken");
    let file = directory.join("kv.jsonl");
    fs::write(&file, "the one before").expect("a file");
    let check = |answer: &'static str, parts: &[&str]| {
        let (url, answering) = fake(answer);
        let arguments = format!("export --kv-url {url} --file {}", file.display());
        assert_failed(&kv().args(&arguments).run(), parts);
        answering.join().expect("it has answered");
        assert_eq!(fs::read_to_string(&file).expect("text"), "the one before");
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 1);
    };
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n",
        &["/export broke off after 1 keys, this is no backup: "],
    );
    check(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}\n{}\r\n0\r\n\r\n",
        &["broke off after 1 keys", "within a line"],
    );
    check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}\n", &["broke off after 1 keys"]);
    check("HTTP/1.1 200 OK\r\n\r\n{}\n", &["does not say where its answer ends"]);
    check("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", &["/export answered 404: "]);
    check("", &["/export: "]);
    let port = ReservedPort::new();
    let nobody = kv().env("PORT", &port.number().to_string()).args("export --file x").run();
    assert_failed(&nobody, &["/export: "]);
}

fn wrong_settings_are_named() {
    for (arguments, error) in [
        ("export --kv-url kv", "error: --kv-url: 'kv' is not a service"),
        ("export --kv-url https://kv", "error: --kv-url: 'https://kv' cannot be asked"),
        ("import --kv-read-token a", "error: import has no flag '--kv-read-token'"),
        ("import --max-body 0", "error: --max-body: '0' is not a size"),
        ("export --file", "error: --file: a value is missing"),
    ] {
        let finished = kv().args(arguments).run();
        assert_eq!(finished.code, Some(64), "{arguments}");
        assert!(finished.stderr.starts_with(error), "{}", finished.stderr);
    }
}
