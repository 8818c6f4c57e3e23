//! HEAD answers what GET would, without the body (RFC 9110, section 9.3.2).
//!
//! The fixed part has no HEAD: it is judged only where versions are and HEAD finds a key that is
//! there.

use std::time::{Duration, Instant};

use crate::audit::call::Call;
use crate::audit::features::Feature;
use crate::audit::run::Run;
use crate::audit::session::Answer;
use crate::audit::worker::{Step, Worker};

const LIKE_GET: &str = "HEAD answers what GET would, without the body";

/// How often HEAD is tried, and how long apart: one that is late is there all the same.
const TRIES: usize = 10;
const TRY_EVERY: Duration = Duration::from_millis(50);
/// Keys that are looked at from another connection.
const KEYS: usize = 20;

/// Whether HEAD is to be judged.
pub(super) fn has_head(worker: &mut Worker<'_>) -> bool {
    worker.run.has(Feature::Versions) && finds_a_key(worker).unwrap_or(false)
}

fn finds_a_key(worker: &mut Worker<'_>) -> Step<bool> {
    let key = worker.run.key("head");
    worker.ask(&Call::put(&key, "1"))?;
    for _ in 0..TRIES {
        match worker.ask(&Call::head(&key))?.status {
            404 => worker.sleep_until(Instant::now() + TRY_EVERY)?,
            status => return Ok(status == 200),
        }
    }
    Ok(false)
}

/// Asserts that HEAD of a key answers as this GET did, which nobody has written since.
pub(super) fn like_get(worker: &mut Worker<'_>, key: &str, get: &Answer) -> Step {
    let head = worker.ask(&Call::head(key))?;
    compared(worker, get, &head)
}

/// Looks at keys in each state from another connection than that of the write.
pub(super) fn from_elsewhere(run: &Run<'_>) {
    run.worker(|worker| {
        for number in 0..KEYS {
            let key = run.key(&format!("head {number}"));
            worker.case(LIKE_GET, |worker| one(worker, &key, number));
        }
    });
}

fn one(worker: &mut Worker<'_>, key: &str, number: usize) -> Step {
    let mut writes = vec![Call::put(key, "1"), Call::post(key, "[\"another\",2]")];
    if worker.run.has(Feature::Expiry) {
        let value = format!("\"{number}\"");
        writes.push(Call::put(key, &value).query("ttl", "1h"));
    }
    writes.push(Call::delete(key));
    for write in writes {
        let answer = worker.call(&write)?;
        worker.status("a write is answered with success", &answer, &[200, 201])?;
        let head = worker.elsewhere(|worker| worker.ask(&Call::head(key)))?;
        let get = worker.ask(&Call::get(key))?;
        compared(worker, &get, &head)?;
    }
    Ok(())
}

fn compared(worker: &mut Worker<'_>, get: &Answer, head: &Answer) -> Step {
    let (wanted, seen) = (told(get), told(head));
    worker.holds(LIKE_GET, wanted == seen && head.body.is_empty(), &wanted, &seen)?;
    // The field may be left out, but not be wrong.
    let bytes = head.field("content-length").unwrap_or_default();
    let holds = bytes.is_empty() || bytes == get.body.len().to_string();
    worker.holds(
        LIKE_GET,
        holds,
        format!("Content-Length: {}", get.body.len()),
        format!("Content-Length: {bytes}"),
    )
}

/// What both have to tell. How much time is left has gone down in between.
fn told(answer: &Answer) -> String {
    let tag = answer.field("etag").unwrap_or("none");
    let expires = answer.field("kv-ttl-ms").is_some();
    format!("{}, ETag {tag}, KV-TTL-Ms {}", answer.status, if expires { "there" } else { "none" })
}
