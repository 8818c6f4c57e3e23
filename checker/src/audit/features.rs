//! Which additions to the fixed API a service has. A workflow that needs one is skipped where it
//! lacks, and run where there is any sign of it: a broken addition is not a missing one.

use std::fmt::{self, Display, Formatter};

use http::Method;
use serde_json::json;

use super::call::{Call, path};
use super::session::{Answer, Lost, Session};

/// An addition to the fixed API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// `ETag`, `If-Match`, `If-None-Match`.
    Versions,
    /// `?ttl=`.
    Expiry,
    /// `GET /keys`.
    List,
    /// `DELETE /keys?prefix=`.
    PrefixDeletion,
    /// `POST /batch`.
    Batch,
    /// `POST /incr/{key}`.
    Counters,
    /// `GET /keys/{key}?wait=`.
    Wait,
}

/// What the service showed of its features.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features(Vec<Feature>);

impl Feature {
    /// Every feature.
    pub const ALL: [Feature; 7] = [
        Feature::Versions,
        Feature::Expiry,
        Feature::List,
        Feature::PrefixDeletion,
        Feature::Batch,
        Feature::Counters,
        Feature::Wait,
    ];

    /// The word for it in a report.
    pub fn word(self) -> &'static str {
        match self {
            Feature::Versions => "versions",
            Feature::Expiry => "expiry",
            Feature::List => "list",
            Feature::PrefixDeletion => "prefix deletion",
            Feature::Batch => "batch",
            Feature::Counters => "counters",
            Feature::Wait => "wait",
        }
    }

    /// Why a workflow is skipped that needs it.
    pub fn missing(self) -> &'static str {
        match self {
            Feature::Versions => "the service has no versions: a write is answered without ETag",
            Feature::Expiry => "the service has no expiry: ?ttl= changes nothing",
            Feature::List => "the service has no list: GET /keys is unknown to it",
            Feature::PrefixDeletion => "the service deletes no prefix: DELETE /keys is unknown",
            Feature::Batch => "the service has no batch: POST /batch is unknown to it",
            Feature::Counters => "the service has no counters: POST /incr/{key} is unknown to it",
            Feature::Wait => "the service does not wait: ?wait= changes nothing",
        }
    }
}

impl Display for Feature {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Features {
    /// Whether the service has this one.
    pub fn has(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }

    /// The words for those that it has.
    pub fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|feature| feature.word()).collect()
    }

    /// Asks the service, on a key of its own.
    ///
    /// # Errors
    /// It does not answer.
    pub fn probe(session: &Session, key: &str) -> Result<Features, Lost> {
        let mut found = Vec::new();
        let result = Feature::ALL.into_iter().try_for_each(|feature| {
            if feature.probe(session, key)? {
                found.push(feature);
            }
            Ok(())
        });
        // A key that stays is found by its prefix; the answer tells nothing that is needed.
        let _ = session.send(&Call::delete(key));
        result.map(|()| Features(found))
    }
}

impl Feature {
    fn probe(self, session: &Session, key: &str) -> Result<bool, Lost> {
        let known = |answer: Answer| !matches!(answer.status, 404 | 405 | 501);
        match self {
            Feature::Versions => {
                let put = send(session, &Call::put(key, "1"))?;
                let get = send(session, &Call::get(key))?;
                // A version that cannot be: if that is refused, versions mean something.
                let never = Call::put(key, "2").field("If-Match", "\"1\"");
                let has_field = put.field("etag").is_some() || get.field("etag").is_some();
                Ok(has_field || send(session, &never)?.status == 412)
            }
            Feature::Expiry => {
                send(session, &Call::put(key, "1").query("ttl", "1h"))?;
                let shown = send(session, &Call::get(key))?.field("kv-ttl-ms").is_some();
                Ok(shown
                    || send(session, &Call::put(key, "1").query("ttl", "never"))?.status == 422)
            }
            Feature::List => Ok(known(send(session, &Call::list(key))?)),
            Feature::PrefixDeletion => Ok(known(send(session, &Call::delete_prefix(key))?)),
            Feature::Batch => {
                let nothing = [json!({"op": "get", "key": key})];
                Ok(known(send(session, &Call::batch(&nothing))?))
            }
            Feature::Counters => {
                Ok(known(send(session, &Call::new(Method::POST, path("/incr/", key)))?))
            }
            Feature::Wait => {
                let bad = Call::get(key).query("wait", "never");
                Ok(send(session, &bad)?.status == 422)
            }
        }
    }
}

/// Each probe may be repeated, so a lost answer is asked for again a few times.
fn send(session: &Session, call: &Call) -> Result<Answer, Lost> {
    const ATTEMPTS: usize = 5;
    let mut last = session.send(call);
    for _ in 1..ATTEMPTS {
        match &last {
            Ok(answer) if answer.status < 500 => break,
            Err(Lost::Refused(_)) => break,
            Ok(_) | Err(Lost::Unknown(_)) => last = session.send(call),
        }
    }
    last
}
