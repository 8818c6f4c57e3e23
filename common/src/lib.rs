//! What `kv` and `checker` both need and neither owns.

pub mod cli;
pub mod client;
pub mod config;
pub mod docs;
pub mod health;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod run;
pub mod shutdown;
pub mod text;
