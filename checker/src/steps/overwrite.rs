//! The last value that was written is the one that is read.

use serde_json::{Value, json};

use super::{Call, Expect, Step, Workflow};

/// `POST /test/overwrite`.
pub static OVERWRITE: Workflow = Workflow {
    test_name: "test_overwrite",
    steps: &[
        Step {
            name: "store_original",
            call: Call::Post(original),
            expect: Expect::Status(&[200, 201]),
        },
        Step {
            name: "retrieve_original",
            call: Call::Get,
            expect: Expect::Value { value: original, mismatch: "Original value mismatch" },
        },
        Step { name: "overwrite", call: Call::Put(new), expect: Expect::Status(&[200]) },
        Step {
            name: "verify_new",
            call: Call::Get,
            expect: Expect::Value { value: new, mismatch: "New value mismatch" },
        },
    ],
};

fn original(key: &str) -> Value {
    json!({"key": key, "version": 1, "text": "première 🌱", "only_here": [true, null]})
}

fn new(key: &str) -> Value {
    json!({"key": key, "version": 2, "text": "deuxième 🌳", "nested": {"list": [1, 2.5, "three"]}})
}
