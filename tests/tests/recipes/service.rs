//! `zab service`: seen by Curator and kazoo and the other way round, with holders that are killed, sessions that expire,
//! checks that fail, and nodes that are no instances.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use zab::naming::{Directory, Extras, Instance};
use zab::{Acl, Client, ConnectString, CreateFlags, Options};
use zabd_tests::servers::{Implementation, Server, apache_unavailable};

use super::support::{
    Running, code, health_server, output, program_of, server, signal, text, until, zab,
};

fn service(server: &Server, words: &str) -> Output {
    let words: Vec<_> = ["service"].into_iter().chain(words.split(' ')).collect();
    output(server, &words)
}

fn told(server: &Server, words: &str) -> String {
    let output = service(server, words);
    assert_eq!(code(&output), 0, "{words}: {output:?}");
    text(&output).to_owned()
}

/// The ids of the instances that are listed.
fn ids(server: &Server, name: &str) -> Vec<String> {
    let listed = told(server, &format!("list {name}"));
    let ids = listed.lines().filter_map(|line| line.split('\t').next());
    ids.map(str::to_owned).collect()
}

/// Starts `zab service` and leaves what it says in a file.
fn start(server: &Server, timeout_ms: u32, words: &str, log: &str) -> Running {
    let words: Vec<_> = ["service"].into_iter().chain(words.split(' ')).collect();
    let file = File::create(server.directory().join(log)).unwrap();
    let mut command = zab(server, timeout_ms, &words);
    command.stdout(file.try_clone().unwrap()).stderr(file);
    Running(command.spawn().unwrap())
}

fn said(server: &Server, log: &str) -> String {
    fs::read_to_string(server.directory().join(log)).unwrap_or_default()
}

fn hosts_of_both(story: impl Fn(&Server)) {
    story(&server(Implementation::Zabd));
    if let Some(reason) = apache_unavailable() {
        eprintln!("skipped: {reason}");
        return;
    }
    story(&server(Implementation::Apache));
}

#[test]
fn curator_and_kazoo_see_what_zab_registers_and_the_other_way_round() {
    hosts_of_both(|server| {
        let path = |name: &str| server.directory().join(name);
        let (java, python, well) = (path("java"), path("python"), path("well"));
        let to = |file: &PathBuf| file.to_str().unwrap().to_owned();
        let _java = Running(program_of(
            server,
            "java",
            "Discover",
            &["/services", "web", "java-1", &to(&java)],
        ));
        let _python = Running(program_of(
            server,
            "kazoo",
            "discover",
            &["/services", "web", &to(&python)],
        ));
        // The last that each has seen of one kind.
        let last = |file: &PathBuf, start: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().rfind(|line| line.starts_with(start));
            line.unwrap_or_default().to_owned()
        };
        let seen = |what: &str, start: &str, wanted: &str| {
            until(what, || last(&java, start) == format!("{start}{wanted}"));
        };
        const OWN: &str = " java-1@10.9.9.9:99,on,https://10.9.9.9:443/java,{weight=5,zone=z}";
        until("Curator's is listed", || ids(server, "web") == ["java-1"]);
        assert_eq!(
            told(server, "list web"),
            "java-1\t10.9.9.9:99\tweight=5\tmeta=zone=z"
        );
        assert_eq!(
            told(server, "resolve web --format {uri}|{meta.zone}|{weight}"),
            "https://10.9.9.9:443/java|z|5"
        );

        // All kinds of payload are read.
        let plain = start(
            server,
            10_000,
            "register web --address h --port 1 --id a",
            "a",
        );
        for start in ["map all", "map used", "object all", "object used"] {
            seen("a plain one", start, &format!(" a@h:1,on,,null{OWN}"));
        }
        let mut full = start(
            server,
            10_000,
            "register web --address h --port 2 --id b --weight 7 --version 3 --tag x --meta k=v --uri {address}/b",
            "b",
        );
        let payload = "{metadata={k=v},tags=[x],version=3,weight=7}";
        for start in ["map all", "object used"] {
            let wanted = format!(" a@h:1,on,,null b@h:2,on,h/b,{payload}{OWN}");
            seen("one with a payload", start, &wanted);
        }
        until("kazoo sees all", || {
            last(&python, "") == "a=h:1 b=h:2 java-1=10.9.9.9:99"
        });

        // A clean end is seen at once, by whoever watches.
        signal(&full.0, Signal::TERM);
        assert_eq!(full.code(), 128 + 15);
        drop(plain);
        for start in ["map all", "map used"] {
            seen("they are gone", start, OWN);
        }
        until("kazoo has seen them go", || {
            last(&python, "") == "java-1=10.9.9.9:99"
        });

        // Who is disabled is there, and not used.
        let check = format!("test -e {}", to(&well));
        let words = "service register web --address h --port 3 --id c --unhealthy disable --check-interval 0.05";
        let words: Vec<_> = words
            .split(' ')
            .chain(["--check-command", &check])
            .collect();
        let _checked = Running(zab(server, 10_000, &words).spawn().unwrap());
        seen("it is listed", "map all", &format!(" c@h:3,off,,null{OWN}"));
        seen("it is not used", "map used", OWN);
        assert!(told(server, "list web").starts_with("c\th:3\tweight=100\tdisabled"));
        fs::write(&well, "").unwrap();
        seen("it is used", "map used", &format!(" c@h:3,on,,null{OWN}"));

        // Without payload, for those who are made for none.
        let _field = start(
            server,
            10_000,
            "register web-void --address h --port 4 --id d --weight 9 --extras field",
            "d",
        );
        seen("one without a payload", "void all", " d@h:4,on,,null");
        assert_eq!(told(server, "list web-void"), "d\th:4\tweight=9");
        let _payload = start(
            server,
            10_000,
            "register web-void --address h --port 5 --id e --weight 9",
            "e",
        );
        seen(
            "that there is a payload",
            "void failed",
            " ClassCastException",
        );
        assert_eq!(told(server, "list"), "web\nweb-void");
    });
}

