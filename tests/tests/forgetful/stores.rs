//! Databases on the file system that forgets: those that sync before they answer lose nothing, and
//! one that does not is caught.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tests::eventually;
use tests::forgetful::{Crash, Directories, Forgetful, Mount, MountPoint, Options};

const WRITERS: usize = 4;
/// Answers before the power goes.
const WRITES: usize = 1000;
const SEEDS: u64 = 2;

/// Lets writers write until they fail, with the power going in between; which of them were told
/// that it is done.
fn write_until(
    crash: impl FnOnce(),
    write: impl Fn(usize, usize) -> bool + Sync,
) -> BTreeSet<(usize, usize)> {
    let count = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (count, write) = (&count, &write);
        let writer = |writer| {
            move || {
                let done = (0..).take_while(|&number| {
                    let done = write(writer, number);
                    count.fetch_add(usize::from(done), Ordering::Relaxed);
                    done
                });
                done.map(|number| (writer, number)).collect::<Vec<_>>()
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|number| scope.spawn(writer(number))).collect();
        eventually("writes", || {
            assert!(writers.iter().all(|writer| !writer.is_finished()), "a write failed");
            (count.load(Ordering::Relaxed) > WRITES).then_some(())
        });
        crash();
        writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect()
    })
}

fn open(mount: &Mount) -> fjall::Result<(Database, Keyspace)> {
    let database = Database::builder(mount.path().join("data")).worker_threads(1).open()?;
    // Small, so that tables are written and merged too.
    let options = || KeyspaceCreateOptions::default().max_memtable_size(64 << 10);
    let keyspace = database.keyspace("keys", options)?;
    Ok((database, keyspace))
}

/// Up to some sectors.
fn value(writer: usize, number: usize) -> Vec<u8> {
    format!("{writer}/{number} ").repeat(1 + number * 37 % 300).into_bytes()
}

/// How many acknowledged writes a crash has lost, or why the database cannot be opened after it.
fn fjall(
    mode: PersistMode,
    directories: Directories,
    crash: Crash,
    seed: u64,
) -> Option<fjall::Result<usize>> {
    let disk = Forgetful::new(Options { directories, ..Options::default() });
    let point = MountPoint::new();
    let mount = disk.mount_or_skip(&point)?;
    let (database, keyspace) = open(&mount).expect("a new database");
    // fjall 3.1 makes these directories and does not sync those in which they are. A journal
    // brings their names to the disk with the first file that is synced in them; POSIX does not
    // promise that.
    for above in [".", "data/keyspaces"] {
        let above = fs::File::open(mount.path().join(above));
        above.and_then(|above| above.sync_all()).expect("a sync");
    }
    database.persist(PersistMode::SyncAll).expect("a sync");
    let acknowledged = write_until(
        || disk.crash(crash, seed),
        |writer, number| {
            let key = format!("{writer}/{number}");
            let written = keyspace.insert(key, value(writer, number));
            written.and_then(|()| database.persist(mode)).is_ok()
        },
    );
    drop((keyspace, database));
    drop(mount);

    let mount = disk.mount(point.path()).expect("it was mounted before");
    let opened = open(&mount);
    Some(opened.map(|(_database, keyspace)| {
        let lost = acknowledged.iter().filter(|&&(writer, number)| {
            let found = keyspace.get(format!("{writer}/{number}")).expect("a whole database");
            found.is_none_or(|found| *found != *value(writer, number))
        });
        lost.count()
    }))
}

/// Whether it may refuse to open: fjall 3.1 takes the last writes for a torn tail when their end is
/// missing, and for a damaged journal when a sector in their middle is.
fn may_refuse(crash: Crash) -> bool {
    match crash {
        Crash::Torn => true,
        Crash::Forget | Crash::Prefix => false,
    }
}

