//! System calls, and what is left of them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::thread;

use rustix::fs::{CWD, FallocateFlags, OFlags, RenameFlags, fallocate, renameat_with};
use tests::eventually;
use tests::forgetful::{Crash, Directories, Fault, Options, Times};

use crate::Rig;

/// What is left of a script after a crash that forgets all that it may, on a strict disk and on
/// one with a journal.
#[track_caller]
fn check(script: &str, strict: &str, journaled: &str) {
    for (directories, left) in [(Directories::Strict, strict), (Directories::Journaled, journaled)]
    {
        let options = Options { directories, ..Options::default() };
        let Some(mut rig) = Rig::new(options) else { return };
        rig.run(script);
        rig.crash(Crash::Forget, 0);
        assert_eq!(rig.list(), left, "{directories:?}: {script}");
        rig.crash(Crash::Forget, 0);
        assert_eq!(rig.list(), left, "once more, {directories:?}: {script}");
    }
}

#[test]
fn content_that_was_not_synced_is_forgotten() {
    check("write a x", "", "");
    check("write a x; sync a; sync .", "a=x", "a=x");
    check("write a x; data a; sync .", "a=x", "a=x");
    check("write a x; sync .", "a=", "a=");
    check("write a x; sync a; sync .; append a y", "a=x", "a=x");
    check("write a x; sync a; sync .; append a y; sync a", "a=xy", "a=xy");
    check("write a xyz; sync a; sync .; resize a 1", "a=xyz", "a=xyz");
    check("write a xyz; sync a; sync .; resize a 1; resize a 3; sync a", "a=x00", "a=x00");
    check("write a xyz; sync a; sync .; write a b", "a=xyz", "a=xyz");
    check("write a xyz; sync a; sync .; write a b; sync a", "a=b", "a=b");
}

#[test]
fn names_that_were_not_synced_are_forgotten() {
    check("write a x; sync a", "", "a=x");
    check("write a x; write b y; sync b", "", "a= b=y");
    check("write a x; sync a; write b y; sync a", "", "a=x");
    check("write a x; sync a; sync .; rm a", "a=x", "a=x");
    check("write a x; sync a; sync .; rm a; sync .", "", "");
    check("write a x; sync a; sync .; rm a; write a y", "a=x", "a=x");
    check("write a x; sync a; sync .; rm a; write a y; sync a", "a=x", "a=y");
    check("mkdir d; write d/a x; sync d/a", "", "d/ d/a=x");
    check("mkdir d; write d/a x; sync d/a; sync d", "", "d/ d/a=x");
    check("mkdir d; write d/a x; sync d/a; sync .", "d/", "d/ d/a=x");
    check("mkdir d; write d/a x; sync d/a; sync d; sync .", "d/ d/a=x", "d/ d/a=x");
    check("mkdir d; sync .; rmdir d", "d/", "d/");
    check("mkdir d; sync .; rmdir d; sync .", "", "");
}

#[test]
fn a_rename_is_one_step() {
    const OLD: &str = "write a old; sync a; sync .; write b new;";
    const TWO: &str = "mkdir d; mkdir e; sync .; write d/a x; sync d/a;";
    check(&format!("{OLD} sync b; mv b a"), "a=old", "a=old b=new");
    check(&format!("{OLD} sync b; mv b a; sync a"), "a=old", "a=new");
    check(&format!("{OLD} sync b; mv b a; sync ."), "a=new", "a=new");
    // The old mistake: a name that is durable, of content that is not.
    check(&format!("{OLD} mv b a; sync ."), "a=", "a=");
    check(&format!("{TWO} sync d; mv d/a e/b"), "d/ d/a=x e/", "d/ d/a=x e/");
    check(&format!("{TWO} sync d; mv d/a e/b; sync e"), "d/ e/ e/b=x", "d/ e/ e/b=x");
    check(&format!("{TWO} sync d; mv d/a e/b; sync d"), "d/ e/ e/b=x", "d/ e/ e/b=x");
    // What the rename stands on comes with it, and its directory's other names do not.
    check(&format!("{TWO} write d/c y; mv d/a e/b; sync e"), "d/ e/ e/b=x", "d/ d/c= e/ e/b=x");
    check("mkdir d; sync .; mv d e; sync .", "e/", "e/");
}

