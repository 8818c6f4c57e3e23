//! A stored key can be read, and cannot be read any more once it has been deleted.

use serde_json::{Value, json};

use super::{Call, Expect, Step, Workflow};

/// `POST /test/deletion`.
pub static DELETION: Workflow = Workflow {
    test_name: "test_deletion",
    steps: &[
        Step { name: "store", call: Call::Post(value), expect: Expect::Status(&[200, 201]) },
        Step {
            name: "retrieve",
            call: Call::Get,
            expect: Expect::Value { value, mismatch: "Value mismatch" },
        },
        Step { name: "delete", call: Call::Delete, expect: Expect::Status(&[200]) },
        Step {
            name: "verify_deletion",
            call: Call::Get,
            expect: Expect::Absent { present: "Key still exists" },
        },
    ],
};

fn value(key: &str) -> Value {
    json!({
        "key": key,
        "text": "Zoë says \"日本語 🦀\"\n",
        "numbers": [0, -1, 42, 0.5],
        "nested": {"active": true, "nothing": null, "empty": {}},
    })
}
