//! kv in front of an etcd that fails: nodes that are gone, that hang, and that have forgotten.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tests::{Client, EtcdCluster, Response, Server, eventually, has_etcd, kv};

/// Far more than one time-out of a call to etcd, and far less than waiting for ever.
const ONE_TIMEOUT: Duration = Duration::from_secs(15);
/// Less than a time-out.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Availability is the share of such times in which a write was acknowledged.
const SLOT: Duration = Duration::from_millis(500);

fn over(cluster: &EtcdCluster) -> Server {
    kv().env("STORE", &cluster.url("a")).start()
}

fn put(server: &Server, value: i64) -> Response {
    server.connect().request("PUT", "/keys/k?raw", &[], Some(&value.to_string()))
}

#[track_caller]
fn until_ready(server: &Server) {
    eventually("ready", || (server.get("/ready").status == 200).then_some(()));
}

#[test]
fn a_node_that_hangs_costs_one_timeout() {
    if !has_etcd() {
        return;
    }
    let cluster = EtcdCluster::start(3);
    let server = over(&cluster);
    assert_eq!(put(&server, 1).status, 200);
    for node in &cluster.nodes {
        node.pause();
        let started = Instant::now();
        let first = server.get("/keys/k?raw");
        assert!(started.elapsed() < ONE_TIMEOUT, "{:?}", started.elapsed());
        // The others may be choosing a leader.
        assert!(first.status == 503 || first.text() == "1", "{}", first.text());
        eventually("a read", || (server.get("/keys/k?raw").status == 200).then_some(()));
        eventually("a write", || (put(&server, 1).status == 200).then_some(()));
        node.resume();
        until_ready(&server);
        node.until_well();
    }
}

#[test]
fn without_a_quorum_nothing_is_answered_but_at_once() {
    if !has_etcd() {
        return;
    }
    let mut cluster = EtcdCluster::start(3);
    let server = over(&cluster);
    assert_eq!(put(&server, 1).status, 200);
    cluster.nodes[0].kill();
    cluster.nodes[1].pause();
    let started = Instant::now();
    eventually("not ready", || (server.get("/ready").status == 503).then_some(()));
    assert!(started.elapsed() < ONE_TIMEOUT, "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(put(&server, 2).status, 503);
    assert_eq!(server.get("/keys/k").status, 503);
    assert_eq!(server.get("/health").status, 200);
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());

    cluster.nodes[1].resume();
    until_ready(&server);
    eventually("a write", || (put(&server, 3).status == 200).then_some(()));
    cluster.nodes[0].start();
    cluster.nodes[0].until_well();
    server.get("/keys/k?raw").assert_json(200, "3");
}

#[test]
fn a_cluster_that_is_not_there_yet_is_waited_for() {
    if !has_etcd() {
        return;
    }
    let mut cluster = EtcdCluster::start(1);
    cluster.nodes[0].kill();
    let server = over(&cluster);
    assert_eq!(server.get("/ready").status, 503);
    assert_eq!(server.get("/keys/k").status, 503);
    cluster.nodes[0].start();
    until_ready(&server);
    assert_eq!(put(&server, 1).status, 200);
}

/// What has forgotten everything is not taken for an empty store.
#[test]
fn an_etcd_with_an_empty_disk_is_not_used() {
    if !has_etcd() {
        return;
    }
    let mut cluster = EtcdCluster::start(1);
    let server = over(&cluster);
    let tag = |answer: &Response| -> u64 {
        answer.header("ETag").expect("a tag").trim_matches('"').parse().expect("a version")
    };
    let before = (0..10).map(|value| tag(&put(&server, value))).max().expect("some");
    cluster.nodes[0].lose_everything();
    cluster.nodes[0].start();
    cluster.nodes[0].until_well();
    // It is not written to, and nobody is told that the key is not there.
    for _ in 0..20 {
        assert_eq!(put(&server, 1).status, 503);
        assert_eq!(server.get("/keys/k").status, 503);
    }
    let line = server.log().wait_for("data was lost");
    assert!(line.contains("WARN"), "{line}");
    assert_eq!(server.get("/ready").status, 503);
    server.stop();
    // Whoever starts it again says that this is as it should be.
    let again = over(&cluster);
    assert_eq!(again.get("/keys/k").status, 404);
    assert!(tag(&put(&again, 1)) > before);
}

/// A counter that several clients add to, at two processes, and what they were told of it.
struct Counted {
    path: &'static str,
    begun: AtomicI64,
    done: AtomicI64,
    unknown: AtomicI64,
    refused: AtomicI64,
}

impl Counted {
    fn new(path: &'static str) -> Self {
        let zero = || AtomicI64::new(0);
        Counted { path, begun: zero(), done: zero(), unknown: zero(), refused: zero() }
    }

