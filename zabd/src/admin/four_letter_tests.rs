//! Tests of the four-letter words.

use std::sync::{Arc, RwLock};

use jute_codec::{SessionId, Zxid};

use super::*;
use crate::admin::{LearnerCounts, MemberFigures, Metrics, RuntimeFigures, SessionDeadlines};
use crate::net::client::Connections;
use crate::net::clock::MonotonicClock;
use crate::net::stats::ServerStats;
use crate::replica::ensemble::ServerId;
use crate::state::{Service, StateParams};

const CONN: ConnId = ConnId(1);

fn listener() -> ListenerInfo {
    ListenerInfo {
        index: 0,
        local_addr: "127.0.0.1:2181".parse().unwrap(),
    }
}

fn words(is_enabled: fn(&str) -> bool) -> FourLetterWords {
    FourLetterWords::new(AdminContext {
        state: Arc::new(RwLock::new(State::new(StateParams::default()))),
        connections: Arc::new(Connections::new(1 << 20)),
        stats: Arc::new(ServerStats::default()),
        auth: Arc::default(),
        clock: MonotonicClock::start(),
        log: Arc::default(),
        metrics: Arc::new(Metrics::default()),
        session_deadlines: Arc::new(SessionDeadlines::default),
        conf: Arc::new(|listener| format!("clientPort={}\n", listener.local_addr.port())),
        dir_bytes: Arc::new(|| (67_109_602, 12)),
        is_enabled: Arc::new(is_enabled),
        runtime: Arc::new(RuntimeFigures::default),
        member: Arc::new(|| None),
        proposal_sizes: Arc::default(),
    })
}

fn ask(words: &FourLetterWords, word: &[u8; 4]) -> String {
    ask_with(words, word, &[])
}

fn ask_with(words: &FourLetterWords, word: &[u8; 4], argument: &[u8]) -> String {
    String::from_utf8(words.answer(*word, argument, CONN, &listener())).unwrap()
}

#[test]
fn words_without_figures_answer_as_java_does() {
    let words = words(|_| true);
    for (word, answer) in [
        (b"ruok", "imok"),
        (b"isro", "rw"),
        (b"gtmk", "306"),
        (b"crst", "Connection stats reset.\n"),
        (b"srst", "Server stats reset.\n"),
        (b"conf", "clientPort=2181\n"),
        (b"dirs", "datadir_size: 67109602\nlogdir_size: 12\n"),
        (b"hash", ""),
        (b"cons", "\n"),
        (b"wchs", "0 connections watching 0 paths\nTotal watches:0\n"),
        (b"wchc", "\n"),
        (b"wchp", "\n"),
        (b"\xff\xf4\xff\xfd", ""),
    ] {
        assert_eq!(ask(&words, word), answer, "{}", word.escape_ascii());
    }
}

#[test]
fn an_empty_server_has_five_nodes() {
    let words = words(|_| true);
    let version = full_version();
    let figures = "Latency min/avg/max: 0/0.0/0\nReceived: 0\nSent: 0\nConnections: 0\nOutstanding: 0\nZxid: 0x0\n\
                   Mode: standalone\nNode count: 5\n";
    assert_eq!(
        ask(&words, b"srvr"),
        format!("Zookeeper version: {version}\n{figures}")
    );
    let figures = figures.replace("Sent: 0", "Sent: 1");
    assert_eq!(
        ask(&words, b"stat"),
        format!("Zookeeper version: {version}\nClients:\n\n{figures}")
    );
}

#[test]
fn answers_count_as_sent_once_they_are_made() {
    let words = words(|name| name == "srvr");
    assert!(ask(&words, b"srvr").contains("\nSent: 0\n"));
    ask(&words, b"ruok");
    assert!(ask(&words, b"srvr").contains("\nSent: 2\n"));
}

