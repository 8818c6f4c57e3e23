//! `checker`: validates a running `kv` over HTTP.

pub mod openapi;
