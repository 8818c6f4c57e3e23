//! What is damaged on the disk: it is refused and named, or what can still be proved is served. No
//! value is ever wrong, and none that was acknowledged is gone without a word.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use tempfile::TempDir;
use tests::Finished;

use crate::{connect, kill, on, setting, tell};

/// Flips in each file, unless `CRASH_ROUNDS` says otherwise.
const FLIPS: u64 = 4;
/// So much that there are tables.
const KEYS: usize = 300;
/// The journal that is begun at the first start.
const FIRST_JOURNAL: &str = "1.jnl";
const LAST_JOURNAL: &str = "2.jnl";
/// The last group.
const LAST: &str = "last";

/// A store that has stopped, and what it holds.
struct Sample {
    data: TempDir,
    /// Files below `v1`.
    files: Vec<PathBuf>,
    keys: BTreeMap<String, String>,
    /// Where the last group begins in the last journal.
    last_at: usize,
}

impl Sample {
    fn new() -> Self {
        let data = TempDir::new().expect("a directory");
        let server = on(data.path()).start();
        let mut connection = connect(&server);
        let mut rng = Rng::with_seed(1);
        let mut keys = BTreeMap::new();
        for number in 0..KEYS {
            let text = format!("{:032x}", rng.u128(..)).repeat(rng.usize(1..2000));
            let (key, value) = (format!("key/{number:03}"), format!("\"{text}\""));
            assert!(connection.put(&key, &value).expect("an answer").is_done());
            keys.insert(key, value);
        }
        assert!(connection.put(LAST, "1").expect("an answer").is_done());
        keys.insert(LAST.to_owned(), "1".to_owned());
        assert_eq!(server.stop().code, 0);
        let last_at = split_journal(&data.path().join("v1"));
        let mut files = Vec::new();
        collect(&data.path().join("v1"), Path::new(""), &mut files);
        remove_old_manifests(data.path(), &mut files);
        files.sort();
        assert!(files.iter().filter(|file| file.starts_with("keyspaces/1/tables")).count() > 0);
        Sample { data, files, keys, last_at }
    }

    /// A copy with a change to one file.
    fn changed(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) -> TempDir {
        let copy = TempDir::new().expect("a directory");
        for file in &self.files {
            let to = copy.path().join("v1").join(file);
            fs::create_dir_all(to.parent().expect("it is below")).expect("a directory");
            fs::copy(self.data.path().join("v1").join(file), to).expect("a copy");
        }
        fs::create_dir_all(copy.path().join("v1/keyspaces/0/tables")).expect("a directory");
        let path = copy.path().join("v1").join(file);
        let mut bytes = fs::read(&path).expect("a file");
        change(&mut bytes);
        fs::write(&path, bytes).expect("space");
        copy
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.data.path().join("v1").join(file)).expect("a file")
    }

    /// Starts on a changed copy and looks at every key.
    #[track_caller]
    fn check(&self, data: &Path, file: &Path, may_lose_last: bool, case: &str) -> Outcome {
        let server = match on(data).try_start() {
            Ok(server) => server,
            Err(finished) => {
                check_refusal(&finished, file, case);
                return Outcome::Refused;
            }
        };
        let mut connection = connect(&server);
        let mut damaged = false;
        for (key, value) in &self.keys {
            let answer = connection.get(key).unwrap_or_else(|| panic!("{case}: {key}: no answer"));
            match answer.status {
                200 => assert!(answer.body == *value, "{case}: {key} is wrong"),
                500 => damaged = true,
                404 if may_lose_last && key == LAST => {}
                status => panic!("{case}: {key}: {status} {}", answer.body),
            }
        }
        let mut cursor = String::new();
        let mut count = 0;
        loop {
            let target = format!("/keys?limit=1000{cursor}");
            let page = connection.ask("GET", &target, &[], None).expect("an answer");
            if page.status != 200 {
                assert_eq!(page.status, 500, "{case}: {page:?}");
                damaged = true;
                break;
            }
            let page: serde_json::Value = serde_json::from_str(&page.body).expect("JSON");
            count += page["keys"].as_array().expect("keys").len();
            let Some(next) = page["next_cursor"].as_str() else {
                let least = self.keys.len() - usize::from(may_lose_last);
                assert!(count >= least, "{case}: {count} keys");
                break;
            };
            cursor = format!("&cursor={next}");
        }
        kill(server);
        if damaged { Outcome::Damaged } else { Outcome::Whole }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It did not start, and said why.
    Refused,
    /// It said of some keys that they are damaged.
    Damaged,
    Whole,
}

/// One line, the exit code 1, and the file's name.
#[track_caller]
fn check_refusal(finished: &Finished, file: &Path, case: &str) {
    let Finished { code, stderr, .. } = finished;
    assert_eq!(*code, Some(1), "{case}: {stderr}");
    let mut errors = stderr.lines().filter(|line| line.starts_with("error: "));
    let error = errors.next().unwrap_or_else(|| panic!("{case}: {stderr}"));
    assert_eq!(errors.next(), None, "{case}");
    assert!(!stderr.contains("panicked"), "{case}: {stderr}");
    assert!(error.contains(file.to_str().expect("UTF-8")), "{case}: {error}");
}

/// Makes two journals of one, between groups; where the last group begins in the second.
fn split_journal(directory: &Path) -> usize {
    let mut journal = fs::read(directory.join(FIRST_JOURNAL)).expect("a journal");
    // Without what was set aside behind its end.
    let length = journal.iter().rposition(|byte| *byte != 0).expect("a group") + 1;
    journal.truncate(length);
    // The end of a group, and the beginning of the next.
    let begins: Vec<_> = (0..journal.len().saturating_sub(5))
        .filter(|&at| journal[at..].starts_with(b"FJL\x03\x01"))
        .map(|at| at + 4)
        .collect();
    let (middle, last) = (begins[begins.len() / 2], begins[begins.len() - 1]);
    fs::write(directory.join(FIRST_JOURNAL), &journal[..middle]).expect("space");
    fs::write(directory.join(LAST_JOURNAL), &journal[middle..]).expect("space");
    last - middle
}

