//! The socket that a server listens on, and the descriptors that it may use.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Limits;
use crate::text::io_error;

/// Why a server could not be bound.
#[derive(Debug)]
pub struct BindError {
    host: String,
    port: u16,
    error: io::Error,
}

/// Connections that wait for `accept` in the kernel; `net.core.somaxconn` may allow less.
const BACKLOG: i32 = 4096;
/// What the kernel keeps of an answer, half of it data. Left to itself it takes 4 MB for each client
/// that does not read, and then has none for those that do.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// Descriptors for what is no connection: the listener, epoll, files, standard streams.
const DESCRIPTORS_RESERVED: usize = 24;

impl BindError {
    pub(super) fn new(host: &str, port: u16, error: io::Error) -> Self {
        BindError { host: host.to_owned(), port, error }
    }
}

/// The first of the host's addresses that can be bound.
pub(super) fn listener(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match listener_at(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn listener_at(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted connections inherit both: an answer leaves in one write and waits for nothing.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Raises the descriptor limit as far as it goes, and keeps the connections below it.
pub(super) fn within_descriptors(mut limits: Limits) -> Limits {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(limits.connections_max + DESCRIPTORS_RESERVED).ok();
    let within = |limit: Option<u64>| limit.is_none_or(|limit| wanted.is_some_and(|w| w <= limit));
    if within(current) {
        return limits;
    }
    let raised = if within(maximum) { wanted } else { maximum };
    let granted = match setrlimit(Resource::Nofile, Rlimit { current: raised, maximum }) {
        Ok(()) => raised,
        Err(_) => current,
    };
    let granted = granted.and_then(|granted| usize::try_from(granted).ok()).unwrap_or(usize::MAX);
    let room = granted.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    limits.connections_max = limits.connections_max.min(room);
    limits
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { host, port, error } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let why = match error.kind() {
            io::ErrorKind::AddrNotAvailable => "not an address of this host".to_owned(),
            _ => io_error(error),
        };
        write!(f, "cannot listen on {host}:{port}: {why}")
    }
}

impl std::error::Error for BindError {}
