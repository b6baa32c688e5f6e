//! `zab config`: published by one, followed by many, by zab, the library, kazoo and Curator.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use zab::config::{Centre, Document, Follower, Instance, Kind, Namespace, Value};
use zab::{Client, ConnectString, Options};
use zabd_tests::servers::{Implementation, Server};

use super::support::{Running, code, output, program_of, server, signal, text, until, zab};

fn told(server: &Server, words: &[&str]) -> String {
    let output = output(server, words);
    assert_eq!(code(&output), 0, "{words:?}: {output:?}");
    text(&output).to_owned()
}

fn refused(server: &Server, words: &[&str], wanted: i32) {
    let output = output(server, words);
    assert_eq!(code(&output), wanted, "{words:?}: {output:?}");
}

#[test]
fn revisions_are_published_compared_and_taken_back() {
    let server = server(Implementation::Zabd);
    let published = |words: &[&str]| {
        told(
            &server,
            &[&["config", "publish", "prod/shop"], words].concat(),
        )
    };
    assert_eq!(
        published(&["db.url=x", "rate=5", "-m", "first", "--author", "ann"]),
        "prod/shop/application is at revision 1"
    );
    published(&["--type", "number", "rate=6", "--delete", "db.url"]);
    assert_eq!(told(&server, &["config", "get", "prod/shop"]), "rate=6");
    assert_eq!(
        told(
            &server,
            &["config", "get", "prod/shop", "db.url", "--revision", "1"]
        ),
        "x"
    );
    assert_eq!(
        told(&server, &["config", "diff", "prod/shop", "1"]),
        "- db.url=x\n- rate=5\n+ rate=6"
    );
    // What is no number is not published, nor what was made from an older revision.
    refused(
        &server,
        &["config", "publish", "prod/shop", "rate=many"],
        65,
    );
    refused(
        &server,
        &["config", "publish", "prod/shop", "a=1", "--base", "1"],
        73,
    );
    refused(&server, &["config", "get", "prod/shop", "nothing"], 66);
    refused(&server, &["config", "promote", "prod/shop"], 66);
    told(&server, &["config", "rollback", "prod/shop", "1"]);
    assert_eq!(
        told(&server, &["config", "get", "prod/shop"]),
        "db.url=x\nrate=5"
    );
    let history = told(&server, &["config", "history", "prod/shop"]);
    let revisions: Vec<_> = history
        .lines()
        .map(|line| line.split('\t').next().unwrap())
        .collect();
    assert_eq!(revisions, ["3", "2", "1"]);
    assert!(history.ends_with("ann\tfirst"));
    // Out to a file of JSON, and in again elsewhere.
    let file = server.directory().join("values.json");
    fs::write(
        &file,
        told(&server, &["config", "get", "prod/shop", "--format", "json"]),
    )
    .unwrap();
    told(
        &server,
        &[
            "config",
            "publish",
            "test/shop/db",
            "--file",
            file.to_str().unwrap(),
        ],
    );
    assert_eq!(
        told(&server, &["config", "get", "test/shop/db", "db.url"]),
        "x"
    );
    // The same with YAML, where what is nested is a value, or has values.
    let file = server.directory().join("values.yaml");
    let text = "db:\n  pool: 5\n  url: there\nrate: 7\n";
    fs::write(&file, text).unwrap();
    let import = ["config", "publish", "test/yaml", "--replace", "--file"];
    let import = [&import[..], &[file.to_str().unwrap()]].concat();
    told(&server, &import);
    let as_yaml = ["config", "get", "test/yaml", "--format", "yaml"];
    assert_eq!(told(&server, &as_yaml), text.trim_end());
    told(&server, &[&import[..], &["--flatten"]].concat());
    assert_eq!(
        told(&server, &["config", "get", "test/yaml"]),
        "db.pool=5\ndb.url=there\nrate=7"
    );
    fs::write(&file, "a: [1").unwrap();
    refused(&server, &import, 65);
    let value = [
        "config",
        "publish",
        "test/yaml",
        "--type",
        "yaml",
        "doc=a: [1",
    ];
    refused(&server, &value, 65);
    assert_eq!(told(&server, &["config", "list"]), "prod\ntest");
    assert_eq!(told(&server, &["config", "list", "test/shop"]), "db");
    // The other command of this name is still there.
    assert_eq!(code(&output(&server, &["config", "-c"])), 0);
}

