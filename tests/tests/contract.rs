//! The `OpenAPI` documents and the programs say the same.

use std::collections::BTreeSet;
use std::fmt;

use checker::routes::ENDPOINTS;
use common::docs::PATHS;
use kv::routes::Route;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tests::{Client, Json, Launch, Server, checker, golden, kv, recorded, request};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];

/// A program and its document.
struct Api {
    launch: fn() -> Launch,
    document: Value,
}

/// A documented operation.
struct Operation<'a> {
    method: String,
    path: &'a str,
    statuses: BTreeSet<u16>,
}

fn apis() -> [Api; 2] {
    let read = |text: &str| serde_json::from_str(text).expect("JSON");
    [
        Api { launch: kv, document: read(include_str!("../../kv/openapi.json")) },
        Api { launch: checker, document: read(include_str!("../../checker/openapi.json")) },
    ]
}

impl Api {
    fn paths(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.document["paths"].as_object().expect("paths").iter()
    }

    fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, item) in self.paths() {
            let methods = item.as_object().expect("a path item").iter();
            for (method, operation) in methods.filter(|(name, _)| *name != "parameters") {
                let responses = operation["responses"].as_object().expect("responses");
                let statuses = responses.keys().map(|status| status.parse().expect("a status"));
                let (method, statuses) = (method.to_uppercase(), statuses.collect());
                operations.push(Operation { method, path, statuses });
            }
        }
        assert!(operations.len() >= 8);
        operations
    }

    /// What the document holds here, with references followed.
    #[track_caller]
    fn at(&self, pointer: &str) -> &Value {
        let mut value = &self.document;
        for part in pointer.split(' ') {
            value = &value[part];
            if let Some(target) = value["$ref"].as_str() {
                value = self.document.pointer(target.trim_start_matches('#')).expect(target);
            }
        }
        assert!(!value.is_null(), "nothing at {pointer}");
        value
    }
}

