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
//! | `worker` | the event loop and the calls of the service |
//! | `acceptor`, `keeper` | new connections, deadlines, the graceful stop |
//! | `engine`, `server` | what the threads share, start and stop |

mod acceptor;
mod chunked;
mod connection;
mod decode;
mod encode;
mod engine;
mod keeper;
mod limits;
mod output;
mod parse;
mod reply;
mod request;
mod response;
mod server;
mod slot;
mod worker;

pub use ::http::{Method, StatusCode};
pub use limits::{Limits, Refusal};
pub use reply::Reply;
pub use request::{Headers, Request};
pub use response::{Body, FieldValue, Response};
pub use server::{BindError, Running, Server, Service};
