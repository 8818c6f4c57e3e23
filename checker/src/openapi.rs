//! The contract of `checker`, as a document that people and programs read.

/// The `OpenAPI` 3.1 document, as JSON text.
pub const OPENAPI: &str = include_str!("../openapi.json");

#[cfg(test)]
mod tests {
    use super::OPENAPI;
    use serde_json::Value;

    #[test]
    fn the_document_is_of_this_version() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["title"], env!("CARGO_PKG_NAME"));
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
