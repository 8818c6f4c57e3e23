//! `POST /batch` of the servers that are checked.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use common::config::value::millis;
use common::http::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::fault::Fault;
use super::server::{Refusal, respond};
use super::store::{Asked, Condition, Entry, Refused, State, Store, rounded};

const OPS_MAX: usize = 1_000;
/// Parts in which a batch is done that is torn, or not undone, when it is large.
const PART: usize = 100;

/// Does all operations, or none.
pub(super) fn run(store: &Store, body: &[u8]) -> Result<Response, Refusal> {
    let body: Option<Body<'_>> = serde_json::from_slice(body).ok();
    let ops = body.map(|body| body.ops).filter(|ops| (1..=OPS_MAX).contains(&ops.len()));
    let ops = ops.ok_or_else(|| Refusal::of(422, "ops: 1 to 1000"))?;
    let ops: Option<Vec<Op>> = ops.into_iter().map(|op| Op::read(op, store)).collect();
    let ops = ops.filter(|ops| ops.iter().all(is_valid)).ok_or(Refused::Invalid)?;
    let mut state = store.lock();
    let before = state.snapshot();
    let mut results = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        let ends_part = index > 0 && index.is_multiple_of(PART);
        if (store.has(Fault::TornBatch) && index == ops.len() / 2)
            || (store.has(Fault::TornLargeBatch) && ends_part)
        {
            drop(state);
            thread::sleep(Duration::from_micros(300));
            state = store.lock();
        }
        match one(store, &mut state, op) {
            Ok(result) => results.push(result),
            Err(refused) => {
                let stays = store.has(Fault::HalfLargeBatch) && index >= PART;
                if !store.has(Fault::HalfBatch) && !stays {
                    state.restore(before);
                }
                let Refusal(status, detail) = refused.into();
                let error = format!("op {index}: {}", detail["error"].as_str().unwrap_or_default());
                return Err(Refusal::of(status, &error));
            }
        }
    }
    let (version, results) = (state.version, results.join(","));
    let body = format!("{{\"success\":true,\"version\":{version},\"results\":[{results}]}}");
    Ok(respond(200, &body))
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    ops: Vec<&'a RawValue>,
}

/// An operation.
struct Op {
    /// Its members but the value.
    members: Value,
    /// The value as it came.
    value: Option<String>,
}

impl Op {
    fn read(op: &RawValue, store: &Store) -> Option<Op> {
        let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(op.get()).ok()?;
        let value = members.remove("value").map(|value| match store.fault {
            Some(Fault::BatchRounds) => rounded(value.get()),
            _ => value.get().to_owned(),
        });
        let read =
            |(name, value): (_, &RawValue)| Some((name, serde_json::from_str(value.get()).ok()?));
        let members = members.into_iter().map(read).collect::<Option<_>>()?;
        Some(Op { members: Value::Object(members), value })
    }
}

fn is_valid(Op { members: op, value }: &Op) -> bool {
    let has_key = op["key"].is_string();
    let has_ttl = op.get("ttl").is_none() || ttl(op).is_some();
    has_key
        && match op["op"].as_str() {
            Some("put") => value.is_some() && has_ttl,
            Some("get" | "delete") => true,
            Some("incr") => op.get("by").is_none_or(Value::is_i64),
            _ => false,
        }
}

/// A number of seconds, or a duration in a string.
fn ttl(op: &Value) -> Option<Duration> {
    let ttl = op.get("ttl")?;
    let text = ttl.as_str().map_or_else(|| ttl.to_string(), str::to_owned);
    millis(&text).filter(|ttl| *ttl > 0).map(Duration::from_millis)
}

fn one(
    store: &Store,
    state: &mut State,
    Op { members: op, value }: &Op,
) -> Result<String, Refused> {
    let key = store.key(op["key"].as_str().unwrap_or_default());
    let condition = match op.get("if_version") {
        None => Condition::default(),
        Some(Value::Null) => Condition { matches: None, differs: Some(vec![Asked::Any]) },
        Some(version) => {
            let asked = Asked::version(version.as_u64().unwrap_or(0));
            Condition { matches: Some(vec![asked]), differs: None }
        }
    };
    condition.check(store.fault, state.find(&key))?;
    let shown = &op["key"];
    Ok(match op["op"].as_str().unwrap_or_default() {
        "put" => {
            let ttl = ttl(op).filter(|_| !store.has(Fault::BatchIgnoresExpiry));
            let version = state.put(store.fault, &key, value.as_deref().unwrap_or("null"), ttl);
            json!({"op": "put", "key": shown, "version": version}).to_string()
        }
        "delete" => {
            let found = state.delete(store.fault, &key);
            json!({"op": "delete", "key": shown, "found": found}).to_string()
        }
        "incr" => {
            let sum = state.sum(store.fault, &key, op["by"].as_i64().unwrap_or(1))?;
            let left = state.left(&key);
            let version = state.put(store.fault, &key, &sum.to_string(), left);
            json!({"op": "incr", "key": shown, "value": sum, "version": version}).to_string()
        }
        _ => match state.find(&key) {
            Some(entry) => {
                let Entry { value, version, .. } = entry;
                format!(
                    "{{\"op\":\"get\",\"key\":{shown},\"found\":true,\"value\":{value},\"version\":{version}}}"
                )
            }
            None => json!({"op": "get", "key": shown, "found": false}).to_string(),
        },
    })
}
