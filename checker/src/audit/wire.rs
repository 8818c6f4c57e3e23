//! What is below ureq in a session: a call costs few system calls.
//!
//! ureq's own socket sets both time-outs and changes its mode four times. That is more than the rest
//! of a call, and would be measured as the service's.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};

/// A time-out of a socket is set anew when it is off by more than this.
const TIMEOUT_STEP: Duration = Duration::from_millis(200);

/// Connects by TCP.
#[derive(Debug)]
pub(super) struct Wires;

impl Connector for Wires {
    type Out = Wire;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Wire>, Error> {
        let after = *details.timeout.after;
        let until = Instant::now().checked_add(after);
        let mut last = io::Error::from(ErrorKind::ConnectionRefused);
        for address in &details.addrs {
            let left = until.map_or(after, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(Error::Timeout(details.timeout.reason));
            }
            match TcpStream::connect_timeout(address, left) {
                Ok(stream) => {
                    let wire = Wire::new(stream, details.config)?;
                    let handle = Arc::downgrade(&wire.stream) as Weak<dyn ShutdownHandle>;
                    (details.register_shutdown)(handle)?;
                    return Ok(Some(wire));
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(Error::Timeout(details.timeout.reason));
                }
                // Only when nobody has taken the connection is it certain that nothing happened.
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Arc<Stream>,
    buffers: LazyBuffers,
    read_timeout: Duration,
    write_timeout: Duration,
}

/// A socket that another thread may shut down.
#[derive(Debug)]
struct Stream(TcpStream);

impl ShutdownHandle for Stream {
    fn shutdown(&self) {
        // It may have been closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Wire {
    fn new(stream: TcpStream, config: &Config) -> io::Result<Wire> {
        stream.set_nodelay(config.no_delay())?;
        Ok(Wire {
            stream: Arc::new(Stream(stream)),
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            read_timeout: Duration::ZERO,
            write_timeout: Duration::ZERO,
        })
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let stream = &self.stream.0;
        update(&mut self.write_timeout, timeout, |timeout| stream.set_write_timeout(timeout))?;
        let output = &self.buffers.output()[..amount];
        (&*stream).write_all(output).map_err(|error| in_time(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let stream = &self.stream.0;
        update(&mut self.read_timeout, timeout, |timeout| stream.set_read_timeout(timeout))?;
        let input = self.buffers.input_append_buf();
        let amount = loop {
            match (&*stream).read(input) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(|error| in_time(error, timeout))?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Nothing may be there to read before a request is sent, the end of the connection neither.
    fn is_open(&mut self) -> bool {
        let looked = recv(&self.stream.0, &mut [0_u8], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(looked, Err(rustix::io::Errno::AGAIN))
    }
}

/// Sets a socket's time-out, unless it is about that already.
fn update(
    known: &mut Duration,
    timeout: NextTimeout,
    set: impl Fn(Option<Duration>) -> io::Result<()>,
) -> Result<(), Error> {
    let wanted = *timeout.after;
    if wanted.is_zero() {
        return Err(Error::Timeout(timeout.reason));
    }
    if known.abs_diff(wanted) > TIMEOUT_STEP || *known < wanted.min(TIMEOUT_STEP) {
        // No time-out at all is a very long one.
        set(Some(wanted).filter(|wanted| *wanted < Duration::from_secs(86_400)))?;
        *known = wanted;
    }
    Ok(())
}

fn in_time(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}
