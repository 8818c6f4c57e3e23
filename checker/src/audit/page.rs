//! A page of `GET /keys`, as far as it is needed.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::session::Answer;

/// A page.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// The keys of a page without values.
    #[serde(default)]
    pub keys: Vec<String>,
    /// What a page with values holds.
    #[serde(default)]
    pub entries: Vec<Entry>,
    /// Where the next page begins; null is the end.
    pub next_cursor: Option<String>,
}

/// A key with its value.
#[derive(Debug, Deserialize)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value's JSON.
    pub value: Box<RawValue>,
    /// The version of the write.
    pub version: u64,
}

impl Page {
    /// Reads an answer; none if it is no page.
    pub fn read(answer: &Answer) -> Option<Page> {
        (answer.status == 200).then(|| serde_json::from_str(&answer.body).ok()).flatten()
    }
}
