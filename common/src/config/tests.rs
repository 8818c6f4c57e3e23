use std::time::Duration;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Serve,
    Ask,
    Read,
}

const PORT: Setting<u16> =
    Setting { name: "PORT", default: "8000", help: "where", parse: value::port };
const MAX_BODY: Setting<usize> =
    Setting { name: "MAX_BODY", default: "1MiB", help: "how much", parse: value::byte_size };

const WAIT: Setting<Duration> =
    Setting { name: "WAIT", default: "1s", help: "how long", parse: value::timeout };

const PROGRAM: Program<Action> = Program {
    name: "toy",
    version: "1.2.3",
    about: "a program for tests",
    main: Subcommand {
        action: Action::Serve,
        name: "",
        help: "serve",
        settings: &[&[PORT.row()], &[MAX_BODY.row()]],
        argument: None,
    },
    subcommands: &[
        Subcommand {
            action: Action::Ask,
            name: "ask",
            help: "ask the one that serves",
            settings: &[&[PORT.row(), WAIT.row()]],
            argument: None,
        },
        Subcommand {
            action: Action::Read,
            name: "read",
            help: "read files",
            settings: &[&[PORT.row()]],
            argument: Some("FILE"),
        },
    ],
    examples: &[("toy --port 1", "serve there")],
    exit_codes: &[("0", "done")],
};

type Outcome = (Action, u16, usize);

fn read_line(args: &[&str], env: &[(&str, &str)]) -> Result<Option<Outcome>, ConfigError> {
    let args = args.iter().map(OsString::from);
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, text)| text.into());
    Ok(match PROGRAM.invocation(args, env)? {
        Invocation::Help | Invocation::Version => None,
        Invocation::Run(action, values) => {
            Some((action, values.get(&PORT)?, values.get(&MAX_BODY)?))
        }
    })
}

#[track_caller]
fn check(args: &[&str], env: &[(&str, &str)], outcome: Outcome) {
    assert_eq!(read_line(args, env), Ok(Some(outcome)), "{args:?} {env:?}");
}

#[track_caller]
fn check_refused(args: &[&str], env: &[(&str, &str)], message: &str) {
    let error = read_line(args, env).expect_err("a refusal").to_string();
    assert_eq!(error, message, "{args:?} {env:?}");
}

#[test]
fn flag_beats_environment_beats_default() {
    use Action::{Ask, Serve};
    check(&[], &[], (Serve, 8000, 1 << 20));
    check(&[], &[("PORT", "1")], (Serve, 1, 1 << 20));
    check(&["--port", "2"], &[("PORT", "1")], (Serve, 2, 1 << 20));
    check(&["--port=2"], &[("PORT", "wrong")], (Serve, 2, 1 << 20));
    check(&["--port", "2", "--port", "3"], &[], (Serve, 3, 1 << 20));
    check(&["--max-body", "2KiB"], &[("MAX_BODY", "1KiB")], (Serve, 8000, 2048));
    check(&["ask"], &[("PORT", "1")], (Ask, 1, 1 << 20));
    check(&["ask", "--port", "2"], &[], (Ask, 2, 1 << 20));
    check(&["--port", "2", "ask"], &[], (Ask, 2, 1 << 20));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    check(&[], &[("PORT", ""), ("MAX_BODY", "")], (Action::Serve, 8000, 1 << 20));
}

#[test]
fn a_refused_value_is_named_with_its_origin() {
    check_refused(&[], &[("PORT", "abc")], "PORT: 'abc' is not a port (0 to 65535)");
    check_refused(&["--port", "-1"], &[], "--port: '-1' is not a port (0 to 65535)");
    check_refused(&["--port="], &[], "--port: '' is not a port (0 to 65535)");
    check_refused(
        &["--port", "1\n\u{1b}[2J"],
        &[],
        r"--port: '1\n\u{1b}[2J' is not a port (0 to 65535)",
    );
    check_refused(
        &["--max-body=0"],
        &[],
        "--max-body: '0' is not a size (bytes, or with KiB, MiB, GiB, KB, MB, GB; at least 1)",
    );
}