#[test]
fn fjall_keeps_what_it_has_synced() {
    for seed in 0..SEEDS {
        for directories in [Directories::Strict, Directories::Journaled] {
            for crash in [Crash::Forget, Crash::Prefix, Crash::Torn] {
                let case = format!("{directories:?}, {crash:?}, seed {seed}");
                match fjall(PersistMode::SyncAll, directories, crash, seed) {
                    None => return,
                    Some(Ok(lost)) => assert_eq!(lost, 0, "{case}"),
                    Some(Err(fjall::Error::JournalRecovery(_))) if may_refuse(crash) => {}
                    Some(Err(error)) => panic!("{case}: {error}"),
                }
            }
        }
    }
}

#[test]
fn fjall_is_caught_when_it_does_not_sync() {
    match fjall(PersistMode::Buffer, Directories::Strict, Crash::Forget, 0) {
        None => {}
        Some(lost) => assert!(lost.expect("an old state, but a whole one") > 0, "nothing was lost"),
    }
}

/// A `redis-server` that listens on a socket in the file system.
struct Redis {
    child: Child,
    socket: PathBuf,
}

impl Redis {
    /// None where it is not installed.
    fn start(data: &Path, appendfsync: &str) -> Option<Self> {
        let name = data.file_name().expect("a mount point").display();
        let socket = std::env::temp_dir().join(format!("{name}.socket"));
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "yes", "--dir"]).arg(data);
        command.args(["--appendfsync", appendfsync, "--unixsocket"]).arg(&socket);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().ok()?;
        let redis = Redis { child, socket };
        eventually("answer of redis-server", || redis.ask("PING").filter(|pong| pong == "+PONG"));
        Some(redis)
    }

    fn connect(&self) -> Option<BufReader<UnixStream>> {
        UnixStream::connect(&self.socket).ok().map(BufReader::new)
    }

    fn ask(&self, command: &str) -> Option<String> {
        ask(&mut self.connect()?, command)
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ask(connection: &mut BufReader<UnixStream>, command: &str) -> Option<String> {
    write!(connection.get_mut(), "{command}\r\n").ok()?;
    let mut line = String::new();
    let count = connection.read_line(&mut line).ok()?;
    (count > 0).then(|| line.trim_end().to_owned())
}

/// How many writes were acknowledged, and how many of them are lost when the process is killed and
/// the power goes.
fn redis(appendfsync: &str, crash: Crash, seed: u64) -> Option<[usize; 2]> {
    // It does not sync the directory of its log.
    let options = Options { directories: Directories::Journaled, ..Options::default() };
    let (disk, point) = (Forgetful::new(options), MountPoint::new());
    let mount = disk.mount_or_skip(&point)?;
    let Some(mut redis) = Redis::start(mount.path(), appendfsync) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no redis-server");
        return None;
    };
    let connect = || std::sync::Mutex::new(redis.connect().expect("it listens"));
    let connections: Vec<_> = (0..WRITERS).map(|_| connect()).collect();
    let acknowledged = write_until(
        || redis.kill(),
        |writer, number| {
            let mut connection = connections[writer].lock().expect("it is this writer's alone");
            let answer = ask(&mut connection, &format!("SET {writer}/{number} {number}"));
            answer.is_some_and(|answer| answer == "+OK")
        },
    );
    drop(mount);
    disk.crash(crash, seed);

    let mount = disk.mount(point.path()).expect("it was mounted before");
    let redis = Redis::start(mount.path(), appendfsync)?;
    let mut connection = redis.connect().expect("it listens");
    let lost = acknowledged.iter().filter(|(writer, number)| {
        let answer = ask(&mut connection, &format!("EXISTS {writer}/{number}"));
        answer.is_none_or(|answer| answer != ":1")
    });
    let lost = lost.count();
    drop(redis);
    Some([acknowledged.len(), lost])
}

#[test]
fn redis_keeps_what_it_has_synced() {
    for (seed, crash) in [Crash::Forget, Crash::Prefix].into_iter().enumerate() {
        let Some([acknowledged, lost]) = redis("always", crash, seed as u64) else { return };
        assert_eq!(lost, 0, "of {acknowledged}, {crash:?}");
    }
}

#[test]
fn redis_is_caught_when_it_does_not_sync() {
    let Some([_, lost]) = redis("no", Crash::Forget, 0) else { return };
    assert!(lost > 0, "nothing was synced, and nothing was lost");
}
