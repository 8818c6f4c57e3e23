//! Several servers behind one address, each connection at the next one: a client that makes many
//! talks to all of them in turn.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Forwards connections until it is dropped.
#[derive(Debug)]
pub struct Alternate {
    /// Where it listens.
    pub address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Alternate {
    /// Listens in front of these servers.
    #[track_caller]
    pub fn start(servers: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        thread::spawn(move || {
            for (client, server) in listener.incoming().zip(servers.iter().cycle()) {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // A server that is gone shows as a connection that ends at once.
                let _: io::Result<()> = client.and_then(|client| join(client, *server));
            }
        });
        Alternate { address, is_over }
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Alternate {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // The one connection more that it waits for.
        let _ = TcpStream::connect(self.address);
    }
}

fn join(client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || {
            // Either side may go at any time.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
