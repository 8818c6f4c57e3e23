//! `GET /keys` and `DELETE /keys`

#![allow(clippy::unwrap_used, reason = "each function is a test, of every store")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;

use tests::{Client, Json, kv};

tests::on_every_store! {
    lists_byte_for_byte,
    pages_follow_each_other_in_byte_order,
    a_cursor_survives_the_key_that_it_names,
    wrong_parameters_are_named,
    a_prefix_is_deleted,
    an_expired_key_is_not_listed,
    a_walk_under_churn_sees_every_stable_key_once,
}

#[track_caller]
fn put(client: &mut Client, keys: &[&str]) {
    for key in keys {
        let body = format!(r#"{{"key":{},"value":1}}"#, serde_json::Value::from(*key));
        let mut escaped = String::new();
        for byte in key.bytes() {
            write!(escaped, "%{byte:02x}").expect("a string grows");
        }
        let answer = client.request("PUT", &format!("/keys/{escaped}"), &[], Some(&body));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// A page: its keys, and the cursor of the next.
#[track_caller]
fn page(client: &mut Client, target: &str) -> (Vec<String>, Option<String>) {
    let answer = client.request("GET", target, &[], None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let Json::Object(members) = answer.json() else { panic!("{}", answer.text()) };
    let Json::Array(keys) = &members["keys"] else { panic!("{}", answer.text()) };
    let text = |json: &Json| match json {
        Json::String(text) => text.clone(),
        other => panic!("{other}"),
    };
    let cursor = &members["next_cursor"];
    let cursor = (*cursor != Json::Word("null".to_owned())).then(|| text(cursor));
    (keys.iter().map(text).collect(), cursor)
}

/// Every key from the first page to the last.
#[track_caller]
fn walk(client: &mut Client, query: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut target = format!("/keys?{query}");
    loop {
        let (keys, cursor) = page(client, &target);
        all.extend(keys);
        let Some(cursor) = cursor else { return all };
        target = format!("/keys?{query}&cursor={cursor}");
    }
}

fn lists_byte_for_byte() {
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |target: &str, body: &str| {
        client.request("GET", target, &[], None).assert_json(200, body);
        let head = client.request("HEAD", target, &[], None);
        assert_eq!(head.header("Content-Length"), Some(body.len().to_string().as_str()));
    };
    check("/keys", r#"{"success":true,"keys":[],"next_cursor":null}"#);
    check("/keys?values=true", r#"{"success":true,"entries":[],"next_cursor":null}"#);
    let mut client = server.connect();
    put(&mut client, &["b", "a", "\"\u{e9}\""]);
    client.request("PUT", "/keys/c?raw&ttl=1h", &[], Some("[ 1.50 ]"));
    let version = client.request("GET", "/keys/c", &[], None);
    let version = version.header("ETag").unwrap().trim_matches('"');
    let entry = format!(r#"{{"key":"c","value":[ 1.50 ],"version":{version}}}"#);
    let mut check = |target: &str, body: &str| {
        client.request("GET", target, &[], None).assert_json(200, body);
    };
    check(
        "/keys",
        "{\"success\":true,\"keys\":[\"\\\"\u{e9}\\\"\",\"a\",\"b\",\"c\"],\"next_cursor\":null}",
    );
    check(
        "/keys?prefix=c&values=1&unknown=x",
        &format!(r#"{{"success":true,"entries":[{entry}],"next_cursor":null}}"#),
    );
    check("/keys?limit=4&prefix=c&values=0", r#"{"success":true,"keys":["c"],"next_cursor":null}"#);
}

fn pages_follow_each_other_in_byte_order() {
    let server = kv().start();
    let mut client = server.connect();
    let mut keys: Vec<String> = (0..250).map(|number| format!("n/{number}")).collect();
    keys.extend(["A", "~", "é", "日本", "😀", "a b", "a+b", "a&b=c", "/", "x"].map(str::to_owned));
    put(&mut client, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    keys.sort();
    for query in ["", "limit=1", "limit=7", "limit=260", "limit=1000", "prefix="] {
        assert_eq!(walk(&mut client, query), keys, "{query}");
    }
    assert_eq!(page(&mut client, "/keys").0.len(), 100);
    assert_eq!(page(&mut client, "/keys?limit=260").1, None);
    let mut check = |prefix: &str, encoded: &str| {
        let expected: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        let walked = walk(&mut client, &format!("limit=3&prefix={encoded}"));
        assert_eq!(walked, expected, "{prefix}");
    };
    check("n/1", "n/1");
    check("n/1", "n%2F1");
    check("a b", "a+b");
    check("a+b", "a%2Bb");
    check("a&b=c", "a%26b=c");
    check("é", "%C3%A9");
    check("nothing", "nothing");
    check(&"k".repeat(1025), &"k".repeat(1025));
}

fn a_cursor_survives_the_key_that_it_names() {
    let server = kv().start();
    let mut client = server.connect();
    put(&mut client, &["a", "b", "c", "d"]);
    let (keys, cursor) = page(&mut client, "/keys?limit=2");
    assert_eq!(keys, ["a", "b"]);
    client.request("DELETE", "/keys/b", &[], None);
    client.request("DELETE", "/keys/c", &[], None);
    put(&mut client, &["aa", "bb"]);
    let rest = format!("/keys?cursor={}", cursor.unwrap());
    assert_eq!(page(&mut client, &rest), (vec!["bb".to_owned(), "d".to_owned()], None));
}

fn wrong_parameters_are_named() {
    let server = kv().start();
    let mut client = server.connect();
    put(&mut client, &["a"]);
    let mut check = |method: &str, query: &str, name: &str| {
        let answer = client.request(method, &format!("/keys{query}"), &[], None);
        answer.assert_refused(422);
        assert!(answer.text().contains(&format!("Parameter {name}")), "{}", answer.text());
    };
    for limit in ["", "0", "1001", "-1", "1.5", "x", "%zz", "18446744073709551616"] {
        check("GET", &format!("?limit={limit}"), "limit");
    }
    for cursor in ["", "!", "YQ==", "YQ=", "Y", "_w", "AA", "%zz", "a b"] {
        check("GET", &format!("?cursor={}", cursor.replace(' ', "+")), "cursor");
    }
    check("GET", "?prefix=%zz", "prefix");
    check("GET", "?prefix=%ff", "prefix");
    check("GET", "?values=maybe", "values");
    for query in ["", "?", "?prefix", "?prefix=", "?Prefix=a", "?prefix=%ff"] {
        check("DELETE", query, "prefix");
    }
    assert_eq!(server.get("/keys/a").status, 200);
}

fn a_prefix_is_deleted() {
    let server = kv().start();
    let mut client = server.connect();
    put(&mut client, &["a", "b/1", "b/2", "b/", "b", "c b", "c+b"]);
    let mut check = |prefix: &str, deleted: usize, left: &[&str]| {
        let body = format!(r#"{{"success":true,"deleted":{deleted}}}"#);
        let target = format!("/keys?prefix={prefix}");
        client.request("DELETE", &target, &[], None).assert_json(200, &body);
        assert_eq!(page(&mut client, "/keys").0, left, "{prefix}");
    };
    check("x", 0, &["a", "b", "b/", "b/1", "b/2", "c b", "c+b"]);
    check("b%2f", 3, &["a", "b", "c b", "c+b"]);
    check("b/", 0, &["a", "b", "c b", "c+b"]);
    check("c+b", 1, &["a", "b", "c+b"]);
    check("c%2Bb", 1, &["a", "b"]);
}

fn an_expired_key_is_not_listed() {
    let server = kv().start();
    let mut client = server.connect();
    put(&mut client, &["a"]);
    client.request("PUT", "/keys/b?raw&ttl=1ms", &[], Some("1"));
    tests::eventually("end", || {
        (client.request("GET", "/keys/b", &[], None).status == 404).then_some(())
    });
    assert_eq!(page(&mut client, "/keys").0, ["a"]);
    let deleted = client.request("DELETE", "/keys?prefix=b", &[], None);
    deleted.assert_json(200, r#"{"success":true,"deleted":0}"#);
}

fn a_walk_under_churn_sees_every_stable_key_once() {
    const STABLE: usize = 500;
    const CHURNERS: usize = 4;
    const WRITES: usize = 2000;
    let server = kv().start();
    let mut client = server.connect();
    let stable: Vec<String> = (0..STABLE).map(|number| format!("{number:04}-stable")).collect();
    put(&mut client, &stable.iter().map(String::as_str).collect::<Vec<_>>());
    let churn = &|churner: usize| {
        let mut client = server.connect();
        for step in 0..WRITES {
            // All over the order, and each key is there half of the time.
            let target = format!("/keys/{:04}-{churner}?raw", step * 173 % STABLE);
            if client.request("DELETE", &target, &[], None).status == 404 {
                client.request("PUT", &target, &[], Some("1"));
            }
        }
    };
    thread::scope(|scope| {
        let churners: Vec<_> =
            (0..CHURNERS).map(|churner| scope.spawn(move || churn(churner))).collect();
        loop {
            let churns = churners.iter().any(|churner| !churner.is_finished());
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for key in walk(&mut client, "limit=7") {
                *seen.entry(key).or_default() += 1;
            }
            let missing = stable.iter().find(|key| seen.get(*key) != Some(&1));
            let twice = seen.iter().find(|(_, count)| **count > 1);
            assert_eq!((missing, twice), (None, None));
            if !churns {
                break;
            }
        }
    });
}
