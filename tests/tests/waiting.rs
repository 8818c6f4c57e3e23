//! `?wait=`: answers that come when there is something new.

#![allow(clippy::unwrap_used, reason = "each function is a test, of every store")]

use std::collections::BTreeSet;
use std::net::Shutdown;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{Client, Response, Server, eventually, kv, raise_descriptors};

tests::on_every_store! {
    a_change_is_answered_when_it_happens,
    a_key_that_goes_is_404,
    a_key_that_appears_is_answered,
    what_is_new_already_is_answered_at_once,
    the_time_is_over,
    only_waiters_of_the_key_are_woken,
    a_stop_answers_all_who_wait,
    what_is_no_time_is_refused,
    no_change_is_missed,
    a_waiter_whose_client_leaves_is_forgotten,
    waiting_is_cheap,
    who_asks_and_leaves_in_one_breath_is_forgotten,
    who_closes_one_side_is_answered,
    pipelined_waits_of_a_client_that_leaves_harm_nobody,
}

/// Longer than any test takes.
const LONG: &str = "wait=60s";
const SHORT: Duration = Duration::from_millis(100);

#[track_caller]
fn put(server: &Server, key: &str, value: &str) -> String {
    let target = format!("/keys/{key}?raw");
    let answer = server.connect().request("PUT", &target, &[], Some(value));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("ETag").expect("a tag").to_owned()
}

