//! `checker history`: recorded histories in, a verdict a line out.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use common::cli::{self, EXIT_FAILURE, EXIT_USAGE};
use common::text::{escaped_bytes, io_error};

use crate::config::History;
use crate::history::format::{Format, Recorded};
use crate::history::timeline::Timeline;
use crate::history::{Limits, Operation, Reason, Verdict, check};

/// Some history is unknown, and none is worse.
const EXIT_UNKNOWN: u8 = 2;

/// What a byte of a file may take in memory while it is read and checked.
const JSON_BYTES_PER_BYTE: usize = 4;
/// The same for formats that are read as a tree first.
const TREE_BYTES_PER_BYTE: usize = 16;

/// What came of a file.
enum Judged {
    Verdict(Verdict),
    /// It holds no operation at all, so that nothing has been shown.
    Empty,
}

/// Judges all files, in their order.
pub fn judge(history: &History) -> ExitCode {
    let [mut is_broken, mut is_unread, mut is_unknown] = [false; 3];
    for file in &history.files {
        let name = escaped_bytes(file.as_encoded_bytes()).to_string();
        let verdict = match judge_file(file, history) {
            Err(error) => {
                is_unread = true;
                tell(&format!("error: {name}: {error}\n"));
                continue;
            }
            Ok(Judged::Empty) => {
                tell(&format!("{name}: holds no operation\n"));
                is_unknown = true;
                "unknown".to_owned()
            }
            Ok(Judged::Verdict(verdict)) => {
                match &verdict {
                    Verdict::Linearizable => {}
                    Verdict::NotLinearizable(example) => {
                        is_broken = true;
                        if history.explained_max > 0 {
                            let operations_max = history.explained_max;
                            tell(&format!("{name}: {}", Timeline { example, operations_max }));
                        }
                    }
                    Verdict::Unknown(reason) => {
                        is_unknown = true;
                        tell(&format!("{name}: {reason}\n"));
                    }
                }
                verdict.to_string()
            }
        };
        let printed = cli::print(&format!("{name}\t{verdict}\n"));
        if printed != ExitCode::SUCCESS {
            return printed;
        }
    }
    // A broken promise wins over all.
    match (is_broken, is_unread, is_unknown) {
        (true, _, _) => EXIT_FAILURE.into(),
        (false, true, _) => EXIT_USAGE.into(),
        (false, false, true) => EXIT_UNKNOWN.into(),
        (false, false, false) => ExitCode::SUCCESS,
    }
}

fn judge_file(file: &OsStr, history: &History) -> Result<Judged, String> {
    let memory_bytes_max = history.memory_bytes_max;
    let Some(text) = read(Path::new(file), memory_bytes_max)? else {
        return Ok(Judged::Verdict(Verdict::Unknown(Reason::Memory)));
    };
    let format = history.format.unwrap_or_else(|| Format::of(&text));
    let needed = text.len().saturating_mul(match format {
        Format::Jsonl => JSON_BYTES_PER_BYTE,
        Format::JepsenLog | Format::Edn => TREE_BYTES_PER_BYTE,
    });
    if needed > memory_bytes_max {
        return Ok(Judged::Verdict(Verdict::Unknown(Reason::Memory)));
    }
    let recorded = format.read(&text, history.model).map_err(|error| error.to_string())?;
    drop(text);
    let Recorded { operations, absent_is_empty, values } = recorded;
    if operations.is_empty() {
        return Ok(Judged::Empty);
    }
    let initial = history.initial.as_deref().and_then(|text| values.value(text));
    let limits = Limits {
        time: history.timeout,
        memory_bytes_max: memory_bytes_max
            .saturating_sub(operations.capacity() * size_of::<Operation>()),
        threads: history.threads,
        initial,
        absent_is_empty,
    };
    Ok(Judged::Verdict(check(&operations, &limits)))
}

/// The text of a file; `None` if it is longer than that.
fn read(path: &Path, bytes_max: usize) -> Result<Option<String>, String> {
    let file = File::open(path).map_err(|error| io_error(&error))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| io_error(&error))?;
    if bytes.len() >= bytes_max {
        return Ok(None);
    }
    String::from_utf8(bytes).map(Some).map_err(|refused| {
        let valid = &refused.as_bytes()[..refused.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        format!("line {line}: is not UTF-8")
    })
}

fn tell(text: &str) {
    // Nobody is left to hear of a standard error that cannot be written.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
