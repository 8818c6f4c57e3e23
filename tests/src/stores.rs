//! The stores that a test of the contract runs over.

use std::cell::{Cell, RefCell};

use crate::{EtcdCluster, Launch, has_etcd};

/// A way to keep values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// In memory.
    Memory,
    /// On a disk, each write synced.
    Durable,
    /// In etcd.
    Etcd,
}

thread_local! {
    static CURRENT: Cell<Store> = const { Cell::new(Store::Memory) };
    /// The cluster of the test in this thread, and how many stores it has.
    static CLUSTER: RefCell<Option<(EtcdCluster, usize)>> = const { RefCell::new(None) };
}

impl Store {
    /// Runs a test in which [`kv`](crate::kv) is over this store.
    pub fn run(self, test: fn()) {
        if self == Store::Etcd && !has_etcd() {
            return;
        }
        CURRENT.set(self);
        test();
        CLUSTER.take();
    }

    pub(crate) fn prepare(self, launch: &mut Launch) {
        match self {
            Store::Memory => {}
            Store::Durable => launch.with_data(),
            Store::Etcd => CLUSTER.with_borrow_mut(|cluster| {
                let (cluster, stores) = cluster.get_or_insert_with(|| (EtcdCluster::start(1), 0));
                *stores += 1;
                launch.set("STORE", &cluster.url(&format!("s{stores}")));
            }),
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
        mod in_etcd {
            $(#[test] fn $test() { $crate::Store::Etcd.run(super::$test) })+
        }
    };
}