#[test]
fn who_is_killed_goes_with_the_session_and_who_comes_again_is_there_at_once() {
    hosts_of_both(|server| {
        let mut killed = start(server, 1000, "register web --address h --port 1", "killed");
        until("it is there", || ids(server, "web") == ["h:1"]);
        killed.0.kill().unwrap();
        killed.0.wait().unwrap();
        assert_eq!(ids(server, "web"), ["h:1"], "the session lives");
        until("its session has expired", || ids(server, "web").is_empty());

        // Its next life replaces what the last one left, and nobody sees it gone between.
        let watching = start(server, 10_000, "watch web --debounce 0", "watch");
        let start_again = |name: &str| {
            let words = format!("register web --address h --port 1 --meta life={name}");
            start(server, 4000, &words, name)
        };
        let lives = |name: &str| told(server, "list web").ends_with(&format!("life={name}"));
        let mut first = start_again("first");
        until("the first is there", || lives("first"));
        first.0.kill().unwrap();
        first.0.wait().unwrap();
        let mut second = start_again("second");
        until("the second is there", || lives("second"));

        // Two at a time: the latest has it, and the one before gives way.
        let mut third = start_again("third");
        assert_eq!(second.code(), 76);
        assert!(said(server, "second").contains("has registered h:1 for itself"));
        until("the third is there", || lives("third"));
        signal(&third.0, Signal::INT);
        assert_eq!(third.code(), 128 + 2);
        until("the end is seen", || {
            said(server, "watch").contains("\n- h:1")
        });
        let signs: String = said(server, "watch")
            .lines()
            .map(|line| &line[..1])
            .collect();
        assert_eq!(signs, "+~~-", "{}", said(server, "watch"));
        drop(watching);
    });
}

#[test]
fn an_expired_session_is_replaced() {
    hosts_of_both(|server| {
        let mut sleeper = start(server, 1000, "register web --address h --port 1", "stopped");
        until("it is there", || ids(server, "web") == ["h:1"]);
        signal(&sleeper.0, Signal::STOP);
        until("its session has expired", || ids(server, "web").is_empty());
        signal(&sleeper.0, Signal::CONT);
        until("it is there again", || ids(server, "web") == ["h:1"]);
        assert!(said(server, "stopped").contains("the session has expired"));
        // Who sleeps for too long finds his place taken, and leaves it to who has it.
        let words = "register web --address h --port 1 --meta life=next";
        signal(&sleeper.0, Signal::STOP);
        until("its session has expired", || ids(server, "web").is_empty());
        let next = start(server, 4000, words, "next");
        until("another is there", || ids(server, "web") == ["h:1"]);
        signal(&sleeper.0, Signal::CONT);
        assert_eq!(sleeper.code(), 76);
        assert!(told(server, "list web").ends_with("life=next"));
        // Somebody deletes it by mistake.
        assert_eq!(code(&output(server, &["delete", "/services/web/h:1"])), 0);
        until("it is there again", || ids(server, "web") == ["h:1"]);
        assert!(said(server, "next").contains("was deleted by somebody"));
        drop(next);
    });
}

