//! What is refused is refused with the right status and shape, and changes nothing.

use http::Method;
use serde_json::{Value, json};

use crate::audit::call::{Call, entry, path};
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::session::Answer;
use crate::audit::worker::{Step, Worker, shown};
use crate::exact;

use super::Workflow;

pub(super) static ERRORS: Workflow = Workflow {
    name: "errors",
    promise: "answers have the right status and shape, and what is refused changes nothing",
    needs: &[],
    run,
};

const SHAPE: &str = "an answer has the status and the shape of the contract";
const UNCHANGED: &str = "what is refused changes nothing";
/// The original names those of one of its routes.
const OF_KEYS: &[&str] = &["GET", "POST", "PUT", "DELETE"];
const BEFORE: &str = r#"{"as":"before"}"#;

/// What an answer has to be.
enum Want {
    /// This status and this JSON.
    Exactly(u16, Value),
    /// 422, and the type and the place of each fault that is named.
    Faults(Value),
    /// 405 with one of these methods among those that `Allow` names.
    NotAllowed(&'static [&'static str]),
    /// This status, and a text in the shape of kv's errors.
    Refused(u16),
}

/// A request, and what has to come of it.
struct Case {
    call: Call,
    want: Want,
}

fn run(run: &Run<'_>) {
    run.worker(|worker| {
        let key = run.key("there");
        let absent = run.key("absent");
        worker.case(SHAPE, |worker| successes(worker, &run.key("success")));
        worker.case(SHAPE, |worker| {
            let answer = worker.ask(&Call::put(&key, BEFORE))?;
            worker.status("a value can be stored", &answer, &[200])
        });
        let mut cases = fixed(&key, &absent);
        cases.extend(additions(run, &key, &absent));
        for case in &cases {
            worker.case(SHAPE, |worker| refusal(worker, case, &key, &absent));
        }
    });
}

/// What a write, a read and a deletion answer when all is well.
fn successes(worker: &mut Worker<'_>, key: &str) -> Step {
    let stored = json!({"success": true, "message": "Value stored successfully"});
    let healthy = json!({"status": "healthy"});
    let get = Call::new(Method::GET, "/health");
    check(worker, &get, &Want::Exactly(200, healthy))?;
    check(worker, &Call::post(key, "1"), &Want::Exactly(201, stored.clone()))?;
    check(worker, &Call::post(key, "2"), &Want::Exactly(201, stored.clone()))?;
    check(worker, &Call::put(key, "3"), &Want::Exactly(200, stored.clone()))?;
    let found = |value: u8| json!({"success": true, "key": key, "value": value});
    check(worker, &Call::get(key), &Want::Exactly(200, found(3)))?;
    check(worker, &Call::get(key).query("x", "1"), &Want::Exactly(200, found(3)))?;
    let more = Call::put(key, "4").body(entry(key, "4,\"other\":true"));
    check(worker, &more, &Want::Exactly(200, stored.clone()))?;
    check(worker, &Call::get(key), &Want::Exactly(200, found(4)))?;
    let mut charset = Call::put(key, "5");
    charset.fields = vec![("Content-Type", "application/json; charset=utf-8".to_owned())];
    check(worker, &charset, &Want::Exactly(200, stored.clone()))?;
    let deleted = json!({"success": true, "message": "Key deleted successfully"});
    // Once only: the second time it is not there.
    let answer = worker.call(&Call::delete(key))?;
    judge(worker, &answer, &Want::Exactly(200, deleted))?;
    check(worker, &Call::get(key), &Want::Exactly(404, not_found(key)))?;
    check(worker, &Call::put(key, "6"), &Want::Exactly(200, stored))
}

fn not_found(key: &str) -> Value {
    json!({"detail": {"success": false, "error": format!("Key '{key}' not found")}})
}

fn refusal(worker: &mut Worker<'_>, case: &Case, key: &str, absent: &str) -> Step {
    check(worker, &case.call, &case.want)?;
    let answer = worker.ask(&Call::get(key))?;
    worker.value(UNCHANGED, &answer, BEFORE)?;
    let answer = worker.ask(&Call::get(absent))?;
    worker.status(UNCHANGED, &answer, &[404])
}

