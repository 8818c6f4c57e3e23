//! A walk through the pages of a list sees every key that is there all the time exactly once,
//! whatever others write meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::page::Page;
use crate::audit::run::Run;
use crate::audit::worker::{Step, Worker, shown, value_of};
use crate::exact;

use super::{Workflow, prefix_deletion};

pub(super) static LISTING: Workflow = Workflow {
    name: "listing",
    promise: "a walk through a list sees every key that stays exactly once, in order",
    needs: &[Feature::List],
    run,
};

const ONCE: &str = "every key that is there during the whole walk is seen exactly once";
const ORDER: &str = "keys are listed in byte order";
const PREFIX: &str = "a list holds the keys with its prefix and no others";
const LIMIT: &str = "a page holds no more keys than its limit";
const END: &str = "a walk comes to its end: next_cursor is null";
const PHANTOM: &str = "a list holds no key that was never written, and none that was deleted";
const VALUES: &str = "a list with values holds the value and the version of each key";

/// Keys that stay, beside those of every byte.
const STABLE: usize = 160;
/// Keys that each churning client writes and deletes.
const CHURNING: usize = 60;
/// Limits of the walks; none is the default.
const LIMITS: &[Option<usize>] = &[Some(1), Some(2), Some(7), None, Some(1_000), Some(33)];
/// Far more pages than there are keys.
const PAGES_MAX: usize = 5_000;

fn run(run: &Run<'_>) {
    let stable = stable_keys(run);
    let stored = AtomicBool::new(false);
    run.worker(|worker| {
        let ok = worker.case(ONCE, |worker| {
            for (number, key) in stable.iter().enumerate() {
                worker.forget_trail();
                let answer = worker.call(&Call::put(key, &number.to_string()))?;
                worker.status("a key of any characters can be stored", &answer, &[200])?;
            }
            Ok(())
        });
        stored.store(ok, Ordering::Relaxed);
    });
    if !stored.load(Ordering::Relaxed) {
        return;
    }
    // First, for what was deleted is looked at once more in the end.
    let gone = run.has(Feature::PrefixDeletion).then(|| prefix_deletion::check(run));
    walk_while_others_write(run, &stable);
    run.worker(|worker| {
        for limit in LIMITS {
            worker.case(ONCE, |worker| at_rest(worker, &stable, *limit));
        }
        worker.case(VALUES, |worker| values(worker, &stable));
        worker.case(PREFIX, |worker| prefixes(worker, &stable));
        worker.case(PHANTOM, |worker| comes_and_goes(worker, &stable));
        if let Some(gone) = &gone {
            worker.case(PHANTOM, |worker| prefix_deletion::stays_gone(worker, gone));
        }
    });
}

/// Keys with every printable byte, with characters of each length, and many of one kind.
fn stable_keys(run: &Run<'_>) -> BTreeSet<String> {
    let mut keys: BTreeSet<_> =
        (0..STABLE).map(|number| run.key(&format!("s/{number:03}"))).collect();
    for byte in (b' '..=b'~').map(char::from) {
        keys.insert(run.key(&format!("s/{byte}")));
        keys.insert(run.key(&format!("s/a{byte}a")));
    }
    for odd in [
        "\u{1}",
        "\n",
        "\u{7f}",
        "\u{80}",
        "é",
        "e\u{301}",
        "ÿ",
        "\u{7ff}",
        "\u{800}",
        "日本",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{10000}",
        "🦀",
        "\u{10ffff}",
    ] {
        keys.insert(run.key(&format!("s/{odd}")));
        keys.insert(run.key(&format!("s/{odd}/b")));
    }
    keys
}