#[test]
fn an_application_can_be_closed_to_others() {
    let server = server(Implementation::Zabd);
    let ann = |words: &[&str]| {
        let words = [&["-auth", "digest:ann:secret"], words].concat();
        zab(&server, 10_000, &words).output().unwrap()
    };
    assert!(
        ann(&["config", "publish", "prod/closed", "a=1"])
            .status
            .success()
    );
    assert!(
        ann(&["config", "restrict", "prod/closed", "auth::cdrwa"])
            .status
            .success()
    );
    refused(&server, &["config", "get", "prod/closed"], 77);
    refused(&server, &["config", "publish", "prod/closed", "a=2"], 77);
    assert!(
        ann(&["config", "publish", "prod/closed", "a=2"])
            .status
            .success()
    );
    refused(
        &server,
        &["config", "get", "prod/closed", "--revision", "2"],
        77,
    );
}

/// ann owns an environment and lends an application to ben; a reader may follow and no more.
#[test]
fn environments_and_applications_have_owners() {
    const READER: &str = "digest:reader:secret";
    let server = server(Implementation::Zabd);
    let by = |who: &str, words: &[&str]| {
        let credential = format!("digest:{who}:secret");
        let words = [&["-auth", &credential], words].concat();
        code(&zab(&server, 10_000, &words).output().unwrap())
    };
    // The hash of reader:secret.
    let acl = "auth::cdrwa,digest:reader:TwMYkJISsEPORbrSYGWeRLjeNEk=:r";
    assert_eq!(by("ann", &["config", "publish", "prod/old", "a=1"]), 0);
    assert_eq!(by("ann", &["config", "restrict", "prod", acl]), 0);
    for (who, words, wanted) in [
        ("ann", &["config", "publish", "prod/new", "a=1"][..], 0),
        ("ben", &["config", "publish", "prod/new", "a=2"], 77),
        ("ben", &["config", "publish", "prod/other", "a=2"], 77),
        ("ben", &["config", "get", "prod/old"], 77),
        ("ben", &["config", "publish", "test/new", "a=1"], 0),
        ("reader", &["config", "get", "prod/new"], 0),
        ("reader", &["config", "publish", "prod/new", "a=2"], 77),
        (
            "reader",
            &["config", "grey", "prod/new", "a=2", "--instance", "x"],
            77,
        ),
        (
            "ann",
            &["config", "restrict", "prod/new", "world:anyone:cdrwa"],
            0,
        ),
        ("ben", &["config", "publish", "prod/new", "a=2"], 0),
        ("ben", &["config", "publish", "prod/old", "a=2"], 77),
        ("ann", &["config", "restrict", "prod/new", "nonsense"], 64),
    ] {
        assert_eq!(by(who, words), wanted, "{who}: {words:?}");
    }
    // Who may only read is seen to follow.
    let log = server.directory().join("reader");
    let words = [
        "-auth",
        READER,
        "config",
        "watch",
        "prod/old",
        "--instance",
        "reader",
    ];
    let watching = zab(&server, 10_000, &words)
        .stdout(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let _watching = Running(watching);
    let holders = |who: &str| {
        let credential = format!("digest:{who}:secret");
        text(&output(
            &server,
            &["-auth", &credential, "config", "holders", "prod/old"],
        ))
        .to_owned()
    };
    until("the reader follows", || holders("ann") == "1\treader");
    assert_eq!(by("ann", &["config", "publish", "prod/old", "a=3"]), 0);
    until("the reader has it", || holders("ann") == "2\treader");
    assert!(fs::read_to_string(&log).unwrap().contains("\"3\""));
}

#[test]
fn grey_releases_go_by_name_address_or_label() {
    let server = server(Implementation::Zabd);
    told(&server, &["config", "publish", "prod/grey", "k=1"]);
    let mut running = Vec::new();
    for options in [
        &["--instance", "named"][..],
        &["--instance", "addressed", "--address", "10.0.0.7"],
        &[
            "--instance",
            "labelled",
            "--label",
            "zone=a",
            "--label",
            "size=9",
        ],
        &[
            "--instance",
            "other",
            "--address",
            "10.0.0.8",
            "--label",
            "zone=b",
        ],
    ] {
        let words = [&["config", "watch", "prod/grey"], options].concat();
        let child = zab(&server, 10_000, &words)
            .stdout(std::process::Stdio::null())
            .spawn();
        running.push(Running(child.unwrap()));
    }
    let holders = || {
        let told = told(&server, &["config", "holders", "prod/grey"]);
        let mut holders: Vec<_> = told
            .lines()
            .map(|line| line.split('\t').take(2).collect::<Vec<_>>().join(" "))
            .collect();
        holders.sort_unstable();
        holders.join(", ")
    };
    let all = |revision: u32| {
        ["addressed", "labelled", "named", "other"]
            .map(|name| format!("{revision} {name}"))
            .join(", ")
    };
    until("all follow", || holders() == all(1));
    for (rule, wanted) in [
        (
            ["--instance", "named"],
            "1 addressed, 1 labelled, 1 other, 2 named",
        ),
        (
            ["--address", "10.0.0.7"],
            "1 labelled, 1 named, 1 other, 2 addressed",
        ),
        (
            ["--label", "zone=a"],
            "1 addressed, 1 named, 1 other, 2 labelled",
        ),
    ] {
        let grey = [&["config", "grey", "prod/grey", "k=2"], &rule[..]].concat();
        told(&server, &grey);
        until("some take it", || holders() == wanted);
        told(&server, &["config", "abandon", "prod/grey"]);
        until("all are back", || holders() == all(1));
    }
    let grey = [
        "config",
        "grey",
        "prod/grey",
        "k=2",
        "--address",
        "10.0.0.8",
        "--label",
        "size=9",
    ];
    told(&server, &grey);
    until("two take it", || {
        holders() == "1 addressed, 1 named, 2 labelled, 2 other"
    });
    told(&server, &["config", "promote", "prod/grey"]);
    until("all take it", || holders() == all(2));
}

#[test]
fn programs_on_three_libraries_follow_and_grey_releases_reach_some() {
    let server = server(Implementation::Zabd);
    told(&server, &["config", "publish", "prod/app", "k=one"]);
    let node = "/config/prod/app/application";
    let log = |name: &str| server.directory().join(name);
    let lines = |name: &str| fs::read_to_string(log(name)).unwrap_or_default();
    let mut running = Vec::new();
    for (library, program, name, about) in [
        ("kazoo", "follow", "py", &["10.0.0.7", "zone=a"][..]),
        ("java", "Follow", "java", &["10.0.0.8", "zone=b", "size=9"]),
    ] {
        let file = log(name);
        let words = [&[node, name, "k", file.to_str().unwrap()], about].concat();
        running.push(Running(program_of(&server, library, program, &words)));
    }
    let watching = zab(
        &server,
        10_000,
        &["config", "watch", "prod/app", "--instance", "watch"],
    )
    .stdout(fs::File::create(log("watch")).unwrap())
    .spawn()
    .unwrap();
    running.push(Running(watching));
    let holders = || told(&server, &["config", "holders", "prod/app"]);
    let at = |java: u64, py: u64, watch: u64| {
        format!("{java}\tjava\t10.0.0.8\n{py}\tpy\t10.0.0.7\n{watch}\twatch")
    };
    let grey = |value: &str, rule: &[&str]| {
        let words = [&["config", "grey", "prod/app", value], rule].concat();
        told(&server, &words);
    };
    until("all have taken the first", || holders() == at(1, 1, 1));
    for (value, rule, java, py) in [
        (
            "k=named",
            &["--instance", "py", "--instance", "java"][..],
            2,
            2,
        ),
        ("k=there", &["--address", "10.0.0.7"], 1, 2),
        (
            "k=labelled",
            &["--label", "zone=b", "--label", "zone=c"],
            2,
            1,
        ),
        (
            "k=both",
            &["--label", "zone=a", "--address", "10.0.0.8"],
            2,
            2,
        ),
    ] {
        grey(value, rule);
        until("some have taken the grey one", || {
            holders() == at(java, py, 1)
        });
        refused(&server, &["config", "publish", "prod/app", "k=no"], 73);
        told(&server, &["config", "abandon", "prod/app"]);
        until("all are back", || holders() == at(1, 1, 1));
    }
    grey("k=two", &["--instance", "java"]);
    until("one has taken it", || holders() == at(2, 1, 1));
    told(&server, &["config", "promote", "prod/app"]);
    until("all have taken it", || holders() == at(2, 2, 2));
    assert_eq!(
        lines("java"),
        "1 one\n2 named\n1 one\n2 labelled\n1 one\n2 both\n1 one\n2 two\n"
    );
    assert_eq!(
        lines("py"),
        "1 one\n2 named\n1 one\n2 there\n1 one\n2 both\n1 one\n2 two\n"
    );
    let watched = lines("watch");
    let watched: Vec<_> = watched.lines().collect();
    assert_eq!(watched.len(), 2, "{watched:?}");
    assert!(watched[1].contains("\"two\""));
}

#[test]
fn of_several_by_one_name_the_latest_is_listed_and_all_follow() {
    let server = server(Implementation::Zabd);
    told(&server, &["config", "publish", "prod/twin", "k=one"]);
    let file = |name: &str| server.directory().join(name);
    let read = |name: &str| fs::read_to_string(file(name)).unwrap_or_default();
    let start = |name: &str, address: &str| {
        let words = [
            "config",
            "watch",
            "prod/twin",
            "--instance",
            "twin",
            "--address",
            address,
        ];
        let child = zab(&server, 10_000, &words)
            .stdout(fs::File::create(file(name)).unwrap())
            .stderr(fs::File::create(file(&format!("{name}.err"))).unwrap())
            .spawn();
        Running(child.unwrap())
    };
    let holders = || told(&server, &["config", "holders", "prod/twin"]);
    let _first = start("first", "10.0.0.1");
    until("the first is listed", || holders() == "1\ttwin\t10.0.0.1");
    let second = start("second", "10.0.0.2");
    until("the second is listed", || holders() == "1\ttwin\t10.0.0.2");
    until("the first says so", || {
        read("first.err").contains("goes by the name twin, too")
    });
    // A change does not begin a quarrel.
    told(&server, &["config", "publish", "prod/twin", "k=two"]);
    until("both have it", || {
        read("first").contains("\"two\"") && holders() == "2\ttwin\t10.0.0.2"
    });
    told(&server, &["config", "publish", "prod/twin", "k=three"]);
    until("both have that", || {
        read("first").contains("\"three\"") && holders() == "3\ttwin\t10.0.0.2"
    });
    assert_eq!(
        read("first.err").lines().count(),
        1,
        "{}",
        read("first.err")
    );
    assert_eq!(read("second.err"), "");
    // When the latest has gone the other is listed with the next change.
    drop(second);
    until("nobody is listed", || holders().is_empty());
    told(&server, &["config", "publish", "prod/twin", "k=four"]);
    until("the first is back", || holders() == "4\ttwin\t10.0.0.1");
}

#[test]
fn who_may_not_follow_is_told_why() {
    let server = server(Implementation::Zabd);
    let auth = ["-auth", "digest:ann:secret"];
    for words in [
        &["config", "publish", "prod/closed", "k=one"][..],
        &["config", "restrict", "prod/closed", "auth::cdrwa"],
    ] {
        told(&server, &[&auth[..], words].concat());
    }
    // At once, and not after all patience as if there were no server.
    let begun = Instant::now();
    for words in [
        &["config", "watch", "prod/closed"][..],
        &["config", "run", "prod/closed", "--", "true"],
    ] {
        let output = output(&server, words);
        assert_eq!(code(&output), 77, "{output:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(9));
}

#[test]
fn commands_and_files_take_new_values_also_without_servers() {
    let mut server = server(Implementation::Zabd);
    told(&server, &["config", "publish", "prod/run", "db.url=one"]);
    let file = |name: &str| server.directory().join(name);
    let (log, cache, template) = (file("log"), file("cache"), file("template"));
    let rendered = file("rendered");
    fs::write(&template, "url = {{db.url}}\n").unwrap();
    let read = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    let script = format!(
        "echo \"$ZAB_CONFIG_REVISION $APP_DB_URL\" >> {}; exec sleep 60",
        log.display()
    );
    let cache_words = ["--cache", cache.to_str().unwrap(), "--prefix", "APP_"];
    let words = [
        &["config", "run", "prod/run"],
        &cache_words[..],
        &["--", "sh", "-c", &script],
    ]
    .concat();
    let start = |server: &Server, timeout| Running(zab(server, timeout, &words).spawn().unwrap());
    let running = start(&server, 10_000);
    let hook = format!("echo hook >> {}", log.display());
    let render = [
        "config",
        "render",
        "prod/run",
        template.to_str().unwrap(),
        rendered.to_str().unwrap(),
    ];
    let rendering = zab(&server, 10_000, &[&render[..], &["--hook", &hook]].concat()).spawn();
    let rendering = Running(rendering.unwrap());
    until("it runs", || {
        read(&log).contains("1 one\n") && read(&log).contains("hook\n")
    });
    told(&server, &["config", "publish", "prod/run", "db.url=two"]);
    until("it is started anew", || read(&log).contains("2 two\n"));
    until("the file is new", || read(&rendered) == "url = two\n");
    // Told to end, it tells its command, and goes from the list.
    let mut running = running;
    signal(&running.0, Signal::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(128 + 15));
    drop(rendering);
    // Without servers it begins with what it had, and takes what is new when they are back.
    server.stop().unwrap();
    let _running = start(&server, 1000);
    until("it runs by the cache", || {
        read(&log).matches("2 two\n").count() == 2
    });
    server.restart().unwrap();
    told(&server, &["config", "publish", "prod/run", "db.url=three"]);
    until("it is up to date", || read(&log).contains("3 three\n"));
}

const FOLLOWERS: usize = 500;

#[test]
fn a_change_reaches_five_hundred() {
    let server = server(Implementation::Zabd);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let done = runtime.block_on(async {
        let connect = || ConnectString::parse(&server.address().to_string()).unwrap();
        let client = Client::connect(connect(), Options::default())
            .await
            .unwrap();
        let centre = Centre::new(&client, "/config").unwrap();
        let namespace: Namespace = "prod/many".parse().unwrap();
        let document = |text: &str| {
            let value = Value::checked("k", Kind::Text, text.to_owned()).unwrap();
            Document {
                values: [("k".to_owned(), value)].into(),
                ..Document::default()
            }
        };
        centre
            .publish(&namespace, 0, document("one"))
            .await
            .unwrap();
        let mut followers = Vec::new();
        for number in 0..FOLLOWERS {
            let (connect, namespace) = (connect(), namespace.clone());
            followers.push(tokio::spawn(async move {
                let client = Client::connect(connect, Options::default()).await.unwrap();
                let centre = Centre::new(&client, "/config").unwrap();
                let instance = Instance {
                    id: format!("i{number}"),
                    ..Instance::default()
                };
                let mut follower = Follower::new(&centre, &namespace, instance).await.unwrap();
                let mut revisions = Vec::new();
                while revisions.last() != Some(&3) {
                    let revision = follower.next().await.unwrap().document.revision;
                    follower.hold(revision).await.unwrap();
                    revisions.push(revision);
                }
                assert!(revisions.is_sorted());
                client.close().await.unwrap();
            }));
        }
        let all_hold = async |revision: u64| loop {
            let holders = centre.holders(&namespace).await.unwrap();
            let held = holders
                .iter()
                .filter(|holder| holder.revision == revision)
                .count();
            if held == FOLLOWERS {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let all = async {
            all_hold(1).await;
            centre
                .publish(&namespace, 1, document("two"))
                .await
                .unwrap();
            all_hold(2).await;
            centre
                .publish(&namespace, 2, document("three"))
                .await
                .unwrap();
            for follower in followers {
                follower.await.unwrap();
            }
        };
        let all = tokio::time::timeout(Duration::from_secs(120), all).await;
        client.close().await.unwrap();
        all
    });
    done.unwrap();
}
