//! The checker of linearizability must say no where it should: histories made by hand.

use std::env;
use std::fs;
use std::path::PathBuf;

use zabd_tests::linearizability::{Checker, Verdict};

/// What a history is: operations, each `client op[:if] value version outcome call return`.
type Lines = &'static [&'static str];

const LINEARIZABLE: &[(&str, Lines)] = &[
    ("a fresh register", &["1 read 0 0 done 1 2"]),
    (
        "one after the other",
        &[
            "1 write a 1 done 1 2",
            "2 cas:1 b 2 done 3 4",
            "1 read b 2 done 5 6",
        ],
    ),
    (
        "a read beside a write sees the value of before, or of after",
        &[
            "1 write a 1 done 10 20",
            "2 read 0 0 done 11 12",
            "3 read a 1 done 13 19",
        ],
    ),
    (
        "what nobody answered happens much later",
        &[
            "1 write a 0 unknown 1 0",
            "2 read 0 0 done 5 6",
            "2 read a 1 done 7 8",
        ],
    ),
    (
        "what nobody answered never happens",
        &[
            "1 cas:0 a 0 unknown 1 0",
            "2 write b 1 done 5 6",
            "2 read b 1 done 7 8",
        ],
    ),
    (
        "what nobody answered fills a version that nobody saw",
        &[
            "1 write a 0 unknown 1 0",
            "2 cas:0 b 0 unknown 1 0",
            "3 write c 2 done 5 6",
        ],
    ),
    (
        "a refusal says that the version was another",
        &[
            "1 write a 1 done 1 2",
            "2 cas:0 b 0 refused 3 4",
            "1 read a 1 done 5 6",
        ],
    ),
];

const NOT: &[(&str, Lines)] = &[
    (
        "a stale read",
        &["1 write a 1 done 1 2", "2 read 0 0 done 3 4"],
    ),
    (
        "back in time for another client",
        &[
            "1 write a 0 unknown 1 0",
            "2 read a 1 done 3 4",
            "3 read 0 0 done 5 6",
        ],
    ),
    (
        "an acknowledged write is lost",
        &[
            "1 write a 1 done 1 2",
            "2 write b 1 done 3 4",
            "2 read b 1 done 5 6",
        ],
    ),
    (
        "seen, and then undone",
        &[
            "1 write a 0 unknown 1 0",
            "2 read a 1 done 3 4",
            "3 write b 1 done 5 6",
        ],
    ),
    (
        "seen before it was asked for",
        &["1 write a 0 unknown 5 0", "2 read a 1 done 1 2"],
    ),
    (
        "a version that nobody can have written",
        &["1 write a 0 unknown 1 0", "2 write b 3 done 5 6"],
    ),
    (
        "a compare and set that is seen with another version",
        &["1 cas:3 a 0 unknown 1 0", "2 read a 1 done 3 4"],
    ),
    (
        "two compare and set of one version",
        &["1 cas:0 a 1 done 1 9", "2 cas:0 b 1 done 2 8"],
    ),
    (
        "a refusal without a reason",
        &["1 cas:0 a 0 refused 1 2", "1 read 0 0 done 3 4"],
    ),
    (
        "done twice",
        &["1 write a 1 done 1 2", "2 read a 2 done 3 4"],
    ),
    ("from nowhere", &["1 read x 1 done 1 2"]),
];

const NO_HISTORIES: &[(&str, Lines)] = &[
    ("a read without an answer", &["1 read 0 0 unknown 1 2"]),
    ("an answer before the call", &["1 write a 1 done 5 4"]),
    ("an operation of no kind", &["1 increment a 1 done 1 2"]),
];

fn line(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let [client, op, value, version, outcome, call, end] = words[..] else {
        panic!("{text}: seven words");
    };
    let (op, expected) = op.split_once(':').unwrap_or((op, "0"));
    format!(
        "{{\"client\":{client},\"key\":\"/k\",\"op\":\"{op}\",\"if\":{expected},\"value\":\"{value}\",\
         \"version\":{version},\"outcome\":\"{outcome}\",\"call\":{call},\"return\":{end}}}\n"
    )
}

/// Each line goes into a file of its own, as from several programs: the order of lines says nothing.
fn files(name: &str, lines: Lines) -> Vec<PathBuf> {
    let name = name.replace(' ', "-");
    let paths = lines.iter().rev().enumerate().map(|(number, text)| {
        let file = format!("zabd-history-{}-{name}-{number}", std::process::id());
        let path = env::temp_dir().join(file);
        fs::write(&path, line(text)).expect("a history is written");
        path
    });
    paths.collect()
}

fn each(histories: &[(&str, Lines)], expect: impl Fn(anyhow::Result<Verdict>) -> bool) {
    let Some(checker) = Checker::build().expect("the checker is built") else {
        println!("skipped: there is no Go here to build the checker with");
        return;
    };
    for (name, lines) in histories {
        let files = files(name, lines);
        let verdict = checker.check(&files);
        for file in &files {
            fs::remove_file(file).expect("a history is removed");
        }
        let said = format!("{verdict:?}");
        let picture = files[0].with_extension("html");
        assert_eq!(
            picture.exists(),
            matches!(verdict, Ok(Verdict::Not(_))),
            "{name}: only what is wrong is drawn"
        );
        if picture.exists() {
            fs::remove_file(picture).expect("a picture is removed");
        }
        assert!(expect(verdict), "{name}: {said}");
    }
}

#[test]
fn what_could_be_is_accepted() {
    each(LINEARIZABLE, |verdict| {
        matches!(verdict, Ok(Verdict::Linearizable(_)))
    });
}

#[test]
fn what_cannot_be_is_found() {
    each(NOT, |verdict| matches!(verdict, Ok(Verdict::Not(_))));
}

#[test]
fn what_is_no_history_is_refused() {
    each(NO_HISTORIES, |verdict| verdict.is_err());
}
