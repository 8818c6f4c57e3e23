//! `checker`: validates a running `kv` over HTTP.
//!
//! It shares no code with `kv` but `common`, so it cannot inherit kv's mistakes.

pub mod audit;
pub mod board;
pub mod client;
pub mod command;
pub mod config;
pub mod crash;
pub mod error;
mod exact;
pub mod handlers;
pub mod history;
pub mod judge;
pub mod openapi;
pub mod origin;
pub mod report;
pub mod routes;
mod run;
pub mod runner;
pub mod selftest;
pub mod service;
pub mod settings;
pub mod status;
pub mod steps;
pub mod workflows;

#[cfg(test)]
mod fake;

pub use run::run;
pub use service::Checker;