fn check(worker: &mut Worker<'_>, call: &Call, want: &Want) -> Step {
    let answer = worker.ask(call)?;
    judge(worker, &answer, want)
}

fn judge(worker: &mut Worker<'_>, answer: &Answer, want: &Want) -> Step {
    let (holds, expected) = match want {
        Want::Exactly(status, body) => {
            let body = body.to_string();
            let holds = answer.status == *status && exact::same(&answer.body, &body);
            (holds, format!("{status} {body}"))
        }
        Want::Faults(faults) => {
            let holds = answer.status == 422 && faults_of(answer).as_ref() == Some(faults);
            (holds, format!("422, its detail naming type and loc {faults}"))
        }
        Want::NotAllowed(methods) => {
            let allow = answer.field("allow").unwrap_or_default();
            let is_named = allow.split(',').any(|named| methods.contains(&named.trim()));
            let detail = r#"{"detail":"Method Not Allowed"}"#;
            let holds = answer.status == 405 && is_named && exact::same(&answer.body, detail);
            (holds, format!("405 {detail} with a method of {methods:?} in Allow"))
        }
        Want::Refused(status) => {
            let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let detail = &body["detail"];
            let is_shaped = detail["success"] == false && detail["error"].is_string();
            let is_listed = *status == 422 && detail.is_array();
            (
                answer.status == *status && (is_shaped || is_listed),
                format!(r#"{status} {{"detail":{{"success":false,"error":…}}}}"#),
            )
        }
    };
    let is_json = answer.field("content-type").is_some_and(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
    });
    worker.holds(SHAPE, holds, expected, shown(answer))?;
    let seen = answer.field("content-type").unwrap_or("none");
    worker.holds("an answer is application/json", is_json, "application/json", seen)
}

/// Type and place of each fault in a 422.
fn faults_of(answer: &Answer) -> Option<Value> {
    let body: Value = serde_json::from_str(&answer.body).ok()?;
    let faults = body["detail"].as_array()?.iter();
    Some(faults.map(|fault| json!([fault["type"], fault["loc"]])).collect())
}

