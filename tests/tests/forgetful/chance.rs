//! Many writers and random calls, against the simplest models.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;
use tests::eventually;
use tests::forgetful::{Crash, Directories, Options};

use crate::Rig;

/// The power goes while programs write: what they were told is safe is there, in its order, and
/// from that moment on they are told nothing but errors.
#[test]
fn acknowledged_records_survive_a_crash_among_writers() {
    const WRITERS: usize = 4;
    const RECORDS: u64 = 200;
    for crash in [Crash::Forget, Crash::Prefix, Crash::Torn] {
        let Some(mut rig) = Rig::strict() else { return };
        let total = AtomicU64::new(0);
        let files: Vec<_> =
            (0..WRITERS).map(|writer| rig.durable(&writer.to_string(), b"")).collect();
        let acknowledged: Vec<_> = thread::scope(|scope| {
            let writers: Vec<_> = files
                .into_iter()
                .map(|file| scope.spawn(|| append_until_error(file, &total)))
                .collect();
            eventually("records", || (total.load(Ordering::Relaxed) > RECORDS).then_some(()));
            rig.disk.crash(crash, 1);
            writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
        });
        rig.mount = None;
        rig.mount = Some(rig.disk.mount(rig.point.path()).expect("it was mounted before"));
        for (writer, acknowledged) in acknowledged.into_iter().enumerate() {
            let content = rig.read(&writer.to_string());
            let records: Vec<_> = content
                .chunks_exact(8)
                .map(|record| u64::from_le_bytes(record.try_into().expect("8 bytes")))
                .collect();
            let whole = usize::try_from(acknowledged).expect("few");
            assert!(records.iter().take(whole).copied().eq(0..acknowledged), "{crash:?}");
            assert!(records.len() <= whole + 1, "{crash:?}");
        }
    }
}

/// How many records were acknowledged.
fn append_until_error(mut file: File, total: &AtomicU64) -> u64 {
    let mut written = 0u64;
    while file.write_all(&written.to_le_bytes()).and_then(|()| file.sync_data()).is_ok() {
        written += 1;
        total.fetch_add(1, Ordering::Relaxed);
    }
    written
}

/// What a disk has to do, in the simplest way: one directory, whole contents.
#[derive(Default)]
struct Model {
    names: BTreeMap<String, usize>,
    names_durable: BTreeMap<String, usize>,
    contents: Vec<String>,
    contents_durable: Vec<String>,
}

impl Model {
    fn list(&self) -> String {
        let list: Vec<_> = self
            .names
            .iter()
            .map(|(name, &file)| format!("{name}={}", self.contents[file]))
            .collect();
        list.join(" ")
    }

    /// One random call, on the model; what to do on the disk.
    fn step(&mut self, rng: &mut Rng) -> String {
        let name = rng.choice(["a", "b", "c", "d"]).expect("some").to_owned();
        let text = rng.alphabetic();
        let Some(&file) = self.names.get(&name) else {
            self.names.insert(name.clone(), self.contents.len());
            self.contents.push(text.into());
            self.contents_durable.push(String::new());
            return format!("write {name} {text}");
        };
        match rng.u8(..7) {
            0 => {
                self.contents[file] = text.into();
                format!("write {name} {text}")
            }
            1 => {
                self.contents[file].push(text);
                format!("append {name} {text}")
            }
            2 => {
                self.contents_durable[file].clone_from(&self.contents[file]);
                format!("sync {name}")
            }
            3 => {
                self.contents[file].truncate(1);
                let size = self.contents[file].len();
                format!("resize {name} {size}")
            }
            4 => {
                self.names.remove(&name);
                format!("rm {name}")
            }
            5 => {
                let to = rng.choice(["a", "b", "c", "d"]).expect("some").to_owned();
                self.names.remove(&name);
                let call = format!("mv {name} {to}");
                self.names.insert(to, file);
                call
            }
            _ => {
                self.names_durable = self.names.clone();
                "sync .".to_owned()
            }
        }
    }

    fn crash(&mut self) {
        self.names = self.names_durable.clone();
        self.contents = self.contents_durable.clone();
    }
}

#[test]
fn random_calls_and_crashes_do_what_a_model_does() {
    const ROUNDS: u64 = 60;
    const CALLS_MAX: usize = 60;
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    let (Some(mut rig), mut model) = (Rig::strict(), Model::default()) else { return };
    for round in 0..ROUNDS {
        let calls: Vec<_> = (0..rng.usize(1..CALLS_MAX)).map(|_| model.step(&mut rng)).collect();
        let script = calls.join("; ");
        rig.run(&script);
        assert_eq!(rig.list(), model.list(), "seed {seed}, round {round}: {script}");
        rig.crash(Crash::Forget, round);
        model.crash();
        assert_eq!(rig.list(), model.list(), "seed {seed}, crash {round}: {script}");
    }
}

