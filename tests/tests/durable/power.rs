//! A power cut at any moment, on the file system that forgets.

use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use tests::forgetful::{Crash, Directories, Forgetful, MountPoint, Options};

use crate::model::Model;
use crate::{connect, kill, on, setting, small, tell, writers};

const CRASHES: [Crash; 3] = [Crash::Forget, Crash::Prefix, Crash::Torn];
const DIRECTORIES: [Directories; 2] = [Directories::Journaled, Directories::Strict];

/// Rounds on one disk, with the power going in each while clients write.
#[track_caller]
fn rounds(directories: Directories, crash: Crash, seed: u64, count: u64) -> bool {
    let disk = Forgetful::new(Options { directories, ..Options::default() });
    let point = MountPoint::new();
    let mut rng = Rng::with_seed(seed);
    let mut model = Model::default();
    for round in 0..count {
        let Some(mount) = disk.mount_or_skip(&point) else { return false };
        let server = small(point.path(), seed + round).start();
        let writes = rng.usize(..1500);
        let (told, seen) = writers::run(&model, server.address, seed + round, writes, |progress| {
            if rng.bool() {
                progress.lose_disk();
                // Everything fails from then on, and kv goes on for a moment.
                disk.crash(crash, seed + round);
            }
            server.signal(Signal::KILL);
        });
        server.wait();
        drop(mount);
        disk.crash(crash, seed + round);

        let _mount = disk.mount(point.path()).expect("it was mounted before");
        let server = small(point.path(), seed + round).start();
        model.check(&mut connect(&server), &told, &seen);
        kill(server);
    }
    true
}

/// Six disks, one round each; or as many seconds as `CRASH_SECONDS` says.
#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let begin = Instant::now();
    let limit = Duration::from_secs(setting("CRASH_SECONDS", 0));
    let mut seed = setting("CRASH_SEED", 0);
    let mut count = 0;
    loop {
        for (directories, crash) in
            DIRECTORIES.iter().flat_map(|directories| CRASHES.map(|crash| (*directories, crash)))
        {
            let each = if limit.is_zero() { 1 } else { 10 };
            tell(&format!("{directories:?}, {crash:?}, seed {seed}"));
            if !rounds(directories, crash, seed, each) {
                return;
            }
            count += each;
            seed += each;
        }
        if begin.elapsed() >= limit {
            break;
        }
    }
    tell(&format!("{count} power cuts in {:?}", begin.elapsed()));
}

/// A power cut while the store is made leaves nothing that does not start.
#[test]
fn a_store_survives_a_power_cut_while_it_is_made() {
    let mut rng = Rng::with_seed(1);
    for (directories, crash) in
        DIRECTORIES.iter().flat_map(|directories| CRASHES.map(|crash| (*directories, crash)))
    {
        for seed in 0..2 {
            let disk = Forgetful::new(Options { directories, ..Options::default() });
            let point = MountPoint::new();
            let Some(mount) = disk.mount_or_skip(&point) else { return };
            let mut child = on(point.path()).begin();
            std::thread::sleep(Duration::from_micros(rng.u64(..30_000)));
            disk.crash(crash, seed);
            child.kill().expect("it is there");
            child.wait().expect("it has ended");
            drop(mount);
            let _mount = disk.mount(point.path()).expect("it was mounted before");
            let server = on(point.path()).start();
            assert!(connect(&server).put("a", "1").expect("an answer").is_done());
        }
    }
}

/// Nor does one while it starts with something in its journal lose that.
#[test]
fn a_start_survives_a_power_cut() {
    let mut rng = Rng::with_seed(setting("CRASH_SEED", 2));
    for (directories, crash) in
        DIRECTORIES.iter().flat_map(|directories| CRASHES.map(|crash| (*directories, crash)))
    {
        let disk = Forgetful::new(Options { directories, ..Options::default() });
        let point = MountPoint::new();
        for round in 0..setting("CRASH_ROUNDS", 4) {
            let Some(mount) = disk.mount_or_skip(&point) else { return };
            let mut child = on(point.path()).begin();
            std::thread::sleep(Duration::from_micros(rng.u64(..60_000)));
            disk.crash(crash, round);
            child.kill().expect("it is there");
            child.wait().expect("it has ended");
            drop(mount);
            let mount = disk.mount(point.path()).expect("it was mounted before");
            let server = on(point.path()).start();
            let mut connection = connect(&server);
            for earlier in 0..round {
                let found = connection.find(&format!("key{earlier}")).map(|(value, _)| value);
                assert_eq!(found, Some(earlier.to_string()), "{directories:?}, {crash:?}, {round}");
            }
            let key = format!("key{round}");
            assert!(connection.put(&key, &round.to_string()).expect("an answer").is_done());
            kill(server);
            drop(mount);
            disk.crash(crash, round);
        }
    }
}
