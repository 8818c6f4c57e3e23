//! What clients were told, and what may therefore be found after a crash.

use std::collections::BTreeMap;

use crate::connection::Connection;

pub(crate) const WRITERS: usize = 32;
/// Keys that only one writer writes.
pub(crate) const OWN_KEYS: usize = 6;
/// Numbers that all of them add to.
pub(crate) const COUNTERS: usize = 4;
/// Keys that are written by batches alone, all of a group with the same value.
pub(crate) const GROUPS: usize = 4;
pub(crate) const GROUP_KEYS: usize = 3;

/// A value with its version.
pub(crate) type Kept = Option<(String, u64)>;

pub(crate) fn own_key(writer: usize, index: usize) -> String {
    format!("own/{writer}/{index}")
}

pub(crate) fn counter_key(index: usize) -> String {
    format!("counter/{index}")
}

pub(crate) fn group_key(group: usize, index: usize) -> String {
    format!("group/{group}/{index}")
}

/// What one writer knows.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Its own keys.
    pub(crate) own: [Kept; OWN_KEYS],
    /// What it has added, and was told so.
    pub(crate) added: [i64; COUNTERS],
    /// The latest of its batches, for each group.
    pub(crate) batches: [Kept; GROUPS],
    /// The largest version that it was told.
    pub(crate) version: u64,
    /// What it was told nothing about any more.
    pub(crate) pending: Pending,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Pending {
    #[default]
    Nothing,
    /// A value for an own key, or its removal.
    Own(usize, Option<String>),
    /// The removal of all own keys.
    Prefix,
    Add(usize, i64),
    Batch(usize, String),
}

/// Everything as it was found after the last crash.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) own: BTreeMap<(usize, usize), Kept>,
    counters: [i64; COUNTERS],
    groups: [Kept; GROUPS],
    pub(crate) version: u64,
}

impl Model {
    /// Compares what is there with what was told and seen since, and goes on from it.
    #[track_caller]
    pub(crate) fn check(
        &mut self,
        connection: &mut Connection,
        told: &[Told],
        seen: &BTreeMap<String, u64>,
    ) {
        for (writer, told) in told.iter().enumerate() {
            self.check_own(connection, writer, told, seen);
            self.version = self.version.max(told.version);
        }
        for counter in 0..COUNTERS {
            self.check_counter(connection, counter, told, seen);
        }
        for group in 0..GROUPS {
            self.check_group(connection, group, told, seen);
        }
        self.version = self.version.max(seen.values().copied().max().unwrap_or_default());
        // Versions go on from where they were.
        let probe = connection.put("probe", "0").expect("an answer");
        let version = probe.version.expect("an entity tag");
        assert!(version > self.version, "version {version} behind {}", self.version);
        self.version = version;
    }

    #[track_caller]
    fn check_own(
        &mut self,
        connection: &mut Connection,
        writer: usize,
        told: &Told,
        seen: &BTreeMap<String, u64>,
    ) {
        let found: Vec<Kept> =
            (0..OWN_KEYS).map(|index| connection.find(&own_key(writer, index))).collect();
        if told.pending == Pending::Prefix {
            let as_before = found == told.own;
            let removed = found.iter().all(Option::is_none);
            assert!(as_before || removed, "half a removal: {found:?}, {told:?}");
        }
        for (index, found) in found.into_iter().enumerate() {
            let key = own_key(writer, index);
            let before = &told.own[index];
            let is_pending = match (&told.pending, &found) {
                (Pending::Own(pending, value), found) if *pending == index => {
                    match (value, found) {
                        (Some(value), Some((found, version))) => {
                            found == value && *version > told.version
                        }
                        (None, None) => true,
                        _ => false,
                    }
                }
                (Pending::Prefix, None) => true,
                _ => false,
            };
            assert!(
                *before == found || is_pending,
                "{key}: told {before:?}, found {found:?}, pending {:?}",
                told.pending
            );
            // What a reader saw and the writer was not told of is what was pending.
            let has_been_seen = seen.get(&key).is_some_and(|version| *version > told.version);
            assert!(!has_been_seen || is_pending, "{key} was seen, and has gone: {found:?}");
            self.own.insert((writer, index), found);
        }
    }

    #[track_caller]
    fn check_counter(
        &mut self,
        connection: &mut Connection,
        counter: usize,
        told: &[Told],
        seen: &BTreeMap<String, u64>,
    ) {
        let key = counter_key(counter);
        let found = connection.find(&key);
        let value = found.as_ref().map_or(0, |(value, _)| value.parse::<i64>().expect("a number"));
        let added: i64 = told.iter().map(|told| told.added[counter]).sum();
        let pending: i64 = told
            .iter()
            .map(|told| match told.pending {
                Pending::Add(pending, by) if pending == counter => by,
                _ => 0,
            })
            .sum();
        let least = self.counters[counter] + added;
        assert!((least..=least + pending).contains(&value), "{key}: {value}, {least} + {pending}");
        let version = found.map_or(0, |(_, version)| version);
        assert!(version >= seen.get(&key).copied().unwrap_or_default(), "{key} was seen later");
        self.counters[counter] = value;
    }

    #[track_caller]
    fn check_group(
        &mut self,
        connection: &mut Connection,
        group: usize,
        told: &[Told],
        seen: &BTreeMap<String, u64>,
    ) {
        let key = group_key(group, 0);
        let found = connection.find(&key);
        for index in 1..GROUP_KEYS {
            let other = connection.find(&group_key(group, index));
            assert_eq!(found, other, "{key}: half a batch");
        }
        let told_of = told.iter().filter_map(|told| told.batches[group].clone());
        let latest = told_of.chain(self.groups[group].clone()).max_by_key(|(_, version)| *version);
        let latest_version = latest.as_ref().map_or(0, |(_, version)| *version);
        let is_pending = found.as_ref().is_some_and(|(value, version)| {
            let mut pending = told.iter().filter_map(|told| match &told.pending {
                Pending::Batch(pending, value) if *pending == group => Some(value),
                _ => None,
            });
            *version > latest_version && pending.any(|pending| pending == value)
        });
        assert!(found == latest || is_pending, "{key}: told {latest:?}, found {found:?}");
        let version = found.as_ref().map_or(0, |(_, version)| *version);
        assert!(version >= seen.get(&key).copied().unwrap_or_default(), "{key} was seen later");
        self.groups[group] = found;
    }
}
