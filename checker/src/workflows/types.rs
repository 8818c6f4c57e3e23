//! Every JSON value and every key comes back as it was stored.

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::worker::{Step, Worker, shown, value_of};
use crate::exact;

use super::Workflow;
use super::values::{self, Asked, LENGTHS, VALUES};

pub(super) static TYPES: Workflow = Workflow {
    name: "types",
    promise: "every JSON value and every key comes back as it was stored",
    needs: &[],
    run,
};

const KEPT: &str = "a value comes back as it was stored, nothing rounded, cut or changed";
const APART: &str = "keys that differ are different keys";

/// Keys of the fixed part: no slash, which its original takes for another path.
const KEYS: &[&str] = &[
    "plain",
    "UPPER",
    "Upper",
    "upper",
    " space",
    "a b",
    "a+b",
    "a%2Bb",
    "a%20b",
    "a%b",
    "%",
    "%%",
    "%41",
    "A",
    "?",
    "a?b=c",
    "#",
    "a#b",
    "&",
    "=",
    ";",
    ":",
    "@",
    ",",
    "'",
    "\"",
    "\\",
    "\\n",
    "<>",
    "{}",
    "[]",
    "|",
    "^",
    "`",
    "~",
    "*",
    "$",
    "!",
    "(",
    ".",
    "..",
    "...",
    "a.",
    "null",
    "é",
    "e\u{301}",
    "\u{212b}",
    "Å",
    "日本",
    "🦀",
    "👩‍👧",
    "\u{200b}",
    "\u{a0}",
    "\t",
    "\n",
    "\u{7f}",
    "-",
    "_",
    "ß",
    "ss",
    "SS",
    "ı",
    "i",
    "I",
    "İ",
];
/// Keys that go beyond it.
const MORE_KEYS: &[&str] = &["a/b", "a//b", "/", "a/../b", "a/./b", "a%2Fb", "a/", "//"];
/// The longest key.
const KEY_BYTES_MAX: usize = 1_024;
/// Random values that are stored.
const RANDOM_VALUES: usize = 100;

/// What is stored, and by whom it has to be kept.
struct Case {
    key: String,
    value: String,
    asked: Asked,
}

fn run(run: &Run<'_>) {
    let cases = cases(run);
    let clients = run.clients(2, 8);
    run.workers(clients, |worker| {
        for case in cases.iter().skip(worker.index).step_by(clients) {
            worker.case(KEPT, |worker| store(worker, case));
        }
    });
    // All of them again when all are there: two keys for one would show.
    run.workers(clients, |worker| {
        for case in cases.iter().skip(clients - 1 - worker.index).step_by(clients) {
            worker.case(APART, |worker| {
                if is_refused(worker, case)? {
                    return Ok(());
                }
                let answer = worker.ask(&Call::get(&case.key))?;
                worker.value(APART, &answer, &case.value)
            });
        }
    });
}

fn cases(run: &Run<'_>) -> Vec<Case> {
    let is_exact = run.has(Feature::Versions);
    let mut rng = fastrand::Rng::with_seed(run.plan.settings.seed);
    let mut cases = Vec::new();
    let mut add = |suffix: &str, value: String, asked| {
        cases.push(Case { key: run.key(suffix), value, asked });
    };
    for (what, value, asked) in VALUES {
        add(&format!("value {what}"), (*value).to_owned(), *asked);
    }
    for bytes in LENGTHS {
        add(&format!("length {bytes}"), values::long_text(&mut rng, *bytes), Asked::OfAll);
    }
    for depth in [8, 32, 60] {
        add(&format!("depth {depth}"), values::nested(depth), Asked::OfAll);
    }
    for number in 0..RANDOM_VALUES {
        add(&format!("random {number}"), values::random(&mut rng, 4), Asked::OfAll);
    }
    let more = if is_exact { MORE_KEYS } else { &[] };
    for (number, key) in KEYS.iter().chain(more).enumerate() {
        add(&format!("key {key}"), number.to_string(), Asked::OfAll);
    }
    if is_exact {
        let rest = KEY_BYTES_MAX - run.prefix.len();
        for (number, key) in ["k".repeat(rest), "é".repeat(rest / 2)].iter().enumerate() {
            add(key, number.to_string(), Asked::OfAll);
        }
    }
    cases
}

fn store(worker: &mut Worker<'_>, case: &Case) -> Step {
    let answer = worker.ask(&Call::post(&case.key, &case.value))?;
    if answer.status == 413 {
        let bytes = case.value.len();
        let note = format!("a value of {bytes} bytes is larger than the service takes");
        worker.run.ledger.entries().note(note);
        return Ok(());
    }
    if case.asked == Asked::OfExact && !worker.run.has(Feature::Versions) {
        return alteration(worker, case);
    }
    worker.status("every JSON value can be stored", &answer, &[200, 201])?;
    let answer = worker.ask(&Call::get(&case.key))?;
    worker.value(KEPT, &answer, &case.value)?;
    let shown_key = serde_json::from_str::<Shown>(&answer.body).map(|shown| shown.key);
    let holds = shown_key.as_ref().is_ok_and(|key| *key == case.key);
    worker.holds("an answer names its key", holds, &case.key, &answer.body)?;
    let answer = worker.ask(&Call::put(&case.key, &case.value))?;
    worker.status("every JSON value can be stored in place of another", &answer, &[200])?;
    let answer = worker.ask(&Call::get(&case.key))?;
    worker.value(KEPT, &answer, &case.value)?;
    if worker.run.has(Feature::Versions) {
        let answer = worker.ask(&Call::get(&case.key).query("raw", ""))?;
        let holds = answer.status == 200 && exact::same(&answer.body, &case.value);
        worker.holds(KEPT, holds, format!("200 {}", case.value), shown(&answer))?;
    }
    Ok(())
}

/// The part of an answer to a GET that names the key.
#[derive(serde::Deserialize)]
struct Shown {
    key: String,
}

/// The fixed part does not say that such a value is kept; what becomes of it is worth a note.
fn alteration(worker: &mut Worker<'_>, case: &Case) -> Step {
    let answer = worker.ask(&Call::get(&case.key))?;
    let kept = value_of(&answer).is_some_and(|value| exact::same(&value, &case.value));
    if !kept {
        let note = format!("{} comes back as {}", case.value, shown(&answer));
        worker.run.ledger.entries().note(crate::report::quoted(&note));
    }
    Ok(())
}

/// Whether the service may have refused or changed this one.
fn is_refused(worker: &mut Worker<'_>, case: &Case) -> Step<bool> {
    if case.asked == Asked::OfExact && !worker.run.has(Feature::Versions) {
        return Ok(true);
    }
    // A body that was too large was not stored.
    let is_large = case.value.len() > 4_096;
    Ok(is_large && worker.ask(&Call::get(&case.key))?.status == 404)
}
