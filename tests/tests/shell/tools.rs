//! Commands on subtrees, files and servers.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use zabd_tests::servers::{Implementation, Server, Setup, apache_unavailable};

use crate::bench::{Directory, PATIENCE, Running, fails, fed, nobody, ok, start, zab};

/// A subtree with something of everything.
fn plant(server: &str) {
    for words in [
        &["create", "/t", "root"][..],
        &["create", "/t/a", "hello"],
        &["create", "/t/a/deep"],
        &["create", "/t/b", "{\"x\":1}"],
        &["create", "/t/b-1", "beside"],
        &["set", "/t/b-1", "beside!"],
        &["create", "-s", "/t/queue-", "q"],
        &[
            "create",
            "/t/acl",
            "x",
            "world:anyone:ra,digest:u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=:cdrwa",
        ],
    ] {
        assert_eq!(zab(server, words).code, Some(0), "{words:?}");
    }
}

/// Everything that the commands on subtrees do, on one server.
fn story_of_a_subtree(implementation: Implementation) {
    let daemon = start(implementation);
    let server = daemon.address().to_string();
    let server = server.as_str();
    plant(server);
    assert_eq!(
        ok(server, &["tree", "/t"]),
        "/t\n├── a\n│   └── deep\n├── acl\n├── b\n├── b-1\n└── queue-0000000003\n\n7 nodes, 25 B\n"
    );
    let nested: Value =
        serde_json::from_str(&ok(server, &["tree", "/t", "--output=json"])).unwrap();
    assert_eq!(nested["children"][0]["children"][0]["name"], "deep");
    assert_eq!(
        ok(server, &["tree", "/t/b", "--data"]),
        "/t/b = {\"x\":1}\n\n1 node, 7 B\n"
    );

    for (words, found) in [
        (&["--name", "b*"][..], "/t/b\n/t/b-1\n"),
        (
            &["--path", "/t/*"],
            "/t/a\n/t/acl\n/t/b\n/t/b-1\n/t/queue-0000000003\n",
        ),
        (&["--regex", "/a/.*"], "/t/a/deep\n"),
        (&["--data", "\"x\":\\d"], "/t/b\n"),
        (&["--kind", "sequential"], "/t/queue-0000000003\n"),
        (&["--size", "+6"], "/t/b\n/t/b-1\n"),
        (&["--empty", "--leaf"], "/t/a/deep\n"),
        (&["--older", "1h"], ""),
        (&["--newer", "1h", "--count"], "7\n"),
        (&["--limit", "1", "--print0"], "/t\0"),
    ] {
        assert_eq!(
            ok(server, &[&["find", "/t"], words].concat()),
            found,
            "{words:?}"
        );
    }
    let rows = ok(server, &["du", "/t", "--output", "json"]);
    let sums: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    assert_eq!(
        (&sums[0]["path"], &sums[0]["nodes"], &sums[0]["bytes"]),
        (&"/t/a".into(), &2.into(), &5.into())
    );
    assert_eq!(sums[5]["nodes"], 7);

    assert_eq!(
        ok(server, &["cp", "/t", "/copy"]),
        "copied 7 nodes (25 B) in one transaction: /t -> /copy\n"
    );
    assert_eq!(ok(server, &["diff", "/t", "/copy", "--acl"]), "");
    let (code, words) = fails(server, &["cp", "/t", "/copy"]);
    assert_eq!(code, 73);
    assert!(words.starts_with("/copy exists already"), "{words}");
    ok(server, &["set", "/copy/a", "other"]);
    ok(server, &["delete", "/copy/b-1"]);
    ok(server, &["create", "/copy/new"]);
    let different = zab(server, &["diff", "/t", "/copy", "--data"]);
    assert_eq!(different.code, Some(1));
    assert_eq!(
        different.out,
        "~ /a  (data)\n    - hello\n    + other\n- /b-1\n    - beside!\n+ /new\n"
    );
    assert_eq!(different.err, "3 differences\n");

    assert_eq!(
        ok(server, &["mv", "/copy", "/moved"]),
        "moved 7 nodes (18 B) in one transaction: /copy -> /moved\n"
    );
    assert_eq!(fails(server, &["tree", "/copy"]).0, 66);
    let (code, words) = fails(server, &["mv", "/t", "/t/a/below"]);
    assert_eq!(code, 64);
    assert!(words.contains("within"), "{words}");
    let (code, words) = fails(server, &["mv", "/t", "/none/t"]);
    assert_eq!(code, 66);
    assert!(
        words.ends_with("the parent of the target must be there; nothing was moved\n"),
        "{words}"
    );
    ok(server, &["diff", "/t", "/t"]);
}