#[test]
fn a_command_is_registered_while_it_runs() {
    let server = server(Implementation::Zabd);
    let log = server.directory().join("log");
    let read = || fs::read_to_string(&log).unwrap_or_default();
    let script = format!(
        "trap 'echo told >> {0}; sleep 0.1; exit 5' TERM; echo $ZAB_SERVICE $ZAB_INSTANCE $ZAB_NODE >> {0}; \
         while :; do sleep 0.02; done",
        log.display()
    );
    let run = |more: &[&str], script: &str| {
        let words = [
            "service",
            "register",
            "web",
            "--address",
            "h",
            "--port",
            "1",
        ];
        let words = [&words[..], more, &["--", "sh", "-c", script]].concat();
        Running(zab(&server, 10_000, &words).spawn().unwrap())
    };
    // It goes from the list before its command is told to end.
    let mut running = run(&["--drain", "1"], &script);
    until("it runs and is registered", || {
        read() == "web h:1 /services/web/h:1\n" && ids(&server, "web") == ["h:1"]
    });
    signal(&running.0, Signal::TERM);
    until("it is not registered", || ids(&server, "web").is_empty());
    assert!(!read().contains("told"), "the command has a second more");
    assert_eq!(running.code(), 5);
    assert!(read().ends_with("told\n"));
    // When the command ends the instance is gone, and its exit code is zab's.
    let mut running = run(&[], "exit 7");
    assert_eq!(running.code(), 7);
    assert!(ids(&server, "web").is_empty());
    // Who has the id is there to stay: the command is told to end, and killed as it does not.
    let listing = "/services/web/h:1";
    assert_eq!(code(&output(&server, &["create", listing, "{}"])), 0);
    let mut running = run(&["--grace", "0.2"], "trap '' TERM; sleep 100");
    assert_eq!(running.code(), 73);
    assert_eq!(code(&output(&server, &["delete", listing])), 0);
    // Two that run: the command of the one before is told.
    fs::remove_file(&log).unwrap();
    let mut first = run(&[], &script);
    until("it is registered", || ids(&server, "web") == ["h:1"]);
    let _second = run(&[], "sleep 100");
    assert_eq!(first.code(), 76);
    assert!(read().ends_with("told\n"));
    assert_eq!(ids(&server, "web"), ["h:1"]);
}

#[test]
fn instances_are_registered_while_they_are_well() {
    let server = server(Implementation::Zabd);
    const OFTEN: &str = "--check-interval 0.05 --rise 2 --fall 2 --address 127.0.0.1";
    let is_there = |name: &str| ids(&server, name).len() == 1;
    // By HTTP.
    let is_well = Arc::new(AtomicBool::new(false));
    let port = health_server(Arc::clone(&is_well));
    let words = format!("register http {OFTEN} --port {port} --check-http /health");
    let _http = start(&server, 10_000, &words, "http");
    until("it is looked at", || said(&server, "http").contains("503"));
    assert!(!is_there("http"));
    for _ in 0..2 {
        is_well.store(true, Ordering::Relaxed);
        until("it is well", || is_there("http"));
        is_well.store(false, Ordering::Relaxed);
        until("it is not", || !is_there("http"));
    }
    // By connections: the port is free when nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let words = format!("register tcp {OFTEN} --port {port} --check-tcp");
    let _tcp = start(&server, 10_000, &words, "tcp");
    until("it listens", || is_there("tcp"));
    drop(listener);
    until("it does not", || !is_there("tcp"));
    assert!(said(&server, "tcp").contains("is not well and not registered: connect to 127.0.0.1:"));
    // A command that hangs is as bad as one that fails.
    let hangs = server.directory().join("hangs");
    let check = format!("test ! -e {} || sleep 100", hangs.display());
    let mut words = vec!["service", "register", "command", "--check-command", &check];
    words.extend(OFTEN.split(' '));
    words.extend(["--check-timeout", "0.2"]);
    let log = File::create(server.directory().join("command")).unwrap();
    let mut command = zab(&server, 10_000, &words);
    let _command = Running(command.stderr(log).spawn().unwrap());
    until("it is well", || is_there("command"));
    fs::write(&hangs, "").unwrap();
    until("it hangs", || !is_there("command"));
    assert!(said(&server, "command").contains("no result within 200ms"));
    fs::remove_file(&hangs).unwrap();
    until("it is well again", || is_there("command"));
    // What is no check.
    for wrong in [
        "--check-http https://h/",
        "--check-http /x",
        "--check-tcp=h",
    ] {
        let output = service(&server, &format!("register web --address h {wrong}"));
        assert_eq!(code(&output), 64, "{wrong}: {output:?}");
    }
}

