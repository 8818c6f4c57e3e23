//! What an interval between syncs may lose, and no more: the means catches what is not synced.

use std::collections::BTreeMap;

use rustix::process::Signal;
use tests::eventually;
use tests::forgetful::{Crash, Forgetful, MountPoint, Options};

use crate::connection::Connection;
use crate::{connect, on};

const KEYS: usize = 400;

/// Writes keys over two connections in turn; their versions.
fn write(connections: &mut [Connection; 2], from: usize) -> BTreeMap<u64, String> {
    let mut told = BTreeMap::new();
    for number in from..from + KEYS {
        let key = format!("key/{number}");
        let value = format!(r#""{number} {}""#, "x".repeat(number * 37 % 3000));
        let answer = connections[number % 2].put(&key, &value).expect("an answer");
        told.insert(answer.version.expect("an entity tag"), key);
    }
    told
}

/// Says how many are there, after having seen that those are the first ones.
#[track_caller]
fn survivors(connection: &mut Connection, told: &BTreeMap<u64, String>) -> usize {
    let mut is_lost = false;
    let mut count = 0;
    for (version, key) in told {
        match connection.find(key) {
            Some((_, found)) => {
                assert_eq!(found, *version);
                assert!(!is_lost, "{key} is there, and one before it is not");
                count += 1;
            }
            None => is_lost = true,
        }
    }
    count
}

#[test]
fn with_an_interval_a_power_cut_loses_the_last_writes_alone() {
    for (crash, seed) in
        [(Crash::Forget, 0), (Crash::Prefix, 1), (Crash::Prefix, 2), (Crash::Torn, 3)]
    {
        let (disk, point) = (Forgetful::new(Options::default()), MountPoint::new());
        let Some(mount) = disk.mount_or_skip(&point) else { return };
        let server = on(point.path()).env("FSYNC", "1h").start();
        let told = write(&mut [connect(&server), connect(&server)], 0);
        server.signal(Signal::KILL);
        server.wait();
        drop(mount);
        disk.crash(crash, seed);
        let _mount = disk.mount(point.path()).expect("it was mounted before");
        let server = on(point.path()).start();
        let count = survivors(&mut connect(&server), &told);
        assert!(count < KEYS, "{crash:?}: nothing was synced, and nothing was lost");
        assert!(crash != Crash::Forget || count == 0, "{count} were synced");
    }
}

#[test]
fn what_is_older_than_the_interval_is_kept() {
    let (disk, point) = (Forgetful::new(Options::default()), MountPoint::new());
    let Some(mount) = disk.mount_or_skip(&point) else { return };
    let server = on(point.path()).env("FSYNC", "100ms").start();
    let mut connections = [connect(&server), connect(&server)];
    let told = write(&mut connections, 0);
    // One that begins behind the last write brings all of them to the disk.
    let before = connections[0].metric("kv_syncs_total");
    eventually("sync", || {
        connections[0].put("later", "1").expect("an answer");
        (connections[0].metric("kv_syncs_total") >= before + 2.0).then_some(())
    });
    disk.crash(Crash::Forget, 0);
    server.signal(Signal::KILL);
    server.wait();
    drop(mount);
    let _mount = disk.mount(point.path()).expect("it was mounted before");
    let server = on(point.path()).start();
    assert_eq!(survivors(&mut connect(&server), &told), KEYS);
}

/// A graceful stop syncs what the interval has not.
#[test]
fn a_stop_syncs() {
    let (disk, point) = (Forgetful::new(Options::default()), MountPoint::new());
    let Some(mount) = disk.mount_or_skip(&point) else { return };
    let server = on(point.path()).env("FSYNC", "1h").start();
    let told = write(&mut [connect(&server), connect(&server)], 0);
    assert_eq!(server.stop().code, 0);
    drop(mount);
    disk.crash(Crash::Forget, 0);
    let _mount = disk.mount(point.path()).expect("it was mounted before");
    let server = on(point.path()).start();
    assert_eq!(survivors(&mut connect(&server), &told), KEYS);
}
