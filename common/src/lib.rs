//! What `kv` and `checker` both need and neither owns.

pub mod docs;
pub mod http;
