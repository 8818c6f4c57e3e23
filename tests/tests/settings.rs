//! Starting: settings, the other things a command line asks for, and what is said when it is wrong.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use tests::{Finished, Launch, ReservedPort, checker, kv};

/// One line that begins with `error: ` and this, the exit code, and nothing else.
#[track_caller]
fn check_refused(launch: Launch, code: i32, error: &str) {
    let Finished { code: actual, stdout, stderr } = launch.env("RUST_BACKTRACE", "1").run();
    assert_eq!((actual, stdout.as_str()), (Some(code), ""), "{stderr}");
    assert!(stderr.starts_with(&format!("error: {error}")), "{stderr:?}");
    assert_eq!(stderr.find('\n'), Some(stderr.len() - 1), "not one line: {stderr:?}");
}

#[test]
fn a_wrong_setting_is_named() {
    for program in [kv, checker] {
        check_refused(program().env("PORT", "abc"), 64, "PORT: 'abc' is not a port");
        check_refused(program().env("PORT", "65536"), 64, "PORT: '65536' is not a port");
        check_refused(program().env("PORT", " 1"), 64, "PORT: ' 1' is not a port");
        check_refused(program().args("--port -1"), 64, "--port: '-1' is not a port");
        check_refused(program().args("--port"), 64, "--port: a value is missing");
        check_refused(program().args("--prot 1"), 64, "unknown flag '--prot'");
        check_refused(program().args("-p 1"), 64, "unknown flag '-p'");
        check_refused(program().args("serve"), 64, "unexpected argument 'serve'");
        check_refused(program().args("health --max-body 1"), 64, "health has no flag '--max-body'");
        check_refused(program().env("HOST", "a b"), 64, "HOST: 'a b' is not a host");
        check_refused(program().env("HOST", "999.1.1.1"), 64, "HOST: '999.1.1.1' is not a host");
        check_refused(program().env("LOG_LEVEL", "loud"), 64, "LOG_LEVEL: 'loud' is not a log");
        for text in ["0", "-1", "1K", "1.5MiB", "MiB", "99999999999999999999", "1 MiB"] {
            let error = format!("MAX_BODY: '{text}' is not a size");
            check_refused(program().env("MAX_BODY", text), 64, &error);
        }
        for name in ["HEAD_TIMEOUT", "BODY_TIMEOUT", "IDLE_TIMEOUT", "WRITE_TIMEOUT"] {
            for text in ["0", "-1s", "2d", "1.5s", "s", "10sec"] {
                let error = format!("{name}: '{text}' is not a duration");
                check_refused(program().env(name, text), 64, &error);
            }
        }
        check_refused(program().env("WORKERS", "0"), 64, "WORKERS: '0' is not a count");
        check_refused(program().env("MAX_CONNECTIONS", "x"), 64, "MAX_CONNECTIONS: 'x' is not");
    }
    let tls = "KV_SERVICE_URL: 'https://kv' cannot be asked";
    check_refused(checker().env("KV_SERVICE_URL", "https://kv"), 64, tls);
    let error = "--kv-service-url: 'kv' is not a service";
    check_refused(checker().args("--kv-service-url kv"), 64, error);
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    // A label of a name has 63 bytes at most, so nobody has to be asked for this one.
    let unknown = "a".repeat(64);
    for program in [kv, checker] {
        let in_use = format!("cannot listen on 127.0.0.1:{port}: address in use");
        check_refused(program().env("PORT", &port), 1, &in_use);
        // 192.0.2.0/24 is for documentation (RFC 5737).
        let error = "cannot listen on 192.0.2.1:0: not an address of this host";
        check_refused(program().env("HOST", "192.0.2.1"), 1, error);
        let error = format!("cannot listen on {unknown}:0: ");
        check_refused(program().env("HOST", &unknown), 1, &error);
    }
}

#[test]
fn flag_beats_environment_beats_default() {
    let body = r#"{"key":"a","value":"xxxxxxxxxxxxxxxxxxxx"}"#;
    let check = |launch: Launch, status: u16| {
        let answer = launch.start().connect().request("PUT", "/keys/a", &[], Some(body));
        assert_eq!(answer.status, status);
    };
    check(kv(), 200);
    check(kv().env("MAX_BODY", "10"), 413);
    check(kv().env("MAX_BODY", ""), 200);
    check(kv().env("MAX_BODY", "10").args("--max-body 1KiB"), 200);
    check(kv().env("MAX_BODY", "wrong").args("--max-body=10"), 413);
    check(kv().env("PORT", "abc").args("--port 0"), 200);
    check(kv().env("LOG_LEVEL", "").env("WORKERS", "").env("HEAD_TIMEOUT", ""), 200);
}

#[test]
fn help_and_version_are_printed() {
    for (program, name) in [(kv as fn() -> Launch, "kv"), (checker, "checker")] {
        let version = program().env("PORT", "abc").args("--version").run();
        let text = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(version, Finished { code: Some(0), stdout: text, stderr: String::new() });
        assert_eq!(program().args("-V").run(), version);

        let help = program().env("PORT", "abc").args("--help").run();
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
        for setting in ["--port", "PORT", "--max-body", "LOG_LEVEL", "health", "Exit codes"] {
            assert!(help.stdout.contains(setting), "{setting} is not in {}", help.stdout);
        }
        assert_eq!(program().args("-h").run(), help);
    }
}

#[track_caller]
fn check_health(program: fn() -> Launch, port: u16, said: Option<&str>) {
    let launch = || program().env("PORT", &port.to_string()).args("health");
    let url = format!("http://127.0.0.1:{port}/health: ");
    match said {
        None => {
            let well = Finished { code: Some(0), stdout: String::new(), stderr: String::new() };
            assert_eq!(launch().run(), well);
            assert_eq!(launch().env("HOST", "0.0.0.0").run(), well);
            assert_eq!(launch().env("PORT", "1").args(&format!("--port {port}")).run(), well);
        }
        Some(said) => check_refused(launch(), 1, &format!("{url}{said}")),
    }
}

/// Answers every connection with these bytes.
fn impostor(answer: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("a free port").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            // To close with the question unread would reset the connection.
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            // Whoever asks may go before the answer.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn health_asks_the_running_service() {
    for program in [kv as fn() -> Launch, checker] {
        check_health(program, program().start().address.port(), None);
        check_health(program, ReservedPort::new().number(), Some("Connection refused"));
        let sick = "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"sick\"}";
        check_health(program, impostor(sick), Some("not healthy: 'HTTP/1.1 200 OK'"));
        let failing = "HTTP/1.1 503 Busy\r\n\r\n{\"status\":\"healthy\"}";
        check_health(program, impostor(failing), Some("not healthy: 'HTTP/1.1 503 Busy'"));
        check_health(program, impostor("SSH-2.0-x\r\n"), Some("not healthy: 'SSH-2.0-x'"));
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = silent.local_addr().unwrap().port();
        check_health(program, port, Some("no answer within 2s"));
    }
}
