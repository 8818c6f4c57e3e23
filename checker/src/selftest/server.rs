//! The store as a service: the API that workflows ask for, with a fault or without.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::config::value::millis;
use common::http::{Method, Reply, Request, Response, Service, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::batch;
use super::fault::Fault;
use super::store::{Asked, Condition, Entry, Refused, Store, TEAR};

/// The service.
pub(super) struct FaultyKv(pub(super) Arc<Store>);

const KEY_BYTES_MAX: usize = 1_024;
/// Keys that a deletion by prefix deletes at once, when it is torn or cut.
const PART: usize = 100;
const STORED: &str = r#"{"success":true,"message":"Value stored successfully"}"#;

/// A refusal: status and the JSON of `detail`.
pub(super) struct Refusal(pub(super) u16, pub(super) Value);

impl Refusal {
    pub(super) fn of(status: u16, error: &str) -> Refusal {
        Refusal(status, json!({"success": false, "error": error}))
    }

    fn not_found(key: &str) -> Refusal {
        Refusal::of(404, &format!("Key '{key}' not found"))
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        match refused {
            Refused::Condition(_) => Refusal::of(412, "the condition does not hold"),
            Refused::NotAnInteger => Refusal::of(409, "no integer that it could be added to"),
            Refused::Invalid => Refusal::of(422, "an operation is invalid"),
            Refused::Absent => Refusal::of(404, "absent"),
        }
    }
}

type Answered = Result<Response, Refusal>;

impl Service for FaultyKv {
    fn call(&self, request: &Request<'_>, reply: Reply) {
        let query = Query(request.query.unwrap_or_default());
        if let Some((key, differs, until)) = self.waits(request, query) {
            return wait(Arc::clone(&self.0), key, differs, until, reply);
        }
        let response = self.answer(request, query).unwrap_or_else(|Refusal(status, detail)| {
            respond(status, &json!({ "detail": detail }).to_string())
        });
        reply.send(response);
    }
}

/// The parameters of a request.
#[derive(Clone, Copy)]
struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(self, name: &str) -> Option<String> {
        let mut pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(known, _)| *known == name)?;
        Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
    }

    /// A parameter that has to be readable if it is there.
    fn read<T>(self, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        read(&text).map(Some).ok_or_else(|| Refusal::of(422, &format!("Parameter {name}")))
    }
}