#[test]
fn the_trace_mask_is_kept() {
    let words = words(|_| true);
    assert_eq!(words.argument_bytes(*b"stmk"), 8);
    assert_eq!(words.argument_bytes(*b"gtmk"), 0);
    assert_eq!(ask_with(&words, b"stmk", &2i64.to_be_bytes()), "2");
    assert_eq!(ask(&words, b"gtmk"), "2");
    assert_eq!(ask_with(&words, b"stmk", &[0; 7]), "");
    assert_eq!(ask(&words, b"gtmk"), "2");
}

#[test]
fn what_is_not_listed_is_refused_by_name() {
    let words = words(|name| name == "srvr");
    assert!(ask(&words, b"srvr").starts_with("Zookeeper version: 3.9.5-"));
    assert_eq!(
        words.argument_bytes(*b"stmk"),
        0,
        "a refusal waits for nothing"
    );
    for (word, name) in [
        (b"ruok", "ruok"),
        (b"mntr", "mntr"),
        (b"\xff\xf4\xff\xfd", "telnet close"),
    ] {
        let refusal = format!("{name} is not executed because it is not in the whitelist.\n");
        assert_eq!(ask(&words, word), refusal);
    }
}

#[test]
fn only_javas_words_are_known() {
    let words = words(|_| true);
    let known =
        "conf cons crst dirs dump envi gtmk hash isro mntr ruok srst srvr stat stmk wchc wchp wchs";
    for name in known.split(' ') {
        let word: [u8; 4] = name.as_bytes().try_into().unwrap();
        assert!(words.is_command(word), "{name}");
        assert_eq!(Word::of(word).map(Word::name), Some(name));
    }
    for unknown in [b"RUOK", b"reqs", b"help", b"\0\0\0\x2d"] {
        assert!(!words.is_command(*unknown));
    }
}

#[test]
fn digests_are_a_hexadecimal_zxid_and_a_signed_number() {
    let taken = [(Zxid(0x80), 252_281_049_227), (Zxid(0x100), u64::MAX)];
    assert_eq!(digests(&taken), "80: 252281049227\n100: -1\n");
}

#[test]
fn a_dump_asks_the_driver_and_the_state() {
    let mut words = words(|_| true);
    words.ctx.session_deadlines = Arc::new(|| SessionDeadlines {
        local: None,
        global: vec![(6000, vec![SessionId(0x77)])],
    });
    let dump = ask(&words, b"dump");
    assert!(dump.starts_with("SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at "));
    assert!(dump.contains(":\n\t0x77\nephemeral nodes dump:\nSessions with Ephemerals (0):\n"));
}

#[test]
fn mntr_begins_with_version_and_state() {
    let text = ask(&words(|_| true), b"mntr");
    let version = full_version();
    assert!(text.starts_with(&format!(
        "zk_version\t{version}\nzk_server_state\tstandalone\n"
    )));
    assert!(text.contains("\nzk_znode_count\t5\n"));
    assert!(text.contains("\nzk_avg_latency\t0.0\n"));
    assert!(
        text.lines()
            .all(|line| line.starts_with("zk_") && line.matches('\t').count() == 1)
    );
}

#[test]
fn srst_forgets_counts() {
    let words = words(|_| true);
    words.ctx.stats.packets_received.add(7);
    words.ctx.stats.latency.record(3, 1);
    assert!(ask(&words, b"srvr").contains("Latency min/avg/max: 3/3.0/3\nReceived: 7\n"));
    ask(&words, b"srst");
    assert!(ask(&words, b"srvr").contains("Latency min/avg/max: 0/0.0/0\nReceived: 0\n"));
}

/// `words`, of a member of an ensemble of three.
fn member_words(role: Role) -> FourLetterWords {
    words_of_member(role, false)
}

fn words_of_member(role: Role, is_read_only: bool) -> FourLetterWords {
    let mut words = words(|_| true);
    words.ctx.member = Arc::new(move || {
        Some(MemberFigures {
            role,
            is_read_only,
            leader: Some(ServerId(2)),
            quorum_size: 3,
            learners: LearnerCounts {
                all: 3,
                synced_followers: 2,
                ..LearnerCounts::default()
            },
            pending_syncs: 0,
            leading_since_ms: -1,
        })
    });
    words
}

