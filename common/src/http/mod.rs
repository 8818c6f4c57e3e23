//! The HTTP/1.1 engine: a thread pool over ready connections.

mod request;
mod response;
mod server;

pub use ::http::{Method, StatusCode};
pub use request::{Headers, Request};
pub use response::{Body, Response};
pub use server::{BindError, Limits, Reply, Running, Server, Service};
