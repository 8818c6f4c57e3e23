//! Everything on the disk, and everything that programs see of it. Knows nothing of FUSE.
//!
//! Invariants: an inode has one name or none; numbers of inodes are not used again; an inode
//! without a name stays while it is open, or while the disk still has a name for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::mem;
use std::time::SystemTime;

use fastrand::Rng;
use rustix::io::Errno;

use super::content::index;
use super::faults::Faults;
use super::file::File;
use super::journal::{Journal, Name, Step};
use super::{Crash, Directories, Options};

/// The directory that the mount point shows.
pub(super) const ROOT: u64 = 1;
/// The longest name, in bytes, as in ext4.
pub(super) const NAME_BYTES_MAX: usize = 255;
const INODES_MAX: usize = 1 << 20;
/// The largest file, as in ext4.
const FILE_BYTES_MAX: u64 = 16 << 40;
/// Changes of directories that are remembered; with more, all come to the disk by themselves.
const STEPS_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Image {
    pub(super) faults: Faults,
    directories: Directories,
    bytes_max: u64,
    inodes: BTreeMap<u64, Inode>,
    journal: Journal,
    last_inode: u64,
    /// The moment of the last change: they are numbered, over all files and directories.
    now: u64,
}

#[derive(Debug)]
pub(super) struct Inode {
    pub(super) node: Node,
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) modified: SystemTime,
    /// Whether a name leads to it.
    pub(super) named: bool,
    opens: u64,
}

#[derive(Debug)]
pub(super) enum Node {
    File(File),
    Directory(Directory),
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    current: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
}

/// What a new file or directory begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) mode: u32,
    pub(super) user: u32,
    pub(super) group: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeKind {
    File,
    Directory,
}

impl Inode {
    fn new(kind: NodeKind, owner: Owner) -> Self {
        let node = match kind {
            NodeKind::File => Node::File(File::default()),
            NodeKind::Directory => Node::Directory(Directory::default()),
        };
        let Owner { mode, user, group } = owner;
        Inode { node, mode, user, group, modified: SystemTime::now(), named: true, opens: 0 }
    }

    pub(super) fn kind(&self) -> NodeKind {
        match self.node {
            Node::File(_) => NodeKind::File,
            Node::Directory(_) => NodeKind::Directory,
        }
    }
}

impl Image {
    pub(super) fn new(options: Options) -> Self {
        let root = Inode::new(NodeKind::Directory, Owner { mode: 0o755, user: 0, group: 0 });
        Image {
            faults: Faults::default(),
            directories: options.directories,
            bytes_max: options.bytes_max,
            inodes: BTreeMap::from([(ROOT, root)]),
            journal: Journal::default(),
            last_inode: ROOT,
            now: 0,
        }
    }

    pub(super) fn limit(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// The limit, and how much of it is used.
    pub(super) fn space(&self) -> (u64, u64) {
        let used = self.inodes.values().map(|inode| match &inode.node {
            // What the disk alone still has a name for has been deleted.
            Node::File(file) if inode.named || inode.opens > 0 => file.current.allocated_bytes(),
            Node::File(_) | Node::Directory(_) => 0,
        });
        (self.bytes_max, used.sum())
    }

    pub(super) fn inode(&self, number: u64) -> Result<&Inode, Errno> {
        self.inodes.get(&number).ok_or(Errno::NOENT)
    }

    pub(super) fn inode_mut(&mut self, number: u64) -> Result<&mut Inode, Errno> {
        self.inodes.get_mut(&number).ok_or(Errno::NOENT)
    }

    fn directory(&self, number: u64) -> Result<&Directory, Errno> {
        match &self.inode(number)?.node {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(Errno::NOTDIR),
        }
    }

    fn file_mut(&mut self, number: u64) -> Result<&mut File, Errno> {
        match &mut self.inode_mut(number)?.node {
            Node::File(file) => Ok(file),
            Node::Directory(_) => Err(Errno::ISDIR),
        }
    }

    pub(super) fn lookup(&self, directory: u64, name: &OsStr) -> Result<u64, Errno> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        self.directory(directory)?.current.get(name).copied().ok_or(Errno::NOENT)
    }

    /// Names and inodes in the order of the inodes, which deleting and renaming does not disturb.
    pub(super) fn list(&self, directory: u64) -> Result<Vec<(u64, &OsStr)>, Errno> {
        let current = &self.directory(directory)?.current;
        let mut list: Vec<_> =
            current.iter().map(|(name, &number)| (number, name.as_os_str())).collect();
        list.sort_unstable();
        Ok(list)
    }