#[test]
fn subtrees_are_shown_searched_compared_copied_and_moved() {
    story_of_a_subtree(Implementation::Zabd);
}

#[test]
fn the_same_on_apache_zookeeper() {
    match apache_unavailable() {
        None => story_of_a_subtree(Implementation::Apache),
        Some(reason) => {
            assert!(std::env::var_os("CI").is_none(), "{reason}");
            println!("SKIP the shell on Apache ZooKeeper: {reason}");
        }
    }
}

#[test]
fn what_does_not_fit_one_transaction_is_refused_or_goes_stepwise() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let server = server.as_str();
    ok(server, &["create", "/big"]);
    let data = "x".repeat(300_000);
    for node in ["/big/a", "/big/b", "/big/c", "/big/d"] {
        let ran = fed(server, &["create", node, "--file", "-"], data.as_bytes());
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let (code, words) = fails(server, &["mv", "/big", "/small"]);
    assert_eq!(code, 78);
    assert!(
        words.contains("does not fit into one transaction"),
        "{words}"
    );
    assert_eq!(
        fails(server, &["tree", "/small"]).0,
        66,
        "nothing was moved"
    );
    assert_eq!(
        ok(server, &["mv", "/big", "/small", "--stepwise"]),
        "moved 5 nodes (1.2 MB) node by node: /big -> /small\n"
    );
    assert_eq!(fails(server, &["tree", "/big"]).0, 66);
    assert_eq!(
        ok(server, &["find", "/small", "--size", "300000", "--count"]),
        "4\n"
    );
}

#[test]
fn dumps_come_back_whole_or_not_at_all() {
    let daemon = start(Implementation::Zabd);
    let other = start(Implementation::Zabd);
    let (server, other) = (daemon.address().to_string(), other.address().to_string());
    let (server, other) = (server.as_str(), other.as_str());
    plant(server);
    let directory = Directory::new("dumps");
    let file = directory.file("t.jsonl");
    ok(server, &["dump", "/t", "--file", &file]);
    assert_eq!(directory.names(), ["t.jsonl"]);
    let told = ok(other, &["load", "/t", "--file", &file]);
    assert_eq!(told, "loaded 7 nodes (25 B) below /t\n");
    assert_eq!(ok(server, &["diff", "/t", "--with", other, "--acl"]), "");

    // Through a pipe, over what is there.
    let dump = ok(server, &["dump", "/t"]);
    assert_eq!(dump.lines().count(), 9);
    let refused = fed(other, &["load", "/t"], dump.as_bytes());
    assert_eq!(refused.code, Some(73), "{refused:?}");
    let denied = fed(other, &["load", "/t", "--merge"], dump.as_bytes());
    assert_eq!(denied.code, Some(77), "{denied:?}");
    assert!(
        denied
            .err
            .contains("nodes were written below /t; run it again"),
        "{denied:?}"
    );
    let merged = command_with_auth(other, &["load", "/t", "--merge"], dump.as_bytes());
    assert_eq!(merged.code, Some(0), "{merged:?}");

    // Cut off anywhere, it is refused before anything is written.
    for end in [0, 10, dump.len() / 2, dump.len() - 2] {
        let cut = fed(other, &["load", "/cut"], &dump.as_bytes()[..end]);
        assert_eq!(cut.code, Some(65), "{cut:?}");
        assert!(cut.err.ends_with("nothing was written\n"), "{cut:?}");
    }
    assert_eq!(fails(other, &["tree", "/cut"]).0, 66);

    // A dump that fails leaves the file that was there.
    let before = fs::read(&file).unwrap();
    assert_eq!(fails(server, &["dump", "/none", "--file", &file]).0, 66);
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(directory.names(), ["t.jsonl"]);
    let nowhere = directory.file("none/t.jsonl");
    assert_eq!(fails(server, &["dump", "/t", "--file", &nowhere]).0, 74);
}

