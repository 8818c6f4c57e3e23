//! The ways in which a value gets into a service and out of it again. Each parses and prints it
//! anew, so a value that survives one may not survive another.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::audit::call::{Call, path};
use crate::audit::features::Feature;
use crate::audit::page::Page;
use crate::audit::run::Run;
use crate::audit::session::Answer;
use crate::audit::worker::{Step, Worker, shown};
use crate::exact;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Put,
    Post,
    RawPut,
    RawPost,
    Batch,
}

/// How it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Get,
    Raw,
    Batch,
    List,
}

/// The ways that a service has.
pub(super) struct Ways {
    pub(super) writes: Vec<Write>,
    pub(super) reads: Vec<Read>,
}

impl Ways {
    /// Every service has those of the fixed part.
    pub(super) fn of(run: &Run<'_>) -> Ways {
        let mut writes = vec![Write::Put, Write::Post];
        let mut reads = vec![Read::Get];
        // Raw values come with versions; what has none is the fixed part alone.
        if run.has(Feature::Versions) {
            writes.extend([Write::RawPut, Write::RawPost]);
            reads.push(Read::Raw);
        }
        if run.has(Feature::Batch) {
            writes.push(Write::Batch);
            reads.push(Read::Batch);
        }
        if run.has(Feature::List) {
            reads.push(Read::List);
        }
        Ways { writes, reads }
    }
}

impl Write {
    /// The call that writes this value, which is JSON text.
    pub(super) fn call(self, key: &str, value: &str) -> Call {
        match self {
            Write::Put => Call::put(key, value),
            Write::Post => Call::post(key, value),
            Write::RawPut => raw(http::Method::PUT, key, value),
            Write::RawPost => raw(http::Method::POST, key, value),
            Write::Batch => {
                // Not by way of a JSON library, which might round it.
                let key = Value::from(key);
                let op = format!("{{\"op\":\"put\",\"key\":{key},\"value\":{value}}}");
                batch(&op)
            }
        }
    }
}

impl Read {
    /// Asserts that the key has this value.
    pub(super) fn value(
        self,
        worker: &mut Worker<'_>,
        promise: &str,
        key: &str,
        value: &str,
    ) -> Step {
        let answer = worker.ask(&self.call(key))?;
        if self == Read::Get {
            return worker.value(promise, &answer, value);
        }
        let found = self.found(&answer, key);
        let holds = found.is_some_and(|found| exact::same(&found, value));
        worker.holds(promise, holds, format!("200 with the value {value}"), shown(&answer))
    }

    fn call(self, key: &str) -> Call {
        match self {
            Read::Get => Call::get(key),
            Read::Raw => Call::get(key).query("raw", ""),
            Read::Batch => batch(&format!("{{\"op\":\"get\",\"key\":{}}}", Value::from(key))),
            // A key is the first of those that it begins.
            Read::List => Call::list(key).query("limit", "1").query("values", "true"),
        }
    }

    /// The value's JSON, if the answer has it and names the key.
    fn found(self, answer: &Answer, key: &str) -> Option<String> {
        if answer.status != 200 {
            return None;
        }
        let (named, value) = match self {
            Read::Raw => return Some(answer.body.clone()),
            Read::Get => {
                let found: Found = serde_json::from_str(&answer.body).ok()?;
                (found.key, found.value)
            }
            Read::Batch => {
                let results: Results = serde_json::from_str(&answer.body).ok()?;
                let found = results.results.into_iter().next()?;
                (found.key, found.value)
            }
            Read::List => {
                let entry = Page::read(answer)?.entries.into_iter().next()?;
                (entry.key, entry.value)
            }
        };
        (named == key).then(|| value.get().to_owned())
    }
}

/// The results of a batch, as far as they are needed.
#[derive(Deserialize)]
struct Results {
    results: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    key: String,
    value: Box<RawValue>,
}

fn raw(method: http::Method, key: &str, value: &str) -> Call {
    Call::new(method, path("/keys/", key)).query("raw", "").body(value)
}

fn batch(op: &str) -> Call {
    Call::new(http::Method::POST, "/batch").body(format!("{{\"ops\":[{op}]}}"))
}
