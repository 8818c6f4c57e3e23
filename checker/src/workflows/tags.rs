//! Entity tags that are nearly the current one: which of them match is certain (RFC 9110, sections
//! 8.8.3.2 and 13.2.2), on every route that looks at them.

use http::Method;
use serde_json::json;

use crate::audit::call::{Call, entry, path};
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::worker::{Step, Worker};

use super::conditions::{DONE, NOT_MODIFIED, REFUSED, TAGGED, done, refused, unchanged, version};

const OTHER: &str = "a GET with If-None-Match of other tags answers the value";

/// The value of `If-Match` or `If-None-Match`, and whether it matches.
struct Tags {
    text: String,
    /// By strong comparison, as in `If-Match`.
    strong: bool,
    /// By weak comparison, as in `If-None-Match`.
    weak: bool,
}

/// Header fields, and whether what has them is done.
struct Condition {
    fields: Vec<(&'static str, String)>,
    holds: bool,
}

/// Tags for a key of this version; as many, and in the same order, for each version.
fn tags(version: u64) -> Vec<Tags> {
    let (next, before) = (version.saturating_add(1), version.saturating_sub(1));
    let text = version.to_string();
    // Of a single digit nothing is left, and what a server says to that is its own affair.
    let beginning = if version < 10 { "10" } else { &text[..text.len() - 1] };
    let matching = |text: String| Tags { text, strong: true, weak: true };
    let other = |text: String| Tags { text, strong: false, weak: false };
    let weak = |text: String| Tags { text, strong: false, weak: true };
    vec![
        matching(format!("\"{version}\"")),
        other(format!("\"{next}\"")),
        other(format!("\"{before}\"")),
        other(format!("\"{beginning}\"")),
        other(format!("\"{version}0\"")),
        weak(format!("W/\"{version}\"")),
        matching(format!("\"{version}\", \"{next}\"")),
        matching(format!("\"{next}\", \"{version}\"")),
        matching(format!("W/\"{next}\", \"{before}\", \"{version}\"")),
        other(format!("\"{next}\", \"{before}\"")),
        weak(format!("\"{next}\", W/\"{version}\"")),
        matching("*".to_owned()),
    ]
}

/// Conditions of a write to a key of this version: each field with each tag, and both fields.
fn conditions(version: u64) -> Vec<Condition> {
    let one = |field, text, holds| Condition { fields: vec![(field, text)], holds };
    let strong = tags(version).into_iter().map(|tags| one("If-Match", tags.text, tags.strong));
    let weak = tags(version).into_iter().map(|tags| one("If-None-Match", tags.text, !tags.weak));
    let current = format!("\"{version}\"");
    let other = format!("\"{}\"", version.saturating_add(1));
    let both =
        [(true, true), (true, false), (false, true), (false, false)].map(|(first, second)| {
            let tag = |is_current: bool| if is_current { current.clone() } else { other.clone() };
            let fields = vec![("If-Match", tag(first)), ("If-None-Match", tag(!second))];
            Condition { fields, holds: first && second }
        });
    strong.chain(weak).chain(both).collect()
}

/// Versions that a batch asks for, and whether a key of this version has them.
fn asked(version: u64) -> [(Option<u64>, bool); 6] {
    // 0 is no version, and what a server says to that is its own affair.
    let other = |other: u64| (Some(if other == 0 { version + 2 } else { other }), false);
    [
        (Some(version), true),
        other(version + 1),
        other(version - 1),
        other(version / 10),
        other(version.saturating_mul(10)),
        (None, false),
    ]
}

pub(super) fn tables(run: &Run<'_>) {
    let routes: [fn(&str) -> Call; 5] =
        [|key| Call::put(key, "2"), |key| Call::post(key, "2"), raw_put, raw_post, Call::delete];
    let key = run.key("tags");
    run.worker(|worker| {
        for route in routes {
            for at in 0..conditions(1).len() {
                worker.case(DONE, |worker| write(worker, &key, route(&key), at));
            }
        }
        for get in [Call::get(&key), Call::new(Method::GET, raw(&key))] {
            for at in 0..tags(1).len() {
                worker.case(NOT_MODIFIED, |worker| read(worker, &key, &get, at));
            }
            worker.case(NOT_MODIFIED, |worker| read_with_both(worker, &key, &get));
        }
        if run.has(Feature::Batch) {
            for op in ["put", "delete"] {
                for at in 0..asked(1).len() {
                    worker.case(DONE, |worker| batch(worker, &key, op, at));
                }
            }
        }
    });
}

fn raw(key: &str) -> String {
    path("/keys/", key) + "?raw"
}

fn raw_put(key: &str) -> Call {
    // The body of a plain write is JSON too. So a server that knows no ?raw does not refuse it.
    Call::new(Method::PUT, raw(key)).body(entry(key, "2"))
}

fn raw_post(key: &str) -> Call {
    Call::new(Method::POST, raw(key)).body(entry(key, "2"))
}

/// The key is there with the value 1, and has this version.
fn stored(worker: &mut Worker<'_>, key: &str) -> Step<u64> {
    let answer = worker.ask(&Call::put(key, "1"))?;
    worker.status(DONE, &answer, &[200])?;
    version(worker, &answer)
}

fn write(worker: &mut Worker<'_>, key: &str, mut call: Call, at: usize) -> Step {
    let current = stored(worker, key)?;
    let condition = conditions(current).swap_remove(at);
    call.fields.extend(condition.fields);
    if !condition.holds {
        return refused(worker, key, &call, "1", current);
    }
    if call.method == Method::DELETE {
        let answer = worker.call(&call)?;
        worker.status(DONE, &answer, &[200])?;
        return gone(worker, key);
    }
    done(worker, &call, current).map(drop)
}

fn gone(worker: &mut Worker<'_>, key: &str) -> Step {
    let answer = worker.ask(&Call::get(key))?;
    worker.status(DONE, &answer, &[404])
}

fn read(worker: &mut Worker<'_>, key: &str, get: &Call, at: usize) -> Step {
    let current = stored(worker, key)?;
    let Tags { text, weak, .. } = tags(current).swap_remove(at);
    answers(worker, &get.clone().field("If-None-Match", text), weak, current)
}

/// `If-Match` comes first, and where it holds `If-None-Match` decides.
fn read_with_both(worker: &mut Worker<'_>, key: &str, get: &Call) -> Step {
    let current = stored(worker, key)?;
    let get = get.clone().field("If-Match", format!("\"{current}\""));
    let other = format!("\"{}\"", current + 1);
    answers(worker, &get.clone().field("If-None-Match", other), false, current)?;
    answers(worker, &get.field("If-None-Match", format!("\"{current}\"")), true, current)
}

fn answers(worker: &mut Worker<'_>, get: &Call, is_known: bool, current: u64) -> Step {
    let answer = worker.ask(get)?;
    let (promise, status) = if is_known { (NOT_MODIFIED, 304) } else { (OTHER, 200) };
    worker.status(promise, &answer, &[status])?;
    let seen = answer.field("etag").unwrap_or("no ETag").to_owned();
    worker.holds(TAGGED, answer.version() == Some(current), format!("\"{current}\""), seen)
}

fn batch(worker: &mut Worker<'_>, key: &str, op: &str, at: usize) -> Step {
    let current = stored(worker, key)?;
    let (asked, holds) = asked(current)[at];
    let op = match op {
        "put" => json!({"op": op, "key": key, "value": 2, "if_version": asked}),
        _ => json!({"op": op, "key": key, "if_version": asked}),
    };
    let is_put = op.get("value").is_some();
    let answer = worker.call(&Call::batch(&[op]))?;
    if !holds {
        worker.status(REFUSED, &answer, &[412])?;
        return unchanged(worker, key, "1", current);
    }
    worker.status(DONE, &answer, &[200])?;
    if !is_put {
        return gone(worker, key);
    }
    let answer = worker.ask(&Call::get(key))?;
    worker.value(DONE, &answer, "2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(version: u64, fields: &[(&'static str, &str)], holds: bool) {
        let fields: Vec<_> =
            fields.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
        let all = conditions(version);
        let found = all.iter().find(|condition| condition.fields == fields);
        assert_eq!(found.map(|condition| condition.holds), Some(holds), "{fields:?}");
    }

    #[test]
    fn what_matches_a_version_is_its_tag_alone() {
        check(12, &[("If-Match", r#""12""#)], true);
        check(12, &[("If-Match", r#""1""#)], false);
        check(12, &[("If-Match", r#""120""#)], false);
        check(12, &[("If-None-Match", r#""1""#)], true);
        check(12, &[("If-None-Match", "*")], false);
        check(1, &[("If-Match", r#""10""#)], false);
    }

    #[test]
    fn a_weak_tag_matches_in_if_none_match_only() {
        check(12, &[("If-Match", r#"W/"12""#)], false);
        check(12, &[("If-None-Match", r#"W/"12""#)], false);
    }

    #[test]
    fn of_two_conditions_both_hold() {
        let both = |first, second| [("If-Match", first), ("If-None-Match", second)];
        check(12, &both(r#""12""#, r#""13""#), true);
        check(12, &both(r#""12""#, r#""12""#), false);
        check(12, &both(r#""13""#, r#""13""#), false);
        check(12, &both(r#""13""#, r#""12""#), false);
    }

    #[test]
    fn each_version_has_as_many_cases_and_only_its_own_matches() {
        for version in [1, 9, 10, 4_711, u64::MAX / 20] {
            assert_eq!(conditions(version).len(), conditions(1).len());
            let others = asked(version).into_iter().skip(1);
            assert!(others.clone().all(|(other, holds)| other != Some(version) && !holds));
            assert!(others.clone().all(|(other, _)| other != Some(0)), "{version}");
        }
    }
}
