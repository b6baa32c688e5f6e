//! The way back: what zabd has gone on with is given to Apache, and taken over again.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use zabd_tests::servers::{Implementation, zabd_binary};

use super::killed_under_load;
use super::load::Load;
use super::shown::Shown;

fn zabd(words: &[&str], paths: &[&Path]) -> Output {
    Command::new(zabd_binary().unwrap())
        .args(words)
        .args(paths)
        .output()
        .unwrap()
}

/// What a command printed that went well.
fn said(words: &[&str], paths: &[&Path]) -> String {
    let output = zabd(words, paths);
    let said = String::from_utf8(output.stdout).unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}{problem}");
    said
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The files of either can be looked into, and both say the same.
fn files_are_shown(data_dir: &Path, zabd_dir: &str) {
    let (java, own) = (data_dir.join("version-2"), data_dir.join(zabd_dir));
    for path in [&java, &own] {
        let checked = said(&["snapshot", "check"], &[path]);
        assert!(checked.ends_with("\nsound\n"), "{checked}");
    }
    let same = said(&["snapshot", "compare"], &[&java, &own]);
    assert!(same.contains("\nthe same: "), "{same}");
    let summary = said(&["snapshot", "summary", "--json", "--depth", "2"], &[&own]);
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let printed = said(&["snapshot", "print", "--json", "--data"], &[&java]);
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let nodes = printed["nodes"].as_array().unwrap().len();
    assert_eq!(summary["nodes"], nodes);
    assert!(summary["ephemerals"].as_u64().unwrap() > 0);
    let log = data_dir.join(zabd_dir).join("log");
    let checked = said(&["log", "check"], &[&log]);
    assert!(checked.ends_with("\nsound\n"), "{checked}");
    let lines = said(&["log", "print", "--json"], &[&log]);
    let count: Value = serde_json::from_str(&said(&["log", "summary", "--json"], &[&log])).unwrap();
    assert_eq!(count["transactions"], lines.lines().count());
    // What Java had logged before is the same in both, as far as both have it.
    let before = names(data_dir)
        .into_iter()
        .find(|name| name.starts_with("version-2.before-"))
        .unwrap();
    let newest = names(&data_dir.join(&before))
        .into_iter()
        .filter(|name| name.starts_with("log."))
        .max_by_key(|name| (name.len(), name.clone()))
        .unwrap();
    let file = data_dir.join(&before).join(newest);
    let same = said(&["log", "compare"], &[&file, &log]);
    assert!(!same.contains("differs"), "{same}");
}

#[test]
fn a_server_goes_to_zabd_and_back_and_to_zabd_again() {
    if super::is_skipped() {
        return;
    }
    let mut server = killed_under_load("", 5);
    server.set_implementation(Implementation::Zabd).unwrap();
    server.restart().unwrap();
    let load = Load::start(server.address(), 6);
    load.wait_for(500);
    // Everything is there to be replayed.
    server.kill().unwrap();
    load.stop();
    server.restart().unwrap();
    let shown = Shown::by(&server);
    // While it runs nobody gets its data.
    let config = server.directory().join("zoo.cfg");
    assert!(!zabd(&["export-java"], &[&config]).status.success());
    server.kill().unwrap();

    let told = said(&["export-java"], &[&config]);
    assert!(told.contains("version-2/snapshot."), "{told}");
    let data_dir = server.data_dir();
    let all = names(&data_dir);
    let exported = all.iter().find(|name| name.starts_with("zabd.exported-"));
    let exported = exported.unwrap_or_else(|| panic!("{all:?}"));
    assert!(
        all.iter().any(|name| name.starts_with("version-2.before-")),
        "{all:?}"
    );
    assert!(!all.iter().any(|name| name == "zabd"), "{all:?}");
    files_are_shown(&data_dir, exported);
    // There is nothing to give any more.
    assert!(!zabd(&["export-java"], &[&config]).status.success());

    server.set_implementation(Implementation::Apache).unwrap();
    server.restart().unwrap();
    let back = Shown::by(&server);
    shown.check_is(&back);
    assert!(back.has_everything(), "{}", back.summary());
    let load = Load::start(server.address(), 7);
    load.wait_for(800);
    server.kill().unwrap();
    load.stop();

    server.restart().unwrap();
    let shown = Shown::by(&server);
    server.kill().unwrap();
    server.set_implementation(Implementation::Zabd).unwrap();
    server.restart().unwrap();
    Shown::by(&server).check_is(&shown);
    assert!(
        !server.log().contains("is not the one that Java had"),
        "{}",
        server.log()
    );
}