#[test]
fn nodes_that_are_no_instances_are_told_of_and_passed_over() {
    hosts_of_both(|server| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let connect = ConnectString::parse(&server.address().to_string()).unwrap();
        let huge = format!("{{\"address\":\"{}\"}}", "x".repeat(900_000));
        let nested = "[".repeat(60_000);
        let bad: &[(&str, &[u8], &str)] = &[
            ("empty", b"", "not JSON: EOF"),
            ("binary", b"\xff\x00\x1b[2J", "not JSON"),
            ("list", b"[1,2]", "no object"),
            (
                "port",
                b"{\"address\":\"h\",\"port\":\"many\"}",
                "port is not a port",
            ),
            (
                "word",
                b"{\"address\":\"h; rm -rf /\"}",
                "address is not a host name",
            ),
            ("huge", huge.as_bytes(), "more than the 65536"),
            ("nested", nested.as_bytes(), "not JSON: recursion limit"),
        ];
        let client = runtime.block_on(async {
            let client = Client::connect(connect, Options::default()).await.unwrap();
            let directory = Directory::new(&client, "/services").unwrap();
            let good = Instance::new("web", "good", Some("h".to_owned()));
            directory.register(&good, Extras::Payload).await.unwrap();
            for (id, data, _) in bad {
                let (node, data) = (format!("/services/web/{id}"), data.to_vec());
                let flags = CreateFlags::Ephemeral;
                client
                    .create(&node, data, flags, &[Acl::open()])
                    .await
                    .unwrap();
            }
            client
        });
        let closed = ["create", "/services/web/closed", "{}", "world:anyone:cdwa"];
        assert_eq!(code(&output(server, &closed)), 0);
        let watching = start(server, 10_000, "watch web", "watch");
        until("it is told of", || {
            said(server, "watch").contains("+ good\th\t")
        });
        for words in [
            "list web",
            "resolve web",
            "list web --output json",
            "resolve web --all",
        ] {
            let output = service(server, words);
            assert_eq!(code(&output), 0, "{output:?}");
            assert_eq!(text(&output).lines().count(), 1, "{output:?}");
            assert!(text(&output).contains('h'));
            let words = String::from_utf8(output.stderr).unwrap();
            for (id, _, reason) in bad.iter().chain(&[("closed", &[][..], "not allowed")]) {
                let line = words
                    .lines()
                    .find(|line| line.contains(&format!("/web/{id} is no instance")));
                assert!(line.unwrap().contains(reason), "{line:?}");
            }
            assert!(!words.contains('\x1b'), "{words:?}");
            assert!(words.len() < 4000);
        }
        let listed = told(server, "list --output json");
        assert!(
            listed.contains("\"instances\":1,\"usable\":1,\"unreadable\":8"),
            "{listed}"
        );
        drop(watching);
        runtime.block_on(client.close()).unwrap();
    });
}

