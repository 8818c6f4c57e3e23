//! What `kv` and `checker` both need and neither owns.

pub mod docs;
pub mod cli;
pub mod config;
pub mod health;
pub mod http;
pub mod logging;
pub mod shutdown;
pub mod text;
