//! Starting, signalling and ending the programs.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::{Client, DEADLINE, Log, Process, Response, binaries, eventually};

/// What is read about another program by the loader or by a coverage run, and is not ours.
const ENVIRONMENT_KEPT: &[&str] = &["LD_LIBRARY_PATH", "LLVM_PROFILE_FILE"];

/// `kv` on a free port of the loopback address, without any other setting.
pub fn kv() -> Launch {
    Launch::new(Command::new(binaries::kv()))
}

/// `checker` on a free port of the loopback address, without any other setting.
pub fn checker() -> Launch {
    Launch::new(Command::new(binaries::checker()))
}

/// A program that is about to be started.
#[derive(Debug)]
pub struct Launch {
    command: Command,
}

impl Launch {
    fn new(mut command: Command) -> Self {
        command.env_clear().env("HOST", "127.0.0.1").env("PORT", "0");
        for name in ENVIRONMENT_KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Launch { command }
    }

    /// With this variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With these arguments, separated by white space.
    #[must_use]
    pub fn args(mut self, args: &str) -> Self {
        self.command.args(args.split_whitespace());
        self
    }

    /// Started by another program, which is given this one's path and arguments behind its own:
    /// the limits of a shell, another user.
    #[must_use]
    pub fn through(self, program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).arg(self.command.get_program()).args(self.command.get_args());
        command.env_clear();
        for (name, value) in self.command.get_envs() {
            command.envs(value.map(|value| (name, value)));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Launch { command }
    }

    /// Starts a server and waits until it listens.
    #[track_caller]
    pub fn start(self) -> Server {
        Server::listening(self.spawn(), Log::reading)
    }

    /// The same, with nobody reading the log after the line that says where it listens.
    #[track_caller]
    pub fn start_with_log_unread(self) -> Server {
        Server::listening(self.spawn(), Log::reluctant)
    }

    /// Starts a server that does not say where it listens, and waits until it does.
    #[track_caller]
    pub fn start_at(self, port: &ReservedPort) -> Server {
        let mut child = self.env("PORT", &port.number().to_string()).spawn();
        let log = Log::reading(child.stderr.take().expect("a pipe"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        let mut server = Server { child, address, log: Some(log) };
        eventually("connection", || {
            let ended = server.child.try_wait().expect("a child");
            assert_eq!(ended, None, "{:#?}", server.log.take().map(Log::all));
            TcpStream::connect(address).ok()
        });
        server
    }

    /// The same, with a standard error whose reader has gone.
    #[track_caller]
    pub fn start_at_with_log_closed(self, port: &ReservedPort) -> Server {
        let mut server = self.start_at(port);
        server.log = None;
        server
    }

    /// Runs a program that ends by itself.
    #[track_caller]
    pub fn run(self) -> Finished {
        self.run_within(DEADLINE)
    }

    /// The same for one that takes long.
    #[track_caller]
    pub fn run_within(mut self, deadline: Duration) -> Finished {
        let mut child = self.command.spawn().expect("the program starts");
        if !ends(&child, deadline) {
            child.kill().expect("it runs");
        }
        let output = child.wait_with_output().expect("it has ended");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Finished {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    #[track_caller]
    fn spawn(mut self) -> Child {
        self.command.stdout(Stdio::null()).spawn().expect("the program starts")
    }
}

/// What a program that ended by itself left.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    /// The exit code; none when it had to be killed.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: Option<Log>,
}

/// How a server ended.
#[derive(Debug)]
pub struct Stopped {
    /// The exit code, or 128 and the signal that killed it, as a shell has it.
    pub code: i32,
    /// From the wait's begin to the end.
    pub took: Duration,
    /// Every line of its log.
    pub log: Vec<String>,
}

impl Server {
    #[track_caller]
    fn listening(mut child: Child, read: fn(std::process::ChildStderr) -> Log) -> Self {
        let log = read(child.stderr.take().expect("a pipe"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Server { child, address, log: Some(log) };
        let line = server.log().wait_for(" listening on ");
        let (_, after) = line.split_once(" listening on ").expect("it is in the line");
        let address = after.split(',').next().unwrap_or_default();
        server.address = address.parse().expect("an address with a port");
        server
    }

    /// What it writes to its standard error.
    #[track_caller]
    pub fn log(&self) -> &Log {
        self.log.as_ref().expect("the standard error is read")
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.connect().request("GET", target, &[], None)
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it takes of the machine.
    pub fn process(&self) -> Process {
        Process::new(Pid::from_child(&self.child))
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Ends it with SIGTERM.
    #[track_caller]
    pub fn stop(self) -> Stopped {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait(mut self) -> Stopped {
        let started = Instant::now();
        assert!(ends(&self.child, DEADLINE), "the program does not end");
        let took = started.elapsed();
        let status = self.child.wait().expect("it has ended");
        let log = self.log.take().map(Log::all).unwrap_or_default();
        Stopped { code: code(status), took, log }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).expect("it has ended")
}

/// Whether the child has ended, or does within this time.
fn ends(child: &Child, within: Duration) -> bool {
    // A child that was not waited for keeps its process id.
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a child");
    let deadline = Instant::now() + within;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], left.ok().as_ref()) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A loopback port that nobody else gets while this lives. Connections to it are refused, and a
/// server can be started on it.
#[derive(Debug)]
pub struct ReservedPort {
    socket: OwnedFd,
}

impl ReservedPort {
    /// Takes a free one.
    pub fn new() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        sockopt::set_socket_reuseaddr(&socket, true).expect("an option");
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        ReservedPort { socket }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        let address = getsockname(self.socket.as_fd()).expect("it is bound");
        SocketAddr::try_from(address).expect("an address of the internet").port()
    }
}

impl Default for ReservedPort {
    fn default() -> Self {
        ReservedPort::new()
    }
}
