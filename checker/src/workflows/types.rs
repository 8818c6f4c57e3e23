//! Every JSON value and every key comes back as it was stored.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::session::Answer;
use crate::audit::worker::{Step, Worker, shown, value_of};
use crate::exact;

use super::values::{self, Asked, LENGTHS, NESTED_LENGTHS, SIZES, VALUES};
use super::ways::Ways;
use super::{Workflow, heads};

pub(super) static TYPES: Workflow = Workflow {
    name: "types",
    promise: "every JSON value and every key comes back as it was stored",
    needs: &[],
    run,
};

const KEPT: &str = "a value comes back as it was stored, nothing rounded, cut or changed";
const APART: &str = "keys that differ are different keys";
const REPLACED: &str = "every JSON value can be stored in place of another";

/// A body that every service takes, in bytes.
const ALWAYS_TAKEN_BYTES: usize = 4_096;

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
/// The longest key, and the longest of a service that says nothing of its own limit.
const KEY_BYTES_MAX: usize = 1_024;
const KEY_BYTES_OF_ALL: usize = 255;
/// Servers like to cut at powers of two: pairs of keys of these lengths differ in their last byte.
const KEY_LENGTHS: &[usize] = &[64, 65, 128, 129, 255, 256, 257, 512, 513, 1_023, KEY_BYTES_MAX];
/// Random values that are stored.
const RANDOM_VALUES: usize = 100;
/// Digits that a double does not hold.
const DIGITS_MIN: usize = 16;

/// What is stored, and by whom it has to be kept.
struct Case {
    key: String,
    value: String,
    asked: Asked,
}

/// What is known of the service, for all cases.
struct Known {
    ways: Ways,
    has_head: bool,
}

fn run(run: &Run<'_>) {
    let cases = cases(run);
    let clients = run.clients(2, 8);
    let has_head = AtomicBool::new(false);
    run.worker(|worker| has_head.store(heads::has_head(worker), Ordering::Relaxed));
    let known = Known { ways: Ways::of(run), has_head: has_head.into_inner() };
    run.workers(clients, |worker| {
        for (number, case) in cases.iter().enumerate().skip(worker.index).step_by(clients) {
            worker.case(KEPT, |worker| store(worker, case, number, &known));
        }
    });
    // All of them again when all are there: two keys for one would show.
    run.workers(clients, |worker| {
        for case in cases.iter().skip(clients - 1 - worker.index).step_by(clients) {
            worker.case(APART, |worker| look_again(worker, case, &known));
        }
    });
    if known.has_head {
        heads::from_elsewhere(run);
    }
}

