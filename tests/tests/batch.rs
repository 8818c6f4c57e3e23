//! `POST /batch`

#![allow(clippy::unwrap_used, reason = "each function is a test, of every store")]

use std::thread;

use tests::{Client, Json, Response, Store, current, kv};

tests::on_every_store! {
    each_operation_has_its_result,
    a_ttl_is_a_number_of_seconds_or_a_duration,
    a_refused_operation_leaves_no_trace,
    a_wrong_operation_is_named,
    a_body_that_is_no_batch_is_refused,
    of_duplicate_members_the_last_wins,
    a_batch_reads_no_more_than_its_limit,
    readers_see_all_of_a_batch_or_nothing,
}

#[track_caller]
fn batch(client: &mut Client, ops: &str) -> Response {
    client.request("POST", "/batch", &[], Some(&format!(r#"{{"ops":[{ops}]}}"#)))
}

/// Does the operations and compares the results, in which `V` is the batch's version.
#[track_caller]
fn check(client: &mut Client, ops: &str, results: &str) -> String {
    let answer = batch(client, ops);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let start = r#"{"success":true,"version":"#;
    let version = answer.text().strip_prefix(start).expect("a version");
    let version = version.split(',').next().unwrap_or_default().to_owned();
    let results = results.replace('V', &version);
    answer.assert_json(200, &format!(r#"{start}{version},"results":[{results}]}}"#));
    version
}

fn each_operation_has_its_result() {
    let server = kv().start();
    let mut client = server.connect();
    let first = check(
        &mut client,
        r#"{"op":"put","key":"a","value":[ 1.50 ]},{"op":"get","key":"a"},{"op":"get","key":"b"},
           {"op":"incr","key":"n"},{"op":"incr","by":-5,"key":"n"},{"op":"delete","key":"b"},
           {"op":"put","key":"x/\u00e9","value":null,"ttl":"1h"},{"op":"delete","key":"x/é"}"#,
        r#"{"op":"put","key":"a","version":V},{"op":"get","key":"a","found":true,"value":[ 1.50 ],"version":V},{"op":"get","key":"b","found":false},{"op":"incr","key":"n","value":1,"version":V},{"op":"incr","key":"n","value":-4,"version":V},{"op":"delete","key":"b","found":false},{"op":"put","key":"x/é","version":V},{"op":"delete","key":"x/é","found":true}"#,
    );
    assert_eq!(server.get("/keys/a").header("ETag"), Some(format!("\"{first}\"").as_str()));
    server.get("/keys/n?raw").assert_json(200, "-4");
    // What only reads has no version of its own.
    let found =
        format!(r#"{{"op":"get","key":"a","found":true,"value":[ 1.50 ],"version":{first}}}"#);
    assert_eq!(check(&mut client, r#"{"op":"get","key":"a"}"#, &found), first);
    let second = check(
        &mut client,
        &format!(
            r#"{{"op":"put","key":"a","value":2,"if_version":{first}}},{{"op":"put","key":"b","value":3,"if_version":null}},{{"op":"delete","key":"n","if_version":{first}}}"#
        ),
        r#"{"op":"put","key":"a","version":V},{"op":"put","key":"b","version":V},{"op":"delete","key":"n","found":true}"#,
    );
    assert!(second.parse::<u64>().unwrap() > first.parse::<u64>().unwrap());
}

fn a_ttl_is_a_number_of_seconds_or_a_duration() {
    let server = kv().start();
    let mut client = server.connect();
    for (ttl, millis) in
        [("60", 60_000), (r#""60""#, 60_000), (r#""90s""#, 90_000), (r#""1d""#, 86_400_000)]
    {
        let op = format!(r#"{{"op":"put","key":"a","value":1,"ttl":{ttl}}}"#);
        check(&mut client, &op, r#"{"op":"put","key":"a","version":V}"#);
        let answer = client.request("GET", "/keys/a", &[], None);
        let left: u64 = answer.header("KV-TTL-Ms").unwrap().parse().unwrap();
        assert!((millis - 20_000..=millis).contains(&left), "{ttl}: {left}");
        check(
            &mut client,
            r#"{"op":"incr","key":"a"}"#,
            r#"{"op":"incr","key":"a","value":2,"version":V}"#,
        );
        assert!(client.request("GET", "/keys/a", &[], None).header("KV-TTL-Ms").is_some());
    }
    check(
        &mut client,
        r#"{"op":"put","key":"a","value":1}"#,
        r#"{"op":"put","key":"a","version":V}"#,
    );
    assert_eq!(client.request("GET", "/keys/a", &[], None).header("KV-TTL-Ms"), None);
}

/// The operations are refused for the one with this index, and leave no trace.
#[track_caller]
fn check_refused(client: &mut Client, ops: &str, status: u16, index: usize, error: &str) {
    let before = client.request("GET", "/keys?values", &[], None);
    let answer = batch(client, ops);
    assert_eq!(answer.status, status, "{ops}: {}", answer.text());
    let Json::String(text) = answer.json().at(&["detail", "error"]).clone() else {
        panic!("{}", answer.text())
    };
    assert!(text.starts_with(&format!("ops[{index}]: ")) && text.contains(error), "{ops}: {text}");
    let text = serde_json::Value::from(text);
    let body = format!(r#"{{"detail":{{"success":false,"error":{text},"index":{index}}}}}"#);
    answer.assert_json(status, &body);
    let after = client.request("GET", "/keys?values", &[], None);
    assert_eq!(after.text(), before.text(), "{ops}");
}

fn a_refused_operation_leaves_no_trace() {
    const WRITES: &str = r#"{"op":"put","key":"a","value":2},{"op":"delete","key":"b"},{"op":"incr","key":"n"},{"op":"put","key":"new","value":1}"#;
    let server = kv().start();
    let mut client = server.connect();
    for (key, value) in [("a", "1"), ("b", "[1]"), ("n", "9223372036854775806")] {
        client.request("PUT", &format!("/keys/{key}?raw"), &[], Some(value));
    }
    let mut check = |op: &str, status: u16, error: &str| {
        check_refused(&mut client, &format!("{WRITES},{op}"), status, 4, error);
        check_refused(&mut client, &format!("{op},{WRITES}"), status, 0, error);
    };
    check(r#"{"op":"put","key":"s","value":1,"if_version":5}"#, 412, "not there");
    check(r#"{"op":"delete","key":"s","if_version":5}"#, 412, "not there");
    let mut check = |op: &str, status: u16, error: &str| {
        check_refused(&mut client, &format!("{WRITES},{op}"), status, 4, error);
    };
    check(r#"{"op":"put","key":"new","value":1,"if_version":null}"#, 412, "has version");
    check(r#"{"op":"put","key":"a","value":1,"if_version":5}"#, 412, "has version");
    check(r#"{"op":"incr","key":"n"}"#, 409, "does not fit");
    check_refused(
        &mut client,
        r#"{"op":"put","key":"a","value":"x"},{"op":"incr","key":"a"}"#,
        409,
        1,
        "no integer",
    );
}

fn a_wrong_operation_is_named() {
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |op: &str, error: &str| {
        check_refused(&mut client, op, 422, 0, error);
        check_refused(
            &mut client,
            &format!(r#"{{"op":"put","key":"a","value":1}},{op}"#),
            422,
            1,
            error,
        );
    };
    for op in ["1", "null", "[]", "\"put\"", "1e400"] {
        check(op, "an object");
    }
    check("{}", "'op' is missing");
    check(r#"{"op":1}"#, "'op' is not a string");
    check(r#"{"op":"PUT","key":"a","value":1}"#, "no operation 'PUT'");
    check(r#"{"op":"put","value":1}"#, "'key' is missing");
    check(r#"{"op":"put","key":"a"}"#, "'value' is missing");
    check(r#"{"op":"put","key":5,"value":1}"#, "'key' is not a string");
    check(r#"{"op":"get","key":null}"#, "'key' is not a string");
    check(r#"{"op":"get","key":"\ud800"}"#, "'key' is not a string");
    check(r#"{"op":"get","key":""}"#, "Key is empty");
    check(r#"{"op":"get","key":"a\u0000"}"#, "NUL");
    check(&format!(r#"{{"op":"get","key":"{}"}}"#, "k".repeat(1025)), "longer than 1024");
    check(r#"{"op":"put","key":"a","value":1,"if_verison":1}"#, "'put' has no member 'if_verison'");
    check(r#"{"op":"put","key":"a","value":1,"by":1}"#, "'put' has no member 'by'");
    check(r#"{"op":"get","key":"a","value":1}"#, "'get' has no member 'value'");
    check(r#"{"op":"delete","key":"a","ttl":1}"#, "'delete' has no member 'ttl'");
    check(r#"{"op":"incr","key":"a","if_version":1}"#, "'incr' has no member 'if_version'");
    check(r#"{"op":"get","key":"a","x\"\u00e9\n":1}"#, "'get' has no member 'x\"é\n'");
    for ttl in ["0", "-1", "1.5", "1e3", "null", "true", "[1]", "\"\"", "\"0ms\"", "\"soon\"", "{}"]
    {
        check(
            &format!(r#"{{"op":"put","key":"a","value":1,"ttl":{ttl}}}"#),
            "'ttl' is not a duration",
        );
    }
    for version in ["-1", "1.0", "\"1\"", "true", "18446744073709551616", "[]"] {
        check(
            &format!(r#"{{"op":"delete","key":"a","if_version":{version}}}"#),
            "'if_version' is not",
        );
    }
    for by in ["1.0", "null", "\"1\"", "9223372036854775808"] {
        check(&format!(r#"{{"op":"incr","key":"a","by":{by}}}"#), "'by' is not an integer");
    }
}

fn a_body_that_is_no_batch_is_refused() {
    let server = kv().start();
    let mut client = server.connect();
    let check = |body: &str| {
        server.connect().request("POST", "/batch", &[], Some(body)).assert_refused(422);
    };
    for body in ["1", "[]", "null", "{}", r#"{"ops":null}"#, r#"{"ops":{}}"#, r#"{"ops":"x"}"#] {
        check(body);
    }
    let ops = |count: usize| vec![r#"{"op":"incr","key":"n"}"#; count].join(",");
    let count_max = if current() == Store::Etcd { 128 } else { 1000 };
    for count in [0, 1001, 5000] {
        check(&format!(r#"{{"ops":[{}]}}"#, ops(count)));
    }
    if current() == Store::Etcd {
        assert_eq!(batch(&mut client, &ops(count_max + 1)).status, 422);
    }
    assert_eq!(server.get("/keys/n").status, 404);
    assert_eq!(batch(&mut client, &ops(count_max)).status, 200);
    server.get("/keys/n?raw").assert_json(200, &count_max.to_string());

    let missing =
        r#"{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]}"#;
    client.request("POST", "/batch", &[], None).assert_json(422, missing);
    let mut check_syntax = |body: &str, message: &str, offset: usize| {
        let detail = format!(
            r#"{{"type":"json_invalid","loc":["body",{offset}],"msg":"JSON decode error","input":{{}},"ctx":{{"error":"{message}"}}}}"#
        );
        let answer = client.request("POST", "/batch", &[], Some(body));
        answer.assert_json(422, &format!(r#"{{"detail":[{detail}]}}"#));
    };
    check_syntax(r#"{"ops":[1,}"#, "Expecting value", 10);
    check_syntax(r#"{"ops":[{"op":"put" "key":1}]}"#, "Expecting ',' delimiter", 20);
    check_syntax(r#"{"ops":[]} x"#, "Extra data", 11);
    let origin = [("Origin", "http://elsewhere")];
    client.request("POST", "/batch", &origin, Some("{}")).assert_refused(415);
}

fn of_duplicate_members_the_last_wins() {
    let server = kv().start();
    let mut client = server.connect();
    let put = r#"{"op":"put","key":"a","version":V}"#;
    check(
        &mut client,
        r#"{"op":"get","key":"b","key":"a","value":1,"\u006fp":"put","value":2}"#,
        put,
    );
    server.get("/keys/a?raw").assert_json(200, "2");
    for body in [
        r#"{"ops":1,"ops":[{"op":"put","key":"a","value":3}]}"#,
        r#"{"ops":[{"op":"put","key":"a","value":4}],"ops":[{"op":"put","key":"a","value":3}],"x":1}"#,
        r#"{"ops":[1],"\ud800":[],"ops":[{"op":"put","key":"a","value":3}]}"#,
    ] {
        client.request("PUT", "/keys/a?raw", &[], Some("0"));
        assert_eq!(client.request("POST", "/batch", &[], Some(body)).status, 200);
        server.get("/keys/a?raw").assert_json(200, "3");
    }
}

/// A small request does not make an answer of a gigabyte.
fn a_batch_reads_no_more_than_its_limit() {
    const VALUES: usize = 16;
    let server = kv().env("MAX_BODY", "20MiB").start();
    let mut client = server.connect();
    let mut store = |key: &str, bytes: usize| {
        let value = format!("\"{}\"", "x".repeat(bytes - 2));
        let target = format!("/keys/{key}?raw");
        assert_eq!(client.request("PUT", &target, &[], Some(&value)).status, 200);
    };
    store("large", 1 << 20);
    // Larger than the limit, where the store takes such a value.
    store("huge", if current() == Store::Etcd { 1 << 20 } else { 17 << 20 });
    let get = |key: &str| format!(r#"{{"op":"get","key":"{key}"}}"#);
    let gets = vec![get("large"); VALUES].join(",");
    assert_eq!(batch(&mut client, &gets).status, 200);
    assert_eq!(batch(&mut client, &get("huge")).status, 200);
    let more = format!(r#"{{"op":"incr","key":"n"}},{gets},{}"#, get("large"));
    check_refused(&mut client, &more, 422, VALUES + 1, "reads at most");
    assert_eq!(server.get("/keys/n").status, 404);
}

/// Each batch writes the same number under all keys: a reader sees one number.
fn readers_see_all_of_a_batch_or_nothing() {
    const KEYS: usize = 20;
    const WRITERS: usize = 4;
    const BATCHES: usize = 250;
    let server = kv().start();
    let puts = |value: usize| {
        let ops: Vec<_> = (0..KEYS)
            .map(|key| format!(r#"{{"op":"put","key":"k{key}","value":{value}}}"#))
            .collect();
        ops.join(",")
    };
    assert_eq!(batch(&mut server.connect(), &puts(0)).status, 200);
    let write = &|writer: usize| {
        let mut client = server.connect();
        for number in 0..BATCHES {
            let value = writer * BATCHES + number;
            assert_eq!(batch(&mut client, &puts(value)).status, 200);
            // Refused by its last operation, and so never seen.
            let refused =
                format!(r#"{},{{"op":"delete","key":"x","if_version":1}}"#, puts(999_999));
            assert_eq!(batch(&mut client, &refused).status, 412);
        }
    };
    let gets: Vec<_> = (0..KEYS).map(|key| format!(r#"{{"op":"get","key":"k{key}"}}"#)).collect();
    let gets = gets.join(",");
    let same = |values: Vec<&Json>| {
        assert_eq!(values.len(), KEYS);
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        assert_ne!(*values[0], Json::parse("999999"));
    };
    let values_of = |answer: &Json, member: &str| match answer.at(&[member]) {
        Json::Array(items) => same(items.iter().map(|item| item.at(&["value"])).collect()),
        other => panic!("{other}"),
    };
    thread::scope(|scope| {
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        let mut client = server.connect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            values_of(&batch(&mut client, &gets).json(), "results");
            let list = client.request("GET", "/keys?prefix=k&values", &[], None);
            values_of(&list.json(), "entries");
        }
    });
}
