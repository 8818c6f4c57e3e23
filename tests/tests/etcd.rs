//! kv in front of etcd: several processes, what etcd limits, and who may not start.

use std::process::Command;

use tests::{Alternate, DEADLINE, EtcdCluster, Launch, Server, checker, eventually, has_etcd, kv};

fn over(url: &str) -> Launch {
    kv().env("STORE", url)
}

#[track_caller]
fn put(server: &Server, key: &str, value: &str) -> String {
    let target = format!("/keys/{key}?raw");
    let answer = server.connect().request("PUT", &target, &[], Some(value));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("ETag").expect("a tag").to_owned()
}

fn version(tag: &str) -> u64 {
    tag.trim_matches('"').parse().expect("a version")
}

fn etcdctl(cluster: &EtcdCluster, args: &[&str]) {
    let endpoint = cluster.nodes[0].address.to_string();
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoint]).args(args);
    let output = command.output().expect("etcdctl runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
}

#[test]
fn processes_in_front_of_the_same_nodes_are_one_store() {
    if !has_etcd() {
        return;
    }
    let cluster = EtcdCluster::start(3);
    let (one, other) = (over(&cluster.url("a")).start(), over(&cluster.url("a")).start());
    let first = put(&one, "k", "1");
    assert_eq!(other.get("/keys/k?raw").header("ETag"), Some(&*first));
    let fields = [("If-Match", &*first)];
    let target = "/keys/k?raw";
    assert_eq!(other.connect().request("PUT", target, &fields, Some("2")).status, 200);
    assert_eq!(one.connect().request("PUT", target, &fields, Some("3")).status, 412);

    // Who waits at one process is told of what is written at another.
    let second = one.get(target).header("ETag").expect("a tag").to_owned();
    let mut waits = one.connect();
    let ask = tests::request("GET", "/keys/k?wait=60s", &[("If-None-Match", &second)], None);
    waits.write(&ask);
    eventually("somebody who waits", || {
        one.get("/metrics").text().contains("kv_waiters 1").then_some(())
    });
    put(&other, "k", "4");
    waits.read().assert_json(200, r#"{"success":true,"key":"k","value":4}"#);

    // Another prefix is another store.
    let apart = over(&cluster.url("b")).start();
    assert_eq!(apart.get("/keys/k").status, 404);
    put(&apart, "k", "5");
    let mut client = apart.connect();
    client
        .request("DELETE", "/keys?prefix=k", &[], None)
        .assert_json(200, r#"{"success":true,"deleted":1}"#);
    one.get("/keys/k?raw").assert_json(200, "4");

    // A process that is started anew finds all, and its versions go on.
    let last = version(one.get("/keys/k").header("ETag").expect("a tag"));
    assert_eq!(one.stop().code, 0);
    let again = over(&cluster.url("a")).start();
    again.get("/keys/k?raw").assert_json(200, "4");
    assert!(version(&put(&again, "k", "6")) > last);
}

/// Every workflow, each connection of the checker to another process than the one before.
#[test]
fn the_checker_is_content_with_two_processes_at_once() {
    if !has_etcd() {
        return;
    }
    let cluster = EtcdCluster::start(3);
    let servers = [over(&cluster.url("a")).start(), over(&cluster.url("a")).start()];
    let alternate = Alternate::start(servers.iter().map(|server| server.address).collect());
    let args = format!("run --url {} --ops 1000 --rate 100 --seed 7", alternate.url());
    let finished = checker().args(&args).run_within(10 * DEADLINE);
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    assert!(!finished.stdout.contains("skipped"), "{}", finished.stdout);
    servers[0].get("/keys").assert_json(200, r#"{"success":true,"keys":[],"next_cursor":null}"#);
}

#[test]
fn etcd_limits_a_batch() {
    if !has_etcd() {
        return;
    }
    let cluster = EtcdCluster::start(1);
    let server = over(&cluster.url("a")).start();
    let mut client = server.connect();
    let delete = |target: &str| server.connect().request("DELETE", target, &[], None).status;
    let mut batch = |count: usize, condition: &str| {
        let op = |index| format!(r#"{{"op":"put","key":"k{index}","value":1{condition}}}"#);
        let ops: Vec<_> = (0..count).map(op).collect();
        let body = format!(r#"{{"ops":[{}]}}"#, ops.join(","));
        client.request("POST", "/batch", &[], Some(&body))
    };
    assert_eq!(batch(127, r#","if_version":null"#).status, 200);
    assert_eq!(batch(128, r#","if_version":null"#).status, 412);
    assert_eq!(batch(128, "").status, 200);
    for (count, condition, most) in [(129, "", 128), (128, r#","if_version":null"#, 127)] {
        assert_eq!(delete("/keys?prefix=k"), 200);
        let refused = batch(count, condition);
        assert_eq!(refused.status, 422);
        let text = format!("at most {most} operations");
        assert!(refused.text().contains(&text), "{}", refused.text());
    }
}

#[test]
fn a_value_that_etcd_does_not_take_is_413_and_a_full_quota_507() {
    if !has_etcd() {
        return;
    }
    let cluster = EtcdCluster::start_with(1, &["--quota-backend-bytes", "16777216"]);
    let server = over(&cluster.url("a")).env("MAX_BODY", "4MiB").start();
    let mut client = server.connect();
    let value = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let large = client.request("PUT", "/keys/a?raw", &[], Some(&value(2 << 20)));
    assert_eq!(large.status, 413, "{}", large.text());
    let largest = value(1_500_000);
    let full = (0..64).find_map(|index| {
        let target = format!("/keys/k{index}?raw");
        let answer = client.request("PUT", &target, &[], Some(&largest));
        (answer.status != 200).then_some(answer)
    });
    let full = full.expect("an end of the quota");
    assert_eq!(full.status, 507, "{}", full.text());
    assert_eq!(client.request("GET", "/keys/k0", &[], None).status, 200);
}

#[test]
fn who_may_not_is_told_at_the_start() {
    if !has_etcd() {
        return;
    }
    let cluster = EtcdCluster::start(1);
    for args in [
        &["user", "add", "root:secret"][..],
        &["user", "add", "me:p@ss"],
        &["user", "add", "other:pw"],
        &["role", "add", "mine"],
        &["role", "grant-permission", "mine", "readwrite", "a/", "--prefix=true"],
        &["user", "grant-role", "me", "mine"],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        etcdctl(&cluster, args);
    }
    let address = cluster.nodes[0].address;
    let refused = |url: String, reason: &str| {
        let finished = over(&url).run();
        assert_eq!(finished.code, Some(1), "{url}: {}", finished.stderr);
        assert!(finished.stderr.contains(reason), "{}", finished.stderr);
        assert!(!finished.stderr.contains("p%40ss"), "{}", finished.stderr);
    };
    refused(format!("etcd://{address}/a"), "user name is empty");
    refused(format!("etcd://me:wrong@{address}/a"), "authentication failed");
    refused(format!("etcd://other:pw@{address}/a"), "permission denied");
    let server = over(&format!("etcd://me:p%40ss@{address}/a")).start();
    put(&server, "k", "1");
    server.get("/keys/k?raw").assert_json(200, "1");
}

#[test]
fn tls_only_is_told_at_the_start() {
    if !has_etcd() {
        return;
    }
    let cluster = EtcdCluster::start_with_tls();
    let finished = over(&cluster.url("a")).run();
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("speaks TLS only"), "{}", finished.stderr);
}