    fn add(&self, client: &mut Client) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let answer = client.request("POST", self.path, &[], None);
        match answer.status {
            200 => self.done.fetch_add(1, Ordering::SeqCst),
            503 if answer.text().contains("may have happened") => {
                self.unknown.fetch_add(1, Ordering::SeqCst)
            }
            503 => {
                self.begun.fetch_sub(1, Ordering::SeqCst);
                self.refused.fetch_add(1, Ordering::SeqCst)
            }
            status => panic!("{status} {}", answer.text()),
        };
    }

    /// A reading shows all that was done before it began, and nothing that begins after its end.
    fn read(&self, client: &mut Client) -> bool {
        let done = self.done.load(Ordering::SeqCst);
        let key = self.path.replace("/incr/", "/keys/");
        let answer = client.request("GET", &format!("{key}?raw"), &[], None);
        // What was refused is not counted any more, though its reading may be going on.
        let begun = self.begun.load(Ordering::SeqCst) + self.refused.load(Ordering::SeqCst);
        match answer.status {
            200 => {
                let value: i64 = answer.text().parse().expect("a number");
                assert!((done..=begun).contains(&value), "{done} <= {value} <= {begun}");
                true
            }
            404 => {
                assert_eq!(done, 0);
                true
            }
            503 => false,
            status => panic!("{status} {}", answer.text()),
        }
    }
}

impl Counted {
    /// In the end there is all that was acknowledged, and nothing that was refused.
    #[allow(clippy::print_stdout, reason = "what was not acknowledged is a result too")]
    fn check(&self, server: &Server) {
        let [done, unknown, refused] =
            [&self.done, &self.unknown, &self.refused].map(|count| count.load(Ordering::SeqCst));
        let key = self.path.replace("/incr/", "/keys/");
        let value = eventually("a reading", || {
            let answer = server.get(&format!("{key}?raw"));
            (answer.status == 200).then(|| answer.text().parse::<i64>().expect("a number"))
        });
        let path = self.path;
        println!("{path}: {value}; {done} acknowledged, {unknown} unknown, {refused} refused");
        assert!((done..=done + unknown).contains(&value));
    }
}

fn acknowledged(counters: &[Counted]) -> i64 {
    counters.iter().map(|counter| counter.done.load(Ordering::SeqCst)).sum()
}

/// Has one node after the other killed and started again, or paused and resumed.
fn fail_in_turn(cluster: &mut EtcdCluster, counters: &[Counted]) {
    let end = Instant::now() + load_time();
    for turn in 0.. {
        if Instant::now() >= end {
            return;
        }
        let node = &mut cluster.nodes[turn % 3];
        if turn % 2 == 0 {
            node.kill();
        } else {
            node.pause();
        }
        // The cluster goes on without it.
        let before = acknowledged(counters);
        eventually("writes without that node", || {
            (acknowledged(counters) > before + 10).then_some(())
        });
        if turn % 2 == 0 {
            node.start();
        } else {
            node.resume();
        }
        node.until_well();
    }
}

/// How long the load goes on; `ETCD_FAULTS_SECONDS=120` for two minutes.
fn load_time() -> Duration {
    let seconds = std::env::var("ETCD_FAULTS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(15))
}

/// Nodes are killed, paused and restarted in turn, under load at two processes.
#[test]
#[allow(clippy::print_stdout, reason = "how much was available is a result too")]
fn no_acknowledged_write_is_lost_while_nodes_fail_in_turn() {
    const CLIENTS: usize = 4;
    if !has_etcd() {
        return;
    }
    let mut cluster = EtcdCluster::start(3);
    let servers = [over(&cluster), over(&cluster)];
    let counters = [Counted::new("/incr/a"), Counted::new("/incr/b")];
    let (stop, reads, failed) = (AtomicBool::new(false), AtomicI64::new(0), AtomicI64::new(0));
    let (slots, good_slots) = (AtomicI64::new(0), AtomicI64::new(0));
    let work = |server: &Server, counter: &Counted, is_writer: bool| {
        let mut client = server.connect();
        while !stop.load(Ordering::SeqCst) {
            if is_writer {
                counter.add(&mut client);
            } else {
                reads.fetch_add(1, Ordering::SeqCst);
                failed.fetch_add(i64::from(!counter.read(&mut client)), Ordering::SeqCst);
            }
        }
    };
    thread::scope(|scope| {
        for (server, counter) in servers.iter().flat_map(|s| counters.iter().map(move |c| (s, c))) {
            for index in 0..CLIENTS {
                let work = &work;
                scope.spawn(move || work(server, counter, index % 2 == 0));
            }
        }
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let before = acknowledged(&counters);
                thread::sleep(SLOT);
                let is_good = acknowledged(&counters) > before;
                slots.fetch_add(1, Ordering::SeqCst);
                good_slots.fetch_add(i64::from(is_good), Ordering::SeqCst);
            }
        });
        fail_in_turn(&mut cluster, &counters);
        stop.store(true, Ordering::SeqCst);
    });
    for counter in &counters {
        counter.check(&servers[0]);
    }
    let (reads, failed) = (reads.into_inner(), failed.into_inner());
    let (slots, good_slots) = (slots.into_inner(), good_slots.into_inner());
    println!("{reads} reads, {failed} of them not answered");
    println!("{good_slots} of {slots} times {SLOT:?} had an acknowledged write");
}
