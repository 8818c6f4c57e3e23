//! `kv`: JSON values under string keys over HTTP.

pub mod body;