/// Servers answer as if containers and nodes with a time to live were persistent: what is said about them counts. What
/// they are in the end shows when they go by themselves.
#[test]
fn containers_and_times_to_live_are_carried_where_they_are_named() {
    let setup = Setup::default()
        .property("zookeeper.extendedTypesEnabled", "true")
        .property("znode.container.checkIntervalMs", "100");
    let daemon = Server::start(Implementation::Zabd, &setup).unwrap();
    let server = daemon.address().to_string();
    let server = server.as_str();
    for words in [
        &["create", "/from", "x"][..],
        &["create", "/from/box", "y"],
        &["create", "/from/box/item"],
        &["create", "/from/brief", "z"],
        &["create", "/from/plain"],
    ] {
        ok(server, words);
    }
    let named = ["--containers", "/from/b?x", "--ttl", "/from/br*=1500"];
    let directory = Directory::new("modes");
    let file = directory.file("dump");
    ok(
        server,
        &[&["dump", "/from", "--file", &file], &named[..]].concat(),
    );
    let text = fs::read_to_string(&file).unwrap();
    let modes: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let mode = line.get("mode")?.as_str()?;
            Some(format!(
                "{} {mode} {}",
                line["path"].as_str()?,
                line["ttlMs"]
            ))
        })
        .collect();
    assert_eq!(
        modes,
        [
            "/ persistent null",
            "/box container null",
            "/box/item persistent null",
            "/brief ttl 1500",
            "/plain persistent null"
        ]
    );
    ok(server, &["load", "/loaded", "--file", &file]);
    ok(server, &[&["cp", "/from", "/copied"], &named[..]].concat());
    ok(
        server,
        &[&["cp", "--stepwise", "/from", "/stepped"], &named[..]].concat(),
    );
    let deadline = Instant::now() + PATIENCE;
    for root in ["/loaded", "/copied", "/stepped"] {
        // A container goes when it has lost its last child.
        ok(server, &["delete", &format!("{root}/box/item")]);
        while ok(server, &["find", root, "--count"]) != "2\n" {
            assert!(Instant::now() < deadline, "they stay");
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(
            ok(server, &["find", root]),
            format!("{root}\n{root}/plain\n")
        );
    }
    let (code, words) = fails(server, &["dump", "/from", "--ttl", "/from/brief"]);
    assert_eq!(code, 64);
    assert!(words.contains("--ttl takes GLOB=MILLISECONDS"), "{words}");
}

fn command_with_auth(server: &str, words: &[&str], input: &[u8]) -> crate::bench::Ran {
    fed(server, &[&["-auth", "digest:u:p"], words].concat(), input)
}

#[test]
fn what_may_not_be_read_is_told() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let server = server.as_str();
    ok(server, &["create", "/s", "x"]);
    ok(server, &["create", "/s/open", "x"]);
    ok(
        server,
        &[
            "create",
            "/s/secret",
            "x",
            "digest:u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=:cdrwa",
        ],
    );
    let (code, words) = fails(server, &["dump", "/s"]);
    assert_eq!(code, 77);
    assert!(
        words.starts_with("not allowed to read /s/secret"),
        "{words}"
    );
    let part = zab(server, &["find", "/s"]);
    assert_eq!((part.code, part.out.as_str()), (Some(77), "/s\n/s/open\n"));
    assert_eq!(fails(server, &["cp", "/s", "/s2"]).0, 77);
    assert_eq!(fails(server, &["tree", "/s2"]).0, 66);
    let whole = command_with_auth(server, &["find", "/s"], b"");
    assert_eq!(
        (whole.code, whole.out.as_str()),
        (Some(0), "/s\n/s/open\n/s/secret\n")
    );
}

