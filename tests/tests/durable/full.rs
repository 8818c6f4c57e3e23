//! A full disk: writes are refused and never come back, what was acknowledged stays and can be
//! read, and with room made it goes on without a restart.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::eventually;
use tests::forgetful::{Crash, Fault, Forgetful, MountPoint, Options, Times};

use crate::connection::{Answer, Connection};
use crate::model::Model;
use crate::{connect, kill, on, setting, writers};

/// A small file system in memory.
struct Small {
    at: TempDir,
}

impl Small {
    /// None for who may not mount.
    fn new(mebibytes: u32) -> Option<Self> {
        let at = TempDir::new().expect("a directory");
        let size = std::ffi::CString::new(format!("size={mebibytes}m")).expect("no NUL");
        if let Err(error) = mount("tmpfs", at.path(), "tmpfs", MountFlags::empty(), &*size) {
            // Nobody is there to be told that nobody can be told.
            let _ = writeln!(io::stderr(), "SKIPPED: cannot mount a small disk: {error}");
            return None;
        }
        fs::create_dir(at.path().join("data")).expect("room");
        Some(Small { at })
    }

    fn data(&self) -> std::path::PathBuf {
        self.at.path().join("data")
    }

    fn resize(&self, mebibytes: u32) {
        let size = format!("size={mebibytes}m");
        mount_remount(self.at.path(), MountFlags::empty(), size.as_str()).expect("it is ours");
    }

    /// Fills it by another file, but for so many bytes.
    fn fill(&self, left: u64) {
        let disk = rustix::fs::statvfs(self.at.path()).expect("it is mounted");
        let free = disk.f_bavail * disk.f_frsize;
        let file = File::create(self.at.path().join("other")).expect("room");
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free - left)
            .expect("room");
    }

    fn make_room(&self) {
        fs::remove_file(self.at.path().join("other")).expect("it is there");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Who uses it was killed, and may not have ended.
        let _ = unmount(self.at.path(), UnmountFlags::DETACH);
    }
}

fn value(number: usize) -> String {
    format!("\"{number} {}\"", "x".repeat(50_000))
}

#[track_caller]
fn check_full(answer: &Answer) {
    assert_eq!(answer.status, 507, "{answer:?}");
    assert!(answer.body.contains("The disk is full"), "{answer:?}");
}

/// What a store on a small disk was told, and has to have done.
#[derive(Default)]
struct Told {
    /// By number, whether the key is there.
    stored: Vec<bool>,
    /// Keys of writes that were answered 503, for the background failed while they were written:
    /// nobody sees that they were, but for a kill before they are cut off.
    unsure: Vec<usize>,
}

impl Told {
    /// Stores under the next key; false if the disk was full.
    #[track_caller]
    fn put(&mut self, connection: &mut Connection) -> bool {
        let number = self.stored.len();
        let answer = connection.put(&format!("key/{number}"), &value(number)).expect("an answer");
        self.stored.push(false);
        self.took(number, &answer, true);
        answer.status != 507
    }

    #[track_caller]
    fn delete(&mut self, connection: &mut Connection, number: usize) {
        let target = format!("/keys/key/{number}");
        let answer = connection.ask("DELETE", &target, &[], None).expect("an answer");
        self.took(number, &answer, false);
    }

    #[track_caller]
    fn took(&mut self, number: usize, answer: &Answer, stored: bool) {
        match answer.status {
            200 => self.stored[number] = stored,
            503 if answer.body.contains("the disk is full") => self.unsure.push(number),
            _ => check_full(answer),
        }
    }

    /// What nobody knew before the kill is as it is from now on.
    #[track_caller]
    fn was_killed(&mut self, connection: &mut Connection) {
        for number in self.unsure.drain(..) {
            self.stored[number] = connection.find(&format!("key/{number}")).is_some();
        }
    }

    #[track_caller]
    fn check(&self, connection: &mut Connection) {
        for (number, stored) in self.stored.iter().enumerate() {
            let found = connection.find(&format!("key/{number}")).map(|(value, _)| value);
            assert!(found == stored.then(|| value(number)), "key/{number}");
        }
    }
}

#[track_caller]
fn check_all(connection: &mut Connection, count: usize, but: &[usize]) {
    for number in 0..count {
        let found = connection.find(&format!("key/{number}")).map(|(value, _)| value);
        assert!(found == (!but.contains(&number)).then(|| value(number)), "key/{number}");
    }
    for number in count..count + 20 {
        assert_eq!(connection.find(&format!("key/{number}")), None, "it was refused");
    }
}

#[track_caller]
pub(crate) fn goes_on(connection: &mut Connection, key: &str) {
    eventually("room", || {
        let answer = connection.put(key, "1").expect("an answer");
        // 503 for what was written when the background failed, and will be cut off.
        assert!(answer.is_done() || matches!(answer.status, 503 | 507), "{answer:?}");
        answer.is_done().then_some(())
    });
    let ready = eventually("readiness", || {
        let ready = connection.ask("GET", "/ready", &[], None).expect("an answer");
        (ready.status == 200).then_some(ready)
    });
    assert_eq!(ready.status, 200);
}

fn open(data: &Path) -> (tests::Server, Connection) {
    let server = on(data).start();
    let connection = connect(&server);
    (server, connection)
}