#[test]
fn arguments_stand_among_the_flags() {
    let arguments = |args: &[&str]| {
        let args = args.iter().map(OsString::from);
        match PROGRAM.invocation(args, |_: &str| None) {
            Ok(Invocation::Run(action, values)) => Ok((action, values.arguments)),
            Ok(Invocation::Help | Invocation::Version) => panic!("not asked for"),
            Err(error) => Err(error.to_string()),
        }
    };
    let read = |files: &[&str]| Ok((Action::Read, files.iter().map(OsString::from).collect()));
    assert_eq!(arguments(&["read", "a"]), read(&["a"]));
    assert_eq!(arguments(&["--port", "1", "read", "a", "--port", "2", "b"]), read(&["a", "b"]));
    assert_eq!(arguments(&["read", "--", "--port", "-"]), read(&["--port", "-"]));
    assert_eq!(arguments(&["read", "read"]), read(&["read"]));
    assert_eq!(arguments(&["read"]), Err("read: FILE is missing, see --help".to_owned()));
    assert_eq!(arguments(&["ask"]), Ok((Action::Ask, Vec::new())));
}

#[test]
fn an_argument_that_is_not_understood_is_named() {
    check_refused(&["--prot", "1"], &[], "unknown flag '--prot', see --help");
    check_refused(&["--MAX_BODY", "1"], &[], "unknown flag '--MAX_BODY', see --help");
    check_refused(&["-p", "1"], &[], "unknown flag '-p', see --help");
    check_refused(&["--port"], &[], "--port: a value is missing");
    check_refused(&["--help=x"], &[], "--help: takes no value, but got 'x'");
    check_refused(&["serve"], &[], "unexpected argument 'serve', see --help");
    check_refused(&["ask", "ask"], &[], "unexpected argument 'ask', see --help");
    check_refused(&["ask", "--max-body", "1"], &[], "ask has no flag '--max-body', see --help");
    check_refused(&["--wait", "1s"], &[], "flag '--wait' needs a subcommand, see --help");
    check_refused(&["--", "--port"], &[], "unexpected argument '--port', see --help");
    check_refused(&["-"], &[], "unexpected argument '-', see --help");
    check_refused(&["--a\nb"], &[], r"unknown flag '--a\nb', see --help");
}

#[test]
fn what_is_not_utf8_is_named() {
    use std::os::unix::ffi::OsStringExt;

    let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
    let refusal = |args: Vec<OsString>, env: Option<OsString>| {
        match PROGRAM.invocation(args, |_: &str| env.clone()) {
            Ok(Invocation::Run(_, values)) => values.get(&PORT).expect_err("a refusal"),
            Ok(invocation) => panic!("{:?}", std::mem::discriminant(&invocation)),
            Err(error) => error,
        }
        .to_string()
    };
    assert_eq!(refusal(vec![bytes(b"a\xff")], None), r"unexpected argument 'a\xff', see --help");
    assert_eq!(
        refusal(vec!["--port".into(), bytes(b"\xff")], None),
        r"--port: '\xff' is not UTF-8"
    );
    assert_eq!(refusal(vec![bytes(b"--port=1\xff")], None), r"--port: '1\xff' is not UTF-8");
    assert_eq!(refusal(vec![], Some(bytes(b"\xff"))), r"PORT: '\xff' is not UTF-8");
}

#[test]
fn help_and_version_are_found_where_they_stand() {
    let invocation = |args: &[&str]| {
        PROGRAM.invocation(args.iter().map(OsString::from), |_: &str| None::<OsString>)
    };
    for args in [&["--help"][..], &["-h"], &["ask", "-h"], &["--port", "wrong", "--help"]] {
        assert!(matches!(invocation(args), Ok(Invocation::Help)), "{args:?}");
    }
    for args in [&["--version"][..], &["-V"], &["-V", "--wrong"]] {
        assert!(matches!(invocation(args), Ok(Invocation::Version)), "{args:?}");
    }
    assert_eq!(PROGRAM.version_line(), "toy 1.2.3");
}

#[test]
fn help_shows_the_tables_in_columns() {
    let help = "\
toy 1.2.3: a program for tests

Usage:
  toy [--FLAG VALUE]...               serve
  toy ask [--FLAG VALUE]...           ask the one that serves
  toy read FILE... [--FLAG VALUE]...  read files

Settings (flag, environment variable; the flag wins):
  --port         PORT      where (default 8000)
  --max-body     MAX_BODY  how much (default 1MiB)
  -h, --help               this text
  -V, --version            name and version

Settings of ask:
  --wait  WAIT  how long (default 1s)

Values:
  sizes      1048576, 64KiB, 1MiB, 2GiB (times 1024); KB, MB, GB (times 1000)
  durations  500ms, 30s, 5m, 2h, 1d; a plain number is seconds
  levels     DEBUG, INFO, WARNING, ERROR
  tokens     visible ASCII without spaces; a flag shows in the process list

Examples:
  toy --port 1  serve there

Exit codes:
  0  done
";
    assert_eq!(PROGRAM.help(), help);
}
