//! A small kv for tests, in which one request can be made to go wrong.
//!
//! A write that is answered wrongly has been done all the same, and a deletion has not: so a key
//! that is left over shows.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

/// What happens in place of the right answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// This status and body.
    Answers(u16, &'static str),
    /// These bytes and the end of the connection.
    Writes(&'static [u8]),
    /// Nothing, for as long as the client waits.
    IsSilent,
    /// These bytes, one every few milliseconds, over and over.
    Drips(&'static [u8]),
    /// The first bytes and then the second ones, over and over.
    Floods(&'static [u8], &'static [u8]),
}

pub(crate) struct Fake {
    addr: SocketAddr,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

struct State {
    fault: Option<(usize, Fault)>,
    /// What all requests get.
    always: Option<Fault>,
    stopping: AtomicBool,
    heads: Mutex<Vec<String>>,
    store: Mutex<BTreeMap<String, Value>>,
}

/// An address where nobody listens, for as long as this lives: its port is the near end of a
/// connection, so that no other test is given it.
pub(crate) struct Nobody {
    _listener: TcpListener,
    stream: TcpStream,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Nobody { _listener: listener, stream }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.stream.local_addr().unwrap())
    }
}

impl Fake {
    /// A kv that does everything right.
    pub(crate) fn healthy() -> Self {
        Fake::start(None, None)
    }

    /// The `nth` request, counted from 0, goes wrong.
    pub(crate) fn with_fault(nth: usize, fault: Fault) -> Self {
        Fake::start(Some((nth, fault)), None)
    }

    /// Every request goes wrong.
    pub(crate) fn always(fault: Fault) -> Self {
        Fake::start(None, Some(fault))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Request line and header fields of every request.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// Method and path of every request.
    pub(crate) fn seen(&self) -> Vec<String> {
        let heads = self.heads();
        heads.iter().filter_map(|head| Some(head.split_once(" HTTP/")?.0.to_owned())).collect()
    }

    /// The paths of the keys that are there.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.store.lock().unwrap().keys().cloned().collect()
    }

    fn start(fault: Option<(usize, Fault)>, always: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            fault,
            always,
            stopping: AtomicBool::new(false),
            heads: Mutex::default(),
            store: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(&stream.unwrap()));
            }
        });
        Fake { addr, state, acceptor: Some(acceptor) }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) {
        let Some((head, body)) = read_request(stream) else { return };
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let nth = {
            let mut heads = self.heads.lock().unwrap();
            heads.push(head.clone());
            heads.len() - 1
        };
        let of_nth = self.fault.filter(|(faulty, _)| *faulty == nth).map(|(_, fault)| fault);
        let Some(fault) = self.always.or(of_nth) else {
            let (status, body) = self.apply(method, path, &body);
            return Fault::answer(stream, status, &body.to_string());
        };
        if method != "DELETE" && self.always.is_none() {
            self.apply(method, path, &body);
        }
        fault.show(stream);
    }

    fn apply(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        if !path.starts_with("/keys/") {
            return (404, json!({"detail": "Not Found"}));
        }
        let mut store = self.store.lock().unwrap();
        match method {
            "GET" => match store.get(path) {
                Some(value) => (200, json!({"success": true, "key": path, "value": value})),
                None => (404, json!({"detail": "no such key"})),
            },
            "DELETE" => match store.remove(path) {
                Some(_) => (200, json!({"success": true})),
                None => (404, json!({"detail": "no such key"})),
            },
            _ => {
                let mut entry: Value = serde_json::from_slice(body).unwrap();
                store.insert(path.to_owned(), entry["value"].take());
                (if method == "POST" { 201 } else { 200 }, json!({"success": true}))
            }
        }
    }
}

impl Fault {
    fn show(self, mut stream: &TcpStream) {
        match self {
            Fault::Answers(status, body) => Fault::answer(stream, status, body),
            // The client may have gone, which is for its own test to judge.
            Fault::Writes(bytes) => drop(stream.write_all(bytes)),
            Fault::IsSilent => while !peer_leaves(stream, Duration::from_secs(60)) {},
            Fault::Drips(bytes) => {
                for byte in bytes.iter().cycle() {
                    if stream.write_all(&[*byte]).is_err()
                        || peer_leaves(stream, Duration::from_millis(5))
                    {
                        break;
                    }
                }
            }
            Fault::Floods(first, again) => {
                let again = again.repeat(64 * 1024 / again.len());
                let mut written = stream.write_all(first);
                while written.is_ok() {
                    written = stream.write_all(&again);
                }
            }
        }
    }

    fn answer(mut stream: &TcpStream, status: u16, body: &str) {
        let length = body.len();
        // The client may have gone, which is for its own test to judge.
        let _ = write!(
            stream,
            "HTTP/1.1 {status} Any\r\nLocation: /keys/other\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
    }
}

/// Waits for the other side to close, at most this long.
fn peer_leaves(mut stream: &TcpStream, wait: Duration) -> bool {
    stream.set_read_timeout(Some(wait)).unwrap();
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// Head and body; none when the connection ends before.
fn read_request(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
    while !head.ends_with("\r\n\r\n") {
        let start = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if let Some(value) = head[start..].to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}