impl Operation<'_> {
    fn target(&self) -> String {
        self.path.replace("{key}", "greeting")
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

#[track_caller]
fn assert_same(text: &str, example: &Value) {
    assert_eq!(Json::parse(text), Json::parse(&example.to_string()));
}

#[test]
fn the_documents_are_served() {
    for api in apis() {
        let answer = (api.launch)().start().get("/openapi.json");
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        assert_same(answer.text(), &api.document);
        assert_eq!(api.document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn every_operation_answers_and_every_other_is_refused() {
    for api in apis() {
        let server = (api.launch)().env("KV_SERVICE_URL", "http://127.0.0.1:1").start();
        let operations = api.operations();
        for operation in &operations {
            let body = matches!(&*operation.method, "POST" | "PUT")
                .then_some(r#"{"key":"greeting","value":1}"#);
            let mut client = server.connect();
            let answer = client.request(&operation.method, &operation.target(), &[], body);
            assert!(operation.statuses.contains(&answer.status), "{}", operation.name());
            assert_ne!(answer.body, br#"{"detail":"Not Found"}"#, "{}", operation.name());
        }
        for (path, _) in api.paths() {
            let documented: BTreeSet<_> = operations
                .iter()
                .filter(|operation| operation.path == path)
                .map(|operation| operation.method.as_str())
                .collect();
            for method in METHODS.iter().filter(|method| !documented.contains(*method)) {
                let target = path.replace("{key}", "greeting");
                let answer = server.connect().request(method, &target, &[], None);
                assert_eq!(answer.status, 405, "{method} {path}");
                let allow = answer.header("Allow").expect("the methods that there are");
                let allow: BTreeSet<_> = allow.split(", ").collect();
                assert_eq!(allow, documented, "{path}");
            }
        }
    }
}

/// Refuses duplicate members, as the parser of the API pages does; serde's takes the last one.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some((name, Unique)) = map.next_entry::<String, Unique>()? {
            if let Some(duplicate) = seen.replace(name) {
                return Err(A::Error::custom(format!("duplicate member {duplicate}")));
            }
        }
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
        while seq.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }
}

/// A response that was defined twice broke the API pages in every browser.
#[test]
fn no_member_stands_twice_in_a_document() {
    for document in [kv::openapi::OPENAPI, checker::openapi::OPENAPI] {
        let unique: Result<Unique, _> = serde_json::from_str(document);
        assert!(unique.is_ok(), "{:?}", unique.err());
    }
    assert!(serde_json::from_str::<Unique>(r#"{"a":[{"b":1,"b":2}]}"#).is_err());
}

/// A new route does not compile here until somebody has said where it is documented.
fn documented_as(route: &Route<'_>) -> Option<&'static str> {
    match route {
        Route::Health => Some("GET /health"),
        Route::Ready => Some("GET /ready"),
        Route::Metrics => Some("GET /metrics"),
        Route::Get(_) => Some("GET /keys/{key}"),
        Route::Create(_) => Some("POST /keys/{key}"),
        Route::Replace(_) => Some("PUT /keys/{key}"),
        Route::Delete(_) => Some("DELETE /keys/{key}"),
        Route::List => Some("GET /keys"),
        Route::DeletePrefix => Some("DELETE /keys"),
        Route::Batch => Some("POST /batch"),
        Route::Export => Some("GET /export"),
        Route::Import => Some("POST /import"),
        Route::Increment(_) => Some("POST /incr/{key}"),
        Route::Docs => Some("GET /docs"),
        Route::Redirect(_) | Route::Server => None,
    }
}

#[test]
fn every_route_is_documented() {
    let [kv_api, checker_api] = apis();
    let documented: BTreeSet<_> = kv_api.operations().iter().map(Operation::name).collect();
    for operation in kv_api.operations() {
        let target = operation.target();
        let method = operation.method.parse().expect("a method");
        let route = kv::routes::route(&method, &target).expect("a route");
        let name = documented_as(&route).expect("no redirect is documented");
        assert!(documented.contains(name), "{name}");
    }
    let documented: BTreeSet<_> = checker_api.operations().iter().map(Operation::name).collect();
    for (path, verb, _) in ENDPOINTS {
        for method in verb.allow().split(", ") {
            let name = format!("{method} {path}");
            assert!(documented.contains(&name), "{name}");
        }
    }
    for api in [kv_api, checker_api] {
        let server = (api.launch)().start();
        for path in PATHS {
            let is_part = path.starts_with("/docs/") || server.get(path).status == 307;
            assert!(is_part || api.paths().any(|(known, _)| known == path), "{path}");
        }
    }
}

#[test]
fn the_statuses_of_recorded_answers_are_documented() {
    let [api, _] = apis();
    let operations = api.operations();
    let mut checked = 0;
    for case in golden().iter().chain(&recorded()) {
        let path = case.request.path.split('?').next().unwrap_or_default();
        let template = if path.starts_with("/keys/") { "/keys/{key}" } else { path };
        let operation = operations
            .iter()
            .find(|known| known.path == template && known.method == case.request.method);
        if let Some(operation) = operation {
            let status = case.response.status;
            assert!(operation.statuses.contains(&status), "{}: {status}", operation.name());
            checked += 1;
        }
    }
    assert!(checked > 500, "only {checked} cases are of documented operations");
}

/// Requests that the engine refuses, whatever they are for, and the name of the answer.
fn refused(method: &str, target: &str) -> [(u16, &'static str, String); 7] {
    let with = |field: &str| format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    let (long, wide) = ("x".repeat(9000), "x".repeat(20_000));
    [
        (400, "BadRequest", format!("{method}  {target} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (413, "ContentTooLarge", with("Content-Length: 1048577")),
        (414, "UriTooLong", format!("{method} {target}?{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (417, "ExpectationFailed", with("Expect: a miracle")),
        (431, "RequestHeaderFieldsTooLarge", with(&format!("Wide: {wide}"))),
        (501, "NotImplemented", with("Transfer-Encoding: gzip")),
        (505, "HttpVersionNotSupported", format!("{method} {target} HTTP/3.0\r\nHost: a\r\n\r\n")),
    ]
}

#[test]
fn refusals_are_documented_for_every_operation() {
    for api in apis() {
        let server = (api.launch)().start();
        for operation in api.operations() {
            for (status, _, bytes) in refused(&operation.method, &operation.target()) {
                let mut client = server.connect();
                client.write(bytes);
                let answer = String::from_utf8(client.read_to_close()).expect("UTF-8");
                let line = format!("HTTP/1.1 {status} ");
                assert!(answer.starts_with(&line), "{} {status}: {answer}", operation.name());
                assert!(operation.statuses.contains(&status), "{} {status}", operation.name());
            }
            for status in [408, 500, 503] {
                assert!(operation.statuses.contains(&status), "{} {status}", operation.name());
            }
        }
    }
}

#[test]
fn examples_of_refusals_are_what_is_answered() {
    for api in apis() {
        let example = |name: &str| {
            let content = "content application/json examples refused value";
            api.at(&format!("components responses {name} {content}"))
        };
        let server = (api.launch)().start();
        for (status, name, bytes) in refused("GET", "/health") {
            let answer = server.connect().send(bytes);
            assert_eq!(answer.status, status, "{name}");
            assert_same(answer.text(), example(name));
        }
        let server = (api.launch)().env("HEAD_TIMEOUT", "50ms").start();
        let answer = server.connect().send("GET /health HTTP/1.1\r\n");
        assert_same(answer.text(), example("RequestTimeout"));

        let server = (api.launch)().env("MAX_CONNECTIONS", "1").env("WORKERS", "1").start();
        let busy = busy_connection(&server);
        assert_same(server.connect().read().text(), example("ServiceUnavailable"));
        drop(busy);
    }
}

/// A connection that waits for the rest of its request: the server has asked for it.
fn busy_connection(server: &Server) -> Client {
    let mut client = server.connect();
    let fields = [("Expect", "100-continue"), ("Content-Length", "9")];
    assert_eq!(client.send(request("PUT", "/health", &fields, None)).status, 100);
    client
}

#[test]
fn examples_of_kv_are_what_is_answered() {
    const ORIGIN: &[(&str, &str)] = &[("Origin", "http://elsewhere")];
    let [api, _] = apis();
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |method: &str, key: &str, headers: &[(&str, &str)], body: &str, at: &str| {
        let body = matches!(method, "POST" | "PUT").then_some(body);
        let answer = client.request(method, &format!("/keys/{key}"), headers, body);
        let (status, example) = at.split_once(' ').expect("status and example");
        assert_eq!(answer.status.to_string(), status, "{}", answer.text());
        let operation = format!("paths /keys/{{key}} {}", method.to_lowercase());
        let content = format!("{operation} responses {status} content application/json");
        assert_same(answer.text(), api.at(&format!("{content} examples {example} value")));
    };
    for (method, stored) in [("post", "201 stored"), ("put", "200 stored")] {
        let content = format!("paths /keys/{{key}} {method} requestBody content application/json");
        let examples = api.at(&format!("{content} examples")).as_object().expect("examples");
        for (name, example) in examples {
            let body = example["value"].to_string();
            check(&method.to_uppercase(), "greeting", &[], &body, stored);
            if matches!(name.as_str(), "text" | "object") {
                check("GET", "greeting", &[], "", &format!("200 {name}"));
            }
        }
    }
    check("DELETE", "greeting", &[], "", "200 deleted");
    for method in ["GET", "DELETE"] {
        check(method, "greeting", &[], "", "404 notFound");
        check(method, &"k".repeat(1025), &[], "", "400 badKey");
    }
    for method in ["POST", "PUT"] {
        check(method, &"k".repeat(1025), &[], "", "400 badKey");
        check(method, "greeting", &[], r#"{"key":"other","value":1}"#, "400 mismatch");
        check(method, "greeting", ORIGIN, "", "415 refused");
        check(method, "greeting", &[], r#"{"key":"greeting"}"#, "422 missingValue");
        check(method, "greeting", &[], "", "422 noBody");
        check(method, "greeting", &[], r#"{"key":"x","value": }"#, "422 notJson");
        check(method, "greeting", &[], r#"{"key":5,"value":1}"#, "422 keyNotString");
        check(method, "greeting", &[], "[1, 2]", "422 notAnObject");
    }
    let healthy = "paths /health get responses 200 content application/json examples healthy value";
    assert_same(server.get("/health").text(), api.at(healthy));
}

/// With the same digit for every digit of a version, which has 16 of them.
fn without_versions(text: &str) -> String {
    let is_digit = |byte: &char| byte.is_ascii_digit();
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|character| is_digit(&character)) {
        let (before, from_digit) = rest.split_at(at);
        let digits = from_digit.chars().take_while(is_digit).count();
        let (number, after) = from_digit.split_at(digits);
        out.push_str(before);
        out.push_str(if digits == 16 { "1111111111111111" } else { number });
        rest = after;
    }
    out + rest
}

#[test]
fn examples_of_the_additions_are_what_is_answered() {
    let [api, _] = apis();
    let server = kv().start();
    let mut client = server.connect();
    let mut check = |method: &str, target: &str, headers: &[(&str, &str)], body: &str, at: &str| {
        let body = (!body.is_empty()).then_some(body);
        let answer = client.request(method, target, headers, body);
        let [template, status, example] = at.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{at}")
        };
        assert_eq!(answer.status.to_string(), status, "{}", answer.text());
        let operation = format!("paths {template} {} responses {status}", method.to_lowercase());
        let example =
            api.at(&format!("{operation} content application/json examples {example} value"));
        let example = without_versions(&example.to_string());
        assert_eq!(Json::parse(&without_versions(answer.text())), Json::parse(&example), "{at}");
    };
    let never = [("If-Match", "\"1\"")];
    let unreadable = [("If-Match", "1")];
    check("PUT", "/keys/greeting?raw", &[], r#""Hello, world""#, "/keys/{key} 200 stored");
    check("GET", "/keys/greeting?raw", &[], "", "/keys/{key} 200 raw");
    check("POST", "/incr/greeting", &[], "", "/incr/{key} 409 notAnInteger");
    for (method, path) in [("GET", "/keys/{key}"), ("PUT", "/keys/{key}"), ("POST", "/incr/{key}")]
    {
        let target = path.replace("{key}", "greeting?raw");
        check(method, &target, &never, "1", &format!("{path} 412 condition"));
        check(method, &target, &unreadable, "1", &format!("{path} 400 badCondition"));
    }
    check("GET", "/keys/greeting?raw=yes", &[], "", "/keys/{key} 422 badParameter");
    check("PUT", "/keys/greeting?ttl=0", &[], "1", "/keys/{key} 422 badParameter");
    check("DELETE", "/keys/greeting", &[], "", "/keys/{key} 200 deleted");
    check("POST", "/incr/greeting", &[], "", "/incr/{key} 200 counted");
    check("POST", "/incr/greeting?by=9223372036854775807", &[], "", "/incr/{key} 409 overflow");

    for key in ["a", "b", "c"] {
        let target = format!("/keys/app/{key}?raw");
        check("PUT", &target, &[], "1", "/keys/{key} 200 stored");
    }
    check("GET", "/keys?prefix=app/&limit=2", &[], "", "/keys 200 keys");
    check("GET", "/keys?prefix=app/&cursor=YXBwL2I", &[], "", "/keys 200 last");
    check("GET", "/keys?prefix=app/a&values=true", &[], "", "/keys 200 entries");
    check("DELETE", "/keys?prefix=app/", &[], "", "/keys 200 deleted");

    let example = "paths /batch post requestBody content application/json examples all value";
    check("POST", "/batch", &[], &api.at(example).to_string(), "/batch 200 all");
    let batch = |op: &str| format!(r#"{{"ops":[{op}]}}"#);
    let text = batch(
        r#"{"op":"get","key":"a"},{"op":"put","key":"a","value":""},{"op":"incr","key":"a"}"#,
    );
    check("POST", "/batch", &[], &text, "/batch 409 notAnInteger");
    let condition = batch(r#"{"op":"put","key":"n","value":1,"if_version":null}"#);
    check("POST", "/batch", &[], &condition, "/batch 412 condition");
    let mistyped = batch(r#"{"op":"put","key":"n","value":1,"if_verison":1}"#);
    check("POST", "/batch", &[], &mistyped, "/batch 422 unknownMember");
    check("POST", "/batch", &[], "{}", "/batch 422 noOps");
    check("POST", "/batch", &[], "", "/batch 422 noBody");
}

#[test]
fn examples_of_exports_and_imports_are_what_is_answered() {
    const EXAMPLES: &str = "content application/x-ndjson examples two value";
    let [api, _] = apis();
    let server = kv().start();
    let exported = || {
        let answer = server.get("/export");
        let content_type = answer.header("Content-Type");
        assert_eq!((answer.status, content_type), (200, Some("application/x-ndjson")));
        answer.text().to_owned()
    };
    let check = |body: &str, status: u16, example: &str| {
        let answer = server.connect().request("POST", "/import", &[], Some(body));
        assert_eq!(answer.status, status, "{}", answer.text());
        let content = format!("paths /import post responses {status} content application/json");
        assert_same(answer.text(), api.at(&format!("{content} examples {example} value")));
    };
    let lines = api.at(&format!("paths /import post requestBody {EXAMPLES}"));
    let lines = lines.as_str().expect("text");
    let mistyped = lines.replacen("expires_at_ms\":4", "expires_at\":4", 1);
    check(&mistyped, 422, "unknownMember");
    check(r#"{"key":"a","value":}"#, 422, "notJson");
    assert_eq!(exported(), "");
    check(lines, 200, "two");
    check(lines, 200, "again");
    assert_eq!(exported(), *api.at(&format!("paths /export get responses 200 {EXAMPLES}")));
}

#[test]
fn examples_of_the_checker_are_what_is_answered() {
    let [_, api] = apis();
    let kv = kv().start();
    let server = checker().env("KV_SERVICE_URL", &kv.url()).start();
    for path in ["/test/deletion", "/test/overwrite"] {
        let answer = server.connect().request("POST", path, &[], None);
        let content = format!("paths {path} post responses 200 content application/json");
        assert_same(answer.text(), api.at(&format!("{content} examples passed value")));
    }
}
