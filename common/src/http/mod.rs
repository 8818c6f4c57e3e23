//! The HTTP/1.1 engine: a thread pool over ready connections.
//!
//! One epoll set is shared by all workers and reports each change of a connection once, to one of
//! them (`EPOLLET`), so the kernel is the job queue: a worker takes a connection that has bytes,
//! owns it until it has answered what is whole, and takes the next. An idle connection costs no
//! thread, and a slow one costs nothing until its bytes come.
//!
//! | file | what it knows |
//! |---|---|
//! | `parse`, `chunked`, `decode` | bytes to requests, pure |
//! | `encode`, `output` | responses to bytes, and those on their way |
//! | `connection` | what one connection holds and is doing |
//! | `slot`, `reply` | who may move a connection on, and where it goes then |
//! | `desk` | the request that a worker is at, and its answers |
//! | `stream`, `sink` | answers that are too large to be built |
//! | `worker` | the event loop and the calls of the service |
//! | `lane` | connections that a thread of the service's serves |
//! | `acceptor`, `keeper` | new connections, deadlines, the graceful stop |
//! | `bind` | the listening socket |
//! | `engine`, `server` | what the threads share, start and stop |
//! | `tiny` | the other engine, which the feature `tiny_http` puts in the place of this one |

#![cfg_attr(
    feature = "tiny_http",
    allow(dead_code, reason = "the other engine reads with a parser of its own")
)]

#[cfg(not(feature = "tiny_http"))]
mod acceptor;
mod bind;
mod chunked;
#[cfg(not(feature = "tiny_http"))]
mod connection;
mod decode;
#[cfg(not(feature = "tiny_http"))]
mod desk;
mod encode;
#[cfg(not(feature = "tiny_http"))]
mod engine;
#[cfg(not(feature = "tiny_http"))]
mod keeper;
#[cfg(not(feature = "tiny_http"))]
mod lane;
mod limits;
mod output;
mod parse;
#[cfg(not(feature = "tiny_http"))]
mod reply;
mod request;
mod response;
#[cfg(not(feature = "tiny_http"))]
mod server;
mod service;
#[cfg(not(feature = "tiny_http"))]
mod sink;
#[cfg(not(feature = "tiny_http"))]
mod slot;
mod stream;
#[cfg(feature = "tiny_http")]
mod tiny;
#[cfg(not(feature = "tiny_http"))]
mod worker;

pub use ::http::{Method, StatusCode};
pub use bind::BindError;
pub use limits::{Limits, Refusal};
#[cfg(not(feature = "tiny_http"))]
pub use reply::Reply;
pub use request::{Headers, Request};
pub use response::{Body, FieldValue, Gone, Response};
#[cfg(not(feature = "tiny_http"))]
pub use server::{Running, Server};
pub use service::{Lane, Service};
pub use stream::BodyWriter;
#[cfg(feature = "tiny_http")]
pub use tiny::{Reply, Running, Server};
