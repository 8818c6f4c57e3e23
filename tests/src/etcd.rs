//! Clusters of etcd on this machine, each for one test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{DEADLINE, ReservedPort, eventually};

/// Processes of Debian's `etcd-server`, with short elections, in a directory of their
/// own. They are killed when this is dropped.
#[derive(Debug)]
pub struct EtcdCluster {
    /// Each node.
    pub nodes: Vec<EtcdNode>,
    _directory: TempDir,
}

/// A node of a cluster.
#[derive(Debug)]
pub struct EtcdNode {
    /// Where clients find it.
    pub address: SocketAddr,
    scheme: &'static str,
    name: String,
    peer: SocketAddr,
    /// Every node, as etcd wants it told.
    members: String,
    directory: PathBuf,
    more: Vec<String>,
    child: Option<Child>,
    // Nobody else is given the ports while a node is down.
    _ports: [ReservedPort; 2],
}

/// Whether there is an `etcd` to be run; says so if there is none.
#[allow(
    clippy::print_stderr,
    reason = "whoever reads a test's output is to know that it did nothing"
)]
pub fn has_etcd() -> bool {
    let version = Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
    let is_there = version.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("SKIPPED: there is no etcd here (apt-get install etcd-server)");
    }
    is_there
}

impl EtcdCluster {
    /// Starts so many nodes and waits until they have a leader.
    #[track_caller]
    pub fn start(nodes: usize) -> Self {
        EtcdCluster::start_with(nodes, &[])
    }

    /// The same, with more arguments.
    #[track_caller]
    pub fn start_with(nodes: usize, more: &[&str]) -> Self {
        let mut cluster = EtcdCluster::of(nodes, more, "http");
        cluster.nodes.iter_mut().for_each(EtcdNode::start);
        cluster.nodes.iter().for_each(EtcdNode::until_well);
        cluster
    }

    fn of(nodes: usize, more: &[&str], scheme: &'static str) -> Self {
        let directory = TempDir::new().expect("room for a directory");
        let ports: Vec<_> =
            (0..nodes).map(|_| [ReservedPort::new(), ReservedPort::new()]).collect();
        let local = |port: &ReservedPort| SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        let member = |(index, [_, peer]): (usize, &[ReservedPort; 2])| {
            format!("n{index}=http://{}", local(peer))
        };
        let members: Vec<_> = ports.iter().enumerate().map(member).collect();
        let nodes = ports.into_iter().enumerate().map(|(index, ports)| EtcdNode {
            address: local(&ports[0]),
            scheme,
            name: format!("n{index}"),
            peer: local(&ports[1]),
            members: members.join(","),
            directory: directory.path().join(format!("n{index}")),
            more: more.iter().map(ToString::to_string).collect(),
            child: None,
            _ports: ports,
        });
        EtcdCluster { nodes: nodes.collect(), _directory: directory }
    }

    /// Starts one node that speaks TLS to its clients, and nothing else.
    #[track_caller]
    pub fn start_with_tls() -> Self {
        let mut cluster = EtcdCluster::of(1, &["--auto-tls"], "https");
        cluster.nodes.iter_mut().for_each(EtcdNode::start);
        let address = cluster.nodes[0].address;
        eventually("etcd that listens", || TcpStream::connect(address).ok());
        cluster
    }

    /// The URL of a store in it.
    pub fn url(&self, prefix: &str) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| node.address.to_string()).collect();
        format!("etcd://{}/{prefix}", nodes.join(","))
    }
}

impl EtcdNode {
    /// Starts it on what it kept.
    #[track_caller]
    pub fn start(&mut self) {
        let client = format!("{}://{}", self.scheme, self.address);
        let peer = format!("http://{}", self.peer);
        let log = File::create(self.directory.with_extension("log")).expect("room for a log");
        let command = &mut Command::new("etcd");
        command.args(["--name", &self.name, "--initial-cluster", &self.members]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
        command.arg("--data-dir").arg(&self.directory).args(&self.more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("etcd starts"));
    }

    /// Waits until it answers through the cluster.
    #[track_caller]
    pub fn until_well(&self) {
        eventually("etcd that is well", || self.is_well().ok().filter(|is_well| *is_well));
    }

    fn is_well(&self) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.contains(r#""health":"true""#))
    }

    /// Ends it at once, as a power failure would.
    #[track_caller]
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it has ended");
        }
    }

    /// Ends it, and nothing of what it kept is left.
    #[track_caller]
    pub fn lose_everything(&mut self) {
        self.kill();
        std::fs::remove_dir_all(&self.directory).expect("it was there");
    }

    /// Stops it where it is; it keeps its connections and answers nobody.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    #[track_caller]
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("it is there");
    }
}

impl Drop for EtcdNode {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended before.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
