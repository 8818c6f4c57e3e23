//! The table against a model of it: a sorted map with nothing clever in it.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::table::{Garbage, Table};
use super::{Action, Condition, Done, Found, Listed, Op, Refused, Selection, Version, Versions};
use crate::key::Key;

const KEYS: [&str; 7] = ["a", "ab", "abc", "b", "b/c", "\u{e9}", "\u{1f511}"];

/// What the model keeps of a key.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    value: String,
    version: Version,
    deadline_ms: Option<u64>,
}

#[derive(Default, Clone)]
struct Model {
    map: BTreeMap<String, Kept>,
    now_ms: u64,
}

/// A step of the test: one of the store's, or time that passes.
#[derive(Debug, Clone)]
enum Step {
    Batch(Vec<Op<'static>>),
    DeletePrefix(&'static str),
    Pass(u64),
    Sweep,
}

impl Model {
    fn live(&self, key: &str) -> Option<&Kept> {
        self.map.get(key).filter(|kept| kept.deadline_ms.is_none_or(|at| self.now_ms < at))
    }

    fn apply(&mut self, op: &Op<'_>, version: Version) -> Result<(), Refused> {
        let key = op.key.as_str();
        let current = self.live(key).cloned();
        let current_version = current.as_ref().map(|kept| kept.version);
        if !op.condition.holds(current_version) {
            return Err(Refused::Condition(current_version));
        }
        let kept = match &op.action {
            Action::Get => return Ok(()),
            Action::Delete => {
                self.map.remove(key);
                return Ok(());
            }
            Action::Put(value, ttl) => {
                let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap());
                let deadline_ms = ttl_ms.map(|ttl_ms| self.now_ms + ttl_ms + 1);
                Kept { value: value.to_string(), version, deadline_ms }
            }
            Action::Increment(by) => {
                let before = current.as_ref().map_or(Ok(0), |kept| kept.value.parse::<i64>());
                let before = before.map_err(|_| Refused::NotAnInteger)?;
                let sum = before.checked_add(*by).ok_or(Refused::Overflow)?;
                let deadline_ms = current.and_then(|kept| kept.deadline_ms);
                Kept { value: sum.to_string(), version, deadline_ms }
            }
        };
        self.map.insert(key.to_owned(), kept);
        Ok(())
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Everything that the table shows is what the model has.
#[track_caller]
fn compare(table: &Table, model: &Model) {
    for name in KEYS {
        let found = table.get(&Key::new(name).unwrap(), model.now_ms);
        let seen = found.as_ref().map(|found: &Found| Kept {
            value: text(found.value()).to_owned(),
            version: found.version(),
            deadline_ms: found.ttl_ms.map(|ttl_ms| model.now_ms + ttl_ms + 1),
        });
        assert_eq!(seen.as_ref(), model.live(name), "{name}");
    }
    let live: Vec<&String> = model.map.keys().filter(|key| model.live(key).is_some()).collect();
    assert_eq!(table.len(model.now_ms), live.len());
    for limit in 1..4 {
        let mut walked = Vec::new();
        let mut after = None;
        loop {
            let selection = Selection { prefix: String::new(), after, limit };
            let page = table.list(&selection, model.now_ms);
            assert!(page.entries.len() <= limit);
            walked.extend(page.entries.iter().map(|listed: &Listed| text(listed.key()).to_owned()));
            after = page.more_after;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(walked.iter().collect::<Vec<_>>(), live);
    }
}

fn run(steps: Vec<Step>) {
    let mut table = Table::new(Version(0), usize::MAX);
    let mut model = Model::default();
    for step in steps {
        let mut garbage = Garbage::new();
        match step {
            Step::Pass(ms) => model.now_ms += ms,
            Step::Sweep => table.sweep(model.now_ms, 2, &mut garbage),
            Step::DeletePrefix(prefix) => {
                let mut deleted = 0;
                for key in KEYS.iter().filter(|key| key.starts_with(prefix)) {
                    deleted += usize::from(model.live(key).is_some());
                    model.map.remove(*key);
                }
                assert_eq!(table.delete_prefix(prefix, model.now_ms).0, deleted);
            }
            Step::Batch(ops) => batch(&mut table, &mut model, &ops),
        }
        compare(&table, &model);
    }
    let all = table.delete_prefix("", model.now_ms);
    drop(all);
    assert_eq!((table.bytes(), table.next_deadline_ms()), (0, None), "all is accounted for");
}

fn batch(table: &mut Table, model: &mut Model, ops: &[Op<'_>]) {
    let before = model.clone();
    let latest = table.batch(&[], model.now_ms, &mut Garbage::new()).map(|batched| batched.version);
    let latest = latest.expect("a batch of nothing");
    let version = Version(latest.0 + 1);
    let outcome = table.batch(ops, model.now_ms, &mut Garbage::new());
    let refused = ops.iter().enumerate().find_map(|(index, op)| {
        let refused = model.apply(op, version).err()?;
        Some((index, refused))
    });
    match (outcome, refused) {
        (Ok(batched), None) => {
            assert_eq!(batched.results.len(), ops.len());
            let wrote =
                |done: &Done| matches!(done, Done::Put | Done::Increment(_) | Done::Delete(true));
            if batched.results.iter().any(wrote) {
                assert_eq!(batched.version, version, "what is written has a new version");
            }
            assert!([latest, version].contains(&batched.version));
        }
        (Err((index, refused)), Some((model_index, model_refused))) => {
            assert_eq!((index, refused), (model_index, model_refused));
            *model = before;
        }
        (Ok(_), Some(refused)) => panic!("taken, but {refused:?}"),
        (Err(refused), None) => panic!("{refused:?}, but should be taken"),
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let versions = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Versions::Any)),
        1 => prop::collection::vec((1..30u64).prop_map(Version), 1..9).prop_map(|v| Some(Versions::OneOf(v))),
    ];
    (versions.clone(), versions)
        .prop_map(|(if_match, if_none_match)| Condition { if_match, if_none_match })
}

fn op() -> impl Strategy<Value = Op<'static>> {
    let value = prop::sample::select(
        &["\"text\"", "[1,2.50]", "9223372036854775806", "-9223372036854775807", "0", "17"][..],
    );
    let ttl = prop::option::of((1..50u64).prop_map(Duration::from_millis));
    let action = prop_oneof![
        4 => (value, ttl).prop_map(|(value, ttl)| Action::Put(value.into(), ttl)),
        2 => Just(Action::Delete),
        3 => (-3..4i64).prop_map(Action::Increment),
        1 => Just(Action::Get),
    ];
    (prop::sample::select(&KEYS[..]), action, condition()).prop_map(|(key, action, condition)| Op {
        key: Key::new(key).unwrap(),
        action,
        condition,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(op(), 1..6).prop_map(Step::Batch),
        1 => prop::sample::select(&["a", "ab", "b/", "\u{e9}", "zz"][..]).prop_map(Step::DeletePrefix),
        3 => (1..30u64).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #[test]
    fn the_table_does_as_the_model(steps in prop::collection::vec(step(), 1..40)) {
        run(steps);
    }
}

fn key(name: &'static str) -> Key<'static> {
    Key::new(name).unwrap()
}

/// A step on its own is a batch of one; its outcome says more.
#[test]
fn single_steps_answer_versions_and_refusals() {
    let mut table = Table::new(Version(7), usize::MAX);
    let (none, mut garbage) = (Condition::default(), Garbage::new());
    let create = Condition { if_none_match: Some(Versions::Any), ..Condition::default() };
    let at = |version| Condition {
        if_match: Some(Versions::OneOf(vec![Version(version)])),
        ..Condition::default()
    };
    let mut put = |table: &mut Table, condition: &Condition| {
        table.put(&key("a"), "1", None, condition, 0, &mut garbage)
    };
    assert_eq!(put(&mut table, &create), Ok(Version(8)));
    assert_eq!(put(&mut table, &create), Err(Refused::Condition(Some(Version(8)))));
    assert_eq!(put(&mut table, &at(7)), Err(Refused::Condition(Some(Version(8)))));
    assert_eq!(put(&mut table, &at(8)), Ok(Version(9)));
    assert_eq!(put(&mut table, &none), Ok(Version(10)));
    let incremented = table.increment(&key("a"), -3, &none, 0, &mut garbage).unwrap();
    assert_eq!((incremented.value, incremented.version), (-2, Version(11)));
    assert_eq!(
        table.delete(&key("a"), &at(10), 0, &mut garbage),
        Err(Refused::Condition(Some(Version(11))))
    );
    assert_eq!(table.delete(&key("a"), &at(11), 0, &mut garbage), Ok(true));
    assert_eq!(table.delete(&key("a"), &none, 0, &mut garbage), Ok(false));
    assert_eq!(table.delete(&key("a"), &at(11), 0, &mut garbage), Err(Refused::Condition(None)));
    // The delete has used a version: none is given twice.
    assert_eq!(table.put(&key("a"), "1", None, &create, 0, &mut garbage), Ok(Version(13)));
}

#[test]
fn a_full_store_refuses_what_grows_and_takes_what_shrinks() {
    let mut table = Table::new(Version(0), 1000);
    let (none, mut garbage) = (Condition::default(), Garbage::new());
    let mut put = |table: &mut Table, name, length: usize, ttl_ms: Option<u64>, now_ms| {
        let value = format!("\"{}\"", "x".repeat(length));
        let ttl = ttl_ms.map(Duration::from_millis);
        table.put(&key(name), &value, ttl, &none, now_ms, &mut garbage)
    };
    assert!(put(&mut table, "a", 300, None, 0).is_ok());
    assert!(put(&mut table, "b", 300, Some(10), 0).is_ok());
    let bytes = table.bytes();
    assert_eq!(put(&mut table, "c", 300, None, 0), Err(Refused::Full(1000)));
    assert_eq!(put(&mut table, "a", 800, None, 0), Err(Refused::Full(1000)));
    assert_eq!((table.bytes(), table.len(0)), (bytes, 2), "nothing has changed");
    assert!(put(&mut table, "a", 290, None, 0).is_ok(), "what shrinks is taken");
    assert!(put(&mut table, "c", 300, None, 11).is_ok(), "what has expired makes room");
    assert!(table.bytes() <= 1000);
}

#[test]
fn a_page_of_large_values_ends_early_and_goes_on() {
    let mut table = Table::new(Version(0), usize::MAX);
    let (none, mut garbage) = (Condition::default(), Garbage::new());
    let value = format!("\"{}\"", "x".repeat(3 << 20));
    for name in ["a", "b", "c"] {
        table.put(&key(name), &value, None, &none, 0, &mut garbage).unwrap();
    }
    let page = |after: Option<&str>| {
        let after = after.map(str::to_owned);
        let page = table.list(&Selection { prefix: String::new(), after, limit: 100 }, 0);
        (page.entries.len(), page.more_after)
    };
    assert_eq!(page(None), (1, Some("a".to_owned())));
    assert_eq!(page(Some("a")), (1, Some("b".to_owned())));
    assert_eq!(page(Some("b")), (1, None));
}