/// What every server must refuse.
fn fixed(key: &str, absent: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |call, want| cases.push(Case { call, want });
    let unknown = || Want::Exactly(404, json!({"detail": "Not Found"}));
    add(Call::new(Method::GET, "/nope"), unknown());
    add(Call::new(Method::DELETE, "/nope"), unknown());
    add(Call::new(Method::POST, "/nope").body("{}"), unknown());
    add(Call::get(absent), Want::Exactly(404, not_found(absent)));
    add(Call::delete(absent), Want::Exactly(404, not_found(absent)));
    let upper = key.to_uppercase();
    add(Call::get(&upper), Want::Exactly(404, not_found(&upper)));
    for method in [Method::POST, Method::PUT] {
        for target_key in [key, absent] {
            let mut send = |body: &str, want| {
                let call = Call::new(method.clone(), path("/keys/", target_key)).body(body);
                add(call, want);
            };
            let error = format!("Key in path '{target_key}' does not match key in body 'other'");
            let mismatch = json!({"detail": {"success": false, "error": error}});
            send(&entry("other", "1"), Want::Exactly(400, mismatch));
            let faults = |faults| Want::Faults(faults);
            send("", faults(json!([["missing", ["body"]]])));
            send(
                "{}",
                faults(json!([["missing", ["body", "key"]], ["missing", ["body", "value"]]])),
            );
            let only_key = json!({"key": target_key}).to_string();
            send(&only_key, faults(json!([["missing", ["body", "value"]]])));
            send(r#"{"value":1}"#, faults(json!([["missing", ["body", "key"]]])));
            for not_text in ["5", "null", "true", "[]", "{}"] {
                let body = format!(r#"{{"key":{not_text},"value":1}}"#);
                send(&body, faults(json!([["string_type", ["body", "key"]]])));
            }
            for no_object in ["[1, 2]", "5", "\"text\"", "true"] {
                send(no_object, faults(json!([["model_attributes_type", ["body"]]])));
            }
            send("not json", faults(json!([["json_invalid", ["body", 0]]])));
            send(r#"{"key":"m1","value":"#, faults(json!([["json_invalid", ["body", 20]]])));
        }
    }
    add(Call::new(Method::PATCH, path("/keys/", key)).body("{}"), Want::NotAllowed(OF_KEYS));
    add(Call::new(Method::POST, "/health").body("{}"), Want::NotAllowed(&["GET"]));
    cases
}

/// What is refused by a server that has the additions.
fn additions(run: &Run<'_>, key: &str, absent: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut refused = |status, call| cases.push(Case { call, want: Want::Refused(status) });
    if run.has(Feature::Versions) {
        for bad in ["%zz", "%", "%4", "%ff", "%c3%28", "a%00b", "%ed%a0%80"] {
            refused(400, Call::new(Method::GET, format!("/keys/{bad}")));
            refused(400, Call::new(Method::DELETE, format!("/keys/{bad}")));
        }
        let long = "k".repeat(1_025);
        refused(400, Call::get(&long));
        refused(400, Call::put(&long, "1"));
        for field in ["If-Match", "If-None-Match"] {
            for bad in ["1", "\"", "\"1", "nonsense"] {
                refused(400, Call::put(key, "1").field(field, bad));
            }
        }
        let mut foreign = Call::put(absent, "1").field("Origin", "http://elsewhere");
        "text/plain".clone_into(&mut foreign.fields[0].1);
        refused(415, foreign);
        refused(422, Call::get(key).query("raw", "yes"));
        let raw = Call::new(Method::PUT, path("/keys/", absent)).query("raw", "");
        refused(422, raw.clone().body("{"));
        refused(422, raw.body("1 2"));
    }
    if run.has(Feature::Expiry) {
        for bad in ["0", "0s", "-1", "x", "1.5", "1w", " 1", "99999999999999999999"] {
            refused(422, Call::put(key, "1").query("ttl", bad));
            refused(422, Call::post(absent, "1").query("ttl", bad));
        }
    }
    if run.has(Feature::List) {
        for bad in ["0", "1001", "-1", "x", "1.0"] {
            refused(422, Call::list(&run.prefix).query("limit", bad));
        }
        refused(422, Call::list(&run.prefix).query("cursor", "!"));
        refused(422, Call::list(&run.prefix).query("values", "x"));
    }
    if run.has(Feature::PrefixDeletion) {
        refused(422, Call::new(Method::DELETE, "/keys"));
        refused(422, Call::delete_prefix(""));
    }
    if run.has(Feature::Counters) {
        refused(409, Call::incr(key, 1));
        for bad in ["x", "1.5", "9223372036854775808", ""] {
            let incr = Call::new(Method::POST, path("/incr/", absent));
            refused(422, incr.query("by", bad));
        }
    }
    if run.has(Feature::Batch) {
        let put = json!({"op": "put", "key": absent, "value": 1});
        for bad in [
            json!({"op": "nonsense", "key": absent}),
            json!({"op": "put", "key": absent}),
            json!({"op": "get"}),
            json!({"op": "put", "key": 5, "value": 1}),
            json!({"op": "put", "key": absent, "value": 1, "ttl": 0}),
            json!({"op": "incr", "key": absent, "by": "x"}),
            json!(5),
        ] {
            refused(422, Call::batch(&[put.clone(), bad]));
        }
        refused(422, Call::batch(&[]));
        refused(422, Call::batch(&vec![put.clone(); 1_001]));
        refused(422, Call::new(Method::POST, "/batch").body("{}"));
        refused(409, Call::batch(&[put.clone(), json!({"op": "incr", "key": key})]));
        let never = json!({"op": "put", "key": key, "value": 1, "if_version": null});
        refused(412, Call::batch(&[put, never]));
    }
    cases
}
