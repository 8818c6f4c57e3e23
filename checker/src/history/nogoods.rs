//! What the search has learnt: from where there is no way on.
//!
//! A place is a set of linearized calls and a state (Lowe, "Testing for linearizability", 2017), kept
//! as a hash of 128 bits with a seed that nobody knows: of a billion places, two have the same with
//! a probability below 10^-20. Unknown operations make a failure conditional: it holds for whoever
//! comes back with no more of them left than there were, and only those kinds count that the search
//! ran out of.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// A set of linearized calls and a state.
pub(super) type Place = u128;

/// The kinds of unknown operations that a failure depends on, one bit each; the last bit stands
/// for all kinds from there on.
pub(super) type Kinds = u64;

/// The bit of a kind.
pub(super) fn kind_bit(kind: usize) -> Kinds {
    1 << kind.min(63)
}

#[derive(Debug)]
pub(super) struct Nogoods {
    /// Places without a way on, whatever unknown operations are left.
    dead: HashSet<Place, BuildHasherDefault<Folded>>,
    /// The first row of each place with conditions.
    rows_of: HashMap<Place, u32, BuildHasherDefault<Folded>>,
    /// Rows: the next row of the place, both halves of the kinds, and of each kind how many had
    /// been used.
    rows: Vec<u32>,
}

const NO_ROW: u32 = u32::MAX;
const ROW_HEAD: usize = 3;
/// What an entry takes in a table that is at most seven eighths full, with its control byte.
const DEAD_ENTRY_BYTES: usize = 20;
const ROWS_ENTRY_BYTES: usize = 38;

impl Nogoods {
    pub(super) fn new() -> Nogoods {
        Nogoods { dead: HashSet::default(), rows_of: HashMap::default(), rows: Vec::new() }
    }

    /// On what it depends that there is no way on from `place`, if that is known.
    pub(super) fn find(&self, place: Place, used: &[u32]) -> Option<Kinds> {
        if self.dead.contains(&place) {
            return Some(0);
        }
        let mut row = *self.rows_of.get(&place)?;
        while row != NO_ROW {
            let (kinds, counts) = self.row(row);
            let mut counts = counts.iter();
            let holds = |(kind, used): (usize, &u32)| {
                kinds & kind_bit(kind) == 0 || counts.next().is_none_or(|count| used >= count)
            };
            if used.iter().enumerate().all(holds) {
                return Some(kinds);
            }
            row = self.rows[row as usize];
        }
        None
    }

    pub(super) fn insert(&mut self, place: Place, kinds: Kinds, used: &[u32]) {
        if kinds == 0 {
            self.dead.insert(place);
            return;
        }
        let Ok(row) = u32::try_from(self.rows.len()) else {
            return; // 16 GiB of rows; forgetting costs time and nothing else.
        };
        let next = self.rows_of.insert(place, row).unwrap_or(NO_ROW);
        #[expect(clippy::cast_possible_truncation, reason = "the halves of 64 bits")]
        self.rows.extend([next, kinds as u32, (kinds >> 32) as u32]);
        let of_kinds = |(kind, _): &(usize, &u32)| kinds & kind_bit(*kind) != 0;
        self.rows.extend(used.iter().enumerate().filter(of_kinds).map(|(_, used)| *used));
    }

    /// The bytes that the tables take, or would while they grow for one entry more.
    pub(super) fn bytes(&self) -> usize {
        let table = |room: usize, capacity: usize, entry: usize| {
            if room > ROOM { capacity * entry } else { (3 * capacity + ENTRIES_MIN) * entry }
        };
        let [dead, rows_of] = [self.dead.capacity(), self.rows_of.capacity()];
        let rows = self.rows.capacity();
        table(dead - self.dead.len(), dead, DEAD_ENTRY_BYTES)
            + table(rows_of - self.rows_of.len(), rows_of, ROWS_ENTRY_BYTES)
            + table((rows - self.rows.len()) / ROW_ROOM, rows, size_of::<u32>())
    }

    fn row(&self, row: u32) -> (Kinds, &[u32]) {
        let row = &self.rows[row as usize..];
        (Kinds::from(row[1]) | Kinds::from(row[2]) << 32, &row[ROW_HEAD..])
    }
}

/// More than a row has: its head, and a count for every kind with a bit of its own.
const ROW_ROOM: usize = 128;
/// A table with less room than this may have to grow before it is asked again.
const ROOM: usize = 128;
/// The entries that a table begins with.
const ENTRIES_MIN: usize = 16;

/// Random numbers for calls and states, the same for the same search.
#[derive(Debug)]
pub(super) struct Hashes {
    seeds: [u64; 2],
}

impl Hashes {
    pub(super) fn new() -> Hashes {
        let random = RandomState::new();
        Hashes { seeds: [random.hash_one(1), random.hash_one(2)] }
    }

    /// The number of a call.
    pub(super) fn call(&self, call: u32) -> Place {
        self.number(u64::from(call), 0x9e37_79b9_7f4a_7c15)
    }

    /// The number of a state.
    pub(super) fn state(&self, value: u32, version: u32, filled: u32) -> Place {
        let first = u64::from(value) << 32 | u64::from(version);
        self.number(first, 0xd1b5_4a32_d192_ed03)
            ^ self.number(u64::from(filled), 0x8cb9_2ba7_2f3d_8dd7)
    }

    fn number(&self, of: u64, salt: u64) -> Place {
        let [one, other] = self.seeds;
        let high = mixed(mixed(of.wrapping_add(one)) ^ salt);
        let low = mixed(mixed(of.wrapping_add(other)) ^ salt);
        Place::from(high) << 64 | Place::from(low)
    }
}

/// The finalizer of `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014).
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Places are random already.
#[derive(Debug, Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mixed(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u128(&mut self, number: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "half of the bits are enough")]
        let low = number as u64;
        self.0 = low;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_holds_for_whoever_has_no_more_left() {
        let mut nogoods = Nogoods::new();
        nogoods.insert(1, 0, &[5, 5]);
        nogoods.insert(2, kind_bit(1), &[0, 3]);
        nogoods.insert(2, kind_bit(0) | kind_bit(1), &[2, 1]);
        for (place, used, found) in [
            (1, [0, 0], Some(0)),
            (2, [0, 3], Some(2)),
            (2, [0, 4], Some(2)),
            (2, [0, 2], None),
            (2, [2, 1], Some(3)),
            (2, [1, 2], None),
            (3, [9, 9], None),
        ] {
            assert_eq!(nogoods.find(place, &used), found, "{place} {used:?}");
        }
    }

    #[test]
    fn kinds_beyond_the_bits_share_the_last_one() {
        let mut nogoods = Nogoods::new();
        let mut used = vec![1; 70];
        nogoods.insert(1, kind_bit(69), &used);
        used[0] = 0;
        assert_eq!(nogoods.find(1, &used), Some(kind_bit(69)));
        used[65] = 0;
        assert_eq!(nogoods.find(1, &used), None);
    }
}