fn collect(directory: &Path, below: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = below.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            collect(&entry.path(), &name, files);
        } else {
            files.push(name);
        }
    }
}

/// Manifests that have been replaced, and that the next start would remove.
fn remove_old_manifests(data: &Path, files: &mut Vec<PathBuf>) {
    let version = |file: &Path| -> Option<u64> {
        let name = file.strip_prefix("keyspaces").ok()?.file_name()?.to_str()?;
        name.strip_prefix('v')?.parse().ok()
    };
    let manifests = files.clone();
    files.retain(|file| {
        let is_newer =
            |other: &&PathBuf| other.parent() == file.parent() && version(other) > version(file);
        let is_old = version(file).is_some() && manifests.iter().find(is_newer).is_some();
        if is_old {
            fs::remove_file(data.join("v1").join(file)).expect("it is there");
        }
        !is_old
    });
}

/// First and last byte, and some between them.
fn positions(rng: &mut Rng, length: usize, count: u64) -> Vec<usize> {
    let mut positions: Vec<_> = (2..count).map(|_| rng.usize(..length)).collect();
    positions.extend([0, length - 1]);
    positions
}

#[test]
fn a_flipped_bit_is_never_served() {
    let sample = Sample::new();
    let mut rng = Rng::with_seed(setting("CRASH_SEED", 0));
    let flips = setting("CRASH_ROUNDS", FLIPS).max(2);
    let mut outcomes: BTreeMap<(String, Outcome), usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for file in &sample.files {
        let length = sample.read(file.to_str().expect("UTF-8")).len();
        if length == 0 {
            continue;
        }
        for at in positions(&mut rng, length, flips) {
            let bit = 1 << rng.u8(..8);
            let case = format!("{} of {length} bytes, bit {bit:#x} of byte {at}", file.display());
            let data = sample.changed(file, |bytes| bytes[at] ^= bit);
            let is_last = file.ends_with(LAST_JOURNAL) && at >= sample.last_at;
            let checked =
                std::panic::catch_unwind(|| sample.check(data.path(), file, is_last, &case));
            match checked {
                Ok(outcome) => {
                    *outcomes.entry((file.display().to_string(), outcome)).or_default() += 1;
                }
                Err(_) => failures.push(case),
            }
        }
    }
    tell(&format!("{outcomes:#?}"));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn an_unfinished_end_is_cut_off_and_said() {
    let sample = Sample::new();
    let journal = Path::new(LAST_JOURNAL);
    let length = sample.read(LAST_JOURNAL).len();
    let last_at = sample.last_at;
    let cut_off = |data: &TempDir, cut: Option<(usize, usize)>, has_last: bool| {
        let server = on(data.path()).start();
        let mut connection = connect(&server);
        for key in sample.keys.keys().filter(|key| has_last || *key != LAST) {
            assert!(connection.find(key).is_some(), "{key}");
        }
        assert_eq!(connection.find(LAST).is_some(), has_last);
        let log = server.stop().log;
        let said = log.iter().find(|line| line.contains("cut off"));
        match cut {
            None => assert_eq!(said, None),
            Some((at, bytes)) => {
                let wanted = format!(
                    "{LAST_JOURNAL}: cut off {bytes} bytes of an unfinished write at byte {at}"
                );
                assert!(said.is_some_and(|said| said.contains(&wanted)), "{wanted}: {log:#?}");
            }
        }
        // Nothing is left to cut.
        let log = on(data.path()).start().stop().log;
        assert!(!log.iter().any(|line| line.contains("cut off")), "{log:#?}");
    };
    for bytes in [1, 8, (length - last_at) / 2, length - last_at - 1] {
        let data = sample.changed(journal, |journal| journal.truncate(length - bytes));
        let whole = sample.read(LAST_JOURNAL);
        let rest = &whole[last_at..length - bytes];
        let zeros = rest.iter().rev().take_while(|byte| **byte == 0).count();
        cut_off(&data, Some((last_at, rest.len() - zeros)), false);
    }
    let data = sample.changed(journal, |journal| journal.resize(length + 100_000, 0));
    cut_off(&data, None, true);
    let data = sample.changed(journal, |journal| journal.extend([7; 1000]));
    cut_off(&data, Some((length, 1000)), true);
    let data = sample.changed(journal, |journal| {
        journal.truncate(length - 3);
        journal.resize(length + 100_000, 0);
    });
    cut_off(&data, Some((last_at, length - 3 - last_at)), false);
}

/// A file of the tree that is shorter than it was, or empty.
#[test]
fn a_shortened_file_is_refused() {
    let sample = Sample::new();
    for file in sample.files.iter().filter(|file| file.starts_with("keyspaces")) {
        for part in [0, 2] {
            let data = sample.changed(file, |bytes| {
                let length = bytes.len().checked_div(part).unwrap_or_default();
                bytes.truncate(length);
            });
            let case = format!("{} / {part}", file.display());
            assert_eq!(sample.check(data.path(), file, false, &case), Outcome::Refused, "{case}");
        }
        let data = sample.changed(file, |_| {});
        fs::remove_file(data.path().join("v1").join(file)).expect("it is there");
        let case = format!("no {}", file.display());
        assert_eq!(sample.check(data.path(), file, false, &case), Outcome::Refused, "{case}");
    }
}
