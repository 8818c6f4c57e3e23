//! An HTTP/1.1 client on a raw socket, strict about what comes back.
//!
//! It adds nothing to what is sent and forgives nothing in what is received: every answer has
//! one length, or comes in chunks, and one date, a body where there must be one and none where there must not, and
//! nothing follows an answer but the next one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::str;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::net;

use crate::{DEADLINE, Json};

const HEADERS_MAX: usize = 32;
/// Bytes received at once.
const RECEIVED_BYTES: usize = 64 << 10;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Vec<u8>,
}

/// How an answer says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunks,
}

/// What decides about an answer's framing, other than itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Head,
    Other,
}

/// Connects from one loopback address after another: connections that were closed keep their port
/// for a minute, and some tests open more of them than one address has ports.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    static CONNECTIONS: AtomicU8 = AtomicU8::new(0);
    let SocketAddr::V4(server) = address else { return TcpStream::connect(address) };
    if !server.ip().is_loopback() {
        return TcpStream::connect(address);
    }
    let from = Ipv4Addr::new(127, 0, 1, CONNECTIONS.fetch_add(1, Ordering::Relaxed).max(1));
    let socket = net::socket_with(
        net::AddressFamily::INET,
        net::SocketType::STREAM,
        net::SocketFlags::CLOEXEC,
        None,
    )?;
    net::bind(&socket, &SocketAddrV4::new(from, 0))?;
    net::connect(&socket, &server)?;
    Ok(TcpStream::from(socket))
}

impl Client {
    /// Connects; every later wait has the usual deadline.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = connect(address).expect("somebody listens");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(DEADLINE)).expect("an option");
        stream.set_write_timeout(Some(DEADLINE)).expect("an option");
        Client { stream, received: Vec::new() }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server takes it");
    }

    /// Sends one request as it is and reads its answer.
    #[track_caller]
    pub fn send(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        self.write(request);
        self.response(if request.starts_with(b"HEAD ") { Asked::Head } else { Asked::Other })
    }

    /// Sends a request with a `Host` and, when there is a body, its length.
    #[track_caller]
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Response {
        self.send(request(method, target, headers, body))
    }

    /// Reads the answer to a request other than HEAD.
    #[track_caller]
    pub fn read(&mut self) -> Response {
        self.response(Asked::Other)
    }

    /// Reads the answer to a HEAD request.
    #[track_caller]
    pub fn read_head(&mut self) -> Response {
        self.response(Asked::Head)
    }

    /// A body in chunks, up to the last one (RFC 9112, section 7.1).
    #[track_caller]
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let length = usize::from_str_radix(&line, 16).expect("a chunk's length, and no more");
            body.append(&mut self.take(length));
            assert_eq!(self.take(2), b"\r\n");
            if length == 0 {
                return body;
            }
        }
    }

    /// The bytes of the next line, without its end.
    #[track_caller]
    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.take(end);
                self.take(2);
                return String::from_utf8(line).expect("UTF-8");
            }
            assert!(self.fill(), "closed within a line");
        }
    }

    #[track_caller]
    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.received.len() < length {
            assert!(self.fill(), "closed {} bytes into {length}", self.received.len());
        }
        self.received.drain(..length).collect()
    }

    /// Waits for the server to close. Nothing may come before that.
    #[track_caller]
    pub fn expect_close(&mut self) {
        let more = self.received.is_empty() && self.fill();
        let stray = String::from_utf8_lossy(&self.received);
        assert!(!more && stray.is_empty(), "stray bytes: {stray:?}");
    }

    /// Everything that comes until the server closes, also with a reset.
    #[track_caller]
    pub fn read_to_close(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.received)
    }

    /// The head of the next answer, and its length.
    #[track_caller]
    fn whole_head(&mut self) -> (Response, usize) {
        loop {
            if let Some(parsed) = head(&self.received) {
                return parsed;
            }
            assert!(self.fill(), "closed after {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    #[track_caller]
    fn response(&mut self, asked: Asked) -> Response {
        let (mut response, head_bytes) = self.whole_head();
        let framing = response.check_framing();
        self.received.drain(..head_bytes);
        response.body = match framing {
            _ if asked == Asked::Head => Vec::new(),
            Framing::Length(length) => self.take(length),
            Framing::Chunks => self.chunks(),
        };
        if response.header("Connection") == Some("close") {
            self.expect_close();
        }
        response
    }

    /// Receives more; false when the server has closed.
    #[track_caller]
    fn fill(&mut self) -> bool {
        let mut buffer = vec![0; RECEIVED_BYTES];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    return count > 0;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
                Err(error) => {
                    panic!("{error} after {:?}", String::from_utf8_lossy(&self.received))
                }
            }
        }
    }
}

/// The bytes of a request with a `Host` and, when there is a body, its length.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: Option<&str>) -> String {
    let fields: String =
        headers.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect();
    let length = body.map(|body| format!("Content-Length: {}\r\n", body.len()));
    let (length, body) = (length.unwrap_or_default(), body.unwrap_or_default());
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}{length}\r\n{body}")
}

/// The head at the begin of these bytes, and its length, once it is whole.
#[track_caller]
fn head(bytes: &[u8]) -> Option<(Response, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let status = parsed.parse(bytes);
    let status =
        status.unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(bytes)));
    let httparse::Status::Complete(head_bytes) = status else { return None };
    assert!(bytes.starts_with(b"HTTP/1.1 "), "the version is not the server's own");
    assert!(!parsed.reason.unwrap_or_default().is_empty(), "a status without its name");
    let text = |value: &[u8]| str::from_utf8(value).expect("ASCII").to_owned();
    let headers = parsed.headers.iter().map(|field| (field.name.to_owned(), text(field.value)));
    let status = parsed.code.expect("a whole head has a status");
    Some((Response { status, headers: headers.collect(), body: Vec::new() }, head_bytes))
}

impl Response {
    /// The value of a header field, which may be there once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| name.eq_ignore_ascii_case(other));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice: {:?}", self.headers);
        value
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Json {
        Json::parse(self.text())
    }

    /// Status, media type and JSON.
    #[track_caller]
    pub fn assert_json(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text()), (status, body));
        assert_eq!(self.header("Content-Type"), Some("application/json"));
    }

    /// A refusal in the shape that all of them have.
    #[track_caller]
    pub fn assert_refused(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("Content-Type"), Some("application/json"));
        let error = self.json().at(&["detail", "error"]).clone();
        assert!(matches!(&error, Json::String(text) if !text.is_empty()), "{error:?}");
        let shape = format!(r#"{{"detail":{{"success":false,"error":{error}}}}}"#);
        assert_eq!(self.text(), shape);
    }

    /// How the body comes that follows, if the request was not HEAD.
    #[track_caller]
    fn check_framing(&self) -> Framing {
        if self.status == 100 {
            assert_eq!(self.headers, []);
            return Framing::Length(0);
        }
        assert!(self.header("Date").is_some(), "no date in {:?}", self.headers);
        let connection = self.header("Connection");
        assert!(matches!(connection, None | Some("close" | "keep-alive")), "{connection:?}");
        let (coding, length) = (self.header("Transfer-Encoding"), self.header("Content-Length"));
        match (self.status, coding, length) {
            (204 | 304, None, None) => Framing::Length(0),
            (200, Some("chunked"), None) => Framing::Chunks,
            (200..=203 | 205..=303 | 305.., None, Some(length)) => {
                Framing::Length(length.parse().expect("a length"))
            }
            _ => panic!("no length, or several, in {:?}", self.headers),
        }
    }
}
