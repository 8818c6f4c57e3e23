//! The file system that forgets: what was synced is there after a crash, and nothing else is, or
//! only as much as the kind of crash allows.

mod calls;
mod chance;
mod stores;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tests::forgetful::{Crash, Forgetful, Mount, MountPoint, Options};

/// A disk that is mounted.
struct Rig {
    // Fields are dropped in this order.
    mount: Option<Mount>,
    point: MountPoint,
    disk: Forgetful,
}

impl Rig {
    /// None where nothing can be mounted.
    fn new(options: Options) -> Option<Self> {
        let (disk, point) = (Forgetful::new(options), MountPoint::new());
        let mount = Some(disk.mount_or_skip(&point)?);
        Some(Rig { mount, point, disk })
    }

    fn strict() -> Option<Self> {
        Self::new(Options::default())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.point.path().join(name)
    }

    #[track_caller]
    fn crash(&mut self, crash: Crash, seed: u64) {
        self.mount = None;
        self.disk.crash(crash, seed);
        self.mount = Some(self.disk.mount(self.point.path()).expect("it was mounted before"));
    }

    fn create(&self, name: &str) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).open(self.path(name)).expect("a file")
    }

    /// A file whose name and content are durable.
    fn durable(&self, name: &str, content: &[u8]) -> File {
        let mut file = self.create(name);
        file.write_all(content).expect("space");
        file.sync_all().expect("a sync");
        self.sync(".");
        file
    }

    fn sync(&self, directory: &str) {
        File::open(self.path(directory)).expect("it is there").sync_all().expect("a sync");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("a file")
    }

    /// Runs a script of system calls, each with its arguments, between semicolons.
    #[track_caller]
    fn run(&self, script: &str) {
        for call in script.split(';') {
            let words: Vec<_> = call.split_whitespace().collect();
            let done = match words[..] {
                ["write", name, content] => fs::write(self.path(name), content),
                ["append", name, content] => {
                    let file = OpenOptions::new().append(true).open(self.path(name));
                    file.and_then(|mut file| file.write_all(content.as_bytes()))
                }
                ["resize", name, size] => {
                    let file = OpenOptions::new().write(true).open(self.path(name));
                    file.and_then(|file| file.set_len(size.parse().expect("a number")))
                }
                ["sync", name] => File::open(self.path(name)).and_then(|file| file.sync_all()),
                ["data", name] => File::open(self.path(name)).and_then(|file| file.sync_data()),
                ["mv", from, to] => fs::rename(self.path(from), self.path(to)),
                ["rm", name] => fs::remove_file(self.path(name)),
                ["mkdir", name] => fs::create_dir(self.path(name)),
                ["rmdir", name] => fs::remove_dir(self.path(name)),
                _ => panic!("no such call: {call}"),
            };
            done.unwrap_or_else(|error| panic!("{call}: {error}"));
        }
    }

    /// Every file with its content and every directory.
    fn list(&self) -> String {
        let mut list = Vec::new();
        collect(self.point.path(), "", &mut list);
        list.sort();
        list.join(" ")
    }
}

fn collect(directory: &Path, prefix: &str, list: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().display());
        if entry.file_type().expect("a type").is_dir() {
            collect(&entry.path(), &format!("{name}/"), list);
            list.push(name + "/");
        } else {
            let content = fs::read_to_string(entry.path()).expect("a file");
            list.push(format!("{name}={}", content.replace('\0', "0")));
        }
    }
}