    pub(super) fn create(
        &mut self,
        directory: u64,
        name: &OsStr,
        kind: NodeKind,
        owner: Owner,
    ) -> Result<u64, Errno> {
        match self.lookup(directory, name) {
            Ok(_) => return Err(Errno::EXIST),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        // The directory may have been removed while somebody has it open.
        if !self.inode(directory)?.named {
            return Err(Errno::NOENT);
        }
        if self.inodes.len() >= INODES_MAX {
            return Err(Errno::NOSPC);
        }
        self.last_inode += 1;
        self.inodes.insert(self.last_inode, Inode::new(kind, owner));
        self.step(vec![(Name { directory, name: name.into() }, Some(self.last_inode))]);
        Ok(self.last_inode)
    }

    pub(super) fn remove(
        &mut self,
        directory: u64,
        name: &OsStr,
        kind: NodeKind,
    ) -> Result<(), Errno> {
        let number = self.lookup(directory, name)?;
        self.is_replaceable(number, kind)?;
        self.step(vec![(Name { directory, name: name.into() }, None)]);
        self.lose_name(number);
        Ok(())
    }

    /// Whether something of that kind may take its place, or nothing.
    fn is_replaceable(&self, number: u64, by: NodeKind) -> Result<(), Errno> {
        match (&self.inode(number)?.node, by) {
            (Node::File(_), NodeKind::File) => Ok(()),
            (Node::File(_), NodeKind::Directory) => Err(Errno::NOTDIR),
            (Node::Directory(_), NodeKind::File) => Err(Errno::ISDIR),
            (Node::Directory(directory), NodeKind::Directory) if directory.current.is_empty() => {
                Ok(())
            }
            (Node::Directory(_), NodeKind::Directory) => Err(Errno::NOTEMPTY),
        }
    }

    /// A directory cannot be moved to another one: what crashes make of that is beyond this disk.
    pub(super) fn rename(&mut self, from: Name, to: Name, replace: bool) -> Result<(), Errno> {
        let number = self.lookup(from.directory, &from.name)?;
        let kind = self.inode(number)?.kind();
        if kind == NodeKind::Directory && from.directory != to.directory {
            return Err(Errno::XDEV);
        }
        if !self.inode(to.directory)?.named {
            return Err(Errno::NOENT);
        }
        let replaced = match self.lookup(to.directory, &to.name) {
            Ok(_) if !replace => return Err(Errno::EXIST),
            Ok(replaced) if replaced == number => return Ok(()),
            Ok(replaced) => {
                self.is_replaceable(replaced, kind)?;
                Some(replaced)
            }
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error),
        };
        self.step(vec![(from, None), (to, Some(number))]);
        if let Some(replaced) = replaced {
            self.lose_name(replaced);
        }
        Ok(())
    }

    /// Changes names for programs, and remembers to do so on the disk.
    fn step(&mut self, effects: Vec<(Name, Option<u64>)>) {
        for (Name { directory, name }, number) in &effects {
            if let Some(inode) = self.inodes.get_mut(directory) {
                inode.modified = SystemTime::now();
                if let Node::Directory(directory) = &mut inode.node {
                    set(&mut directory.current, name.clone(), *number);
                }
            }
        }
        let at = self.tick();
        self.journal.push(Step { at, effects });
        if self.journal.len() > STEPS_MAX {
            let steps = self.journal.take_until(u64::MAX);
            self.commit(steps);
        }
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    pub(super) fn open(&mut self, number: u64) -> Result<(), Errno> {
        self.inode_mut(number)?.opens += 1;
        Ok(())
    }

    pub(super) fn close(&mut self, number: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.opens = inode.opens.saturating_sub(1);
            if inode.opens == 0 && !inode.named {
                self.sweep();
            }
        }
    }

    /// Nobody has anything open any more.
    pub(super) fn close_all(&mut self) {
        for inode in self.inodes.values_mut() {
            inode.opens = 0;
        }
        self.sweep();
    }