#[test]
fn files_behave_as_files_do() {
    let Some(rig) = Rig::strict() else { return };
    let mut unlinked = rig.create("unlinked");
    rig.run("rm unlinked");
    unlinked.write_all(b"still here").expect("space");
    unlinked.rewind().expect("a file");
    assert_eq!(io::read_to_string(&unlinked).expect("a file"), "still here");

    rig.run("write a 1; write b 2");
    let kept = renameat_with(CWD, rig.path("a"), CWD, rig.path("b"), RenameFlags::NOREPLACE);
    assert_eq!(kept, Err(rustix::io::Errno::EXIST));
    let exchanged = renameat_with(CWD, rig.path("a"), CWD, rig.path("b"), RenameFlags::EXCHANGE);
    assert_eq!(exchanged, Err(rustix::io::Errno::INVAL));
    assert_eq!(rig.list(), "a=1 b=2");

    let (one, other) = (File::open(rig.path("a")), File::open(rig.path("a")));
    let (one, other) = (one.expect("a file"), other.expect("a file"));
    one.try_lock().expect("nobody has it");
    assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)), "locked twice");

    let sparse = rig.create("sparse");
    sparse.write_all_at(b"end", 1 << 30).expect("space");
    assert_eq!(sparse.metadata().expect("a file").len(), (1 << 30) + 3);
    let mut middle = [1; 100];
    sparse.read_exact_at(&mut middle, 1 << 29).expect("a hole");
    assert_eq!(middle, [0; 100]);

    let errors = [
        (fs::rename(rig.path("a"), rig.path("none/a")), io::ErrorKind::NotFound),
        (fs::remove_dir(rig.path("a")), io::ErrorKind::NotADirectory),
        (fs::create_dir(rig.path("a")), io::ErrorKind::AlreadyExists),
        (fs::write(rig.path(&"n".repeat(256)), ""), io::ErrorKind::InvalidFilename),
    ];
    for (result, kind) in errors {
        assert_eq!(result.map_err(|error| error.kind()), Err(kind));
    }
    rig.run("mkdir d; write d/a x");
    let full = fs::remove_dir(rig.path("d")).expect_err("it is not empty");
    assert_eq!(full.kind(), io::ErrorKind::DirectoryNotEmpty);
}

#[test]
fn directories_can_be_emptied_while_they_are_read() {
    let Some(rig) = Rig::strict() else { return };
    rig.run("mkdir d");
    for number in 0..1000 {
        rig.create(&format!("d/a-name-of-some-length-{number}"));
    }
    fs::remove_dir_all(rig.path("d")).expect("all of them");
    assert_eq!(rig.list(), "");
}

#[test]
fn a_write_that_is_synchronous_is_durable() {
    let Some(mut rig) = Rig::strict() else { return };
    rig.durable("a", b"");
    for (flag, text) in [(OFlags::DSYNC, "d"), (OFlags::SYNC, "s")] {
        let flags = i32::try_from(flag.bits()).expect("flags");
        let mut options = OpenOptions::new();
        options.append(true).custom_flags(flags);
        let mut file = options.open(rig.path("a")).expect("a file");
        file.write_all(text.as_bytes()).expect("space");
    }
    rig.crash(Crash::Forget, 0);
    assert_eq!(rig.list(), "a=ds");
}

