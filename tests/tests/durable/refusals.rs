//! A disk that fails: nothing is acknowledged any more, what was acknowledged can be read, and the
//! next start has all of it.

use rustix::process::Signal;
use tests::forgetful::{Crash, Fault, Forgetful, MountPoint, Options, Times};
use tests::{Finished, eventually};

use crate::connection::Connection;
use crate::full::goes_on;
use crate::model::Model;
use crate::{connect, kill, on, writers};

#[track_caller]
fn check_read_only(connection: &mut Connection, reason: &str) {
    for _ in 0..3 {
        let answer = connection.put("refused", "1").expect("an answer");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.body.contains(reason), "{answer:?}");
        assert_eq!(connection.find("refused"), None);
    }
    let ready = connection.ask("GET", "/ready", &[], None).expect("an answer");
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.body.contains(reason), "{ready:?}");
    for target in ["/keys/kept", "/keys?prefix=kept", "/incr/kept"] {
        let method = if target.starts_with("/incr") { "POST" } else { "DELETE" };
        let answer = connection.ask(method, target, &[], None).expect("an answer");
        assert_eq!(answer.status, 503, "{method} {target}: {answer:?}");
    }
    assert_eq!(connection.find("kept").map(|(value, _)| value).as_deref(), Some("1"));
    let page = connection.ask("GET", "/keys", &[], None).expect("an answer");
    assert!(page.body.contains(r#""keys":["kept"]"#), "{page:?}");
    let health = connection.ask("GET", "/health", &[], None).expect("an answer");
    assert_eq!(health.status, 200);
}

#[test]
fn after_an_error_nothing_is_acknowledged_before_a_restart() {
    for (fault, times, reason) in [
        (Fault::Sync, Times::Once, "the disk did not keep what was written"),
        (Fault::Sync, Times::Always, "the disk did not keep what was written"),
        (Fault::Write, Times::Once, "a write failed"),
        (Fault::Write, Times::Always, "a write failed"),
    ] {
        let (disk, point) = (Forgetful::new(Options::default()), MountPoint::new());
        let Some(mount) = disk.mount_or_skip(&point) else { return };
        let server = on(point.path()).start();
        let mut connection = connect(&server);
        // The second is taken when the journal has been filled, where an error has no consequence.
        for _ in 0..2 {
            assert!(connection.put("kept", "1").expect("an answer").is_done());
        }
        // What the background still writes of the start would be struck instead, and made up for.
        eventually("table", || (connection.metric("kv_journals") < 2.0).then_some(()));
        disk.fail(fault, times);
        let answer = connection.put("refused", "0").expect("an answer");
        assert_eq!(answer.status, 503, "{fault:?}: {answer:?}");
        assert_eq!(connection.find("refused"), None);
        disk.heal();
        check_read_only(&mut connection, reason);
        if times == Times::Once {
            kill(server);
        } else {
            server.stop();
        }
        drop(mount);
        disk.crash(Crash::Forget, 0);
        let _mount = disk.mount(point.path()).expect("it was mounted before");
        let server = on(point.path()).start();
        let mut connection = connect(&server);
        assert_eq!(connection.find("kept").map(|(value, _)| value).as_deref(), Some("1"));
        assert!(connection.put("refused", "2").expect("an answer").is_done());
    }
}

#[test]
fn an_error_among_writers_takes_nothing_back() {
    // Of a long write the kernel may show a failed part as a short one, which is tried again, and
    // nobody learns of a failure that comes once.
    let faults = [(Fault::Sync, Times::Once), (Fault::Write, Times::Always)];
    for (seed, (fault, times)) in faults.into_iter().enumerate() {
        let (disk, point) = (Forgetful::new(Options::default()), MountPoint::new());
        let Some(mount) = disk.mount_or_skip(&point) else { return };
        let server = on(point.path()).start();
        let mut model = Model::default();
        let (told, seen) = writers::run(&model, server.address, seed as u64, 500, |_| {
            disk.fail(fault, times);
            // By a sync, a write, or the background's, which heals.
            server.log().wait_for(" failed, and n");
            server.signal(Signal::KILL);
        });
        server.wait();
        drop(mount);
        disk.heal();
        disk.crash(Crash::Forget, 0);
        let _mount = disk.mount(point.path()).expect("it was mounted before");
        let server = on(point.path()).start();
        model.check(&mut connect(&server), &told, &seen);
    }
}

#[test]
fn a_start_that_cannot_sync_is_refused() {
    let (disk, point) = (Forgetful::new(Options::default()), MountPoint::new());
    let Some(_mount) = disk.mount_or_skip(&point) else { return };
    let server = on(point.path()).start();
    assert!(connect(&server).put("kept", "1").expect("an answer").is_done());
    kill(server);
    disk.fail(Fault::Sync, Times::Always);
    let Finished { code, stderr, .. } = on(point.path()).run();
    assert_eq!(code, Some(1), "{stderr}");
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    // glibc's words, and musl's.
    let reasons = ["v1: input/output error", "v1: i/o error"];
    let is_said = |error: &str| reasons.iter().any(|reason| error.contains(reason));
    assert!(errors.len() == 1 && is_said(errors[0]), "{stderr}");
    disk.heal();
    let server = on(point.path()).start();
    assert_eq!(connect(&server).find("kept").map(|(value, _)| value).as_deref(), Some("1"));
}

/// A start has another journal begun, which is no more than a gain: where that fails the last one
/// goes on.
#[test]
fn a_start_that_cannot_begin_a_journal_goes_on_with_the_last_one() {
    for fault in [Fault::Full, Fault::Write] {
        let (disk, point) = (Forgetful::new(Options::default()), MountPoint::new());
        let Some(mount) = disk.mount_or_skip(&point) else { return };
        let server = on(point.path()).start();
        assert!(connect(&server).put("kept", "1").expect("an answer").is_done());
        kill(server);
        // What fails once may be a write of the background, which is made up for later.
        disk.fail(fault, Times::Always);
        let server = on(point.path()).start();
        server.log().wait_for("the last journal goes on");
        disk.heal();
        let mut connection = connect(&server);
        assert_eq!(connection.find("kept").map(|(value, _)| value).as_deref(), Some("1"));
        goes_on(&mut connection, "more");
        kill(server);
        drop(mount);
        disk.crash(Crash::Forget, 0);
        let _mount = disk.mount(point.path()).expect("it was mounted before");
        let server = on(point.path()).start();
        let mut connection = connect(&server);
        for key in ["kept", "more"] {
            let found = connection.find(key).map(|(value, _)| value);
            assert_eq!(found.as_deref(), Some("1"), "{fault:?}, {key}");
        }
    }
}
