//! Histories with known verdicts: the project's own, which say theirs in their names, and recorded
//! ones of others, which lie beside the checkout where there are any.

use std::fs;
use std::path::{Path, PathBuf};

use checker::history::format::{Format, Model};
use checker::history::{Limits, Verdict, check};

fn verdict(file: &Path, format: Option<Format>, model: Model) -> String {
    let text = fs::read_to_string(file).unwrap();
    let format = format.unwrap_or_else(|| Format::of(&text));
    let recorded = format.read(&text, model).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let absent_is_empty = recorded.absent_is_empty;
    let verdict = check(&recorded.operations, &Limits { absent_is_empty, ..Limits::default() });
    if let Verdict::NotLinearizable(example) = &verdict {
        // A counter-example is evidence only if it is one itself.
        let initial = example.initial.clone();
        let limits = Limits { initial, absent_is_empty, ..Limits::default() };
        let again = check(&example.operations, &limits);
        assert!(matches!(again, Verdict::NotLinearizable(_)), "{}: {example:#?}", file.display());
    }
    verdict.to_string()
}

#[test]
fn own_histories_get_the_verdicts_in_their_names() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/histories");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let expected = name.split('.').nth(1).unwrap().replace('-', " ");
        assert_eq!(verdict(&path, None, Model::Any), expected, "{name}");
        count += 1;
    }
    assert!(count >= 19, "only {count} histories");
}

/// Where recorded histories may lie: `HISTORIES`, or beside the checkout.
fn recorded_histories() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folders = [root.join("../shared/data/histories"), root.join("../../shared/data/histories")];
    let named = std::env::var_os("HISTORIES").map(PathBuf::from);
    named.into_iter().chain(folders).find(|folder| folder.join("verdicts.tsv").is_file())
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that tests nothing has to say so")]
fn recorded_histories_get_their_known_verdicts() {
    let Some(folder) = recorded_histories() else {
        eprintln!("SKIPPED: no folder ../shared/data/histories, and HISTORIES names none");
        return;
    };
    let table = fs::read_to_string(folder.join("verdicts.tsv")).unwrap();
    for line in table.lines().skip(1).filter(|line| !line.is_empty()) {
        let [file, model, expected] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let model = match model {
            "register" => Model::Register,
            "cas-register" => Model::CasRegister,
            "kv" => Model::Kv,
            other => panic!("{file}: no model '{other}'"),
        };
        assert_eq!(verdict(&folder.join(file), None, model), expected, "{file}");
    }
}
