//! Clients that write, read and wait until the program goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use fastrand::Rng;
use tests::{Json, eventually};

use crate::connection::{Answer, Connection};
use crate::model::{
    COUNTERS, GROUP_KEYS, GROUPS, Model, OWN_KEYS, Pending, Told, WRITERS, counter_key, group_key,
    own_key,
};

const READERS: usize = 4;

/// Lets them work; `end` takes the program down when so many writes were acknowledged.
pub(crate) fn run(
    model: &Model,
    address: SocketAddr,
    seed: u64,
    writes: usize,
    end: impl FnOnce(&Progress),
) -> (Vec<Told>, BTreeMap<String, u64>) {
    let progress = Progress::default();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|id| {
                let own =
                    std::array::from_fn(|index| model.own.get(&(id, index)).cloned().flatten());
                let told = Told { own, version: model.version, ..Told::default() };
                let writer =
                    Writer { id, seed, rng: Rng::with_seed(seed ^ id as u64), told, count: 0 };
                let progress = &progress;
                scope.spawn(move || writer.write(address, progress))
            })
            .collect();
        let readers: Vec<_> = (0..READERS)
            .map(|id| {
                let rng = Rng::with_seed(!seed ^ id as u64);
                let progress = &progress;
                scope.spawn(move || read(address, progress, rng, id % 2 == 0))
            })
            .collect();
        // A test that fails ends as well.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            eventually("writes", || {
                let ended = writers.iter().any(thread::ScopedJoinHandle::is_finished);
                (ended || progress.done() >= writes).then_some(())
            });
            end(&progress);
        }));
        progress.ended.store(ended.is_err(), Ordering::Relaxed);
        let told = writers.into_iter().map(|writer| writer.join().expect("a writer")).collect();
        let mut seen = BTreeMap::new();
        for reader in readers {
            for (key, version) in reader.join().expect("a reader") {
                let latest: &mut u64 = seen.entry(key).or_default();
                *latest = version.max(*latest);
            }
        }
        if let Err(panic) = ended {
            resume_unwind(panic);
        }
        (told, seen)
    })
}

/// What all writers have come to.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: AtomicUsize,
    refused: AtomicUsize,
    has_no_disk: AtomicBool,
    ended: AtomicBool,
}

impl Progress {
    /// Writes that were acknowledged.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// From now on whatever is not in memory cannot be read either.
    pub(crate) fn lose_disk(&self) {
        self.has_no_disk.store(true, Ordering::Relaxed);
    }

    /// Writes that were refused.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

struct Writer {
    id: usize,
    seed: u64,
    rng: Rng,
    told: Told,
    count: u64,
}

impl Writer {
    fn write(mut self, address: SocketAddr, progress: &Progress) -> Told {
        let Some(mut connection) = Connection::open(address) else { return self.told };
        loop {
            if progress.ended.load(Ordering::Relaxed) {
                return self.told;
            }
            self.count += 1;
            let Some(answer) = self.step(&mut connection) else { return self.told };
            match answer.status {
                200 | 201 | 404 => {
                    self.acknowledge(&answer);
                    progress.done.fetch_add(1, Ordering::Relaxed);
                }
                // It has not happened, and never will.
                507 => {
                    self.told.pending = Pending::Nothing;
                    progress.refused.fetch_add(1, Ordering::Relaxed);
                }
                // Whether it has happened is not known.
                503 => {
                    progress.refused.fetch_add(1, Ordering::Relaxed);
                    return self.told;
                }
                _ => panic!("{answer:?}"),
            }
        }
    }

