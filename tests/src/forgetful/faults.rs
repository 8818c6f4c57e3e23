//! Errors on demand.

use rustix::io::Errno;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// fsync and fdatasync fail with EIO. As in Linux, what a file had to bring to the disk is
    /// lost then: it can still be read, and the next fsync succeeds without it.
    Sync,
    /// Writes fail with EIO.
    Write,
    /// Writes fail with ENOSPC.
    Full,
}

/// How often it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The next time.
    Once,
    /// Until [`super::Forgetful::heal`].
    Always,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    sync: Option<(Errno, Times)>,
    write: Option<(Errno, Times)>,
}

impl Faults {
    pub(super) fn set(&mut self, fault: Fault, times: Times) {
        match fault {
            Fault::Sync => self.sync = Some((Errno::IO, times)),
            Fault::Write => self.write = Some((Errno::IO, times)),
            Fault::Full => self.write = Some((Errno::NOSPC, times)),
        }
    }

    pub(super) fn strike_sync(&mut self) -> Result<(), Errno> {
        strike(&mut self.sync)
    }

    pub(super) fn strike_write(&mut self) -> Result<(), Errno> {
        strike(&mut self.write)
    }
}

fn strike(fault: &mut Option<(Errno, Times)>) -> Result<(), Errno> {
    match *fault {
        None => Ok(()),
        Some((error, Times::Once)) => {
            *fault = None;
            Err(error)
        }
        Some((error, Times::Always)) => Err(error),
    }
}
