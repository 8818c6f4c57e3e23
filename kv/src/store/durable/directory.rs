//! The data directory: whose it is, which format it has, and that nobody else uses it.
//!
//! What kv keeps is in a folder named after its format, `v1`. A new one is made under another name
//! and renamed when it is whole and synced, so that a crash leaves all of it or nothing.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use common::text::{escaped_bytes, io_error};
use rustix::fs::StatVfs;
use std::os::unix::ffi::OsStrExt;

/// The folder of this format.
const FORMAT: &str = "v1";
/// A folder that is being made.
const UNFINISHED: &str = "v1.new";
const LOCK: &str = "lock";
/// What a file system keeps in its root.
const NOT_OURS: &[&str] = &["lost+found"];

/// Room that is left on the disk, for writing and merging tables: this many bytes, or on a small
/// disk a part.
const RESERVE_BYTES: u64 = 32 << 20;
const RESERVE_PART: u64 = 16;

/// A directory that nobody else uses for as long as this lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// How much may be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes for values.
    pub(super) bytes: u64,
    /// Bytes more for removals, which make room in the end.
    pub(super) for_removals: u64,
}

/// Why a directory cannot hold the data.
#[derive(Debug)]
pub enum DirectoryError {
    /// There is none.
    Missing(PathBuf),
    /// It is a file, or something else.
    NotADirectory(PathBuf),
    /// It cannot be used.
    Io(PathBuf, io::Error),
    /// Another process uses it.
    InUse(PathBuf),
    /// A newer kv has written it; the format's name.
    Newer(PathBuf, String),
    /// It holds something else; one of the names.
    Foreign(PathBuf, String),
}

impl Directory {
    /// Takes the directory for this process.
    pub(super) fn open(path: &Path) -> Result<Self, DirectoryError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => DirectoryError::Missing(path.to_owned()),
            io::ErrorKind::NotADirectory => DirectoryError::NotADirectory(path.to_owned()),
            _ => DirectoryError::Io(path.to_owned(), error),
        };
        inspect(path, fs::read_dir(path).map_err(failed)?)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Directory { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Where the data is.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join(FORMAT)
    }

    /// How much may be written to the disk now.
    pub(super) fn room(&self) -> Room {
        let Ok(disk) = rustix::fs::statvfs(&self.path) else {
            // Whoever cannot say is found out by writing.
            return Room { bytes: u64::MAX, for_removals: u64::MAX };
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let reserve = reserve(&disk);
        Room { bytes: free.saturating_sub(reserve), for_removals: free.min(reserve) / 2 }
    }

    /// Bytes of the disk that are left for writing and merging tables.
    pub(super) fn reserve(&self) -> u64 {
        rustix::fs::statvfs(&self.path).map_or(RESERVE_BYTES, |disk| reserve(&disk))
    }

    /// Has the data made by `make`, which gets a folder that does not exist, if there is none yet.
    pub(super) fn ensure<E: From<DirectoryError>>(
        &self,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error| DirectoryError::Io(self.path.clone(), error);
        if self.data().try_exists().map_err(failed)? {
            return Ok(());
        }
        let unfinished = self.path.join(UNFINISHED);
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(error).into());
            }
            Ok(()) | Err(_) => {}
        }
        make(&unfinished)?;
        let publish = || {
            sync_directories(&unfinished)?;
            fs::rename(&unfinished, self.data())?;
            File::open(&self.path)?.sync_all()
        };
        Ok(publish().map_err(failed)?)
    }
}

fn reserve(disk: &StatVfs) -> u64 {
    RESERVE_BYTES.min(disk.f_blocks.saturating_mul(disk.f_frsize) / RESERVE_PART)
}

/// Has the disk keep the names of all files in the folder and below.
fn sync_directories(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_directories(&entry.path())?;
        }
    }
    File::open(path)?.sync_all()
}

/// Refuses what another program, or a newer kv, has put here.
fn inspect(path: &Path, entries: fs::ReadDir) -> Result<(), DirectoryError> {
    for entry in entries {
        let entry = entry.map_err(|error| DirectoryError::Io(path.to_owned(), error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_known =
            [FORMAT, UNFINISHED, LOCK].iter().chain(NOT_OURS).any(|known| *known == name);
        let is_format = name.strip_prefix('v').is_some_and(|number| number.parse::<u32>().is_ok());
        if is_format && !is_known {
            return Err(DirectoryError::Newer(path.to_owned(), name));
        }
        if !is_known {
            return Err(DirectoryError::Foreign(path.to_owned(), name));
        }
    }
    Ok(())
}

impl std::error::Error for DirectoryError {}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| escaped_bytes(path.as_os_str().as_bytes()).to_string();
        match self {
            DirectoryError::Missing(path) => {
                write!(f, "data directory '{}' does not exist: make it first", name(path))
            }
            DirectoryError::NotADirectory(path) => {
                write!(f, "data directory '{}' is not a directory", name(path))
            }
            DirectoryError::Io(path, error) => {
                write!(f, "data directory '{}' cannot be used: {}", name(path), io_error(error))
            }
            DirectoryError::InUse(path) => {
                write!(f, "data directory '{}' is in use by another kv", name(path))
            }
            DirectoryError::Newer(path, format) => write!(
                f,
                "data directory '{}' was written by a newer kv (format '{format}', this one reads \
                 '{FORMAT}')",
                name(path)
            ),
            DirectoryError::Foreign(path, other) => write!(
                f,
                "data directory '{}' holds something else ('{other}'): give kv an empty one",
                name(path)
            ),
        }
    }
}
