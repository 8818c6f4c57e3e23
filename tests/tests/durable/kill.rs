//! SIGKILL at any moment: what was acknowledged is there, whole, and nothing else is.

use std::fs;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;
use tempfile::TempDir;
use tests::eventually;

use crate::connection::Connection;
use crate::model::Model;
use crate::{connect, kill, on, setting, small, tell, writers};

/// Rounds, unless `CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 5;
/// What a start makes of a journal that is shorter.
const JOURNAL_BYTES: u64 = 64_000_001;

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let data = TempDir::new().expect("a directory");
    let seed = setting("CRASH_SEED", 0);
    let mut rng = Rng::with_seed(seed);
    let mut model = Model::default();
    for round in 0..setting("CRASH_ROUNDS", ROUNDS) {
        let server = small(data.path(), round).start();
        let writes = rng.usize(..2000);
        let (told, seen) = writers::run(&model, server.address, seed + round, writes, |_| {
            thread::sleep(Duration::from_micros(rng.u64(..2000)));
            server.signal(Signal::KILL);
        });
        server.wait();
        let server = small(data.path(), round).start();
        model.check(&mut connect(&server), &told, &seen);
        kill(server);
    }
}

/// A store is whole or is not there: kills in its first milliseconds leave nothing that does not
/// start.
#[test]
fn a_store_survives_a_kill_while_it_is_made() {
    let mut rng = Rng::with_seed(setting("CRASH_SEED", 0));
    for _ in 0..setting("CRASH_ROUNDS", ROUNDS) * 2 {
        let data = TempDir::new().expect("a directory");
        for _ in 0..3 {
            let mut child = on(data.path()).begin();
            thread::sleep(Duration::from_micros(rng.u64(..30_000)));
            child.kill().expect("it is there");
            child.wait().expect("it has ended");
        }
        let server = on(data.path()).start();
        assert!(connect(&server).put("a", "1").expect("an answer").is_done());
    }
}

/// A start has fjall begin another journal, and moves what is in the last one to a table: it can
/// be killed at that, and the next start killed again.
#[test]
fn a_start_that_is_killed_loses_nothing() {
    let data = TempDir::new().expect("a directory");
    let mut rng = Rng::with_seed(setting("CRASH_SEED", 0));
    for round in 0..setting("CRASH_ROUNDS", ROUNDS) {
        for _ in 0..4 {
            let mut child = on(data.path()).begin();
            thread::sleep(Duration::from_micros(rng.u64(..30_000)));
            child.kill().expect("it is there");
            child.wait().expect("it has ended");
        }
        let server = on(data.path()).start();
        let mut connection = connect(&server);
        for earlier in 0..round {
            let found = connection.find(&format!("key{earlier}"));
            assert_eq!(found.map(|(value, _)| value), Some(earlier.to_string()), "round {round}");
        }
        let key = format!("key{round}");
        assert!(connection.put(&key, &round.to_string()).expect("an answer").is_done());
        kill(server);
    }
}

/// fjall goes on to the next journal at a full memtable, so that one may be longer than a start
/// makes it: what is at its end is not in a table yet, and is not to be cut off.
#[test]
fn a_start_that_is_killed_with_a_long_journal_loses_nothing() {
    let long = format!("\"{}\"", "x".repeat(63_500_000));
    let value = |number: u64| format!("\"{number} {}\"", "y".repeat(200_000));
    for attempt in 0..5 {
        let data = TempDir::new().expect("a directory");
        let server = on(data.path()).env("MAX_BODY", "64MiB").start();
        let mut connection = connect(&server);
        let tables_are = |connection: &mut Connection, count: f64| {
            ((connection.metric("kv_tables") - count).abs() < f64::EPSILON).then_some(())
        };
        eventually("the start's table", || tables_are(&mut connection, 1.0));
        // This fills a memtable, but not the journal.
        assert!(connection.put("long", &long).expect("an answer").is_done());
        eventually("another table", || tables_are(&mut connection, 2.0));
        // These fill the journal, but no memtable.
        for number in 0..4 {
            let answer = connection.put(&format!("{number}"), &value(number)).expect("an answer");
            assert!(answer.is_done());
        }
        kill(server);
        let journal = fs::read(data.path().join("v1/1.jnl")).expect("the second start's");
        let end = journal.iter().rposition(|byte| *byte != 0).expect("what was written") as u64;
        assert!(end > JOURNAL_BYTES && !data.path().join("v1/2.jnl").exists(), "{end}");

        // Once the next one is there, and before what was in this one is in a table.
        let mut child = on(data.path()).begin();
        let next = data.path().join("v1/2.jnl");
        eventually("next journal", || next.exists().then_some(()));
        child.kill().expect("it is there");
        child.wait().expect("it has ended");
        let was_in_time = data.path().join("v1/1.jnl").exists();

        let server = on(data.path()).start();
        let mut connection = connect(&server);
        for number in 0..4 {
            let found = connection.find(&format!("{number}")).map(|(found, _)| found);
            assert!(found == Some(value(number)), "{number}");
        }
        assert!(connection.find("long").is_some_and(|(found, _)| found == long));
        if was_in_time {
            return;
        }
        tell(&format!("attempt {attempt}: it was not killed in time"));
    }
}

/// Nothing is synced before the stop, and it syncs everything: this is seen on the file system that
/// forgets, too.
#[test]
fn a_stop_under_load_keeps_everything() {
    let data = TempDir::new().expect("a directory");
    let server = on(data.path()).env("FSYNC", "1h").start();
    let mut model = Model::default();
    let (told, seen) = writers::run(&model, server.address, 7, 2000, |_| {
        server.signal(Signal::TERM);
    });
    let stopped = server.wait();
    assert_eq!(stopped.code, 0, "{:#?}", stopped.log);
    let server = on(data.path()).start();
    model.check(&mut connect(&server), &told, &seen);
}

#[test]
fn a_key_expires_by_the_clock_also_over_a_restart() {
    let data = TempDir::new().expect("a directory");
    let server = on(data.path()).start();
    let mut connection = connect(&server);
    for target in ["/keys/short?raw&ttl=500ms", "/keys/long?raw&ttl=1h"] {
        assert!(connection.ask("PUT", target, &[], Some("1")).expect("an answer").is_done());
    }
    let left = connection.get("long").expect("an answer").ttl_ms.expect("it expires");
    kill(server);
    let server = on(data.path()).start();
    let mut connection = connect(&server);
    let left_now = connection.get("long").expect("an answer").ttl_ms.expect("it expires");
    assert!(left_now <= left && left_now > left - 60_000, "{left_now} of {left}");
    eventually("end of a key", || connection.find("short").is_none().then_some(()));
    let page = connection.ask("GET", "/keys", &[], None).expect("an answer");
    assert!(page.body.contains(r#""keys":["long"]"#), "{page:?}");
    kill(server);
    let server = on(data.path()).start();
    assert_eq!(connect(&server).find("short"), None);
}
