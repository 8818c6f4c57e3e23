//! The file system that forgets, on a directory, for any program; what happens to it is told on
//! standard input, a line each. It is unmounted at the end of the input.
//!
//! The argument is an empty directory, and `journaled` behind it for names as ext4 keeps them.

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::error::Error;
use std::io;
use std::path::Path;

use tests::forgetful::{Crash, Directories, Fault, Forgetful, Mount, MountError, Options, Times};

const HELP: &str =
    "  crash forget|prefix|torn [SEED]     the power goes; what has files open has to start again
  fail sync|write|full [once]         errors from now on: EIO of fsync, EIO or ENOSPC of writes
  heal                                no errors any more
  limit BYTES                         the space on the disk";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let (at, directories) = match args[..] {
        [at] => (at, Directories::Strict),
        [at, "journaled"] => (at, Directories::Journaled),
        _ => return Err("usage: forgetful DIRECTORY [journaled]".into()),
    };
    let disk = Forgetful::new(Options { directories, ..Options::default() });
    let mut mount = Some(disk.mount(Path::new(at))?);
    println!("mounted on {at}\n{HELP}");
    for line in io::stdin().lines() {
        match obey(&disk, Path::new(at), &mut mount, &line?)? {
            Obeyed::Yes => println!("done"),
            Obeyed::NoSuchCommand => println!("{HELP}"),
        }
    }
    Ok(())
}

enum Obeyed {
    Yes,
    NoSuchCommand,
}

fn obey(
    disk: &Forgetful,
    at: &Path,
    mount: &mut Option<Mount>,
    line: &str,
) -> Result<Obeyed, MountError> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["crash", kind, ref seed @ ..] => {
            let (Some(crash), Some(seed)) = (crash(kind), parse_seed(seed)) else {
                return Ok(Obeyed::NoSuchCommand);
            };
            disk.crash(crash, seed);
            *mount = None;
            *mount = Some(disk.mount(at)?);
        }
        ["fail", kind, ref times @ ..] => {
            let (Some(fault), Some(times)) = (fault(kind), parse_times(times)) else {
                return Ok(Obeyed::NoSuchCommand);
            };
            disk.fail(fault, times);
        }
        ["heal"] => disk.heal(),
        ["limit", bytes] => match bytes.parse() {
            Ok(bytes) => disk.limit(bytes),
            Err(_) => return Ok(Obeyed::NoSuchCommand),
        },
        _ => return Ok(Obeyed::NoSuchCommand),
    }
    Ok(Obeyed::Yes)
}

fn crash(word: &str) -> Option<Crash> {
    match word {
        "forget" => Some(Crash::Forget),
        "prefix" => Some(Crash::Prefix),
        "torn" => Some(Crash::Torn),
        _ => None,
    }
}

fn fault(word: &str) -> Option<Fault> {
    match word {
        "sync" => Some(Fault::Sync),
        "write" => Some(Fault::Write),
        "full" => Some(Fault::Full),
        _ => None,
    }
}

fn parse_seed(words: &[&str]) -> Option<u64> {
    match words {
        [] => Some(0),
        [seed] => seed.parse().ok(),
        _ => None,
    }
}

fn parse_times(words: &[&str]) -> Option<Times> {
    match words {
        [] => Some(Times::Always),
        ["once"] => Some(Times::Once),
        _ => None,
    }
}
