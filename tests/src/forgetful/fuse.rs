//! What the kernel asks, in the words of FUSE, put to the image.
//!
//! Invariant: nothing is cached by the kernel but pages, and those are written through. File locks
//! are the kernel's own.

use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite,
    Request, TimeOrNow, WriteFlags,
};
use rustix::io::Errno as Error;

use super::Forgetful;
use super::content::PAGE_BYTES;
use super::image::{Image, NAME_BYTES_MAX, Node, NodeKind, Owner};
use super::journal::Name;

/// How long the kernel may remember names and attributes.
const CACHE_TIME: Duration = Duration::ZERO;
/// What `st_blocks` counts in.
const BLOCK_BYTES: u64 = 512;
/// What `lseek` calls the next hole (`linux/fs.h`).
const SEEK_HOLE: i32 = 4;
/// Numbers of inodes are not used again.
const GENERATION: Generation = Generation(0);
const NO_HANDLE: FileHandle = FileHandle(0);
/// Offsets in a directory: where `.` and `..` end, and how far behind its inode an entry does.
const DOTS: u64 = 2;

/// The disk, as one mount has it.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) disk: Forgetful,
    pub(super) mount: u64,
}

impl Served {
    /// Asks the image, if it still is this mount's.
    fn ask<T>(&self, question: impl FnOnce(&mut Image) -> Result<T, Error>) -> Result<T, Errno> {
        let mut disk = self.disk.lock();
        let answer =
            if disk.mount == self.mount { question(&mut disk.image) } else { Err(Error::IO) };
        answer.map_err(|error| Errno::from_i32(error.raw_os_error()))
    }

    fn entry(&self, reply: ReplyEntry, question: impl FnOnce(&mut Image) -> Result<u64, Error>) {
        match self.ask(|image| question(image).and_then(|number| attributes(image, number))) {
            Ok(attributes) => reply.entry(&CACHE_TIME, &attributes, GENERATION),
            Err(error) => reply.error(error),
        }
    }

    fn done(&self, reply: ReplyEmpty, question: impl FnOnce(&mut Image) -> Result<(), Error>) {
        match self.ask(question) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }
}

fn attributes(image: &Image, number: u64) -> Result<FileAttr, Error> {
    let inode = image.inode(number)?;
    let (size, allocated, links) = match &inode.node {
        Node::File(file) => (file.current.size, file.current.allocated_bytes(), 1),
        Node::Directory(_) => (PAGE_BYTES as u64, 0, 2),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: allocated / BLOCK_BYTES,
        atime: inode.modified,
        mtime: inode.modified,
        ctime: inode.modified,
        crtime: inode.modified,
        kind: file_type(inode.kind()),
        perm: u16::try_from(inode.mode & 0o7777).unwrap_or_default(),
        nlink: if inode.named { links } else { 0 },
        uid: inode.user,
        gid: inode.group,
        rdev: 0,
        blksize: u32::try_from(PAGE_BYTES).unwrap_or_default(),
        flags: 0,
    })
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
    }
}

fn owner(request: &Request, mode: u32, umask: u32) -> Owner {
    Owner { mode: mode & !umask, user: request.uid(), group: request.gid() }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, |image| image.lookup(parent.0, name));
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.ask(|image| attributes(image, number.0)) {
            Ok(attributes) => reply.attr(&CACHE_TIME, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        user: Option<u32>,
        group: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = |image: &mut Image| {
            if let Some(size) = size {
                image.resize(number.0, size)?;
            }
            let inode = image.inode_mut(number.0)?;
            inode.mode = mode.unwrap_or(inode.mode);
            inode.user = user.unwrap_or(inode.user);
            inode.group = group.unwrap_or(inode.group);
            inode.modified = match modified {
                Some(TimeOrNow::SpecificTime(time)) => time,
                Some(TimeOrNow::Now) => SystemTime::now(),
                None => inode.modified,
            };
            attributes(image, number.0)
        };
        match self.ask(set) {
            Ok(attributes) => reply.attr(&CACHE_TIME, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let owner = owner(request, mode, umask);
        self.entry(reply, |image| image.create(parent.0, name, NodeKind::Directory, owner));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.done(reply, |image| image.remove(parent.0, name, NodeKind::File));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.done(reply, |image| image.remove(parent.0, name, NodeKind::Directory));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let from = Name { directory: parent.0, name: name.to_owned() };
        let to = Name { directory: new_parent.0, name: new_name.to_owned() };
        self.done(reply, |image| {
            if RenameFlags::RENAME_NOREPLACE.contains(flags) {
                image.rename(from, to, flags.is_empty())
            } else {
                Err(Error::INVAL)
            }
        });
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.ask(|image| image.open(number.0)) {
            Ok(()) => reply.opened(NO_HANDLE, FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let created = self.ask(|image| {
            let owner = owner(request, mode, umask);
            let number = image.create(parent.0, name, NodeKind::File, owner)?;
            image.open(number)?;
            attributes(image, number)
        });
        match created {
            Ok(attributes) => {
                let flags = FopenFlags::empty();
                reply.created(&CACHE_TIME, &attributes, GENERATION, NO_HANDLE, flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.ask(|image| image.read(number.0, offset, size)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.ask(|image| image.write(number.0, offset, bytes)) {
            // A request is no longer than 32 bits can say.
            Ok(count) => reply.written(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    /// The kernel asks for holes only, and for data.
    fn lseek(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = self.ask(|image| match (u64::try_from(offset), whence) {
            (Ok(offset), SEEK_HOLE) => image.hole(number.0, offset),
            _ => Err(Error::INVAL),
        });
        match found.map(i64::try_from) {
            Ok(Ok(hole)) => reply.offset(hole),
            Ok(Err(_)) => reply.error(Errno::EOVERFLOW),
            Err(error) => reply.error(error),
        }
    }

    /// What a close does, and that is nothing.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.done(reply, |image| {
            image.close(number.0);
            Ok(())
        });
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.done(reply, |image| image.sync(number.0));
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.done(reply, |image| image.sync(number.0));
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let filled = self.ask(|image| {
            for (dot, end) in [(".", 1), ("..", DOTS)] {
                if end > offset && reply.add(number, end, FileType::Directory, dot) {
                    return Ok(());
                }
            }
            for (entry, name) in image.list(number.0)? {
                let kind = file_type(image.inode(entry)?.kind());
                let end = entry + DOTS;
                if end > offset && reply.add(INodeNo(entry), end, kind, name) {
                    return Ok(());
                }
            }
            Ok(())
        });
        match filled {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let page_bytes = u32::try_from(PAGE_BYTES).unwrap_or_default();
        let name_bytes = u32::try_from(NAME_BYTES_MAX).unwrap_or_default();
        match self.ask(|image| Ok(image.space())) {
            Ok((limit, used)) => {
                let total = limit / u64::from(page_bytes);
                let free = limit.saturating_sub(used) / u64::from(page_bytes);
                reply.statfs(total, free, free, 0, 0, page_bytes, name_bytes, page_bytes);
            }
            Err(error) => reply.error(error),
        }
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.done(reply, |image| match mode {
            0 => image.allocate(number.0, offset, length),
            _ => Err(Error::OPNOTSUPP),
        });
    }
}