#[test]
fn a_member_says_what_it_is() {
    for (role, mode, heading) in [
        (
            Role::Leading,
            "leader",
            "zk_server_state\tleader\nzk_peer_state\tleading - broadcast\n",
        ),
        (
            Role::Following,
            "follower",
            "zk_server_state\tfollower\nzk_peer_state\tfollowing - broadcast\n",
        ),
        (
            Role::Observing,
            "observer",
            "zk_server_state\tobserver\nzk_peer_state\tobserving - broadcast\nzk_observer_master_id\t2\n",
        ),
    ] {
        let words = member_words(role);
        let proposals = if role == Role::Leading {
            "Proposal sizes last/min/max: -1/-1/-1\n"
        } else {
            ""
        };
        let tail = format!("\nMode: {mode}\nNode count: 5\n{proposals}");
        for word in [b"srvr", b"stat"] {
            assert!(ask(&words, word).ends_with(&tail), "{role:?}");
        }
        assert!(ask(&words, b"mntr").contains(heading), "{role:?}");
        assert_eq!(ask(&words, b"isro"), "rw");
        let sessions = if role == Role::Leading {
            "SessionTracker dump:\nSession Sets (0)/(0):\n"
        } else {
            "SessionTracker dump:\nGlobal Sessions(0):\n"
        };
        assert!(ask(&words, b"dump").starts_with(sessions), "{role:?}");
    }
}

#[test]
fn a_server_that_shows_what_it_has_says_so() {
    let words = words_of_member(Role::Looking, true);
    words
        .ctx
        .state
        .write()
        .unwrap()
        .set_service(Service::ReadOnly);
    assert_eq!(ask(&words, b"isro"), "ro");
    let of_srvr = ask(&words, b"srvr");
    let (_, behind) = of_srvr.split_once('\n').unwrap();
    assert!(behind.starts_with("READ-ONLY mode; serving only read-only clients\nLatency"));
    assert!(behind.ends_with("\nMode: read-only\nNode count: 5\n"));
    let of_stat = ask(&words, b"stat");
    assert!(of_stat.contains("\nREAD-ONLY mode; serving only read-only clients\nClients:\n"));
    let of_mntr = ask(&words, b"mntr");
    assert!(of_mntr.contains("zk_server_state\tread-only\n"));
    assert!(!of_mntr.contains("zk_peer_state"));
}

#[test]
fn proposal_sizes_are_shown_until_srst() {
    let words = member_words(Role::Leading);
    words.ctx.proposal_sizes.record(68, 48, 100);
    assert!(ask(&words, b"srvr").ends_with("\nProposal sizes last/min/max: 68/48/100\n"));
    ask(&words, b"srst");
    assert!(ask(&words, b"srvr").ends_with("\nProposal sizes last/min/max: -1/-1/-1\n"));
}

#[test]
fn a_server_that_serves_nobody_says_so() {
    let stopped = member_words(Role::Following);
    stopped
        .ctx
        .state
        .write()
        .unwrap()
        .set_service(Service::None);
    for words in [stopped, member_words(Role::Looking)] {
        for word in "conf cons crst dirs dump mntr srst srvr stat wchc wchp wchs".split(' ') {
            assert_eq!(
                ask(&words, word.as_bytes().try_into().unwrap()),
                "This ZooKeeper instance is not currently serving requests\n",
                "{word}"
            );
        }
        for (word, answer) in [
            (
                b"hash",
                "This ZooKeeper instance is not currently serving requests",
            ),
            (b"isro", "null"),
            (b"ruok", "imok"),
            (b"gtmk", "306"),
        ] {
            assert_eq!(ask(&words, word), answer);
        }
        assert_eq!(ask_with(&words, b"stmk", &2i64.to_be_bytes()), "2");
        assert!(ask(&words, b"envi").starts_with("Environment:\nzookeeper.version="));
    }
}