fn cases(run: &Run<'_>) -> Vec<Case> {
    let is_exact = run.has(Feature::Versions);
    let mut rng = fastrand::Rng::with_seed(run.plan.settings.seed);
    let mut cases = Vec::new();
    let mut add = |suffix: &str, value: String, asked| {
        cases.push(Case { key: run.key(suffix), value, asked });
    };
    // The original takes half a surrogate pair, and fails when it is asked for it.
    let is_asked = |asked: Asked| is_exact || asked != Asked::OrRefused;
    for (what, value, asked) in VALUES.iter().filter(|(_, _, asked)| is_asked(*asked)) {
        add(&format!("value {what}"), (*value).to_owned(), *asked);
    }
    for (number, value) in values::pairs_of_escapes().into_iter().enumerate() {
        add(&format!("escapes {number}"), value, Asked::OfAll);
    }
    for bytes in LENGTHS {
        add(&format!("length {bytes}"), values::long_text(&mut rng, *bytes), Asked::OfAll);
    }
    for bytes in NESTED_LENGTHS {
        add(&format!("nested {bytes}"), values::nested_text(&mut rng, *bytes), Asked::OfAll);
    }
    for items in SIZES {
        add(&format!("array {items}"), values::array(*items), Asked::OfAll);
        add(&format!("object {items}"), values::object(*items), Asked::OfAll);
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
    for (number, key) in long_keys(run.prefix.len(), is_exact).iter().enumerate() {
        add(key, number.to_string(), Asked::OfAll);
    }
    cases
}

/// What follows the prefix in long keys.
fn long_keys(prefix_bytes: usize, is_exact: bool) -> Vec<String> {
    let bytes_max = if is_exact { KEY_BYTES_MAX } else { KEY_BYTES_OF_ALL };
    let mut keys = Vec::new();
    for bytes in KEY_LENGTHS.iter().filter(|bytes| **bytes <= bytes_max) {
        let same = "k".repeat(bytes.saturating_sub(prefix_bytes + 1));
        keys.extend(["a", "b"].map(|last| [&same, last].concat()));
    }
    if is_exact {
        keys.push("é".repeat((KEY_BYTES_MAX - prefix_bytes) / 2));
    }
    keys
}

fn store(worker: &mut Worker<'_>, case: &Case, number: usize, known: &Known) -> Step {
    let answer = worker.ask(&Call::post(&case.key, &case.value))?;
    if is_too_large(worker, case, &answer) {
        return Ok(());
    }
    if case.asked != Asked::OfAll && !worker.run.has(Feature::Versions) {
        return alteration(worker, case);
    }
    let may_refuse = case.asked == Asked::OrRefused;
    if may_refuse && (400..500).contains(&answer.status) {
        return Ok(());
    }
    worker.status("every JSON value can be stored", &answer, &[200, 201])?;
    let answer = worker.ask(&Call::get(&case.key))?;
    worker.value(KEPT, &answer, &case.value)?;
    if known.has_head {
        heads::like_get(worker, &case.key, &answer)?;
    }
    // One way may refuse what another took.
    if may_refuse { Ok(()) } else { all_ways(worker, case, number, known) }
}

/// Writes the value in place of another and reads it, each time another way. Numbers take all ways,
/// for each may have a parser of its own.
fn all_ways(worker: &mut Worker<'_>, case: &Case, number: usize, known: &Known) -> Step {
    let Ways { writes, reads } = &known.ways;
    let times = if has_long_number(&case.value) { writes.len().max(reads.len()) } else { 1 };
    for turn in number..number + times {
        let other = format!("[\"another\",{turn}]");
        let answer = worker.ask(&Call::put(&case.key, &other))?;
        worker.status(REPLACED, &answer, &[200])?;
        let write = writes[turn % writes.len()];
        let answer = worker.ask(&write.call(&case.key, &case.value))?;
        if is_too_large(worker, case, &answer) {
            // What goes around a value may be more here than there.
            let answer = worker.ask(&Call::post(&case.key, &case.value))?;
            worker.status(REPLACED, &answer, &[200, 201])?;
        } else {
            worker.status(REPLACED, &answer, &[200, 201])?;
        }
        // Values that follow one another meet each pair of ways in time.
        let read = reads[(turn + turn / writes.len()) % reads.len()];
        read.value(worker, KEPT, &case.key, &case.value)?;
    }
    Ok(())
}

fn has_long_number(value: &str) -> bool {
    let starts_number = value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    starts_number && value.len() >= DIGITS_MIN
}

fn look_again(worker: &mut Worker<'_>, case: &Case, known: &Known) -> Step {
    if case.asked != Asked::OfAll && !worker.run.has(Feature::Versions) {
        return Ok(());
    }
    let answer = worker.ask(&Call::get(&case.key))?;
    // What was refused was not stored.
    let may_be_absent = case.asked == Asked::OrRefused || case.value.len() > ALWAYS_TAKEN_BYTES;
    if may_be_absent && answer.status == 404 {
        return Ok(());
    }
    worker.value(APART, &answer, &case.value)?;
    if known.has_head { heads::like_get(worker, &case.key, &answer) } else { Ok(()) }
}

fn is_too_large(worker: &mut Worker<'_>, case: &Case, answer: &Answer) -> bool {
    if answer.status == 413 {
        let bytes = case.value.len();
        let note = format!("a value of {bytes} bytes is larger than the service takes");
        worker.run.ledger.entries().note(note);
    }
    answer.status == 413
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
