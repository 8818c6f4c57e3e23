//! Directories that cannot be used: one line that names them, and the exit code 1.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use tests::{Finished, Launch};

use crate::{connect, kill, on};

#[track_caller]
fn check_refused(launch: Launch, path: &Path, reason: &str) {
    let Finished { code, stdout, stderr } = launch.env("LOG_LEVEL", "WARNING").run();
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let error = stderr.lines().last().unwrap_or_default();
    assert!(error.starts_with("error: "), "{stderr}");
    assert!(error.contains(path.to_str().expect("UTF-8")), "{error}");
    assert!(error.contains(reason), "{error}");
    let others = stderr.lines().filter(|line| !line.contains("WARN")).count();
    assert_eq!(others, 1, "{stderr}");
}

fn directory() -> TempDir {
    TempDir::new().expect("room for a directory")
}

#[test]
fn what_is_no_directory_of_kv_is_refused() {
    let data = directory();
    let path = data.path().join("missing");
    check_refused(on(&path), &path, "does not exist: make it first");
    let path = data.path().join("file");
    fs::write(&path, "").expect("space");
    check_refused(on(&path), &path, "is not a directory");
    check_refused(on(&path.join("below")), &path, "is not a directory");

    for (name, reason) in [
        ("v2", "was written by a newer kv (format 'v2'"),
        ("notes.txt", "holds something else ('notes.txt')"),
    ] {
        let data = directory();
        fs::create_dir(data.path().join(name)).expect("a directory");
        check_refused(on(data.path()), data.path(), reason);
    }

    let data = directory();
    fs::create_dir(data.path().join("lost+found")).expect("a directory");
    kill(on(data.path()).start());

    let data = directory();
    fs::write(data.path().join("v1"), "").expect("space");
    check_refused(on(data.path()), data.path(), "v1/version: ");
    let data = directory();
    fs::create_dir(data.path().join("v1")).expect("a directory");
    check_refused(on(data.path()), data.path(), "v1/version: ");
}

#[test]
fn a_directory_is_for_one_kv() {
    let data = directory();
    let server = on(data.path()).start();
    check_refused(on(data.path()), data.path(), "is in use by another kv");
    assert!(connect(&server).put("a", "1").expect("an answer").is_done());
    kill(server);
    // What a killed one has left is no obstacle.
    let server = on(data.path()).start();
    assert_eq!(connect(&server).find("a").map(|(value, _)| value).as_deref(), Some("1"));
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // Nobody is there to be told that nobody can be told.
        let _ = writeln!(io::stderr(), "SKIPPED: only root can start kv as another user");
        return;
    }
    let nobody = |launch: Launch| {
        launch.through("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups"])
    };
    let data = directory();
    fs::set_permissions(data.path(), Permissions::from_mode(0o555)).expect("it is ours");
    check_refused(nobody(on(data.path())), data.path(), "permission denied");
    fs::set_permissions(data.path(), Permissions::from_mode(0o700)).expect("it is ours");
    check_refused(nobody(on(data.path())), data.path(), "permission denied");
    // What root has made is not nobody's to write.
    kill(on(data.path()).start());
    fs::set_permissions(data.path(), Permissions::from_mode(0o777)).expect("it is ours");
    check_refused(nobody(on(data.path())), data.path(), "permission denied");
}
