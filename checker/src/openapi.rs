//! The contract of `checker`, as a document that people and programs read.

/// The `OpenAPI` 3.1 document, as JSON text.
pub const OPENAPI: &str = include_str!("../openapi.json");