#[test]
fn exit_codes_tell_the_kind_of_failure() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let server = server.as_str();
    let nobody = nobody().to_string();
    let directory = Directory::new("codes");
    let torn = directory.file("torn");
    fs::write(&torn, "{\"path\":\"/x\"}\n").unwrap();
    ok(server, &["create", "/closed", "v", "digest:ann:x:cdrwa"]);
    let cases = [
        (server, &["ls", "/", "--output", "json"][..], 0),
        (server, &["load", "/x", "--file", &torn], 65),
        (server, &["elect", "/nobody", "--who"], 75),
        (server, &["tree", "/closed", "--data"], 77),
        (server, &["get", "/closed", "--output", "json"], 77),
        (server, &["-auth", "nosuch:x", "tree"], 77),
        (server, &["lock", "/l", "--", "/etc/passwd"], 126),
        (server, &["lock", "/l", "--", "/no/such/command"], 127),
        (server, &["lock", "/l", "--", "sh", "-c", "kill -9 $$"], 137),
        (server, &["get", "/none"], 1),
        (server, &["get", "/none", "--output", "text"], 66),
        (server, &["--output", "json", "get", "/none"], 66),
        (server, &["create", "/zookeeper", "--output=json"], 73),
        (server, &["tree", "--nosuch"], 64),
        (server, &["tree", "relative"], 64),
        (server, &["ls", "/", "--output", "xml"], 64),
        (server, &["admin", "dump"], 78),
        (server, &["load", "/x", "--file", "/nonexistent"], 74),
        (server, &["nosuch"], 127),
        (server, &["-auth", "secret", "tree"], 64),
        (server, &["-auth", "@/nonexistent", "tree"], 74),
        (server, &["-timeout", "x", "ls", "/"], 1),
        (server, &["lock", "relative", "--", "true"], 64),
        (server, &["config", "get", "prod/none", "key"], 66),
        (server, &["config", "promote", "prod/none"], 66),
        (server, &["bench", "--nosuch"], 64),
        (server, &["completions", "csh"], 64),
        (server, &["migrate", "nosuch"], 127),
        ("host:port", &["tree"], 64),
        ("host:port", &["queue", "/q", "len"], 64),
        ("host:port", &["ls", "/"], 1),
        (&nobody, &["tree"], 69),
        (&nobody, &["ls", "/", "--output", "yaml"], 69),
        (&nobody, &["admin", "ruok"], 69),
        (&nobody, &["ls", "/"], 1),
        (&nobody, &["-timeout", "300", "queue", "/q", "len"], 69),
        (&nobody, &["-timeout", "300", "config", "list"], 69),
        (&nobody, &["bench", "read"], 69),
    ];
    for (server, words, code) in &cases {
        let ran = zab(server, words);
        assert_eq!(ran.code, Some(*code), "{words:?}: {ran:?}");
        let is_silent = words.contains(&"--who") || *code == 0 || *code == 137;
        assert!(is_silent || !ran.err.is_empty(), "{words:?}");
    }
    // All that are documented, but for what a real server does not do at will (cli/tests/one_shot.rs) and Ctrl-C, which
    // is for terminals (terminal.rs).
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/exit-codes.md");
    let page = fs::read_to_string(page).unwrap();
    let cells = page.lines().filter_map(|line| line.strip_prefix("| "));
    let documented = cells.filter_map(|line| line.split(' ').next()?.parse::<i32>().ok());
    let elsewhere = [70, 76, 79, 130];
    for code in documented.filter(|code| !elsewhere.contains(code) && *code != 128) {
        assert!(
            cases.iter().any(|(_, _, shown)| *shown == code),
            "nothing ends with {code}"
        );
    }
}

#[test]
fn every_command_says_how_it_is_used() {
    // None of it needs a server.
    let nobody = nobody().to_string();
    for (words, part) in [
        (&["du", "--help"][..], "--sort"),
        (&["ls", "/", "--help"], "ls [-s] [-w] [-R] path"),
        (&["lock", "--help"], "--shared"),
        (&["--help", "config", "publish"], "--flatten"),
        (&["--help", "migrate"], "migrate check"),
        (&["--help"], "migrate"),
    ] {
        let said = ok(&nobody, words);
        assert!(said.contains(part), "{words:?}: {said}");
    }
    let (code, said) = fails(&nobody, &["tree", "--nosuch"]);
    assert_eq!(code, 64);
    assert_eq!(
        said.trim_end(),
        "Unrecognized option: --nosuch; zab tree --help tells what there is"
    );
}

