//! Where a disk is mounted, and that it is unmounted in the end.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::sync::atomic::{AtomicU64, Ordering};

use fuser::{BackgroundSession, Config, MountOption, Session};
use rustix::mount::{UnmountFlags, unmount};

use super::Forgetful;
use super::fuse::Served;

/// What mount points are called, before the process and a number.
const PREFIX: &str = "forgetful-";

/// A mounted disk; dropping it unmounts, also while a test panics.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    disk: Forgetful,
    session: Option<BackgroundSession>,
}

/// Why a disk could not be mounted: no `/dev/fuse`, or no permission, as in most containers.
#[derive(Debug)]
pub struct MountError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for MountError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MountError { path, error } = self;
        write!(formatter, "cannot mount with FUSE on '{}': {error}", path.display())
    }
}

impl std::error::Error for MountError {}

impl Mount {
    pub(super) fn new(served: Served, at: &Path) -> Result<Self, MountError> {
        let disk = served.disk.clone();
        let failed = |error| MountError { path: at.to_owned(), error };
        let path = at.canonicalize().map_err(failed)?;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("forgetful".to_owned())];
        let session = Session::new(served, &path, &config).and_then(Session::spawn);
        Ok(Mount { path, disk, session: Some(session.map_err(failed)?) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Pages that were mapped and changed still arrive, and are not synced by that.
        if let Err(error) = unmount(&self.path, UnmountFlags::empty()) {
            let path = self.path.display();
            if error != rustix::io::Errno::PERM {
                let _ = writeln!(io::stderr(), "unmounting '{path}' by force: {error}");
            }
            detach(&self.path);
        }
        self.disk.lock().supersede();
        drop(self.session.take());
    }
}

/// Unmounts also what is in use, or was left behind by a process that was killed.
fn detach(path: &Path) {
    if unmount(path, UnmountFlags::DETACH).is_err() {
        // Who is not root mounts, and unmounts, by way of a program that is.
        let fusermount = Command::new("fusermount3")
            .args(["-u", "-q", "-z", "--"])
            .arg(path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !fusermount.is_ok_and(|status| status.success()) {
            let _ = writeln!(io::stderr(), "'{}' stays mounted", path.display());
        }
    }
}

/// An empty directory to mount on, which is removed in the end.
#[derive(Debug)]
pub struct MountPoint {
    path: PathBuf,
}

impl MountPoint {
    /// Makes one for this process, and removes those that killed processes have left.
    #[allow(clippy::new_without_default, reason = "it does too much for a default")]
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let parent = std::env::temp_dir();
        for path in leftovers(&parent) {
            detach(&path);
            // Another process may have been faster.
            let _ = fs::remove_dir(path);
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", id()));
        fs::create_dir(&path).expect("the directory for temporary files takes a new one");
        MountPoint { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        // A directory that somebody still uses is removed by the next process.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Mount points of processes that are no more.
fn leftovers(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let gone = entries.filter(|entry| {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        process.is_some_and(|process| !Path::new("/proc").join(process).exists())
    });
    gone.map(|entry| entry.path()).collect()
}