/// Walks to the end, and holds each page to order, prefix and limit.
fn walk(worker: &mut Worker<'_>, prefix: &str, limit: Option<usize>) -> Step<Vec<String>> {
    let mut seen: Vec<String> = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let mut call = Call::list(prefix);
        if let Some(limit) = limit {
            call = call.query("limit", &limit.to_string());
        }
        if let Some(cursor) = &cursor {
            call = call.query("cursor", cursor);
        }
        let answer = worker.ask(&call)?;
        let Some(page) = Page::read(&answer) else {
            worker.holds("a list answers keys and next_cursor", false, "a page", shown(&answer))?;
            return Ok(seen);
        };
        let (count, most) = (page.keys.len(), limit.unwrap_or(100));
        worker.holds(LIMIT, count <= most, format!("at most {most}"), count)?;
        for key in page.keys {
            worker.holds(PREFIX, key.starts_with(prefix), format!("{prefix}…"), &key)?;
            if let Some(before) = seen.last() {
                let expected = format!("a key behind {before}, each once");
                worker.holds(ORDER, key.as_bytes() > before.as_bytes(), expected, &key)?;
            }
            seen.push(key);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(seen);
        }
    }
    worker.holds(END, false, format!("an end within {PAGES_MAX} pages"), "more pages")?;
    Ok(seen)
}

fn walk_while_others_write(run: &Run<'_>, stable: &BTreeSet<String>) {
    let clients = run.clients(4, 16);
    let walkers = (clients / 2).max(2);
    let walking = std::sync::atomic::AtomicUsize::new(walkers);
    let prefix = format!("{}s/", run.prefix);
    run.workers(clients, |worker| {
        if worker.index >= walkers {
            churn(worker, &walking);
            return;
        }
        for (number, limit) in LIMITS.iter().enumerate() {
            if number % walkers != worker.index {
                continue;
            }
            worker.case(ONCE, |worker| {
                let seen: BTreeSet<_> = walk(worker, &prefix, *limit)?.into_iter().collect();
                let missed: Vec<_> = stable.difference(&seen).take(5).collect();
                let expected = format!("{} keys that stay, with limit {limit:?}", stable.len());
                let left_out = format!("a walk without {missed:?}");
                worker.holds(ONCE, missed.is_empty(), expected, left_out)?;
                let is_known = |key: &&String| !stable.contains(*key) && !key.contains("churn");
                let phantom = seen.iter().find(is_known);
                worker.holds(PHANTOM, phantom.is_none(), "known keys", format!("{phantom:?}"))
            });
        }
        walking.fetch_sub(1, Ordering::Relaxed);
    });
}

/// Writes and deletes keys between the others, for as long as somebody walks.
fn churn(worker: &mut Worker<'_>, walking: &std::sync::atomic::AtomicUsize) {
    let keys: Vec<_> = (0..CHURNING)
        .map(|number| {
            let place = worker.rng.u8(b'!'..=b'~');
            worker.run.key(&format!("s/{}churn-{}-{number}", char::from(place), worker.index))
        })
        .collect();
    while walking.load(Ordering::Relaxed) > 0 && !worker.run.is_over() {
        let key = worker.rng.choice(&keys);
        let Some(key) = key else { break };
        let call = if worker.rng.bool() { Call::put(key, "0") } else { Call::delete(key) };
        worker.send_untracked(&call);
    }
    for key in &keys {
        worker.case(PHANTOM, |worker| worker.ask(&Call::delete(key)).map(|_| ()));
    }
}

/// When nobody writes, a walk sees exactly what is there.
fn at_rest(worker: &mut Worker<'_>, stable: &BTreeSet<String>, limit: Option<usize>) -> Step {
    let prefix = format!("{}s/", worker.run.prefix);
    let seen: BTreeSet<_> = walk(worker, &prefix, limit)?.into_iter().collect();
    let missed: Vec<_> = stable.difference(&seen).take(5).collect();
    worker.holds(ONCE, missed.is_empty(), "all keys", format!("a walk without {missed:?}"))?;
    // A churning client whose deletion got no answer may have left a key.
    let more = seen.difference(stable).find(|key| !key.contains("churn"));
    worker.holds(PHANTOM, more.is_none(), "no other keys", format!("{more:?}"))
}

