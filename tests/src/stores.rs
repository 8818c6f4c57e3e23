//! The stores that a test of the contract runs over.

use std::cell::Cell;

use crate::Launch;

/// A way to keep values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// In memory.
    Memory,
    /// On a disk, each write synced.
    Durable,
}

thread_local! {
    static CURRENT: Cell<Store> = const { Cell::new(Store::Memory) };
}

impl Store {
    /// Runs a test in which [`kv`](crate::kv) is over this store.
    pub fn run(self, test: fn()) {
        CURRENT.set(self);
        test();
    }

    pub(crate) fn prepare(self, launch: &mut Launch) {
        match self {
            Store::Memory => {}
            Store::Durable => launch.with_data(),
        }
    }
}

/// The store that the test in this thread is about.
pub fn current() -> Store {
    CURRENT.get()
}

/// Makes a test of each function for each store.
#[macro_export]
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod in_memory {
            $(#[test] fn $test() { $crate::Store::Memory.run(super::$test) })+
        }
        mod on_disk {
            $(#[test] fn $test() { $crate::Store::Durable.run(super::$test) })+
        }
    };
}