    /// JSON text that is used once, mostly small, sometimes of some sectors or pages.
    fn value(&mut self) -> String {
        let filling = match self.rng.u8(..100) {
            0 => self.rng.usize(..64 << 10),
            1..20 => self.rng.usize(..4096),
            _ => self.rng.usize(..64),
        };
        let Writer { id, seed, count, .. } = *self;
        format!(r#""{seed}/{id}/{count}/{}""#, "x".repeat(filling))
    }

    fn step(&mut self, connection: &mut Connection) -> Option<Answer> {
        let index = self.rng.usize(..OWN_KEYS);
        let target = format!("/keys/{}", own_key(self.id, index));
        match self.rng.u8(..100) {
            0..45 => {
                let value = self.value();
                let ttl = if self.rng.u8(..5) == 0 { "&ttl=1h" } else { "" };
                self.told.pending = Pending::Own(index, Some(value.clone()));
                connection.ask("PUT", &format!("{target}?raw{ttl}"), &[], Some(&value))
            }
            45..58 => {
                self.told.pending = Pending::Own(index, None);
                connection.ask("DELETE", &target, &[], None)
            }
            58..60 => {
                self.told.pending = Pending::Prefix;
                let target = format!("/keys?prefix=own/{}/", self.id);
                connection.ask("DELETE", &target, &[], None)
            }
            60..80 => {
                let (counter, by) = (self.rng.usize(..COUNTERS), self.rng.i64(1..10));
                self.told.pending = Pending::Add(counter, by);
                let target = format!("/incr/{}?by={by}", counter_key(counter));
                connection.ask("POST", &target, &[], None)
            }
            _ => {
                let (group, value) = (self.rng.usize(..GROUPS), self.value());
                self.told.pending = Pending::Batch(group, value.clone());
                let put = |index| {
                    let key = group_key(group, index);
                    format!(r#"{{"op":"put","key":"{key}","value":{value}}}"#)
                };
                let ops: Vec<_> = (0..GROUP_KEYS).map(put).collect();
                let body = format!(r#"{{"ops":[{}]}}"#, ops.join(","));
                connection.ask("POST", "/batch", &[], Some(&body))
            }
        }
    }

    fn acknowledge(&mut self, answer: &Answer) {
        let pending = std::mem::take(&mut self.told.pending);
        let version = answer.version.or_else(|| match &pending {
            Pending::Batch(..) => Some(batch_version(answer)),
            _ => None,
        });
        if let Some(version) = version {
            assert!(version > self.told.version, "version {version} behind {}", self.told.version);
            self.told.version = version;
        }
        let version = version.unwrap_or_default();
        match pending {
            Pending::Own(index, value) => {
                self.told.own[index] = value.map(|value| (value, version));
            }
            Pending::Prefix => self.told.own = Default::default(),
            Pending::Add(counter, by) => self.told.added[counter] += by,
            Pending::Batch(group, value) => self.told.batches[group] = Some((value, version)),
            Pending::Nothing => {}
        }
    }
}

fn batch_version(answer: &Answer) -> u64 {
    let json: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert!(matches!(answer.json(), Json::Object(_)), "{answer:?}");
    json["version"].as_u64().expect("a version")
}

/// The latest version of each key that this reader, or waiter, has seen.
fn read(
    address: SocketAddr,
    progress: &Progress,
    mut rng: Rng,
    waits: bool,
) -> BTreeMap<String, u64> {
    let mut seen = BTreeMap::new();
    let Some(mut connection) = Connection::open(address) else { return seen };
    while !progress.ended.load(Ordering::Relaxed) {
        let key = match rng.u8(..3) {
            0 => own_key(rng.usize(..WRITERS), rng.usize(..OWN_KEYS)),
            1 => counter_key(rng.usize(..COUNTERS)),
            _ => group_key(rng.usize(..GROUPS), 0),
        };
        let known = seen.get(&key).map(|version| format!("\"{version}\""));
        let (wait, fields) = match &known {
            Some(known) if waits => ("&wait=20ms", vec![("If-None-Match", known.as_str())]),
            _ => ("", Vec::new()),
        };
        let target = format!("/keys/{key}?raw{wait}");
        let Some(answer) = connection.ask("GET", &target, &fields, None) else { return seen };
        if answer.status == 503 && progress.has_no_disk.load(Ordering::Relaxed) {
            return seen;
        }
        assert!(matches!(answer.status, 200 | 304 | 404), "{answer:?}");
        if let (200, Some(version)) = (answer.status, answer.version) {
            let before = seen.insert(key, version).unwrap_or_default();
            assert!(before <= version, "version {version} behind {before}");
        }
    }
    seen
}