fn values(worker: &mut Worker<'_>, stable: &BTreeSet<String>) -> Step {
    let prefix = format!("{}s/", worker.run.prefix);
    let call = Call::list(&prefix).query("values", "true").query("limit", "1000");
    let answer = worker.ask(&call)?;
    let page = Page::read(&answer);
    let entries = page.map(|page| page.entries).unwrap_or_default();
    for (number, key) in stable.iter().enumerate() {
        let entry = entries.iter().find(|entry| entry.key == *key);
        let holds = entry.is_some_and(|entry| exact::same(entry.value.get(), &number.to_string()));
        let seen = entry.map_or("nothing", |entry| entry.value.get()).to_owned();
        worker.holds(VALUES, holds, format!("{key} with {number}"), seen)?;
        // One in a few: it costs a call.
        if let Some(entry) = entry.filter(|_| number % 16 == 0) {
            let answer = worker.ask(&Call::get(key))?;
            let is_same = answer.version() == Some(entry.version)
                && value_of(&answer).is_some_and(|value| exact::same(&value, entry.value.get()));
            let expected = format!("version {}", entry.version);
            worker.holds(VALUES, is_same, expected, shown(&answer))?;
        }
    }
    Ok(())
}

fn prefixes(worker: &mut Worker<'_>, stable: &BTreeSet<String>) -> Step {
    let all = &worker.run.prefix;
    for suffix in [
        "s/0", "s/00", "s/a", "s/%", "s/_", "s/*", "s/.", "s/é", "s/e", "s/日", "s/🦀", "s/\\",
        "S/", "none",
    ] {
        let prefix = format!("{all}{suffix}");
        let wanted: Vec<_> = stable.iter().filter(|key| key.starts_with(&prefix)).collect();
        let seen = walk(worker, &prefix, Some(3))?;
        let seen: Vec<_> = seen.iter().filter(|key| !key.contains("churn")).collect();
        let (expected, found) = (format!("{wanted:?}"), format!("{seen:?}"));
        worker.holds(PREFIX, wanted == seen, expected, found)?;
    }
    Ok(())
}

/// A key is in the list once its write is answered, and not once its deletion is.
fn comes_and_goes(worker: &mut Worker<'_>, stable: &BTreeSet<String>) -> Step {
    let prefix = format!("{}s/", worker.run.prefix);
    for round in 0..10 {
        let key = worker.run.key(&format!("s/5-comes-{round}"));
        let answer = worker.call(&Call::put(&key, "1"))?;
        worker.status("a value can be stored", &answer, &[200])?;
        let listed = walk(worker, &format!("{prefix}5-comes-"), None)?;
        worker.holds(
            "a stored key is listed at once",
            listed == [key.clone()],
            &key,
            listed.join(" "),
        )?;
        let answer = worker.call(&Call::delete(&key))?;
        worker.status("a key that is there can be deleted", &answer, &[200])?;
        let listed = walk(worker, &format!("{prefix}5-comes-"), None)?;
        worker.holds(PHANTOM, listed.is_empty(), "no key", listed.join(" "))?;
    }
    // A cursor whose key is gone still leads on.
    let first = Page::read(&worker.ask(&Call::list(&prefix).query("limit", "3"))?);
    let (Some(page), Some(behind)) = (first, stable.iter().nth(3)) else { return Ok(()) };
    let (Some(cursor), Some(last)) = (page.next_cursor, page.keys.last().cloned()) else {
        return Ok(());
    };
    worker.call(&Call::delete(&last))?;
    let answer = worker.ask(&Call::list(&prefix).query("limit", "1").query("cursor", &cursor))?;
    let next = Page::read(&answer).and_then(|page| page.keys.into_iter().next());
    let holds = next.as_ref().is_some_and(|key| key == behind || key.contains("churn"));
    worker.holds("a cursor leads on when its key is deleted", holds, behind, shown(&answer))
}
