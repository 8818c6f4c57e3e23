//! `checker`: validates a running `kv` over HTTP.

pub mod openapi;
//!
//! It shares no code with `kv` but `common`, so it cannot inherit kv's mistakes.

pub mod client;
pub mod runner;
pub mod workflows;

#[cfg(test)]
mod fake;
