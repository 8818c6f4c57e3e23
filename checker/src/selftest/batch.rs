//! `POST /batch` of the servers that are checked.

use std::thread;
use std::time::Duration;

use common::config::value::millis;
use common::http::Response;
use serde_json::{Value, json};

use super::fault::Fault;
use super::server::{Refusal, respond};
use super::store::{Asked, Condition, Refused, State, Store};

const OPS_MAX: usize = 1_000;

/// Does all operations, or none.
pub(super) fn run(store: &Store, body: &[u8]) -> Result<Response, Refusal> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let ops = body["ops"].as_array().filter(|ops| (1..=OPS_MAX).contains(&ops.len()));
    let ops = ops.ok_or_else(|| Refusal::of(422, "ops: 1 to 1000"))?;
    if ops.iter().any(|op| !is_valid(op)) {
        return Err(Refused::Invalid.into());
    }
    let mut state = store.lock();
    let before = state.snapshot();
    let mut results = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        if store.has(Fault::TornBatch) && index == ops.len() / 2 {
            drop(state);
            thread::sleep(Duration::from_micros(300));
            state = store.lock();
        }
        match one(store, &mut state, op) {
            Ok(result) => results.push(result),
            Err(refused) => {
                if !store.has(Fault::HalfBatch) {
                    state.restore(before);
                }
                let Refusal(status, detail) = refused.into();
                let error = format!("op {index}: {}", detail["error"].as_str().unwrap_or_default());
                return Err(Refusal::of(status, &error));
            }
        }
    }
    let body = json!({"success": true, "version": state.snapshot().1, "results": results});
    Ok(respond(200, &body.to_string()))
}

fn is_valid(op: &Value) -> bool {
    let has_key = op["key"].is_string();
    let has_ttl = match &op["ttl"] {
        Value::Null => true,
        Value::String(ttl) => millis(ttl).is_some_and(|ttl| ttl > 0),
        ttl => ttl.as_u64().is_some_and(|ttl| ttl > 0),
    };
    has_key
        && match op["op"].as_str() {
            Some("put") => op.get("value").is_some() && has_ttl,
            Some("get" | "delete") => true,
            Some("incr") => op.get("by").is_none_or(Value::is_i64),
            _ => false,
        }
}

fn one(store: &Store, state: &mut State, op: &Value) -> Result<Value, Refused> {
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
            let version = state.put(store.fault, &key, &op["value"].to_string(), None);
            json!({"op": "put", "key": shown, "version": version})
        }
        "delete" => {
            let found = state.delete(store.fault, &key);
            json!({"op": "delete", "key": shown, "found": found})
        }
        "incr" => {
            let sum = state.sum(store.fault, &key, op["by"].as_i64().unwrap_or(1))?;
            let version = state.put(store.fault, &key, &sum.to_string(), None);
            json!({"op": "incr", "key": shown, "value": sum, "version": version})
        }
        _ => match state.find(&key) {
            Some(entry) => {
                let value: Value = serde_json::from_str(&entry.value).unwrap_or_default();
                json!({"op": "get", "key": shown, "found": true, "value": value, "version": entry.version})
            }
            None => json!({"op": "get", "key": shown, "found": false}),
        },
    })
}
