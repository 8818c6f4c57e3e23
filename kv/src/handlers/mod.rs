//! One function an endpoint: what a request means.
//!
//! A handler reads the whole request first, and what is wrong with it is answered before any
//! condition is looked at (RFC 9110, section 13.2.1). Conditions on writes are the store's, in the
//! step that they guard.

pub mod batch;
pub mod export;
pub mod health;
pub mod import;
pub mod incr;
pub mod keys;
pub mod list;
pub mod metrics;
