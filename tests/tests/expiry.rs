//! `?ttl=`: what it may be, what it shows and when it ends.

#![allow(clippy::unwrap_used, reason = "each function is a test, of every store")]

use std::time::{Duration, Instant};

use tests::{Client, Response, eventually, kv};

tests::on_every_store! {
    what_is_left_is_told,
    what_is_no_time_is_refused,
    a_key_is_there_until_its_time_and_no_longer,
    a_write_sets_the_time_anew_and_an_increment_keeps_it,
}

/// Milliseconds left, if there is an end.
#[track_caller]
fn ttl_ms(answer: &Response) -> Option<u64> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("KV-TTL-Ms").map(|millis| millis.parse().expect("a number"))
}

#[track_caller]
fn write(client: &mut Client, method: &str, target: &str, body: Option<&str>) {
    let answer = client.request(method, target, &[], body);
    assert!(matches!(answer.status, 200 | 201), "{target}: {}", answer.text());
}

fn what_is_left_is_told() {
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |ttl: &str, millis: u64| {
        for (method, body) in [("PUT", "1"), ("POST", "1")] {
            let started = Instant::now();
            write(&mut client, method, &format!("/keys/a?raw&ttl={ttl}"), Some(body));
            for method in ["GET", "HEAD"] {
                let left = ttl_ms(&client.request(method, "/keys/a", &[], None)).unwrap();
                let gone = u64::try_from(started.elapsed().as_millis()).unwrap() + 2;
                assert!((millis.saturating_sub(gone)..=millis).contains(&left), "{ttl}: {left}");
            }
        }
    };
    check("60", 60_000);
    check("60s", 60_000);
    check("59999ms", 59_999);
    check("5m", 300_000);
    check("2h", 7_200_000);
    check("1d", 86_400_000);
    check("3650d", 315_360_000_000);
}

fn what_is_no_time_is_refused() {
    let server = kv().start();
    let mut client = server.connect();
    let longest = format!("{}d", u64::MAX);
    for ttl in ["", "0", "0ms", "-1", "-1s", "1.5", "1w", "30%20s", "s", "NaN", "%zz", &longest] {
        for method in ["POST", "PUT"] {
            let target = format!("/keys/a?ttl={ttl}");
            let answer = client.request(method, &target, &[], Some(r#"{"key":"a","value":1}"#));
            answer.assert_refused(422);
            assert!(answer.text().contains("Parameter ttl"), "{}", answer.text());
        }
    }
    assert_eq!(server.get("/keys/a").status, 404);
}

fn a_key_is_there_until_its_time_and_no_longer() {
    const TTL: Duration = Duration::from_millis(300);
    let server = kv().start();
    let mut client = server.connect();
    let body = r#"{"key":"a","value":1}"#;
    let before = Instant::now();
    write(&mut client, "POST", "/keys/a?ttl=300ms", Some(body));
    let after = Instant::now();
    let gone = eventually("end", || {
        let (asked, answer) = (Instant::now(), client.request("GET", "/keys/a", &[], None));
        let overdue = asked > after + TTL + Duration::from_millis(1);
        assert!(answer.status == 404 || !overdue, "still there: {}", answer.text());
        (answer.status == 404).then(Instant::now)
    });
    assert!(gone >= before + TTL, "gone after {:?}", gone - before);
    for (method, target, fields, body, status) in [
        ("HEAD", "/keys/a", vec![], None, 404),
        ("DELETE", "/keys/a", vec![], None, 404),
        ("PUT", "/keys/a", vec![("If-Match", "*")], Some(body), 412),
        ("PUT", "/keys/a", vec![("If-None-Match", "*")], Some(body), 200),
    ] {
        let answer = client.request(method, target, &fields, body);
        assert_eq!(answer.status, status, "{method}");
    }
}

fn a_write_sets_the_time_anew_and_an_increment_keeps_it() {
    let server = kv().start();
    let mut client = server.connect();
    write(&mut client, "PUT", "/keys/a?raw&ttl=1h", Some("1"));
    write(&mut client, "POST", "/incr/a", None);
    let left = ttl_ms(&client.request("GET", "/keys/a", &[], None)).unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    write(&mut client, "PUT", "/keys/a?raw&ttl=2h", Some("1"));
    let left = ttl_ms(&client.request("GET", "/keys/a", &[], None)).unwrap();
    assert!(left > 7_000_000, "{left}");
    write(&mut client, "PUT", "/keys/a?raw", Some("1"));
    assert_eq!(ttl_ms(&client.request("GET", "/keys/a", &[], None)), None);
    write(&mut client, "POST", "/incr/a", None);
    assert_eq!(ttl_ms(&client.request("GET", "/keys/a", &[], None)), None);
}
