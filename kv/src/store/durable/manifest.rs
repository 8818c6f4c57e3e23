//! A look at the files that name the tables, before fjall goes by them, and at the tables when it
//! does not open.
//!
//! fjall keeps a checksum of each manifest and does not compare it: with a flipped bit a manifest
//! names other tables or none, and those that it does not name are removed at the start, as are
//! keyspaces that another one does not name. The files are those of lsm-tree 3 (`src/version`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// What a tree says of itself: fjall's format, and the latest manifest of each keyspace.
const FORMAT: (&str, &[u8]) = ("version", b"FJL\x03");
const KEYSPACES: &str = "keyspaces";
const CURRENT: &str = "current";
const TABLES: &str = "tables";
/// Keyspaces that a whole store has: fjall's own, and that of the keys.
const NAMES: [&str; 2] = ["0", "1"];

/// What is wrong.
#[derive(Debug)]
pub(super) enum ManifestError {
    Io(PathBuf, io::Error),
    /// A file is not what it was written as.
    Damaged(PathBuf),
    /// The second file is not what the first one says, and either may be damaged.
    Mismatch(PathBuf, PathBuf),
}

/// Looks whether everything that names tables is as it was written.
pub(super) fn check(directory: &Path) -> Result<(), ManifestError> {
    let (name, content) = FORMAT;
    let path = directory.join(name);
    if read(&path)? != content {
        return Err(ManifestError::Damaged(path));
    }
    for keyspace in NAMES {
        manifest(&directory.join(KEYSPACES).join(keyspace))?;
    }
    Ok(())
}

/// The first table that is not as it was written. This reads all of them.
pub(super) fn damaged_table(directory: &Path) -> Result<(), ManifestError> {
    for keyspace in NAMES {
        let keyspace = directory.join(KEYSPACES).join(keyspace);
        let path = manifest(&keyspace)?;
        let tables = tables(&path).map_err(|_| ManifestError::Damaged(path))?;
        for (number, checksum) in tables {
            let path = keyspace.join(TABLES).join(number.to_string());
            let found =
                checksum_of(&path).map_err(|error| ManifestError::Io(path.clone(), error))?;
            if found != checksum {
                return Err(ManifestError::Damaged(path));
            }
        }
    }
    Ok(())
}

/// The keyspace's manifest, which is as it was written.
fn manifest(keyspace: &Path) -> Result<PathBuf, ManifestError> {
    let current = keyspace.join(CURRENT);
    let stored = read(&current)?;
    let mut rest = stored.as_slice();
    let (Ok(number), Ok(checksum), [0]) = (u64_of(&mut rest), u128_of(&mut rest), rest) else {
        return Err(ManifestError::Damaged(current));
    };
    let path = keyspace.join(format!("v{number}"));
    match fs::read(&path) {
        Ok(bytes) if xxh3_128(&bytes) == checksum => Ok(path),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ManifestError::Io(path, error))
        }
        Ok(_) | Err(_) => Err(ManifestError::Mismatch(current, path)),
    }
}

/// The numbers and checksums of the tables in the manifest.
fn tables(manifest: &Path) -> io::Result<Vec<(u64, u128)>> {
    let archive = sfa::Reader::new(manifest).map_err(|_| io::ErrorKind::InvalidData)?;
    let section = archive.toc().section(b"tables").ok_or(io::ErrorKind::InvalidData)?;
    let mut input = section.buf_reader(manifest)?;
    let mut tables = Vec::new();
    for _level in 0..number::<1>(&mut input)? {
        for _run in 0..number::<1>(&mut input)? {
            for _table in 0..number::<4>(&mut input)? {
                let number = u64_of(&mut input)?;
                let _checksum_kind = self::number::<1>(&mut input)?;
                tables.push((number, u128_of(&mut input)?));
                let _sequence = u64_of(&mut input)?;
            }
        }
    }
    Ok(tables)
}

fn checksum_of(path: &Path) -> io::Result<u128> {
    let mut file = File::open(path)?;
    let mut checksum = Xxh3::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(checksum.digest128()),
            count => checksum.update(&buffer[..count]),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ManifestError> {
    fs::read(path).map_err(|error| ManifestError::Io(path.to_owned(), error))
}

/// The next bytes, in little-endian order.
fn number<const N: usize>(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes[..N])?;
    Ok(u32::from_le_bytes(bytes))
}

fn u64_of(input: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn u128_of(input: &mut impl Read) -> io::Result<u128> {
    let mut bytes = [0; 16];
    input.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}