/// After a failed fsync, Linux takes what it could not write for clean: the next fsync succeeds,
/// and a database that relies on it has lost data (`PostgreSQL`, 2018).
#[test]
fn what_a_failed_sync_has_lost_stays_lost() {
    let Some(mut rig) = Rig::strict() else { return };
    let mut file = rig.durable("a", b"one ");
    file.write_all(b"two ").expect("space");
    rig.disk.fail(Fault::Sync, Times::Once);
    let error = file.sync_all().expect_err("a fault");
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    file.sync_all().expect("the fault was for once");
    assert_eq!(rig.read("a"), b"one two ");
    drop(file);
    rig.crash(Crash::Forget, 0);
    assert_eq!(rig.read("a"), b"one ");

    rig.disk.fail(Fault::Sync, Times::Always);
    for _ in 0..3 {
        File::open(rig.path(".")).expect("it is there").sync_all().expect_err("a fault");
    }
    rig.disk.heal();
    rig.sync(".");
}

#[test]
fn writes_fail_on_demand() {
    let Some(rig) = Rig::strict() else { return };
    let mut file = rig.create("a");
    for (fault, kind) in [(Fault::Write, None), (Fault::Full, Some(io::ErrorKind::StorageFull))] {
        rig.disk.fail(fault, Times::Once);
        let error = file.write_all(b"lost").expect_err("a fault");
        if let Some(kind) = kind {
            assert_eq!(error.kind(), kind);
        }
        file.write_all(b"x").expect("the fault was for once");
        rig.disk.fail(fault, Times::Always);
        for _ in 0..3 {
            file.write_all(b"lost").expect_err("a fault");
        }
        rig.disk.heal();
        file.write_all(b"y").expect("space");
    }
    assert_eq!(rig.list(), "a=xyxy");
}

#[test]
fn a_full_disk_takes_what_fits() {
    const LIMIT: usize = 64 << 10;
    let options = Options { bytes_max: LIMIT as u64, ..Options::default() };
    let Some(rig) = Rig::new(options) else { return };
    let mut file = rig.create("a");
    let error = file.write_all(&vec![b'x'; LIMIT + 1]).expect_err("a full disk");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(rig.read("a").len(), LIMIT);
    // What has its place can be overwritten.
    file.write_all_at(b"y", 0).expect("its own space");

    let space = rustix::fs::statvfs(rig.point.path()).expect("a file system");
    assert_eq!((space.f_blocks * space.f_bsize, space.f_bavail), (LIMIT as u64, 0));
    rig.disk.limit(2 * LIMIT as u64);
    file.write_all(b"z").expect("space");
    rig.run("rm a");
    drop(file);

    let whole = rig.create("b");
    let fits = |length| fallocate(&whole, FallocateFlags::empty(), 0, length);
    assert_eq!(fits(2 * LIMIT as u64 + 1), Err(rustix::io::Errno::NOSPC));
    eventually("space of the file that was closed", || fits(2 * LIMIT as u64).ok());
    rig.create("c").write_all(b"x").expect_err("a full disk");
}

/// A mount that is in use, or whose test panics, does not stay.
#[test]
fn a_mount_always_ends() {
    let Some(rig) = Rig::strict() else { return };
    let path = rig.point.path().to_owned();
    let mut open = rig.create("a");
    let ended = thread::spawn(move || {
        let _rig = rig;
        // Quietly: a panic is what is wanted here.
        std::panic::resume_unwind(Box::new(()));
    });
    ended.join().expect_err("it has panicked");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("Linux");
    assert!(!mounts.contains(path.to_str().expect("ASCII")), "{mounts}");
    open.write_all(b"x").expect_err("the disk has gone");
}

#[test]
fn holes_are_found() {
    let Some(rig) = Rig::new(Options::default()) else { return };
    let file = File::create(rig.path("a")).unwrap();
    file.write_all_at(&[1; 5000], 0).unwrap();
    file.set_len(100_000).unwrap();
    file.write_all_at(&[1], 20_000).unwrap();
    let hole = |from| rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(from));
    assert_eq!([hole(0), hole(5000), hole(8192), hole(20_000)], [8192, 8192, 8192, 20_480].map(Ok));
    assert_eq!([hole(99_999), hole(100_000)], [Ok(99_999), Err(rustix::io::Errno::NXIO)]);
    file.set_len(20_001).unwrap();
    assert_eq!(hole(20_000), Ok(20_001));
}
