//! The in-memory store: one map behind one lock.
//!
//! Nothing here knows HTTP. Each method locks once, and what it takes out or allocates is made or
//! dropped outside of the lock.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Store, Value};
use crate::key::Key;

/// Values in memory; they go with the process. Clones share one map.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    map: Arc<RwLock<HashMap<Box<str>, Value>>>,
}

impl Memory {
    // A poisoned lock guards a whole map all the same: no step below leaves it half changed.
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Box<str>, Value>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Box<str>, Value>> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, key: &str, value: Value) -> Option<Value> {
        let mut map = self.write();
        if let Some(kept) = map.get_mut(key) {
            return Some(std::mem::replace(kept, value));
        }
        map.insert(key.into(), value)
    }
}

impl Store for Memory {
    fn put(&self, key: &Key<'_>, value: &str, done: impl FnOnce() + Send + 'static) {
        let before = self.replace(key.as_str(), value.into());
        drop(before);
        done();
    }

    fn get(&self, key: &Key<'_>, done: impl FnOnce(&Key<'_>, Option<Value>) + Send + 'static) {
        let value = self.read().get(key.as_str()).cloned();
        done(key, value);
    }

    fn delete(&self, key: &Key<'_>, done: impl FnOnce(&Key<'_>, bool) + Send + 'static) {
        let removed = self.write().remove_entry(key.as_str());
        done(key, removed.is_some());
    }

    fn len(&self) -> usize {
        self.read().len()
    }
}
