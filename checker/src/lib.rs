//! `checker`: validates a running `kv` over HTTP.
//!
//! It shares no code with `kv` but `common`, so it cannot inherit kv's mistakes.

pub mod client;
pub mod config;
pub mod error;
pub mod handlers;
pub mod history;
pub mod judge;
pub mod openapi;
pub mod routes;
mod run;
pub mod runner;
pub mod service;
pub mod workflows;

#[cfg(test)]
mod fake;

pub use run::run;
pub use service::Checker;
