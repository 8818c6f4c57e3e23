//! A file system that forgets what was not synced, as a power cut does.
//!
//! Everything is in memory, twice: what programs see, and what a disk would have. fsync brings the
//! one to the other; [`Forgetful::crash`] drops what it has not brought there, or a part of that.
//! It is mounted with FUSE, so that the real programs run on it:
//!
//! ```no_run
//! use tests::forgetful::{Crash, Forgetful, MountPoint, Options};
//!
//! let disk = Forgetful::new(Options::default());
//! let point = MountPoint::new();
//! let Some(mount) = disk.mount_or_skip(&point) else { return };
//! // Start a program on a directory in `point.path()`, let it work, kill it.
//! drop(mount);
//! disk.crash(Crash::Forget, 0);
//! let mount = disk.mount(point.path()).expect("it could be mounted before");
//! // Start it again: it has to have everything that it has acknowledged.
//! ```
//!
//! Invariants: a write has arrived here when `write` returns, the kernel delays none; what one
//! mount could have cached is not seen by the next one; a mount that a crash or another mount has
//! superseded answers EIO to everything.

mod content;
mod faults;
mod file;
mod fuse;
mod image;
mod journal;
mod mount;

use std::cell::Cell;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

pub use faults::{Fault, Times};
pub use mount::{Mount, MountError, MountPoint};

use fuse::Served;
use image::Image;

/// Space on a disk, if not told otherwise.
const BYTES_MAX_DEFAULT: u64 = 1 << 30;

/// How a disk behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// When names are durable.
    pub directories: Directories,
    /// The space on the disk; a write past it fails with ENOSPC.
    pub bytes_max: u64,
}

impl Default for Options {
    /// Strict, with a GiB of space.
    fn default() -> Self {
        Options { directories: Directories::Strict, bytes_max: BYTES_MAX_DEFAULT }
    }
}

/// When a file's name is durable. Under both, a rename is one step: a crash leaves the old name or
/// the new one, and in a name that was taken over the old file or the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directories {
    /// When its directory has been synced, as POSIX has it, and no sooner. Names that have not
    /// been synced come through a torn crash independently of each other.
    Strict,
    /// In their order, as in the journal of ext4: syncing a file or directory brings all names to
    /// the disk up to the last one that concerns it.
    Journaled,
}

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// All of it is lost.
    Forget,
    /// What was written up to some moment is kept, over all files and directories.
    Prefix,
    /// Each sector of 512 bytes, each file's length and each name are as they were at some moment,
    /// independently of each other.
    Torn,
}

/// A disk. It outlives its mounts and its crashes.
#[derive(Debug, Clone)]
pub struct Forgetful {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug)]
struct Disk {
    image: Image,
    /// The number of the mount that is served; earlier ones are not.
    mount: u64,
}

impl Disk {
    fn supersede(&mut self) -> u64 {
        self.image.close_all();
        self.mount += 1;
        self.mount
    }
}

impl Forgetful {
    /// An empty disk.
    pub fn new(options: Options) -> Self {
        Forgetful { disk: Arc::new(Mutex::new(Disk { image: Image::new(options), mount: 0 })) }
    }

    /// Mounts it on an empty directory; an earlier mount is served no longer.
    pub fn mount(&self, at: &Path) -> Result<Mount, MountError> {
        Mount::new(Served { disk: self.clone(), mount: self.lock().supersede() }, at)
    }

    /// The same, where it is possible; otherwise standard error says, once a test, that it was skipped,
    /// also when the test harness shows no output of tests that pass.
    pub fn mount_or_skip(&self, at: &MountPoint) -> Option<Mount> {
        thread_local! { static TOLD: Cell<bool> = const { Cell::new(false) } }
        let mounted = self.mount(at.path());
        if let Err(error) = &mounted
            && !TOLD.replace(true)
        {
            let test = thread::current();
            let test = test.name().unwrap_or_default();
            // Nobody is there to be told that nobody can be told.
            let _ = writeln!(io::stderr(), "SKIPPED {test}: {error}");
        }
        mounted.ok()
    }

    /// Cuts the power, and switches it on again. The seed decides about what is left to chance. A
    /// mount that is there answers EIO to everything from then on: mount anew.
    pub fn crash(&self, crash: Crash, seed: u64) {
        let mut disk = self.lock();
        disk.supersede();
        disk.image.crash(crash, seed);
    }

    /// Lets something go wrong from now on.
    pub fn fail(&self, fault: Fault, times: Times) {
        self.lock().image.faults.set(fault, times);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.lock().image.faults = faults::Faults::default();
    }

    /// Changes the space on the disk. What is there stays, also if it is more.
    pub fn limit(&self, bytes_max: u64) {
        self.lock().image.limit(bytes_max);
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // A test that panics elsewhere still unmounts.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
