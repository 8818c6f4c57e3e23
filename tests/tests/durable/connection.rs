//! A client that may fail: the program it talks to is killed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tests::{DEADLINE, Json, connect, request};

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What the entity tag names.
    pub(crate) version: Option<u64>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.status, 200 | 201)
    }

    pub(crate) fn json(&self) -> Json {
        Json::parse(&self.body)
    }
}

impl Connection {
    /// None when nobody listens.
    pub(crate) fn open(address: SocketAddr) -> Option<Self> {
        let stream = connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.set_write_timeout(Some(DEADLINE)).ok()?;
        Some(Connection { stream, received: Vec::new() })
    }

    /// None when the program has gone before its answer.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Option<&str>,
    ) -> Option<Answer> {
        self.stream.write_all(request(method, target, fields, body).as_bytes()).ok()?;
        loop {
            if let Some(answer) = self.take() {
                return Some(answer);
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 => self.received.extend_from_slice(&buffer[..count]),
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// Keeps raw JSON text.
    pub(crate) fn put(&mut self, key: &str, value: &str) -> Option<Answer> {
        self.ask("PUT", &format!("/keys/{key}?raw"), &[], Some(value))
    }

    /// The raw JSON text, or what is said in its place.
    pub(crate) fn get(&mut self, key: &str) -> Option<Answer> {
        self.ask("GET", &format!("/keys/{key}?raw"), &[], None)
    }

    /// What a metric without labels says.
    #[track_caller]
    pub(crate) fn metric(&mut self, name: &str) -> f64 {
        let text = self.ask("GET", "/metrics", &[], None).expect("an answer").body;
        let mut samples = text.lines().filter_map(|line| line.rsplit_once(' '));
        let (_, value) = samples.find(|sample| sample.0 == name).expect("it is counted");
        value.parse().expect("a number")
    }

    /// The value with its version; none when the key is not there. Anything else is a failure.
    #[track_caller]
    pub(crate) fn find(&mut self, key: &str) -> Option<(String, u64)> {
        let answer = self.get(key).expect("an answer");
        match answer.status {
            200 => Some((answer.body, answer.version.expect("an entity tag"))),
            404 => None,
            _ => panic!("{key}: {answer:?}"),
        }
    }

    fn take(&mut self) -> Option<Answer> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(&self.received).expect("an answer");
        let httparse::Status::Complete(begin) = parsed else { return None };
        let field = |name: &str| {
            let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            field.map(|field| std::str::from_utf8(field.value).expect("ASCII").to_owned())
        };
        let number = |name: &str| {
            field(name).map(|text| text.trim_matches('"').parse::<u64>().expect("a number"))
        };
        let length = number("Content-Length").unwrap_or_default();
        let end = begin + usize::try_from(length).expect("a length");
        let body = self.received.get(begin..end)?;
        let answer = Answer {
            status: head.code.expect("a status"),
            version: number("ETag"),
            ttl_ms: number("KV-TTL-Ms"),
            body: String::from_utf8(body.to_vec()).expect("UTF-8"),
        };
        self.received.drain(..end);
        Some(answer)
    }
}
