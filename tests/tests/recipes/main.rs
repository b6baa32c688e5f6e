//! `zab lock`, `zab elect` and the other recipes as processes, beside kazoo's and Curator's on the same paths: holders
//! that are killed and stopped, servers that are paused, and a witness that sees who holds what when.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what is not there fails the test"
)]

mod config;
mod cut;
mod naming;
mod service;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{
    PATIENCE, Rule, Witness, code, finish, other, output, server, signal, text, until, zab,
    zab_binary,
};
use zab::recipes::lock::Lock;
use zab::{Client, ConnectString, Options};
use zabd_tests::raw::four_letter_word;
use zabd_tests::servers::{Implementation, Server, apache_unavailable};

/// Contends by zab: one process a round.
fn contend(server: &Server, words: &[&str], witness: &Witness, name: &str, rounds: usize) {
    let mark = if words.contains(&"--shared") {
        "r"
    } else {
        "w"
    };
    let script = witness.script(name, mark, "0.01");
    for _ in 0..rounds {
        let mut words = words.to_vec();
        words.extend(["--", "sh", "-c", &script]);
        let output = zab(server, 10_000, &words).output().unwrap();
        assert_eq!(code(&output), 0, "{output:?}");
    }
}

/// One path on which zab and others contend.
struct Contest {
    rule: Rule,
    path: &'static str,
    /// Command lines of zab.
    ours: &'static [&'static [&'static str]],
    /// Libraries and what they hold.
    others: &'static [(&'static str, &'static str)],
}

const CONTESTS: &[Contest] = &[
    // Three libraries at once; kazoo takes Curator's names, as these two do not know each other otherwise.
    Contest {
        rule: Rule::One,
        path: "/all",
        ours: &[&["lock", "/all"], &["lock", "/all"], &["lock", "/all"]],
        others: &[("kazoo", "as-curator"), ("java", "lock")],
    },
    Contest {
        rule: Rule::One,
        path: "/kazoo",
        ours: &[&["lock", "/kazoo"], &["lock", "/kazoo"]],
        others: &[("kazoo", "lock"), ("kazoo", "write")],
    },
    Contest {
        rule: Rule::ReadersOrWriter,
        path: "/rw",
        ours: &[&["lock", "/rw"], &["lock", "/rw", "--shared"]],
        others: &[("java", "read"), ("java", "write")],
    },
    Contest {
        rule: Rule::ReadersOrWriter,
        path: "/kazoo-rw",
        ours: &[&["lock", "/kazoo-rw", "--shared"], &["lock", "/kazoo-rw"]],
        others: &[("kazoo", "read"), ("kazoo", "write")],
    },
    Contest {
        rule: Rule::AtMost(2),
        path: "/two",
        ours: &[
            &["lock", "/two", "-n", "2"],
            &["lock", "/two", "-n", "2"],
            &["lock", "/two", "-n", "2"],
        ],
        others: &[("java", "semaphore")],
    },
    Contest {
        rule: Rule::One,
        path: "/latch",
        ours: &[&["elect", "/latch"], &["elect", "/latch"]],
        others: &[("kazoo", "as-latch"), ("java", "latch")],
    },
    Contest {
        rule: Rule::One,
        path: "/selector",
        ours: &[&["elect", "/selector"], &["elect", "/selector"]],
        others: &[("java", "selector")],
    },
    Contest {
        rule: Rule::One,
        path: "/election",
        ours: &[&["elect", "/election"], &["elect", "/election"]],
        others: &[("kazoo", "election")],
    },
];

const ROUNDS: usize = 8;

fn contests(implementation: Implementation, contests: &[Contest]) {
    let server = server(implementation);
    for contest in contests {
        let witness = Witness::new(&server, &contest.path.replace('/', "witness-"));
        let programs: Vec<_> = contest
            .others
            .iter()
            .enumerate()
            .map(|(at, (library, kind))| {
                let name = format!("{library}-{kind}-{at}");
                other(
                    &server,
                    library,
                    kind,
                    contest.path,
                    ROUNDS,
                    &witness,
                    &name,
                )
            })
            .collect();
        // The others take their time to start: all contend from the first of their lines on.
        until("the others begin", || !witness.lines().is_empty());
        thread::scope(|scope| {
            for (at, words) in contest.ours.iter().enumerate() {
                let (server, witness) = (&server, &witness);
                let name = format!("zab-{at}");
                scope.spawn(move || contend(server, words, witness, &name, ROUNDS));
            }
        });
        programs.into_iter().for_each(finish);
        let held = witness.check(contest.rule, &BTreeSet::new());
        let all = contest.ours.len() + contest.others.len();
        assert_eq!(held, all * ROUNDS, "{}", contest.path);
        eprintln!("{}: held {held} times", contest.path);
    }
}

#[test]
fn locks_and_elections_of_three_libraries_exclude_each_other() {
    contests(Implementation::Zabd, CONTESTS);
}

#[test]
fn the_same_with_apache_zookeeper() {
    if let Some(reason) = apache_unavailable() {
        eprintln!("skipped: {reason}");
        return;
    }
    contests(Implementation::Apache, &CONTESTS[..1]);
}

/// Holders die without a word: their places go with their sessions, nobody enters before, and tokens grow.
#[test]
fn killed_holders_give_way_when_their_sessions_end() {
    let server = server(Implementation::Zabd);
    let witness = Witness::new(&server, "witness");
    let mut killed = BTreeSet::new();
    let mut running: Vec<(String, Child)> = Vec::new();
    for number in 0..12 {
        while running.len() < 4 {
            let name = format!("zab-{number}-{}", running.len());
            let script = witness.script(&name, "w", "0.2");
            let words = ["lock", "/dying", "--", "sh", "-c", &script];
            running.push((name, zab(&server, 1000, &words).spawn().unwrap()));
        }
        // Kill whoever holds it, in the middle; then see that the next gets it.
        let holder = || {
            let lines = witness.lines();
            let last = lines.last().filter(|line| line.starts_with("enter"))?;
            Some(last.split(' ').nth(1)?.to_owned())
        };
        let mut name = None;
        until("somebody holds it", || {
            name = holder().filter(|name| !killed.contains(name));
            name.is_some()
        });
        let name = name.unwrap();
        let Some(at) = running.iter().position(|(running, _)| *running == name) else {
            continue;
        };
        let (name, mut child) = running.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
        killed.insert(name);
    }
    for (_, mut child) in running {
        until("the rest end", || child.try_wait().unwrap().is_some());
    }
    let held = witness.check(Rule::One, &killed);
    assert!(
        held > killed.len() && killed.len() > 3,
        "{held}, {killed:?}"
    );
    eprintln!("held {held} times, {} holders killed", killed.len());
}

/// When zab itself is killed the command is told by the system.
#[test]
fn a_command_does_not_outlive_its_zab() {
    let server = server(Implementation::Zabd);
    let witness = Witness::new(&server, "witness");
    let log = witness.log.display();
    let script = format!(
        "trap 'echo told >> {log}; exit' TERM; echo begun $$ >> {log}; while :; do sleep 0.02; done"
    );
    let words = ["lock", "/l", "--", "sh", "-c", &script];
    let mut child = zab(&server, 10_000, &words).spawn().unwrap();
    until("it runs", || witness.has("begun"));
    child.kill().unwrap();
    child.wait().unwrap();
    until("it is told", || witness.has("told"));
}

/// The server stands still: the holder cannot know whether its session lives, and acts as if it did not.
#[test]
fn a_holder_that_hears_nothing_tells_its_command() {
    let server = server(Implementation::Zabd);
    let witness = Witness::new(&server, "witness");
    let log = witness.log.display();
    let script = format!(
        "trap 'echo told >> {log}; exit 5' TERM; echo begun >> {log}; while :; do sleep 0.02; done"
    );
    for command in ["lock", "elect"] {
        fs::remove_file(&witness.log).ok();
        let words = [command, "/quiet", "--", "sh", "-c", &script];
        let mut child = zab(&server, 1000, &words).spawn().unwrap();
        until("it runs", || witness.has("begun"));
        server.pause().unwrap();
        until("it is told", || witness.has("told"));
        let mut status = None;
        until("it ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(76), "{command}");
        server.resume().unwrap();
    }
    // One that does not listen is killed.
    let script = format!("trap '' TERM; echo deaf >> {log}; while :; do sleep 0.02; done");
    let words = ["lock", "/deaf", "--grace", "0.3", "--", "sh", "-c", &script];
    let mut child = zab(&server, 1000, &words).spawn().unwrap();
    until("it runs", || witness.has("deaf"));
    server.pause().unwrap();
    let mut status = None;
    until("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(76));
    server.resume().unwrap();
}

/// A holder is stopped for so long that its session ends, while its command goes on: for a while two think that they
/// hold the lock, and only the token tells them apart.
#[test]
fn the_token_of_a_stopped_holder_is_too_old() {
    let server = server(Implementation::Zabd);
    let witness = Witness::new(&server, "witness");
    let log = witness.log.display();
    let script = format!("while :; do echo \"$ZAB_FENCING_TOKEN\" >> {log}; sleep 0.02; done");
    let start = |_: u32| {
        let words = ["lock", "/fenced", "--", "sh", "-c", &script];
        zab(&server, 1000, &words).spawn().unwrap()
    };
    let tokens = || {
        let lines = witness.lines();
        lines
            .iter()
            .map(|line| line.parse().unwrap())
            .collect::<Vec<i64>>()
    };
    let mut stopped = start(1);
    until("the first holds it", || !tokens().is_empty());
    let old = tokens()[0];
    signal(&stopped, Signal::STOP);
    let mut next = start(2);
    until("the second holds it", || {
        tokens().iter().any(|token| *token != old)
    });
    let new = *tokens().iter().find(|token| **token != old).unwrap();
    assert!(new > old);
    // The danger is real: the first goes on as if nothing had happened.
    let seen = tokens().len();
    until("the first goes on", || tokens()[seen..].contains(&old));
    signal(&stopped, Signal::CONT);
    let mut status = None;
    until("the first learns of it", || {
        status = stopped.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(76));
    let after = tokens().len();
    until("the second goes on", || tokens().len() > after + 3);
    assert!(tokens()[after + 1..].iter().all(|token| *token == new));
    signal(&next, Signal::TERM);
    assert_eq!(next.wait().unwrap().code(), Some(128 + 15));
}

/// Each one in line watches the one before, so that a release wakes one.
#[test]
fn no_herd_is_woken() {
    const WAITING: usize = 15;
    let server = server(Implementation::Zabd);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let connect = || ConnectString::parse(&server.address().to_string()).unwrap();
        let first = Client::connect(connect(), Options::default())
            .await
            .unwrap();
        let lock = Lock::exclusive(&first, "/herd").unwrap();
        let held = lock.acquire().await.unwrap();
        let again = lock.acquire().await.unwrap();
        assert_eq!(again.token(), held.token());
        again.release().await.unwrap();
        let mut line = Vec::new();
        for _ in 0..WAITING {
            let client = Client::connect(connect(), Options::default())
                .await
                .unwrap();
            let waits = Lock::exclusive(&client, "/herd").unwrap();
            line.push(tokio::spawn(async move {
                let guard = waits.acquire().await.unwrap();
                let token = guard.token();
                guard.release().await.unwrap();
                client.close().await.unwrap();
                token
            }));
        }
        let address = server.address();
        let watches = || {
            let text = four_letter_word(address, b"wchp", PATIENCE).unwrap();
            let text = String::from_utf8_lossy(&text);
            let mut watchers: Vec<usize> = Vec::new();
            for line in text.lines() {
                if line.starts_with('/') {
                    watchers.push(0);
                } else if let Some(count) = watchers.last_mut().filter(|_| !line.is_empty()) {
                    *count += 1;
                }
            }
            watchers
        };
        let deadline = Instant::now() + PATIENCE;
        while watches().len() < WAITING {
            assert!(Instant::now() < deadline, "{:?}", watches());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(
            watches(),
            [1; WAITING],
            "each is watched by the one behind it"
        );
        let mut tokens = vec![held.token()];
        held.release().await.unwrap();
        for waited in line {
            tokens.push(waited.await.unwrap());
        }
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), WAITING + 1);
        first.close().await.unwrap();
    });
}

#[test]
fn exit_codes_tell_what_happened() {
    let server = server(Implementation::Zabd);
    let witness = Witness::new(&server, "witness");
    let script = witness.script("holder", "w", "3");
    let words = [
        "lock",
        "/codes",
        "--identity",
        "me",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let mut holder = zab(&server, 10_000, &words).spawn().unwrap();
    until("it is held", || witness.has("enter"));
    for (words, wanted) in [
        (&["lock", "/codes", "--try", "--", "true"][..], 75),
        (&["lock", "/codes", "--timeout", "0.2", "--", "true"], 75),
        (&["lock", "/codes", "--shared", "--try", "--", "true"], 75),
        (&["lock", "/other", "--try", "--", "sh", "-c", "exit 3"], 3),
        (&["lock", "/other", "--", "sh", "-c", "kill -KILL $$"], 137),
        (&["lock", "/other", "--", "/no/such/command"], 127),
        (&["lock", "/other", "--", "/etc/passwd"], 126),
        (&["lock", "other", "--", "true"], 64),
        (&["lock", "/other"], 64),
        (&["elect", "/nobody", "--who"], 75),
        (&["lock", "--help"], 0),
    ] {
        let output = output(&server, words);
        assert_eq!(code(&output), wanted, "{words:?}: {output:?}");
    }
    assert_eq!(text(&output(&server, &["elect", "/codes", "--who"])), "me");
    let nobody = Command::new(zab_binary())
        .args([
            "-server",
            "127.0.0.1:1",
            "-timeout",
            "300",
            "lock",
            "/l",
            "--",
            "true",
        ])
        .output()
        .unwrap();
    assert_eq!(code(&nobody), 69, "{nobody:?}");
    // Told to end in line, it leaves the line.
    let mut waiting = zab(&server, 10_000, &["lock", "/codes", "--", "true"])
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(200));
    signal(&waiting, Signal::TERM);
    assert_eq!(waiting.wait().unwrap().code(), Some(128 + 15));
    assert!(holder.wait().unwrap().success());
    assert_eq!(
        code(&output(&server, &["lock", "/codes", "--try", "--", "true"])),
        0
    );
}

#[test]
fn barriers_queues_counters_and_ids() {
    let server = server(Implementation::Zabd);
    let told = |words: &[&str]| {
        let output = output(&server, words);
        assert_eq!(code(&output), 0, "{words:?}: {output:?}");
        text(&output).to_owned()
    };
    assert_eq!(told(&["counter", "/c/n", "add", "5"]), "5");
    assert_eq!(told(&["counter", "/c/n", "add", "-7"]), "-2");
    assert_eq!(told(&["counter", "/c/n"]), "-2");
    assert_eq!(
        told(&["counter", "/c/long", "--format", "long", "set", "258"]),
        "258"
    );
    assert_eq!(code(&output(&server, &["counter", "/c/long"])), 65);
    told(&["queue", "/q", "put", "one"]);
    told(&["queue", "/q", "put", "two", "--layout", "kazoo"]);
    told(&[
        "queue",
        "/q",
        "put",
        "now",
        "--layout",
        "kazoo",
        "--priority",
        "1",
    ]);
    assert_eq!(told(&["queue", "/q", "len"]), "3");
    assert_eq!(told(&["queue", "/q", "peek"]), "now");
    for item in ["now", "one", "two"] {
        assert_eq!(told(&["queue", "/q", "take"]), item);
    }
    assert_eq!(
        code(&output(
            &server,
            &["queue", "/q", "take", "--timeout", "0.1"]
        )),
        75
    );
    assert_eq!(told(&["id", "/leaf", "worker", "10.0.0.1:80"]), "0");
    assert_eq!(told(&["id", "/leaf", "worker", "10.0.0.2:80"]), "1");
    assert_eq!(told(&["id", "/leaf", "worker", "10.0.0.1:80"]), "0");
    assert_eq!(told(&["id", "/segments", "segment", "10"]), "1 10");
    assert_eq!(told(&["id", "/segments", "segment", "5"]), "11 15");
    let mut ids = BTreeSet::new();
    thread::scope(|scope| {
        let makers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| told(&["id", "/leaf", "snowflake", "10.0.0.2:80", "-c", "5000"]))
            })
            .collect();
        for maker in makers {
            ids.extend(maker.join().unwrap().lines().map(str::to_owned));
        }
    });
    assert_eq!(ids.len(), 15_000);
    // A worker from the future is not to be met.
    let future = r#"{"ip":"10.0.0.2","port":"80","timestamp":99999999999999}"#;
    told(&["set", "/leaf/forever/10.0.0.2:80-0000000001", future]);
    assert_eq!(
        code(&output(&server, &["id", "/leaf", "worker", "10.0.0.2:80"])),
        78
    );
    told(&["barrier", "/gate", "set"]);
    assert_eq!(
        code(&output(
            &server,
            &["barrier", "/gate", "wait", "--timeout", "0.1"]
        )),
        75
    );
    let waiting = zab(&server, 10_000, &["barrier", "/gate", "wait"])
        .spawn()
        .unwrap();
    told(&["barrier", "/gate", "remove"]);
    finish(waiting);
    let witness = Witness::new(&server, "room");
    let script = format!("echo in >> {}", witness.log.display());
    let enter = [
        "barrier", "/room", "enter", "-n", "3", "--", "sh", "-c", &script,
    ];
    let room: Vec<_> = (0..3)
        .map(|number| {
            assert!(
                number == 0 || witness.lines().is_empty(),
                "nobody is in before all are"
            );
            zab(&server, 10_000, &enter).spawn().unwrap()
        })
        .collect();
    room.into_iter().for_each(finish);
    assert_eq!(witness.lines().len(), 3);
}
