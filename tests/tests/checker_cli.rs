//! The checker's command line against a real kv.

use tests::{DEADLINE, Finished, ReservedPort, checker, kv};

#[track_caller]
fn check(args: &str, code: i32) -> Finished {
    let finished = checker().args(args).run();
    let Finished { code: actual, stdout, stderr } = &finished;
    assert_eq!(*actual, Some(code), "{args}: {stdout} {stderr}");
    finished
}

#[test]
fn every_workflow_passes_and_leaves_no_key() {
    let kv = kv().start();
    let args = format!("run --url {} --seed 3 --ops 300 --duration 300ms --format json", kv.url());
    let report: serde_json::Value = serde_json::from_str(&check(&args, 0).stdout).expect("JSON");
    assert_eq!(report["schema"], "checker-report/1");
    let workflows = report["workflows"].as_array().expect("workflows");
    assert_eq!(workflows.len(), 11);
    for workflow in workflows {
        assert_eq!(workflow["verdict"], "passed", "{workflow:#}");
    }
    assert!(report["repeat"].as_str().is_some_and(|line| line.contains("--seed 3")), "{report:#}");
    let log = kv.stop().log;
    assert!(log.last().is_some_and(|line| line.ends_with("stopped with 0 keys")), "{log:#?}");
}

#[test]
fn exit_codes_tell_what_came_of_it() {
    let nobody = format!("run deletion --url http://127.0.0.1:{}", ReservedPort::new().number());
    assert!(check(&nobody, 3).stdout.contains("unreachable"));
    for wrong in [
        "run nonsense",
        "run --seed x",
        "run --clients 0",
        "run --rate 1000001",
        "run --format xml",
        "run --url kv",
        "crash",
        "crash --rounds 0 -- kv",
        "selftest --seeds 0",
        "selftest deletion",
    ] {
        let finished = check(wrong, 64);
        assert!(finished.stderr.starts_with("error: ") && finished.stdout.is_empty(), "{wrong}");
    }
    // A program that never answers was not reached.
    assert!(check("crash --start-timeout 200ms -- sleep 60", 3).stdout.contains("no answer"));
    assert!(check("crash -- false", 3).stdout.contains("ended"));
}

#[test]
fn the_faults_of_the_selftest_are_found() {
    // More than enough for a build without optimization on a busy machine.
    let finished = checker().args("selftest --seeds 1 --seed 1").run_within(10 * DEADLINE);
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    let found = finished.stdout.lines().filter(|line| line.starts_with("found ")).count();
    assert!(found >= 20, "{}", finished.stdout);
}

#[test]
fn a_run_over_http_is_the_same_and_one_at_a_time() {
    let kv = kv().start();
    let server = checker().env("KV_SERVICE_URL", &kv.url()).start();
    assert_eq!(server.get("/report.json").status, 404);
    let post = |target: &str| server.connect().request("POST", target, &[], None);
    assert_eq!(post("/test/types?clients=0").status, 422);
    assert_eq!(post("/test/types?client=1").status, 422);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| post("/test/load?duration=1s&clients=2").status))
            .collect();
        let mut statuses: Vec<_> =
            runs.into_iter().map(|run| run.join().expect("an answer")).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
    });
    let answer = post("/test/counter?ops=100&seed=9");
    assert_eq!(answer.status, 200);
    let report: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
    assert_eq!((&report["verdict"], &report["settings"]["seed"]), (&"passed".into(), &9.into()));
    assert_eq!(server.get("/report.json").text(), answer.text());
    let metrics = server.get("/metrics");
    let line = "checker_verdict{workflow=\"counter\",verdict=\"passed\"} 1";
    assert!(metrics.text().contains(line), "{}", metrics.text());
    // A stop does not wait for a long run.
    std::thread::scope(|scope| {
        let running = scope.spawn(|| post("/test/load?duration=1h").status);
        tests::eventually("run", || {
            server.get("/tests").text().contains("\"running\":true").then_some(())
        });
        server.signal(rustix::process::Signal::TERM);
        assert_eq!(running.join().expect("an answer"), 200);
    });
    assert_eq!(server.wait().code, 0);
}

#[test]
fn a_store_in_memory_does_not_outlive_its_process() {
    let kv = tests::kv_path().display();
    let finished = check(&format!("crash --rounds 3 --seed 1 -- {kv}"), 1);
    assert!(finished.stdout.contains("acknowledged"), "{}", finished.stdout);
}
