//! Hashing for tables whose keys come from a record: seeded, so that no record can make them slow,
//! and fast for short texts and for numbers.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes hashers with a seed of its own.
#[derive(Debug, Clone)]
pub(super) struct Seeded([u64; 2]);

impl Default for Seeded {
    fn default() -> Seeded {
        let random = RandomState::new();
        Seeded([random.hash_one(1), random.hash_one(2)])
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding { state: self.0[0], seed: self.0[1] | 1 }
    }
}

/// Folded multiplication, as in wyhash: eight bytes at a time.
#[derive(Debug)]
pub(super) struct Folding {
    state: u64,
    seed: u64,
}

impl Folding {
    #[inline]
    fn add(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.seed);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are folded")]
        let folded = product as u64 ^ (product >> 64) as u64;
        self.state = folded.wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Folding {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last));
        self.add(bytes.len() as u64);
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.add(u64::from(number));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.add(number);
    }

    #[inline]
    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(self.seed);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are folded")]
        let folded = product as u64 ^ (product >> 64) as u64;
        folded
    }
}