/// A connection that waits: an answer to another one on the only worker shows that its request
/// has been read.
#[track_caller]
fn waiting(server: &Server, key: &str, query: &str, tag: Option<&str>) -> Client {
    let mut client = server.connect();
    let fields: Vec<_> = tag.into_iter().map(|tag| ("If-None-Match", tag)).collect();
    client.write(tests::request("GET", &format!("/keys/{key}?{query}"), &fields, None));
    server.get("/health").assert_json(200, r#"{"status":"healthy"}"#);
    client
}

fn one_worker() -> Server {
    kv().env("WORKERS", "1").start()
}

#[track_caller]
fn assert_value(answer: &Response, value: &str) {
    answer.assert_json(200, value);
    assert!(answer.header("ETag").is_some());
}

fn a_change_is_answered_when_it_happens() {
    let server = one_worker();
    let check = |write: &dyn Fn(&mut Client), value: &str| {
        let tag = put(&server, "a", "1");
        let mut waiter = waiting(&server, "a", &format!("raw&{LONG}"), Some(&tag));
        write(&mut server.connect());
        let answer = waiter.read();
        assert_value(&answer, value);
        assert_ne!(answer.header("ETag"), Some(tag.as_str()));
    };
    check(&|client| _ = client.request("PUT", "/keys/a?raw", &[], Some("2")), "2");
    check(&|client| _ = client.request("PUT", "/keys/a?raw", &[], Some("1")), "1");
    check(&|client| _ = client.request("POST", "/incr/a?by=5", &[], None), "6");
    let batch = r#"{"ops":[{"op":"delete","key":"a"},{"op":"put","key":"a","value":[3]}]}"#;
    check(&|client| _ = client.request("POST", "/batch", &[], Some(batch)), "[3]");
}

fn a_key_that_goes_is_404() {
    let server = one_worker();
    let check = |remove: &dyn Fn(&mut Client)| {
        let tag = put(&server, "a", "1");
        let mut waiter = waiting(&server, "a", LONG, Some(&tag));
        remove(&mut server.connect());
        waiter.read().assert_refused(404);
    };
    check(&|client| _ = client.request("DELETE", "/keys/a", &[], None));
    check(&|client| _ = client.request("DELETE", "/keys?prefix=a", &[], None));
    let batch = r#"{"ops":[{"op":"delete","key":"a"}]}"#;
    check(&|client| _ = client.request("POST", "/batch", &[], Some(batch)));
    let expiring = server.connect().request("PUT", "/keys/a?raw&ttl=100ms", &[], Some("1"));
    waiting(&server, "a", LONG, expiring.header("ETag")).read().assert_refused(404);
}

fn a_key_that_appears_is_answered() {
    let server = one_worker();
    let mut waiter = waiting(&server, "a", LONG, None);
    put(&server, "a", "1");
    let framed = r#"{"success":true,"key":"a","value":1}"#;
    assert_value(&waiter.read(), framed);
    // The same connection goes on, and HEAD waits as GET does.
    let mut head = server.connect();
    head.write(tests::request("HEAD", &format!("/keys/b?{LONG}"), &[], None));
    server.get("/health");
    put(&server, "b", "1");
    assert_eq!(head.read_head().status, 200);
    assert_value(&waiter.request("GET", "/keys/a", &[], None), framed);
}

fn what_is_new_already_is_answered_at_once() {
    let server = one_worker();
    let mut client = server.connect();
    let old = put(&server, "a", "1");
    let tag = put(&server, "a", "2");
    let mut check = |key: &str, fields: &[(&str, &str)], status: u16| {
        let answer = client.request("GET", &format!("/keys/{key}?{LONG}"), fields, None);
        assert_eq!(answer.status, status, "{fields:?}: {}", answer.text());
    };
    check("a", &[], 200);
    check("a", &[("If-None-Match", &old)], 200);
    check("a", &[("If-None-Match", "\"abc\"")], 200);
    check("a", &[("If-Match", &old)], 412);
    check("a", &[("If-Match", &tag)], 200);
    check("b", &[("If-None-Match", &old)], 404);
    check("b", &[("If-None-Match", "*")], 404);
    check("a", &[("If-None-Match", "x")], 400);
}

fn the_time_is_over() {
    let server = one_worker();
    let tag = put(&server, "a", "1");
    let check = |key: &str, tag: Option<&str>, status: u16| {
        let started = Instant::now();
        let fields: Vec<_> = tag.into_iter().map(|tag| ("If-None-Match", tag)).collect();
        let target = format!("/keys/{key}?wait={}ms", SHORT.as_millis());
        let answer = server.connect().request("GET", &target, &fields, None);
        assert!(started.elapsed() >= SHORT, "{:?}", started.elapsed());
        assert_eq!(answer.status, status, "{}", answer.text());
        answer
    };
    for known in [tag.as_str(), "*", &format!("\"7\", W/{tag}")] {
        let answer = check("a", Some(known), 304);
        assert_eq!((answer.header("ETag"), answer.text()), (Some(tag.as_str()), ""));
    }
    check("b", None, 404).assert_refused(404);
}

fn only_waiters_of_the_key_are_woken() {
    const KEYS: usize = 20;
    const EACH: usize = 10;
    let server = one_worker();
    let tags: Vec<_> = (0..KEYS).map(|key| put(&server, &format!("k{key}"), "0")).collect();
    let mut waiters: Vec<(usize, Client)> = Vec::new();
    for (key, tag) in tags.iter().enumerate() {
        for _ in 0..EACH {
            waiters.push((key, waiting(&server, &format!("k{key}"), LONG, Some(tag))));
        }
    }
    let changed: BTreeSet<usize> = (0..KEYS).step_by(3).collect();
    for key in &changed {
        put(&server, &format!("k{key}"), "1");
    }
    for (key, waiter) in &mut waiters {
        if changed.contains(key) {
            assert_value(
                &waiter.read(),
                &format!(r#"{{"success":true,"key":"k{key}","value":1}}"#),
            );
        }
    }
    // The others wait still, and nothing but the stop answers them.
    server.signal(Signal::TERM);
    for (key, waiter) in &mut waiters {
        if !changed.contains(key) {
            let answer = waiter.read();
            assert_eq!(answer.status, 304);
            assert_eq!(answer.header("ETag"), Some(tags[*key].as_str()));
        }
    }
    assert_eq!(server.wait().code, 0);
}

fn a_stop_answers_all_who_wait() {
    let server = one_worker();
    let tag = put(&server, "a", "1");
    let mut known: Vec<_> = (0..50).map(|_| waiting(&server, "a", LONG, Some(&tag))).collect();
    let mut absent: Vec<_> = (0..50).map(|_| waiting(&server, "b", LONG, None)).collect();
    server.signal(Signal::TERM);
    for client in &mut known {
        let answer = client.read();
        assert_eq!((answer.status, answer.header("ETag")), (304, Some(tag.as_str())));
        assert_eq!(answer.header("Connection"), Some("close"));
    }
    for client in &mut absent {
        client.read().assert_refused(404);
    }
    let stopped = server.wait();
    assert_eq!(stopped.code, 0);
    assert!(stopped.took < Duration::from_secs(5), "{:?}", stopped.took);
}

fn what_is_no_time_is_refused() {
    let server = one_worker();
    let mut client = server.connect();
    for wait in ["", "0", "0s", "-1", "61", "60001ms", "2m", "1d", "1.5", "soon", "%zz"] {
        let answer = client.request("GET", &format!("/keys/a?wait={wait}"), &[], None);
        answer.assert_refused(422);
        assert!(answer.text().contains("Parameter wait"), "{}", answer.text());
    }
}

/// Whoever has read a version and waits for another one misses no change: a chain of two clients
/// that each wait for the other's write.
fn no_change_is_missed() {
    const TURNS: usize = 500;
    let server = kv().start();
    put(&server, "turn", "0");
    let play = &|own: usize| {
        let mut client = server.connect();
        let mut tag = String::new();
        let mut turn = 0;
        while turn < TURNS {
            let fields = [("If-None-Match", tag.as_str())];
            let fields = if tag.is_empty() { &[][..] } else { &fields[..] };
            let read = client.request("GET", &format!("/keys/turn?raw&{LONG}"), fields, None);
            assert_eq!(read.status, 200, "{}", read.text());
            turn = read.text().parse().unwrap();
            read.header("ETag").unwrap().clone_into(&mut tag);
            if turn % 2 == own && turn < TURNS {
                let fields = [("If-Match", tag.as_str())];
                let next = (turn + 1).to_string();
                let wrote = client.request("PUT", "/keys/turn?raw", &fields, Some(&next));
                assert_eq!(wrote.status, 200, "{}", wrote.text());
            }
        }
    };
    thread::scope(|scope| {
        for own in [0, 1] {
            scope.spawn(move || play(own));
        }
    });
    server.get("/keys/turn?raw").assert_json(200, &TURNS.to_string());
}

/// The gauge of `/metrics`.
fn waiters(server: &Server) -> usize {
    let metrics = server.get("/metrics");
    let gauge = metrics.text().lines().find_map(|line| line.strip_prefix("kv_waiters "));
    gauge.expect("the gauge").parse().expect("a number")
}

fn a_waiter_whose_client_leaves_is_forgotten() {
    let server = one_worker();
    let tag = put(&server, "a", "1");
    let stays = waiting(&server, "a", LONG, Some(&tag));
    let leaves: Vec<_> = (0..50).map(|_| waiting(&server, "a", LONG, Some(&tag))).collect();
    assert_eq!(waiters(&server), 51);
    drop(leaves);
    eventually("those who left are forgotten", || (waiters(&server) == 1).then_some(()));
    put(&server, "a", "2");
    let mut stays = stays;
    stays.read().assert_json(200, r#"{"success":true,"key":"a","value":2}"#);
    assert_eq!(waiters(&server), 0);
}

/// 10,000 clients that wait for 1,000 keys take neither threads nor much memory, and each is told
/// of its own key alone.
fn waiting_is_cheap() {
    const KEYS: usize = 1000;
    const EACH: usize = 10;
    const KIB_MAX: u64 = 20_000;
    /// There are enough for one store at a time.
    static DESCRIPTORS: Mutex<()> = Mutex::new(());
    let _alone = DESCRIPTORS.lock().unwrap_or_else(PoisonError::into_inner);
    if !raise_descriptors((KEYS * EACH + 500) as u64) {
        return;
    }
    let server = kv().env("MAX_CONNECTIONS", "20000").start();
    let before = server.process();
    let (resident_before, threads_before) = (before.resident_kib(), before.threads());
    let mut clients: Vec<Vec<Client>> = Vec::new();
    for key in 0..KEYS {
        let ask = tests::request("GET", &format!("/keys/k{key}?{LONG}"), &[], None);
        let connect = || {
            let mut client = server.connect();
            client.write(&ask);
            client
        };
        clients.push((0..EACH).map(|_| connect()).collect());
    }
    eventually("all wait", || (waiters(&server) == KEYS * EACH).then_some(()));
    let now = server.process();
    let resident = now.resident_kib() - resident_before;
    assert!(resident < KIB_MAX, "{resident} KiB");
    assert!(now.threads() <= threads_before, "{} threads", now.threads());
    put(&server, "k7", "1");
    for client in &mut clients[7] {
        client.read().assert_json(200, r#"{"success":true,"key":"k7","value":1}"#);
    }
    assert_eq!(waiters(&server), (KEYS - 1) * EACH);
}

/// A waiter whose client sent its request and closed at once was kept for its whole time: the end
/// of the input had been reported with the request, and nothing reported it again.
fn who_asks_and_leaves_in_one_breath_is_forgotten() {
    let server = one_worker();
    for _ in 0..50 {
        let mut client = server.connect();
        client.write(tests::request("GET", &format!("/keys/none?{LONG}"), &[], None));
    }
    server.get("/health");
    eventually("they are forgotten", || (waiters(&server) == 0).then_some(()));
}

/// A client that closes its side only is answered as if its time was over.
fn who_closes_one_side_is_answered() {
    let server = one_worker();
    let mut client = waiting(&server, "none", LONG, None);
    client.stream().shutdown(Shutdown::Write).expect("a connection");
    assert_eq!(client.read().status, 404);
}

/// Requests behind a kept reply whose client has closed its side were once handled for another
/// client: the connection was closed while a worker was at it, and its place was taken.
fn pipelined_waits_of_a_client_that_leaves_harm_nobody() {
    let server = kv().start();
    for round in 0..200 {
        let mut leaving = server.connect();
        let wait = tests::request("GET", &format!("/keys/{round}?{LONG}"), &[], None);
        leaving.write(wait.repeat(3));
        leaving.stream().shutdown(Shutdown::Write).expect("a connection");
        put(&server, &round.to_string(), "1");
        drop(leaving);
        server
            .connect()
            .request("GET", "/health", &[], None)
            .assert_json(200, r#"{"status":"healthy"}"#);
    }
}

/// A full store removes other keys that have expired to make room, and a DELETE may meet one: who
/// waited for these was not told.
#[test]
fn whoever_removes_an_expired_key_tells_who_waits_for_it() {
    let server = kv().env("MAX_MEMORY", "60KB").start();
    let mut client = server.connect();
    let mut waiters = Vec::new();
    for key in 0..20 {
        let target = format!("/keys/{key}?raw&ttl=300ms");
        let answer =
            client.request("PUT", &target, &[], Some(&format!("\"{}\"", "x".repeat(2000))));
        let tag = answer.header("ETag").expect("a tag").to_owned();
        let mut waiter = server.connect();
        let wait = format!("/keys/{key}?{LONG}");
        waiter.write(tests::request("GET", &wait, &[("If-None-Match", &tag)], None));
        waiters.push(waiter);
    }
    let full = format!("\"{}\"", "x".repeat(40_000));
    eventually("there is room", || {
        (client.request("PUT", "/keys/large?raw", &[], Some(&full)).status == 200).then_some(())
    });
    for mut waiter in waiters {
        assert_eq!(waiter.read().status, 404);
    }
}
