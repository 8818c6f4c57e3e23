//! The `health` subcommand: asks the running service of the same settings whether it is well.
//!
//! A container's health check runs this every few seconds, so it is one request on one
//! connection with one deadline for all of it, name look-up included.

use std::fmt::{self, Display, Formatter};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::config::value::Host;

/// How long the service may take for its whole answer.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

const ANSWER_BYTES_MAX: u64 = 16 << 10;
const HEADERS_MAX: usize = 32;

/// Which service to ask: the settings that it listens with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it listens. Of all addresses, the loopback one is asked.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

/// Why a service is not known to be well.
#[derive(Debug)]
pub enum HealthError {
    /// It could not be talked to.
    Io(Target, io::Error),
    /// It did not answer in time.
    Timeout(Target, Duration),
    /// It answered, but not as one that is well: the first line of what it said.
    Unhealthy(Target, String),
}

/// Asks `GET /health`; `Ok` means 200 with the status `healthy`, whole within `timeout`.
pub fn check(target: &Target, timeout: Duration) -> Result<(), HealthError> {
    let target = target.reachable();
    let (done, answer) = bounded(1);
    let asked = target.clone();
    // Past the deadline the receiver has gone, and nobody wants the answer.
    let asking = thread::Builder::new().spawn(move || done.send(ask(&asked, timeout)));
    if let Err(error) = asking {
        return Err(HealthError::Io(target, error));
    }
    match answer.recv_timeout(timeout) {
        Ok(Ok(answer)) if is_healthy(&answer) => Ok(()),
        Ok(Ok(answer)) => Err(HealthError::Unhealthy(target, first_line(&answer))),
        // The socket's own deadline, which ends at the same moment.
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(HealthError::Timeout(target, timeout))
        }
        Ok(Err(error)) => Err(HealthError::Io(target, error)),
        Err(_) => Err(HealthError::Timeout(target, timeout)),
    }
}

impl Target {
    /// The same service at an address that can be connected to.
    #[must_use]
    pub fn reachable(&self) -> Target {
        let host = match &self.host {
            Host::Address(address) if address.is_unspecified() => Host::Address(match address {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            }),
            host @ (Host::Address(_) | Host::Name(_)) => host.clone(),
        };
        Target { host, port: self.port }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host.with_port(self.port))
    }
}

impl std::error::Error for HealthError {}

impl Display for HealthError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            HealthError::Io(target, error) => write!(f, "http://{target}/health: {error}"),
            HealthError::Timeout(target, timeout) => {
                write!(f, "http://{target}/health: no answer within {timeout:?}")
            }
            HealthError::Unhealthy(target, said) => {
                write!(f, "http://{target}/health: not healthy: '{said}'")
            }
        }
    }
}

fn ask(target: &Target, timeout: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(target.to_string())?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

fn is_healthy(answer: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_bytes)) = response.parse(answer) else { return false };
    let body = serde_json::from_slice::<serde_json::Value>(&answer[head_bytes..]);
    response.code == Some(200) && body.is_ok_and(|body| body["status"] == "healthy")
}

fn first_line(answer: &[u8]) -> String {
    const LINE_BYTES_MAX: usize = 80;
    let line = answer.split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default();
    let line = &line[..line.len().min(LINE_BYTES_MAX)];
    crate::text::escaped_bytes(line).to_string()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const LOOPBACK: Host = Host::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));

    /// Asks a server that reads a request, says `answer` and closes.
    fn outcome(answer: &'static [u8]) -> Result<(), HealthError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(request).unwrap()
        });
        let outcome = check(&Target { host: LOOPBACK, port }, HEALTH_TIMEOUT);
        let request = server.join().unwrap();
        let head = format!("Host: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        assert_eq!(request, format!("GET /health HTTP/1.1\r\n{head}"));
        outcome
    }

    #[track_caller]
    fn check_unhealthy(answer: &'static [u8], said: &str) {
        let error = outcome(answer).expect_err("not healthy").to_string();
        assert!(error.ends_with(&format!("/health: not healthy: '{said}'")), "{error}");
    }

    #[test]
    fn a_healthy_answer_is_200_with_the_status() {
        outcome(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"status\":\"healthy\"}").unwrap();
        outcome(b"HTTP/1.1 200 OK\r\n\r\n{ \"status\": \"healthy\", \"keys\": 1 }").unwrap();
    }

    #[test]
    fn any_other_answer_is_not() {
        check_unhealthy(b"", "");
        check_unhealthy(b"SSH-2.0-x\x1b\r\n", r"SSH-2.0-x\u{1b}");
        check_unhealthy(b"HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK");
        check_unhealthy(b"HTTP/1.1 200 OK\r\n\r\nhealthy", "HTTP/1.1 200 OK");
        check_unhealthy(b"HTTP/1.1 200 OK\r\n\r\n{\"status\":\"sick\"}", "HTTP/1.1 200 OK");
        check_unhealthy(b"HTTP/1.1 503 No\r\n\r\n{\"status\":\"healthy\"}", "HTTP/1.1 503 No");
    }

    #[test]
    fn nobody_there_and_no_answer_are_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = Target { host: LOOPBACK, port: listener.local_addr().unwrap().port() };
        let error = check(&target, Duration::from_millis(20)).unwrap_err().to_string();
        assert_eq!(error, format!("http://{target}/health: no answer within 20ms"));

        drop(listener);
        let error = check(&target, HEALTH_TIMEOUT).unwrap_err();
        assert!(matches!(error, HealthError::Io(..)), "{error}");
    }

    #[test]
    fn of_all_addresses_loopback_is_asked() {
        let shown = |host: &str| {
            let host = crate::config::value::host(host).unwrap();
            Target { host, port: 80 }.reachable().to_string()
        };
        assert_eq!(shown("0.0.0.0"), "127.0.0.1:80");
        assert_eq!(shown("::"), "[::1]:80");
        assert_eq!(shown("10.1.2.3"), "10.1.2.3:80");
        assert_eq!(shown("kv-service"), "kv-service:80");
    }
}
