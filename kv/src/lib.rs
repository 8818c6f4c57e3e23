//! `kv`: JSON values under string keys over HTTP.
//!
//! Data flows one way: the engine's request to `routes` (which endpoint), to `handlers` (what it
//! means), to `store` (one atomic step), and back as a reply.

pub mod access;
pub mod answer;
pub mod backup;
pub mod body;
pub mod conditions;
pub mod config;
pub mod error;
pub mod handlers;
pub mod key;
pub mod metrics;
pub mod openapi;
pub mod origin;
pub mod query;
pub mod routes;
mod run;
pub mod service;
pub mod store;

pub use run::run;
