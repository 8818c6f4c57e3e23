//! One function an endpoint: what a request means.

pub mod health;
pub mod keys;
pub mod metrics;