#[test]
fn calls_of_resolve_take_turns_or_stick_together() {
    let server = server(Implementation::Zabd);
    let state = server.directory().join("state");
    let resolve = |words: &str| {
        let words = format!("service resolve web {words}");
        let mut command = zab(
            &server,
            10_000,
            &words.split_whitespace().collect::<Vec<_>>(),
        );
        command.env("XDG_STATE_HOME", &state).output().unwrap()
    };
    let resolved = |words: &str| {
        let output = resolve(words);
        assert_eq!(code(&output), 0, "{words}: {output:?}");
        text(&output).to_owned()
    };
    assert_eq!(code(&resolve("")), 75);
    assert_eq!(code(&resolve("--wait 0.1")), 75);
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| resolved("--wait 60"));
        let _a = start(&server, 10_000, "register web --address a --weight 0", "a0");
        let b = start(
            &server,
            10_000,
            "register web --address b --port 1 --tag x",
            "b0",
        );
        let waiting = waiting.join().unwrap();
        drop(b);
        waiting
    });
    assert_eq!(waiting, "b:1");
    until("they are gone", || ids(&server, "web").is_empty());
    let _running: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|id| {
            let tag = if *id == "a" { "old" } else { "new" };
            let words = format!("register web --address {id} --tag {tag} --version {tag}");
            start(&server, 10_000, &words, id)
        })
        .collect();
    until("all are there", || ids(&server, "web").len() == 3);
    // Also at one time each gets another.
    for _ in 0..2 {
        let mut turns: Vec<_> = thread::scope(|scope| {
            let calls: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| resolved("--policy round-robin")))
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        turns.sort_unstable();
        assert_eq!(turns, ["a", "b", "c"]);
    }
    let first = resolved("--policy sticky --key me");
    let hashed = resolved("--policy consistent-hash --key me");
    for _ in 0..4 {
        assert_eq!(resolved("--policy sticky --key me"), first);
        assert_eq!(resolved("--policy consistent-hash --key me"), hashed);
    }
    assert_eq!(
        resolved("--tag old --format {id}/{version}/{tags}"),
        "a/old/old"
    );
    assert_eq!(resolved("--tag new --version new --all").lines().count(), 2);
    assert_eq!(code(&resolve("--tag new --version old")), 75);
    // A file that is something else is not written over.
    let foreign = server.directory().join("foreign");
    fs::write(&foreign, "precious").unwrap();
    let words = format!("--policy sticky --state {}", foreign.display());
    assert_eq!(code(&resolve(&words)), 65);
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "precious");
    assert_eq!(code(&resolve("--format {adress}")), 64);
}

#[test]
fn whoever_watches_has_the_latest_state_also_after_the_servers_were_away() {
    let mut server = server(Implementation::Zabd);
    let log = server.directory().join("commands");
    let script = format!(
        "echo $ZAB_SERVICE $ZAB_COUNT $ZAB_ENDPOINTS $(wc -c | tr -d ' ') >> {}",
        log.display()
    );
    let words = [
        "service",
        "watch",
        "web",
        "--debounce",
        "0.1",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let mut commands = Running(zab(&server, 1000, &words).spawn().unwrap());
    let lines = start(&server, 1000, "watch web", "lines");
    let documents = start(&server, 1000, "watch web --output json", "documents");
    let ran = || fs::read_to_string(&log).unwrap_or_default();
    until("the first state is told", || ran() == "web 0 3\n");
    let a = start(&server, 1000, "register web --address a --port 1", "a");
    until("it came", || {
        ran().lines().last().unwrap().starts_with("web 1 a:1 ")
    });
    // While nobody serves one goes and another comes; then the session has expired.
    server.stop().unwrap();
    drop(a);
    server.restart().unwrap();
    let _b = start(&server, 1000, "register web --address b --port 1", "b");
    let _c = start(
        &server,
        1000,
        "register web --address c --port 1 --weight 0",
        "c",
    );
    until("the latest state is told", || {
        ran().lines().last().unwrap().starts_with("web 1 b:1 ")
    });
    until("by lines, too", || {
        let said = said(&server, "lines");
        ["\n- a:1", "+ b:1", "+ c:1"]
            .iter()
            .all(|line| said.contains(line))
    });
    until("and documents", || {
        let said = said(&server, "documents");
        let last = said
            .lines()
            .rfind(|line| line.starts_with('{'))
            .unwrap_or_default();
        last.contains("\"id\":\"b:1\"")
            && last.contains("\"id\":\"c:1\"")
            && !last.contains("\"id\":\"a:1\"")
    });
    signal(&commands.0, Signal::TERM);
    assert_eq!(commands.code(), 128 + 15);
    drop((lines, documents));
}

#[test]
fn shells_complete_services_and_their_options() {
    let server = server(Implementation::Zabd);
    let _web = start(&server, 10_000, "register web --address h", "web");
    until("it is there", || ids(&server, "web") == ["h"]);
    for (words, found) in [
        (&["ser"][..], "service"),
        (&["service", "resolve", ""], "web"),
        (
            &["service", "resolve", "web", "--policy", "con"],
            "consistent-hash",
        ),
    ] {
        let address = server.address().to_string();
        let words = [&["__complete", "-server", &address], words].concat();
        assert_eq!(text(&output(&server, &words)), found);
    }
}
