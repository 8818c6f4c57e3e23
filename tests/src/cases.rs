//! Requests and the answers that the original in `FastAPI` gave to them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Client, Response, request};
use crate::json::Json;

/// One exchange with the original, and what came before it. Cases share no keys.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// The requests before it, whose answers do not matter.
    pub setup: Vec<Message>,
    /// The request.
    pub request: Message,
    /// What the original answered.
    pub response: Recorded,
}

/// A request.
#[derive(Debug, Deserialize)]
pub struct Message {
    /// The method.
    pub method: String,
    /// The request target.
    pub path: String,
    /// Header fields but `Host` and `Content-Length`.
    pub headers: BTreeMap<String, String>,
    /// The body, if there is one.
    pub body: Option<String>,
}

/// An answer.
#[derive(Debug, Deserialize)]
pub struct Recorded {
    /// The status.
    pub status: u16,
    /// The media type.
    pub content_type: String,
    /// The body.
    pub json: Box<RawValue>,
    /// Methods that `Allow` names, among others perhaps.
    #[serde(default)]
    pub allow_contains: Vec<String>,
}

/// The cases that the contract is made of.
pub fn golden() -> Vec<Case> {
    read(include_str!("../data/golden-kv.json"))
}

/// More of the original's answers, as `data/record.py` wrote them down.
pub fn recorded() -> Vec<Case> {
    read(include_str!("../data/recorded-kv.json"))
}

fn read(text: &str) -> Vec<Case> {
    serde_json::from_str(text).expect("the file holds cases")
}

impl Message {
    /// Sends it.
    #[track_caller]
    pub fn send(&self, client: &mut Client) -> Response {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        client.send(request(&self.method, &self.path, &headers, self.body.as_deref()))
    }
}

impl Case {
    /// Plays the setup and the request, and compares the answer.
    #[track_caller]
    pub fn play(&self, client: &mut Client) {
        for message in &self.setup {
            message.send(client);
        }
        let answer = self.request.send(client);
        let Case { name, response, .. } = self;
        assert_eq!(answer.status, response.status, "{name}: {}", answer.text());
        let content_type = answer.header("Content-Type");
        assert_eq!(content_type, Some(response.content_type.as_str()), "{name}");
        assert_eq!(answer.json(), Json::of(&response.json), "{name}: {}", answer.text());
        let allowed: Vec<_> =
            answer.header("Allow").unwrap_or_default().split(',').map(str::trim).collect();
        for method in &response.allow_contains {
            assert!(allowed.contains(&method.as_str()), "{name}: {method} not in {allowed:?}");
        }
    }
}