const SECTOR_BYTES: usize = 512;

/// The kernel may hand on a write in parts, which end where pages do.
const PAGE_BYTES: usize = 4096;

/// Writes at random, and every state that the file was in since its sync.
fn scribble(file: &File, rng: &mut Rng, mut state: Vec<u8>) -> Vec<Vec<u8>> {
    let mut states = vec![state.clone()];
    for _ in 0..rng.usize(1..12) {
        if rng.u8(..4) == 0 {
            state.resize(rng.usize(..10_000), 0);
            file.set_len(state.len() as u64).expect("space");
        } else {
            let offset = rng.usize(..9_000);
            let bytes = vec![rng.u8(1..); rng.usize(1..3_000)];
            let end = offset + bytes.len();
            for at in offset..end {
                state.resize(state.len().max(at + 1), 0);
                state[at] = bytes[0];
                if (at + 1) % PAGE_BYTES == 0 {
                    states.push(state.clone());
                }
            }
            file.write_all_at(&bytes, offset as u64).expect("space");
        }
        states.push(state.clone());
    }
    states
}

/// What a sector holds in some state, as far as a file of that size shows it.
fn sector(state: &[u8], number: usize, size: usize) -> Vec<u8> {
    let begin = number * SECTOR_BYTES;
    let end = size.min(begin + SECTOR_BYTES);
    (begin..end).map(|at| state.get(at).copied().unwrap_or(0)).collect()
}

#[test]
fn a_prefix_is_a_moment_and_torn_writes_are_sectors_of_some() {
    const ROUNDS: u64 = 100;
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    let Some(mut rig) = Rig::strict() else { return };
    drop(rig.durable("a", b""));
    let (mut partial, mut mixed) = (0, 0);
    for round in 0..ROUNDS {
        let mut file = OpenOptions::new().read(true).write(true).open(rig.path("a")).expect("it");
        let mut before = Vec::new();
        file.read_to_end(&mut before).expect("a file");
        let states = scribble(&file, &mut rng, before);
        drop(file);
        let crash = if round % 2 == 0 { Crash::Prefix } else { Crash::Torn };
        rig.crash(crash, seed.wrapping_add(round));
        let left = rig.read("a");
        let moment = states.iter().position(|state| *state == left);
        let whole = moment == Some(0) || moment == Some(states.len() - 1);
        partial += u32::from(!whole && crash == Crash::Prefix);
        mixed += u32::from(moment.is_none());
        if crash == Crash::Prefix {
            assert!(moment.is_some(), "seed {seed}, round {round}");
        }
        assert!(states.iter().any(|state| state.len() == left.len()), "seed {seed}, {round}");
        for number in 0..left.len().div_ceil(SECTOR_BYTES) {
            let here = sector(&left, number, left.len());
            let known = states.iter().any(|state| sector(state, number, left.len()) == here);
            assert!(known, "seed {seed}, round {round}, sector {number}");
        }
    }
    assert!(partial > 5 && mixed > 5, "seed {seed}: {partial} moments, {mixed} mixtures");
}

/// Each of some files that were made one after another, and renamed: all of them or none on their
/// old or their new names, but in one place each.
#[test]
fn names_come_through_in_part_and_never_twice() {
    for (directories, crash) in [
        (Directories::Strict, Crash::Prefix),
        (Directories::Strict, Crash::Torn),
        (Directories::Journaled, Crash::Prefix),
        (Directories::Journaled, Crash::Torn),
    ] {
        let mut partial = 0;
        for seed in 0..30 {
            let options = Options { directories, ..Options::default() };
            let Some(mut rig) = Rig::new(options) else { return };
            rig.run("mkdir d; sync .");
            for name in ["a", "b", "c", "e"] {
                drop(rig.create(name));
                rig.run(&format!("mv {name} {name}2; mv {name}2 d/{name}"));
            }
            rig.crash(crash, seed);
            let (list, mut there) = (rig.list(), 0);
            for name in ["a", "b", "c", "e"] {
                let places = [format!("{name}="), format!("{name}2="), format!("d/{name}=")];
                let count = list.split(' ').filter(|entry| places.iter().any(|p| p == entry));
                let count = count.count();
                assert!(count <= 1, "{directories:?}, {crash:?}, seed {seed}: {list}");
                there += count;
            }
            partial += u32::from((1..4).contains(&there));
        }
        assert!(partial > 3, "{directories:?}, {crash:?}: {partial}");
    }
}
