//! What is refused, with its line; and that no text at all makes a reader panic.

use proptest::prelude::*;

use super::edn::Edn;
use super::{Format, Model};
use crate::history::Outcome;

const GET: &str =
    r#"{"process":0,"op":"get","outcome":"ok","seen":1,"called_ns":1,"returned_ns":2}"#;
const EDN: &str = "{:process 0, :type :invoke, :f :cas, :value [1 \"a\\n\"]}\n{:process 0, :type :ok, :f :cas, :value #{1 \\a}} ; done\n";
const LOG: &str =
    "INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 0\t:ok\t:cas\t[1 2]\n";

#[track_caller]
fn refused(format: Format, model: Model, text: &str, message: &str) {
    let error = format.read(text, model).expect_err("a refusal").to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn json_that_says_too_little_or_too_much_is_refused_with_its_line() {
    for (from, to, message) in [
        ("\"get\"", "\"got\"", "line 2: unknown variant `got`"),
        (",\"seen\":1", "", "line 2: a get that is ok has either seen or absent"),
        ("\"seen\":1", "\"seen\":1,\"absent\":true", "line 2: the operation cannot have seen that"),
        ("\"seen\":1", "\"seen\":1,\"value\":1", "line 2: the operation takes no value"),
        ("\"seen\":1", "\"seen\":1,\"valve\":1", "line 2: unknown field `valve`"),
        ("\"returned_ns\":2", "\"returned_ns\":0", "line 2: returned_ns is before called_ns"),
        (",\"returned_ns\":2", "", "line 2: returned_ns is missing"),
        ("\"get\"", "\"put\"", "line 2: value is missing"),
        ("}", "", "line 2: EOF"),
    ] {
        let text = format!("{GET}\n{}\n", GET.replace(from, to));
        refused(Format::Jsonl, Model::Any, &text, message);
    }
    let put = GET.replace("get", "put").replace("seen", "value");
    let refusal = put.replace("\"ok\"", "\"ok\",\"refused\":true");
    refused(Format::Jsonl, Model::Any, &refusal, "line 1: refused, but there is no condition");
    let append = put.replace("put", "append");
    refused(Format::Jsonl, Model::Any, &append, "line 1: the value is no string");
    refused(Format::Jsonl, Model::Register, &append, "line 1: the model has no such operation");
}

#[test]
fn jepsens_entries_that_do_not_fit_are_refused_with_their_line() {
    for (text, message) in [
        ("{:process 0 :type :ok :f :read}", "line 1: process 0 has no call open"),
        (
            "\n{:process 0 :type :invoke :f :read}\n{:process 0 :type :invoke :f :read}",
            "line 3: process 0 has a call open already",
        ),
        (
            "{:process 0 :type :invoke :f :read}\n{:process 0 :type :ok :f :write}",
            "line 2: process 0 called :read",
        ),
        ("{:process 0 :type :invoke :f :jump}", "line 1: ':jump' is none of"),
        ("{:process 0 :type :invoke :f :cas :value 1}", "line 1: :cas takes [old new], not 1"),
        ("{:process 0 :type :invoke :f :write}", "line 1: :write of nil"),
        ("[{:process 0 :type :invoke :f :read}\n", "line 2: the history is not closed by ']'"),
        ("{:process 0 :type :invoke :f :read}\n]", "line 2: something follows"),
        ("{:process 0 :type}", "line 1: a key of the map has no value"),
        ("{:process 0 :process 1 :type :ok :f :read}", "line 1: :process is there twice"),
        ("1", "line 1: an entry is no map"),
        ("{:a \"b}", "line 1: the string is not closed"),
    ] {
        refused(Format::Edn, Model::Any, text, message);
    }
    refused(Format::JepsenLog, Model::Any, "hello", "line 1: no line of the file is one of");
    let jump = LOG.replace(":ok", ":oh");
    refused(Format::JepsenLog, Model::Any, &jump, "line 2: ':oh' is none of :invoke");
    refused(Format::JepsenLog, Model::Register, LOG, "line 1: the model has no :cas");
}

/// Some of Jepsen's logs of etcd set their words apart by columns, which were taken for empty words.
#[test]
fn words_of_a_log_are_apart_by_any_space() {
    let read = |text: &str| Format::JepsenLog.read(text, Model::Any);
    let expected = read(LOG).unwrap();
    assert_eq!(expected.operations.len(), 1);
    for space in [" ", "   ", "\t ", " \t\t"] {
        let text = LOG.replace('\t', space).replace(" - ", &format!("{space}-{space}"));
        assert_eq!(read(&text).as_ref(), Ok(&expected), "{text}");
    }
    assert_eq!(read(&LOG.replace('\n', "  \r\n")).as_ref(), Ok(&expected));
    let other = format!("{LOG}INFO  jepsen.util up\nINFO jepsen.util - :nemesis :info :stop nil\n");
    assert_eq!(read(&other).as_ref(), Ok(&expected));
}

#[test]
fn what_failed_by_a_time_out_is_unknown_in_a_log_and_did_not_happen_in_edn() {
    let outcomes = |format: Format, text: &str| {
        let read = format.read(text, Model::Any).unwrap();
        read.operations.into_iter().map(|operation| operation.outcome).collect::<Vec<_>>()
    };
    let log =
        "INFO  jepsen.util - 0 :invoke :write 1\nINFO  jepsen.util - 0 :fail :write :timed-out\n";
    assert_eq!(outcomes(Format::JepsenLog, log), [Outcome::Unknown]);
    let edn = "{:process 0 :type :invoke :f :write :value 1}\n\
               {:process 0 :type :fail :f :write :value :timed-out}";
    assert_eq!(outcomes(Format::Edn, edn), [Outcome::Failed]);
}

#[test]
fn brackets_do_not_nest_without_end() {
    for open in ["[", "(", "{", "#{", "#_", "#_ #_", "[{", "#a ["] {
        let text = open.repeat(100_000);
        assert!(Edn::read(&text).is_err(), "{open}");
        assert!(Format::Edn.read(&text, Model::Any).is_err(), "{open}");
    }
    let json = GET.replace('1', &"[".repeat(100_000));
    assert!(Format::Jsonl.read(&json, Model::Any).is_err());
}

#[test]
fn a_format_is_known_by_its_look() {
    for (text, format) in [
        (GET, Format::Jsonl),
        ("\n { \"a\"", Format::Jsonl),
        (EDN, Format::Edn),
        ("[{:a", Format::Edn),
        ("; no\n", Format::Edn),
        ("#knossos.op.Op{", Format::Edn),
        (LOG, Format::JepsenLog),
    ] {
        assert_eq!(Format::of(text), format, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(
        base in prop::sample::select(vec![GET, EDN, LOG, ""]),
        at in any::<prop::sample::Index>(),
        cut in 0..12_usize,
        more in "[\\PC\n\"\\\\{}\\[\\]():#_; 0-9a-z]{0,12}",
    ) {
        let at = (0..=at.index(base.len() + 1)).rev().find(|at| base.is_char_boundary(*at)).unwrap_or(0);
        let rest = base[at..].chars().skip(cut).collect::<String>();
        let text = format!("{}{more}{rest}", &base[..at]);
        for format in [Format::Jsonl, Format::Edn, Format::JepsenLog] {
            let _ = format.read(&text, Model::Any);
            let _ = format.read(&text, Model::Kv);
        }
        let _ = Edn::read(&text);
    }
}