#[test]
fn a_disk_that_kv_has_filled() {
    let Some(small) = Small::new(40) else { return };
    let (server, mut connection) = open(&small.data());
    let mut told = Told::default();
    while told.put(&mut connection) {}
    assert!(told.stored.len() > 50, "{:?}", told.stored);
    // They are refused as well, unless a merge of tables makes room.
    for _ in 0..20 {
        told.put(&mut connection);
    }
    told.check(&mut connection);
    // Killed, and started on the full disk.
    kill(server);
    let (server, mut connection) = open(&small.data());
    told.was_killed(&mut connection);
    told.check(&mut connection);
    // It may be, unless the background has found no room for its tables either.
    told.delete(&mut connection, 0);
    told.check(&mut connection);

    small.resize(80);
    goes_on(&mut connection, "more");
    told.check(&mut connection);
    assert_eq!(server.stop().code, 0);
    let (_server, mut connection) = open(&small.data());
    told.check(&mut connection);
    assert!(connection.find("more").is_some());
}

/// Journals are as large as the disk's room here, and one that is removed has to give its room
/// back.
#[test]
fn a_disk_that_has_room_for_little_more_than_a_journal() {
    let Some(small) = Small::new(120) else { return };
    let (server, mut connection) = open(&small.data());
    for number in 0..5_000 {
        let answer = connection.put("key/0", &value(number)).expect("an answer");
        assert!(answer.is_done(), "{number}: {answer:?}");
    }
    kill(server);
    let (_server, mut connection) = open(&small.data());
    assert!(connection.find("key/0").is_some_and(|(found, _)| found == value(4_999)));
}

#[test]
fn a_disk_that_somebody_else_has_filled() {
    let Some(small) = Small::new(64) else { return };
    let (server, mut connection) = open(&small.data());
    for number in 0..20 {
        let answer = connection.put(&format!("key/{number}"), &value(number)).expect("an answer");
        assert!(answer.is_done());
    }
    // Little is left: for removals.
    small.fill(1 << 20);
    for number in 20..40 {
        check_full(&connection.put(&format!("key/{number}"), &value(number)).expect("an answer"));
    }
    let answer = connection.ask("DELETE", "/keys/key/0", &[], None).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let ready = connection.ask("GET", "/ready", &[], None).expect("an answer");
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.body.contains("the disk is full"), "{ready:?}");
    check_all(&mut connection, 20, &[0]);
    small.make_room();
    goes_on(&mut connection, "more");
    // Nothing is left.
    small.fill(0);
    for number in 20..40 {
        check_full(&connection.put(&format!("key/{number}"), &value(number)).expect("an answer"));
    }
    check_all(&mut connection, 20, &[0]);
    kill(server);
    let (server, mut connection) = open(&small.data());
    check_all(&mut connection, 20, &[0]);
    check_full(&connection.put("key/20", "1").expect("an answer"));
    small.make_room();
    goes_on(&mut connection, "most");
    check_all(&mut connection, 20, &[0]);
    kill(server);
    let (_server, mut connection) = open(&small.data());
    check_all(&mut connection, 20, &[0]);
    assert!(connection.find("most").is_some());
}

/// Writes fail in their middle, without a warning by the free space; once room is there, what was
/// refused must not come back, by whatever way kv ends.
#[test]
fn a_write_that_was_refused_does_not_come_back() {
    for (round, heals, stops) in [(0, false, true), (1, false, false), (2, true, true)] {
        let (disk, point) = (Forgetful::new(Options::default()), MountPoint::new());
        let Some(_mount) = disk.mount_or_skip(&point) else { return };
        let (server, mut connection) = open(point.path());
        assert!(connection.put("kept", "1").expect("an answer").is_done());
        disk.fail(Fault::Full, Times::Always);
        check_full(&connection.put("refused", "1").expect("an answer"));
        check_full(&connection.put("kept", "2").expect("an answer"));
        if heals {
            disk.heal();
            goes_on(&mut connection, "more");
        } else {
            // No room by the count, so that it does not try, and room for what is in buffers.
            disk.limit(1);
            disk.heal();
        }
        assert_eq!(connection.find("refused"), None, "round {round}");
        if stops {
            server.stop();
        } else {
            kill(server);
        }
        disk.limit(1 << 30);
        let (_server, mut connection) = open(point.path());
        assert_eq!(connection.find("refused"), None, "round {round}");
        let kept = connection.find("kept").map(|(value, _)| value);
        assert_eq!(kept.as_deref(), Some("1"), "round {round}");
    }
}

/// The room ends in the middle of anything among writers, comes back, and the power goes. Once fjall
/// found no room in the background between a write and its sync, that was taken for a sync that failed,
/// and the store stayed read-only.
#[test]
fn a_disk_that_is_full_for_a_while() {
    for seed in 0..setting("CRASH_ROUNDS", 10) / 5 {
        let (disk, point) = (Forgetful::new(Options::default()), MountPoint::new());
        let Some(mount) = disk.mount_or_skip(&point) else { return };
        let server = on(point.path()).start();
        let mut model = Model::default();
        let (told, seen) = writers::run(&model, server.address, seed, 1000, |progress| {
            let used = rustix::fs::statvfs(point.path()).expect("it is mounted");
            let used = (used.f_blocks - used.f_bfree) * used.f_frsize;
            let mut connection = connect(&server);
            // By chance it strikes a write of the background that is made up for.
            disk.fail(Fault::Full, Times::Once);
            goes_on(&mut connection, "more");
            for extra in [100_000, 3_000_000] {
                let refused = progress.refused();
                disk.limit(used + extra);
                // Those who write may all have been told 503 before, and have ended.
                eventually("refusal", || {
                    let is_done = connection.put("more", "2").expect("an answer").is_done();
                    (!is_done || progress.refused() > refused).then_some(())
                });
                disk.limit(1 << 30);
                goes_on(&mut connection, "more");
            }
            disk.crash(Crash::Prefix, seed);
            server.signal(Signal::KILL);
        });
        server.wait();
        drop(mount);
        let _mount = disk.mount(point.path()).expect("it was mounted before");
        let server = on(point.path()).start();
        model.check(&mut connect(&server), &told, &seen);
    }
}