#[test]
fn results_come_as_documents() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let server = server.as_str();
    let json = |words: &[&str]| -> Value {
        let out = ok(server, &[&["--output", "json"], words].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error}: {out}"))
    };
    assert_eq!(json(&["create", "/d", "text"])["path"], "/d");
    assert_eq!(json(&["get", "/d"])["data"], "text");
    assert_eq!(json(&["get", "/d"])["stat"]["dataLength"], 4);
    assert_eq!(json(&["set", "/d", "--hex", "00ff"])["stat"]["version"], 1);
    assert_eq!(json(&["get", "/d"])["dataBase64"], "AP8=");
    assert_eq!(
        json(&["ls", "/"])["children"],
        serde_json::json!(["d", "zookeeper"])
    );
    assert_eq!(json(&["getAcl", "/d"])["acl"][0]["perms"], "cdrwa");
    assert_eq!(json(&["stat", "/d"])["stat"]["kind"], "persistent");
    assert_eq!(
        json(&["setAcl", "/d", "world:anyone:cdrwa"])["stat"]["aversion"],
        1
    );
    assert_eq!(json(&["getAllChildrenNumber", "/"])["number"], 4);
    assert_eq!(json(&["getEphemerals"]), serde_json::json!([]));
    assert_eq!(json(&["whoami"])[0]["scheme"], "ip");
    assert_eq!(json(&["sync", "/"])["code"], 0);
    ok(server, &["setquota", "-n", "5", "/d"]);
    assert_eq!(json(&["listquota", "/d"])["limits"]["count"], 5);
    assert_eq!(json(&["admin", "ruok"])["answer"], "imok");
    assert_eq!(
        ok(server, &["ls", "/", "--output", "table"]),
        "NAME\nd\nzookeeper\n"
    );
    assert_eq!(
        ok(server, &["getAcl", "/d", "--output", "yaml"])
            .lines()
            .take(5)
            .collect::<Vec<_>>(),
        [
            "path: /d",
            "acl:",
            "  - scheme: world",
            "    id: anyone",
            "    perms: cdrwa"
        ]
    );
}

#[test]
fn a_watch_outlives_its_server_and_misses_no_latest_state() {
    let mut daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let server = server.as_str();
    let watch = Running::start(server, &["watch", "/w", "--initial"]);
    // It is there before the node is; whether it has begun to watch shows when it tells something.
    ok(server, &["create", "/w", "1"]);
    let line = watch.line();
    assert!(
        [
            "created /w  version 0, 1 bytes",
            "present /w  version 0, 1 bytes"
        ]
        .contains(&line.as_str()),
        "{line}"
    );
    ok(server, &["create", "/w/child"]);
    assert_eq!(watch.line(), "created /w/child  version 0, 0 bytes");
    ok(server, &["set", "/w", "22"]);
    assert_eq!(watch.line(), "changed /w  version 1, 2 bytes");
    for round in 0..2 {
        daemon.kill().unwrap();
        daemon.restart().unwrap();
        // Which of the two comes first is a matter of chance: the watch may be back already.
        ok(server, &["set", "/w/child", "x"]);
        assert_eq!(
            watch.line(),
            format!("changed /w/child  version {}, 1 bytes", round + 1)
        );
    }
    ok(server, &["deleteall", "/w"]);
    assert_eq!(watch.line(), "deleted /w/child");
    assert_eq!(watch.line(), "deleted /w");
}

#[test]
fn a_watch_runs_a_command_with_what_changed() {
    let daemon = start(Implementation::Zabd);
    let server = daemon.address().to_string();
    let server = server.as_str();
    ok(server, &["create", "/w", "begin"]);
    let script = "echo $ZAB_EVENT $ZAB_PATH $ZAB_VERSION $(cat)";
    let watch = Running::start(
        server,
        &["watch", "--initial", "/w", "--", "sh", "-c", script],
    );
    assert_eq!(watch.line(), "present /w 0 begin");
    ok(server, &["set", "/w", "next"]);
    assert_eq!(watch.line(), "changed /w 1 next");
    drop(watch);
    let once = Running::start(
        server,
        &["watch", "--initial", "--once", "/w", "--", "false"],
    );
    assert_eq!(once.wait(), Some(74));
}