impl FaultyKv {
    fn answer(&self, request: &Request<'_>, query: Query<'_>) -> Answered {
        let not_allowed = || Refusal(405, json!("Method Not Allowed"));
        if let Some(encoded) = request.path.strip_prefix("/keys/").filter(|key| !key.is_empty()) {
            let key = self.0.key(&decoded(encoded)?);
            return match request.method {
                Method::GET | Method::HEAD => self.get(&key, request, query),
                Method::POST => self.put(&key, request, query, 201),
                Method::PUT => self.put(&key, request, query, 200),
                Method::DELETE => self.delete(&key, request),
                _ => Ok(respond(405, r#"{"detail":"Method Not Allowed"}"#)
                    .header("Allow", "GET, HEAD, POST, PUT, DELETE")),
            };
        }
        if let Some(encoded) = request.path.strip_prefix("/incr/") {
            let key = self.0.key(&decoded(encoded)?);
            let by = query.read("by", |text| text.parse().ok())?.unwrap_or(1);
            let (value, version) = self.0.add(&key, by)?;
            let body = json!({"success": true, "key": key, "value": value}).to_string();
            return Ok(respond(200, &body).header("ETag", format!("\"{version}\"")));
        }
        match (request.path, &request.method) {
            ("/health", &Method::GET) => Ok(respond(200, r#"{"status":"healthy"}"#)),
            ("/health", _) => {
                Ok(respond(405, r#"{"detail":"Method Not Allowed"}"#).header("Allow", "GET"))
            }
            ("/keys", &Method::GET) => self.list(query),
            ("/keys", &Method::DELETE) => self.delete_prefix(query),
            ("/batch", &Method::POST) => batch::run(&self.0, request.body),
            ("/keys" | "/batch", _) => Err(not_allowed()),
            _ => Err(Refusal(404, json!("Not Found"))),
        }
    }

    fn get(&self, key: &str, request: &Request<'_>, query: Query<'_>) -> Answered {
        let raw = query.read("raw", |text| matches!(text, "" | "1" | "true").then_some(()))?;
        query.read("wait", millis)?;
        let is_head = request.method == Method::HEAD;
        let entry = if is_head { self.0.head(key) } else { self.0.get(key) };
        let entry = entry.ok_or_else(|| Refusal::not_found(key))?;
        let condition = condition(request)?;
        let differs = Condition { matches: None, ..condition };
        let always = self.0.has(Fault::NotModifiedAlways) && differs.differs.is_some();
        if always || differs.check(self.0.fault, Some(&entry)).is_err() {
            return Ok(Response::new(StatusCode::NOT_MODIFIED).header("ETag", tag(&entry)));
        }
        Ok(found(key, &entry, raw.is_some()))
    }

    fn put(&self, key: &str, request: &Request<'_>, query: Query<'_>, status: u16) -> Answered {
        let store = &self.0;
        let ttl = query.read("ttl", |text| {
            let ttl = millis(text).filter(|ttl| *ttl > 0).map(Duration::from_millis)?;
            let is_seconds = text.bytes().all(|byte| byte.is_ascii_digit());
            Some(match store.fault {
                Some(Fault::ExpiresEarly) => ttl * 9 / 10,
                Some(Fault::ExpiresLate) => ttl + Duration::from_millis(60),
                Some(Fault::ExpiryInMillis) if is_seconds => ttl / 1_000,
                Some(Fault::ExpiryIn32Bits) => in_32_bits(ttl),
                _ => ttl,
            })
        })?;
        let raw = query.get("raw").is_some();
        let condition = match store.fault {
            Some(Fault::RawUnconditional) if raw => Condition::default(),
            _ => condition(request)?,
        };
        if request.headers.get("Origin").is_some() && !is_json(request) {
            return Err(Refusal::of(415, "not JSON"));
        }
        let text = String::from_utf8_lossy(request.body);
        let value = if raw {
            let raw: Result<&RawValue, _> = serde_json::from_str(&text);
            raw.map_err(|_| Refusal::of(422, "not JSON"))?.get().to_owned()
        } else {
            match entry(&text, key, store) {
                Ok(value) => value,
                Err(refusal) => {
                    if store.has(Fault::RefusedIsDone) && refusal.0 == 400 {
                        let _ = store.put(key, "null", None, &Condition::default());
                    }
                    return Err(refusal);
                }
            }
        };
        match store.put(key, &value, ttl, &condition) {
            Ok(version) => Ok(respond(status, STORED).header("ETag", format!("\"{version}\""))),
            Err(refused) => refusal_with_version(refused),
        }
    }

    fn delete(&self, key: &str, request: &Request<'_>) -> Answered {
        match self.0.delete(key, &condition(request)?) {
            Ok(()) => Ok(respond(200, r#"{"success":true,"message":"Key deleted successfully"}"#)),
            Err(Refused::Absent) => Err(Refusal::not_found(key)),
            Err(refused) => refusal_with_version(refused),
        }
    }

    fn list(&self, query: Query<'_>) -> Answered {
        let prefix = query.get("prefix").unwrap_or_default();
        let limit = query
            .read("limit", |text| text.parse().ok().filter(|limit| (1..=1_000).contains(limit)))?;
        let limit = limit.unwrap_or(100_usize);
        let cursor =
            query.read("cursor", |text| text.strip_prefix("behind ").map(str::to_owned))?;
        let values = query.read("values", |text| text.parse::<bool>().ok())?.unwrap_or(false);
        let state = self.0.lock();
        let mut keys = state.keys(&prefix, cursor.as_deref());
        match self.0.fault {
            Some(Fault::PageSkips) if cursor.is_some() && !keys.is_empty() => {
                keys.remove(0);
            }
            Some(Fault::PageRepeats) => keys.splice(0..0, cursor).for_each(drop),
            Some(Fault::ListMissesBytes) => keys.retain(|key| !key.contains('%')),
            _ => {}
        }
        let is_more = keys.len() > limit;
        keys.truncate(limit);
        let next_cursor = keys.last().filter(|_| is_more).map(|key| format!("behind {key}"));
        if !values {
            let body = json!({"success": true, "keys": keys, "next_cursor": next_cursor});
            return Ok(respond(200, &body.to_string()));
        }
        let entries = keys.iter().filter_map(|key| {
            let Entry { value, version, .. } = state.find(key)?;
            let key = Value::from(key.as_str());
            Some(format!("{{\"key\":{key},\"value\":{value},\"version\":{version}}}"))
        });
        let entries: Vec<_> = entries.collect();
        let (entries, next) = (entries.join(","), json!(next_cursor));
        let body = format!("{{\"success\":true,\"entries\":[{entries}],\"next_cursor\":{next}}}");
        Ok(respond(200, &body))
    }

    fn delete_prefix(&self, query: Query<'_>) -> Answered {
        let prefix = query.get("prefix").filter(|prefix| !prefix.is_empty());
        let mut prefix = prefix.ok_or_else(|| Refusal::of(422, "Parameter prefix is missing"))?;
        if self.0.has(Fault::PrefixTooShort) {
            prefix.pop();
        }
        let mut state = self.0.lock();
        let mut keys = state.keys(&prefix, None);
        if self.0.has(Fault::PrefixLeavesLast) && keys.len() > 10 {
            keys.pop();
        }
        if self.0.has(Fault::PrefixDeletesPage) {
            keys.truncate(PART);
        }
        for (number, key) in keys.iter().enumerate() {
            if self.0.has(Fault::PrefixDeletionTorn) && number % PART == PART - 1 {
                drop(state);
                thread::sleep(TEAR);
                state = self.0.lock();
            }
            if self.0.has(Fault::PrefixComesBack) && number == 0 {
                state.comes_back(key);
            }
            state.delete(None, key);
        }
        state.deleted.retain(|key| !key.starts_with(&prefix));
        Ok(respond(200, &json!({"success": true, "deleted": keys.len()}).to_string()))
    }

    /// The key to wait for, how it has to differ, and until when.
    fn waits(
        &self,
        request: &Request<'_>,
        query: Query<'_>,
    ) -> Option<(String, Condition, Instant)> {
        if self.0.has(Fault::WaitsNotAtAll) {
            return None;
        }
        let time = millis(&query.get("wait")?).filter(|time| (1..=60_000).contains(time))?;
        let key = self.0.key(&decoded(request.path.strip_prefix("/keys/")?).ok()?);
        let differs = Condition { matches: None, ..condition(request).ok()? };
        Some((key, differs, Instant::now() + Duration::from_millis(time)))
    }
}

/// Answers when the key is there and differs, when a key that was known is gone, or when the time
/// is over.
fn wait(store: Arc<Store>, key: String, differs: Condition, until: Instant, reply: Reply) {
    const LOOK_EVERY: Duration = Duration::from_millis(2);
    let ends_absent = match store.fault {
        Some(Fault::WaitMissesDelete) => false,
        Some(Fault::WaitEndsAbsent) => true,
        _ => differs.differs.is_some(),
    };
    // A server that has no thread for it answers 500: the reply is dropped.
    let _ = thread::Builder::new().spawn(move || {
        loop {
            let is_over = Instant::now() >= until;
            match store.get(&key) {
                None if is_over || ends_absent => {
                    let body = json!({"detail": Refusal::not_found(&key).1}).to_string();
                    return reply.send(respond(404, &body));
                }
                Some(entry) if differs.check(store.fault, Some(&entry)).is_ok() => {
                    return reply.send(found(&key, &entry, false));
                }
                Some(entry) if is_over => {
                    let response = Response::new(StatusCode::NOT_MODIFIED);
                    return reply.send(response.header("ETag", tag(&entry)));
                }
                None | Some(_) => thread::sleep(LOOK_EVERY),
            }
        }
    });
}

fn found(key: &str, entry: &Entry, raw: bool) -> Response {
    let body = if raw {
        entry.value.to_string()
    } else {
        format!("{{\"success\":true,\"key\":{},\"value\":{}}}", Value::from(key), entry.value)
    };
    let response = respond(200, &body).header("ETag", tag(entry));
    match entry.expires {
        None => response,
        Some(expires) => {
            let left = expires.saturating_duration_since(Instant::now());
            response.header("KV-TTL-Ms", left.as_millis().to_string())
        }
    }
}

/// What is left of a time whose milliseconds lose the upper half of their bits.
fn in_32_bits(ttl: Duration) -> Duration {
    Duration::from_millis(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX) & u64::from(u32::MAX))
}

fn tag(entry: &Entry) -> String {
    format!("\"{}\"", entry.version)
}

fn refusal_with_version(refused: Refused) -> Answered {
    let Refused::Condition(Some(version)) = refused else { return Err(refused.into()) };
    let Refusal(status, detail) = refused.into();
    let body = json!({ "detail": detail }).to_string();
    Ok(respond(status, &body).header("ETag", format!("\"{version}\"")))
}

pub(super) fn respond(status: u16, body: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Response::json(status, body.as_bytes().to_vec())
}

fn decoded(encoded: &str) -> Result<String, Refusal> {
    let bad = || Refusal::of(400, "the key is no key");
    let escapes = encoded.split('%').skip(1);
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let holds = |escape: &str| {
        let bytes = escape.as_bytes();
        is_hex(bytes.first()) && is_hex(bytes.get(1))
    };
    let mut all_hold = true;
    escapes.for_each(|escape| all_hold &= holds(escape));
    let key = percent_decode_str(encoded).decode_utf8().map_err(|_| bad())?.into_owned();
    let is_key = all_hold && !key.contains('\0') && key.len() <= KEY_BYTES_MAX;
    if is_key { Ok(key) } else { Err(bad()) }
}

fn is_json(request: &Request<'_>) -> bool {
    request.headers.get("Content-Type").is_some_and(|kind| kind.starts_with(b"application/json"))
}

fn condition(request: &Request<'_>) -> Result<Condition, Refusal> {
    let read = |name| match request.headers.get(name) {
        None => Ok(None),
        Some(field) => {
            let tags = String::from_utf8_lossy(field);
            let asked = tags.split(',').map(|tag| asked(tag.trim())).collect::<Option<Vec<_>>>();
            asked.map(Some).ok_or_else(|| Refusal::of(400, "no entity tag"))
        }
    };
    Ok(Condition { matches: read("If-Match")?, differs: read("If-None-Match")? })
}

fn asked(tag: &str) -> Option<Asked> {
    if tag == "*" {
        return Some(Asked::Any);
    }
    let strong = tag.strip_prefix("W/");
    let text = strong.unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?;
    Some(Asked::Tag { text: text.to_owned(), is_weak: strong.is_some() })
}

/// The value in the body of a write, as text.
fn entry(text: &str, key: &str, store: &Store) -> Result<String, Refusal> {
    let fault = |faults: Value| Refusal(422, faults);
    if text.is_empty() {
        return Err(fault(json!([{"type": "missing", "loc": ["body"]}])));
    }
    let body: Result<&RawValue, _> = serde_json::from_str(text);
    let Ok(body) = body else {
        let at = if text.starts_with('{') { text.len() } else { 0 };
        return Err(fault(json!([{"type": "json_invalid", "loc": ["body", at]}])));
    };
    let members: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(body.get())
            .map_err(|_| fault(json!([{"type": "model_attributes_type", "loc": ["body"]}])))?;
    let mut faults = Vec::new();
    let named = match members.get("key") {
        None => {
            faults.push(json!({"type": "missing", "loc": ["body", "key"]}));
            None
        }
        Some(named) => {
            let named: Option<String> = serde_json::from_str(named.get()).ok();
            if named.is_none() {
                faults.push(json!({"type": "string_type", "loc": ["body", "key"]}));
            }
            named
        }
    };
    let Some(value) = members.get("value") else {
        faults.push(json!({"type": "missing", "loc": ["body", "value"]}));
        return Err(fault(Value::Array(faults)));
    };
    let Some(named) = named else { return Err(fault(Value::Array(faults))) };
    if store.key(&named) == key {
        return Ok(value.get().to_owned());
    }
    let status = if store.has(Fault::WrongStatus) { 422 } else { 400 };
    let error = format!("Key in path '{key}' does not match key in body '{named}'");
    Err(Refusal::of(status, &error))
}