    fn lose_name(&mut self, number: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.named = false;
        }
        self.sweep();
    }

    /// Forgets inodes that nothing can bring back.
    fn sweep(&mut self) {
        let known_to_disk: BTreeSet<u64> = self
            .inodes
            .values()
            .filter_map(|inode| match &inode.node {
                Node::Directory(directory) => Some(directory.durable.values().copied()),
                Node::File(_) => None,
            })
            .flatten()
            .collect();
        let journal = &self.journal;
        self.inodes.retain(|&number, inode| {
            let kept = inode.named || inode.opens > 0;
            kept || known_to_disk.contains(&number) || journal.mentions(number)
        });
    }

    pub(super) fn read(&mut self, number: u64, offset: u64, length: u32) -> Result<Vec<u8>, Errno> {
        Ok(self.file_mut(number)?.current.read(offset, index(length.into())))
    }

    /// Where the first hole from `offset` on begins, the one at the end included.
    pub(super) fn hole(&mut self, number: u64, offset: u64) -> Result<u64, Errno> {
        let content = &self.file_mut(number)?.current;
        if offset < content.size { Ok(content.hole(offset)) } else { Err(Errno::NXIO) }
    }

    /// How many of the bytes were written; some, when the disk is full behind them.
    pub(super) fn write(&mut self, number: u64, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        self.faults.strike_write()?;
        let count = index(self.fitting(number, offset, bytes.len() as u64)?);
        if count < bytes.len() && count == 0 {
            return Err(Errno::NOSPC);
        }
        let at = self.tick();
        self.file_mut(number)?.write(at, offset, &bytes[..count]);
        self.inode_mut(number)?.modified = SystemTime::now();
        Ok(count)
    }

    fn fitting(&mut self, number: u64, offset: u64, length: u64) -> Result<u64, Errno> {
        if offset.checked_add(length).is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(Errno::FBIG);
        }
        let (bytes_max, used) = self.space();
        Ok(self.file_mut(number)?.current.fitting(offset, length, bytes_max.saturating_sub(used)))
    }

    pub(super) fn resize(&mut self, number: u64, size: u64) -> Result<(), Errno> {
        if size > FILE_BYTES_MAX {
            return Err(Errno::FBIG);
        }
        let at = self.tick();
        self.file_mut(number)?.resize(at, size);
        self.inode_mut(number)?.modified = SystemTime::now();
        Ok(())
    }

    /// Reserves space, and makes the file so long.
    pub(super) fn allocate(&mut self, number: u64, offset: u64, length: u64) -> Result<(), Errno> {
        self.faults.strike_write()?;
        if self.fitting(number, offset, length)? < length {
            return Err(Errno::NOSPC);
        }
        let file = self.file_mut(number)?;
        file.current.allocate(offset, length);
        if file.current.size < offset + length {
            self.resize(number, offset + length)?;
        }
        Ok(())
    }

    /// What fsync does, for files and directories.
    pub(super) fn sync(&mut self, number: u64) -> Result<(), Errno> {
        let fault = self.faults.strike_sync();
        match &mut self.inode_mut(number)?.node {
            Node::File(file) if fault.is_err() => file.fail_to_sync(),
            Node::File(file) => file.sync(),
            Node::Directory(_) => {}
        }
        fault?;
        let kind = self.inode(number)?.kind();
        let steps = match (self.directories, kind) {
            (Directories::Strict, NodeKind::File) => return Ok(()),
            (Directories::Strict, NodeKind::Directory) => self.journal.take_directory(number),
            (Directories::Journaled, NodeKind::File | NodeKind::Directory) => {
                self.journal.take_transaction(number)
            }
        };
        self.commit(steps);
        self.sweep();
        Ok(())
    }

    fn commit(&mut self, steps: Vec<Step>) {
        for (Name { directory, name }, number) in steps.into_iter().flat_map(|step| step.effects) {
            if let Some(Inode { node: Node::Directory(directory), .. }) =
                self.inodes.get_mut(&directory)
            {
                set(&mut directory.durable, name, number);
            }
        }
    }

    /// The power goes, and comes back.
    pub(super) fn crash(&mut self, crash: Crash, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        match crash {
            Crash::Forget => self.keep_until(0),
            Crash::Prefix => {
                let mut moments: Vec<_> = self.files().flat_map(File::unsynced).collect();
                moments.extend(self.journal.moments());
                moments.push(u64::MAX);
                moments.sort_unstable();
                self.keep_until(moments[rng.usize(..moments.len())]);
            }
            Crash::Torn => {
                let steps = match self.directories {
                    Directories::Strict => self.journal.take_some(&mut rng),
                    Directories::Journaled => self.journal.take_first(&mut rng),
                };
                self.commit(steps);
                self.files_mut().for_each(|file| file.tear(&mut rng));
            }
        }
        self.restart();
    }

    fn keep_until(&mut self, moment: u64) {
        let steps = self.journal.take_until(moment);
        self.commit(steps);
        self.files_mut().for_each(|file| file.keep_until(moment));
    }

    fn files(&self) -> impl Iterator<Item = &File> {
        self.inodes.values().filter_map(|inode| match &inode.node {
            Node::File(file) => Some(file),
            Node::Directory(_) => None,
        })
    }

    fn files_mut(&mut self) -> impl Iterator<Item = &mut File> {
        self.inodes.values_mut().filter_map(|inode| match &mut inode.node {
            Node::File(file) => Some(file),
            Node::Directory(_) => None,
        })
    }

    /// Programs see what the disk has, and what no name leads to is no more.
    fn restart(&mut self) {
        let mut all = mem::take(&mut self.inodes);
        let mut reached = vec![ROOT];
        while let Some(number) = reached.pop() {
            let Some(mut inode) = all.remove(&number) else { continue };
            inode.named = true;
            inode.opens = 0;
            match &mut inode.node {
                Node::File(file) => file.restart(),
                Node::Directory(directory) => {
                    directory.current = directory.durable.clone();
                    reached.extend(directory.durable.values());
                }
            }
            self.inodes.insert(number, inode);
        }
    }
}

fn set(entries: &mut BTreeMap<OsString, u64>, name: OsString, number: Option<u64>) {
    match number {
        Some(number) => entries.insert(name, number),
        None => entries.remove(&name),
    };
}
