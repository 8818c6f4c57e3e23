//! Changes of directories that the disk does not have yet.
//!
//! Invariant: steps that share a name come to the disk in their order, and each as a whole. So no
//! crash makes two names out of a renamed one, or none.

use std::collections::BTreeSet;
use std::ffi::OsString;

use fastrand::Rng;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The directory's inode.
    pub(super) directory: u64,
    pub(super) name: OsString,
}

/// One system call: names, and the inode that each of them is for from then on.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) at: u64,
    pub(super) effects: Vec<(Name, Option<u64>)>,
}

impl Step {
    fn names(&self) -> impl Iterator<Item = &Name> {
        self.effects.iter().map(|(name, _)| name)
    }

    fn is_about(&self, inode: u64) -> bool {
        self.effects.iter().any(|(name, of)| name.directory == inode || *of == Some(inode))
    }
}

/// Steps in their order.
#[derive(Debug, Default)]
pub(super) struct Journal(Vec<Step>);

impl Journal {
    pub(super) fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a name is, or was for a while, this inode's.
    pub(super) fn mentions(&self, inode: u64) -> bool {
        self.0.iter().any(|step| step.is_about(inode))
    }

    pub(super) fn moments(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|step| step.at)
    }

    /// Takes the steps in a directory, and no others but those which they stand on.
    pub(super) fn take_directory(&mut self, directory: u64) -> Vec<Step> {
        let mut names = BTreeSet::new();
        let mut taken: Vec<_> = self
            .0
            .iter()
            .rev()
            .map(|step| {
                let needed =
                    step.names().any(|name| name.directory == directory || names.contains(name));
                if needed {
                    names.extend(step.names().cloned());
                }
                needed
            })
            .collect();
        self.0.extract_if(.., |_| taken.pop() == Some(true)).collect()
    }

    /// Takes every step up to the last one that is about a file or directory.
    pub(super) fn take_transaction(&mut self, inode: u64) -> Vec<Step> {
        let end = self.0.iter().rposition(|step| step.is_about(inode)).map_or(0, |last| last + 1);
        self.0.drain(..end).collect()
    }

    /// Takes the steps before a moment, and drops the others.
    pub(super) fn take_until(&mut self, moment: u64) -> Vec<Step> {
        self.0.drain(..).filter(|step| step.at < moment).collect()
    }

    /// Takes any steps, but none that stands on one that is dropped.
    pub(super) fn take_some(&mut self, rng: &mut Rng) -> Vec<Step> {
        let mut stopped = BTreeSet::new();
        self.0
            .drain(..)
            .filter(|step| {
                let kept = rng.bool() && !step.names().any(|name| stopped.contains(name));
                if !kept {
                    stopped.extend(step.names().cloned());
                }
                kept
            })
            .collect()
    }

    /// Takes the first steps, some of them.
    pub(super) fn take_first(&mut self, rng: &mut Rng) -> Vec<Step> {
        let count = rng.usize(..=self.0.len());
        let taken = self.0.drain(..count).collect();
        self.0.clear();
        taken
    }
}
