//! RFC 9112 and 9110 as kv keeps them: what it takes, what it refuses, and that a connection is in
//! step afterwards, or closed.

mod exchange;
mod heads;

use tests::{Client, Response, Server, request};

/// What a request comes to.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// This status, and the connection answers the next request.
    Kept(u16),
    /// This status, and the connection closes.
    Closed(u16),
    /// The engine's own answer in the shape of all refusals, and the connection closes.
    Refused(u16),
}
use Expected::{Closed, Kept, Refused};

const HEALTHY: &str = r#"{"status":"healthy"}"#;

/// A write that nobody sent as a request: it is the body, or behind the last request.
fn smuggled() -> String {
    request("PUT", "/keys/smuggled", &[], Some(r#"{"key":"smuggled","value":1}"#))
}

#[track_caller]
fn check_health(client: &mut Client) {
    client.request("GET", "/health", &[], None).assert_json(200, HEALTHY);
}

#[track_caller]
fn check(server: &Server, bytes: impl AsRef<[u8]>, expected: Expected) -> Response {
    let bytes = bytes.as_ref();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    let mut client = server.connect();
    client.write(bytes);
    let answer = if bytes.trim_ascii_start().starts_with(b"HEAD ") {
        client.read_head()
    } else {
        client.read()
    };
    let (Kept(status) | Closed(status) | Refused(status)) = expected;
    assert_eq!(answer.status, status, "{shown:?}: {}", answer.text());
    // The client has seen the end of the connection whenever it was announced.
    let closed = answer.header("Connection") == Some("close");
    match expected {
        Kept(_) => {
            assert!(!closed, "{shown:?}");
            check_health(&mut client);
        }
        Closed(_) => assert!(closed, "{shown:?}"),
        Refused(_) => {
            assert!(closed, "{shown:?}");
            answer.assert_refused(status);
        }
    }
    answer
}
