//! Whole files of members of ensembles.

use super::*;
use crate::replica::ensemble::{Role, ServerId};

const THREE: &str = "server.1=zk1:2888:3888\nserver.2=zk2:2888:3888\nserver.3=zk3:2888:3888\ninitLimit=10\nsyncLimit=5\n";

impl Scratch {
    /// A directory with a `myid`.
    fn of_server(id: &str) -> Self {
        let scratch = Self::new();
        scratch.write("myid", id);
        scratch
    }

    /// A member's file that loads without a word.
    fn quiet_member(&self, text: &str) -> EnsembleConfig {
        self.quiet(text).ensemble.expect("a member of an ensemble")
    }
}

#[test]
fn three_participants_are_an_ensemble() {
    let scratch = Scratch::of_server("2\n");
    let config = scratch.quiet(&format!("{THREE}tickTime=2000"));
    assert_eq!(config.server_id, Some(2));
    assert_eq!(config.listeners, [all(2181)]);
    let ensemble = config.ensemble.unwrap();
    assert_eq!(
        (ensemble.me, ensemble.role()),
        (ServerId(2), Role::Participant)
    );
    assert_eq!(ensemble.own().addresses[0].host, "zk2");
    assert_eq!(ensemble.origin, MembersOrigin::Static);
    assert_eq!(
        &*ensemble.members.text(),
        "server.1=zk1:2888:3888:participant\nserver.2=zk2:2888:3888:participant\n\
         server.3=zk3:2888:3888:participant\nversion=0"
    );
    assert_eq!(
        (ensemble.tick_ms, ensemble.init_limit, ensemble.sync_limit),
        (2000, 10, 5)
    );
}

#[test]
fn defaults_of_a_member_are_zookeepers() {
    let ensemble = Scratch::of_server("1").quiet_member(THREE);
    assert_eq!(ensemble.connect_limit, 10);
    assert_eq!(ensemble.connect_retry_delay_ms, 100);
    assert!(!ensemble.listen_on_all_ips);
    assert_eq!(
        ensemble.election,
        ElectionConfig {
            connect_timeout_ms: Some(5000),
            read_timeout_ms: 15_000,
            bind_tries: Some(3),
            tcp_keep_alive: false,
            notification_min_ms: 200,
            notification_max_ms: 60_000,
        }
    );
    assert_eq!(
        ensemble.multi_address,
        MultiAddressConfig {
            enabled: false,
            reachability_check_enabled: true,
            reachability_check_timeout_ms: 1000,
        }
    );
    assert_eq!(
        ensemble.leader,
        LeaderConfig {
            serves_clients: true,
            snap_syncs_max: 10,
            diff_syncs_max: 100,
            epoch_wait_max_ms: None,
            force_snapshot_sync: false,
            commit_log_count: 500,
            snapshot_size_factor: Some(0.33),
        }
    );
    assert_eq!(
        ensemble.observer,
        ObserverConfig {
            election_delay_ms: 200,
            reconnect_delay_ms: 0,
            sync_enabled: true,
        }
    );
    assert!(ensemble.standalone_enabled && ensemble.db_autocreate);
    assert!(!ensemble.local_sessions_enabled && !ensemble.reconfig_enabled);
}

#[test]
fn everything_of_a_member_can_be_set() {
    let text = "connectToLearnerMasterLimit=3\nleaderConnectDelayDuringRetryMs=50\nquorumListenOnAllIPs=true\n\
                cnxTimeout=0\nquorumCnxnTimeoutMs=700\nelectionPortBindRetry=0\ntcpKeepAlive=true\nelectionAlg=3\n\
                fastleader.minNotificationInterval=20\nfastleader.maxNotificationInterval=900\n\
                multiAddress.enabled=true\nmultiAddress.reachabilityCheckEnabled=false\n\
                multiAddress.reachabilityCheckTimeoutMs=9\nleaderServes=no\nleader.maxConcurrentSnapSyncs=1\n\
                leader.maxConcurrentDiffSyncs=2\nleader.maxTimeToWaitForEpoch=0\nforceSnapshotSync=true\n\
                commitLogCount=800\nsnapshotSizeFactor=-1\nobserver.election.DelayMs=5\n\
                observer.reconnectDelayMs=6\ndb.autocreate=false";
    let scratch = Scratch::of_server("1");
    let (config, findings) = scratch.load_with(&format!("{THREE}{text}")).unwrap();
    for finding in findings.lines() {
        assert!(
            finding.contains(": has no effect in an ensemble: "),
            "{finding}"
        );
    }
    let ensemble = config.ensemble.unwrap();
    assert_eq!(
        (ensemble.connect_limit, ensemble.connect_retry_delay_ms),
        (3, 50)
    );
    assert!(ensemble.listen_on_all_ips && !ensemble.db_autocreate);
    assert_eq!(
        ensemble.election,
        ElectionConfig {
            connect_timeout_ms: None,
            read_timeout_ms: 700,
            bind_tries: None,
            tcp_keep_alive: true,
            notification_min_ms: 20,
            notification_max_ms: 900,
        }
    );
    assert_eq!(
        ensemble.multi_address,
        MultiAddressConfig {
            enabled: true,
            reachability_check_enabled: false,
            reachability_check_timeout_ms: 9,
        }
    );
    assert_eq!(
        ensemble.leader,
        LeaderConfig {
            serves_clients: false,
            snap_syncs_max: 1,
            diff_syncs_max: 2,
            epoch_wait_max_ms: Some(0),
            force_snapshot_sync: true,
            commit_log_count: 800,
            snapshot_size_factor: None,
        }
    );
    assert_eq!(
        (
            ensemble.observer.election_delay_ms,
            ensemble.observer.reconnect_delay_ms
        ),
        (5, 6)
    );
}

#[test]
fn everything_wrong_with_a_member_is_reported_at_once() {
    let scratch = Scratch::of_server("7");
    let error = scratch.error(
        "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\ninitLimit=0\nsyncLimit=-5\n\
         leader.maxConcurrentSnapSyncs=0\ncnxTimeout=-1\nclientPortAddress=a b",
    );
    assert_eq!(
        error,
        "DIR/zoo.cfg:1: warning: server.1: with 2 of them no participant may fail; 3 bear that one does\n\
         DIR/myid:1: error: myid: 7 is none of the servers 1, 2, 3\n\
         DIR/zoo.cfg:4: error: initLimit: 0 was given, where a whole number, 1 or more is allowed\n\
         DIR/zoo.cfg:5: error: syncLimit: -5 was given, where a whole number, 1 or more is allowed\n\
         DIR/zoo.cfg:6: error: leader.maxConcurrentSnapSyncs: 0 was given, where a whole number, 1 or more is allowed\n\
         DIR/zoo.cfg:7: error: cnxTimeout: is negative, where 0 or more is allowed\n\
         DIR/zoo.cfg:8: error: clientPortAddress: \"a b\" has no address\n"
    );
}

#[test]
fn a_member_must_know_who_it_is() {
    let error = Scratch::new().error(THREE);
    assert_eq!(
        error,
        "error: myid: DIR/myid is missing: it holds the number of this server\n"
    );
    let of = |id: &str, text: &str| Scratch::of_server(id).error(text);
    let extended = format!("server.254=x:1:2\nserver.255=y:1:2\n{THREE}extendedTypesEnabled=true");
    for (id, text, message) in [
        ("one", THREE, "\"one\" is not the number of a server"),
        ("", THREE, "\"\" is not the number of a server"),
        ("4", THREE, "4 is none of the servers 1, 2, 3"),
        (
            "-1",
            &format!("{THREE}server.-1=d:1:2"),
            "-1 was given, where a whole number, 0 or more is allowed",
        ),
        (
            "255",
            &extended,
            "255 was given, where at most 254 is allowed with extendedTypesEnabled",
        ),
    ] {
        let expected = format!("DIR/myid:1: error: myid: {message}\n");
        let error = of(id, text);
        let about = error.lines().filter(|line| line.contains(": error: "));
        assert_eq!(about.collect::<Vec<_>>(), [expected.trim_end()], "{text}");
    }
    let ensemble = Scratch::of_server("254").quiet_member(&extended);
    assert_eq!(ensemble.me, ServerId(254));
}

#[test]
fn lines_that_make_no_ensemble_are_refused() {
    let scratch = Scratch::of_server("1");
    for (text, message) in [
        ("standaloneEnabled=false", "needs at least one server.N"),
        ("server.1=a:1:2:observer", "observers need participants"),
        (
            "server.1=a:1:2\nserver.2=b:1:2:observer",
            "observers need a quorum",
        ),
        ("server.x=a:1:2", "\"x\" is not the number of a server"),
        ("server.1=a:1", "is not of the form"),
        ("server.1=a:1:1", "same quorum and election port"),
        ("server.1=a:1:2|b:1:2", "multiAddress.enabled is needed"),
        (
            "server.1=a:1:2\nserver.01=b:1:2",
            "server.1: server 1 is there twice",
        ),
        (
            &format!("group.1=1:2\n{THREE}"),
            "server.3: server 3 is a participant and in no group",
        ),
        (
            &format!("group.1=1:2:3\ngroup.2=3\n{THREE}"),
            "group.1: server 3 is in several groups",
        ),
        (
            &format!("group.x=1\n{THREE}"),
            "\"x\" is not the number of a group",
        ),
        (
            &format!("group.1=1,2,3\n{THREE}"),
            "\"1,2,3\" was given, where numbers of servers joined by colons are allowed",
        ),
        (
            &format!("group.1=1:2:3\nweight.2=heavy\n{THREE}"),
            "weight.2: \"heavy\" was given, where a whole number is allowed",
        ),
        (
            &format!("group.1=1:2:3\nweight.2=-1\n{THREE}"),
            "weight.2: server 2 has a negative weight",
        ),
    ] {
        let error = scratch.error(text);
        assert!(error.contains(message), "{text}: {error}");
        assert!(error.contains("DIR/zoo.cfg:"), "{text}: {error}");
    }
    let (config, findings) = scratch
        .load_with("server.1=a:1:2|b:1:2\nmultiAddress.enabled=true")
        .unwrap();
    assert!(findings.contains("standalone") && config.ensemble.is_none());
}

#[test]
fn odd_numbers_of_participants_are_advised() {
    let scratch = Scratch::of_server("1");
    let findings = |text: &str| {
        let limits = "initLimit=1\nsyncLimit=1";
        let (config, findings) = scratch.load_with(&format!("{text}\n{limits}")).unwrap();
        assert!(config.ensemble.is_some(), "{text}");
        findings
    };
    let mut lines = "server.1=a:1:2\nserver.2=b:1:2".to_owned();
    assert_eq!(
        findings(&lines),
        "DIR/zoo.cfg:1: warning: server.1: with 2 of them no participant may fail; 3 bear that one does\n"
    );
    lines.push_str("\nserver.3=c:1:2\nserver.4=d:1:2:observer");
    assert_eq!(findings(&lines), "");
    lines.push_str("\nserver.5=e:1:2");
    assert_eq!(
        findings(&lines),
        "DIR/zoo.cfg:1: warning: server.1: 4 participants bear no more failures than 3\n"
    );
    assert_eq!(
        findings("standaloneEnabled=false\nserver.1=a:1:2"),
        "DIR/zoo.cfg:2: warning: server.1: with 1 of them no participant may fail; 3 bear that one does\n"
    );
}

#[test]
fn the_list_of_members_says_who_observes() {
    let with_observer = format!("{THREE}server.4=zk4:2888:3888:observer\n");
    let observer = Scratch::of_server("4");
    let ensemble = observer.quiet_member(&format!("{with_observer}peerType=OBSERVER"));
    assert_eq!(ensemble.role(), Role::Observer);
    let (config, findings) = observer.load_with(&with_observer).unwrap();
    assert_eq!(config.ensemble.unwrap().role(), Role::Observer);
    assert_eq!(
        findings,
        "DIR/zoo.cfg:6: note: server.4: this server is an observer; peerType=observer would say so as well\n"
    );
    for (scratch, peer_type, listed) in [
        (&observer, "participant", "an observer"),
        (&Scratch::of_server("1"), "observer", "a participant"),
    ] {
        let text = format!("{with_observer}peerType={peer_type}");
        let (_, findings) = scratch.load_with(&text).unwrap();
        assert_eq!(
            findings,
            format!(
                "DIR/zoo.cfg:7: warning: peerType: is not in force: by the list of members this server is {listed}\n"
            )
        );
    }
}

#[test]
fn clients_of_a_member_connect_where_its_line_says() {
    let scratch = Scratch::of_server("2");
    let lines = "server.1=a:1:2;2191\nserver.2=b:1:2;127.0.0.1:2192\nserver.3=c:1:2;2193\n\
                 initLimit=1\nsyncLimit=1\ndataDir=DIR\n";
    let (config, findings) = scratch.load(lines).unwrap();
    assert_eq!(findings, "");
    assert_eq!(config.listeners[0].to_string(), "127.0.0.1:2192");
    assert_eq!(config.listeners.len(), 1);
    // Both agree, or the server does not start.
    let (config, _) = scratch.load(&format!("{lines}clientPort=2192\n")).unwrap();
    assert_eq!(config.listeners[0].to_string(), "127.0.0.1:2192");
    for other in [
        "clientPort=2181",
        "clientPort=2192\nclientPortAddress=127.0.0.2",
    ] {
        let error = scratch.load(&format!("{lines}{other}\n")).unwrap_err();
        assert!(
            error.contains("is not 127.0.0.1:2192, the client address of this server's server.N"),
            "{error}"
        );
    }
    // What the main file says is not told to others.
    let ensemble = Scratch::of_server("1").quiet_member(THREE);
    assert!(!ensemble.members.text().contains(';'));
    // Without any a member votes all the same.
    let (config, findings) = Scratch::of_server("1")
        .load(&format!("{THREE}dataDir=DIR"))
        .unwrap();
    assert!(config.listeners.is_empty());
    assert_eq!(
        findings,
        "warning: clientPort: is not set, so that no client could connect\n"
    );
}

#[test]
fn numbers_whose_sessions_would_be_alike_are_warned_of() {
    let scratch = Scratch::of_server("1");
    let text = format!("server.257=a:1:2\nserver.511=b:1:2\n{THREE}");
    let (_, findings) = scratch.load_with(&text).unwrap();
    assert_eq!(
        findings,
        "DIR/zoo.cfg:1: warning: server.257: its number and 1 differ by a multiple of 256, so that both could give out the same session id\n"
    );
}

/// What `QuorumPeerConfig.parse` of ZooKeeper 3.9.5 makes of a file and `myid`.
enum Java {
    Alone,
    /// With the client port and what `QuorumVerifier.toString` says, without `:participant`.
    Member(u16, &'static str),
    Refused,
}

#[test]
fn odd_files_are_read_as_zookeeper_reads_them() {
    use Java::{Alone, Member, Refused};
    const A: &str = "server.1=127.0.0.1:1:2";
    const B: &str = "server.2=127.0.0.1:3:4";
    for (id, lines, java) in [
        ("1", "", Alone),
        ("9", A, Alone),
        (
            "1",
            &format!("standaloneEnabled=false\n{A}"),
            Member(2181, A),
        ),
        ("1", "standaloneEnabled=false", Refused),
        ("1", &format!("{A}:observer"), Refused),
        ("1", &format!("{A}\n{B}:observer"), Refused),
        (
            "2",
            &format!("standaloneEnabled=false\n{A}\n{B}:observer"),
            Member(
                2181,
                "server.1=127.0.0.1:1:2 server.2=127.0.0.1:3:4:observer",
            ),
        ),
        (
            "+1\r\n2",
            &format!("{A}\n{B}"),
            Member(2181, "server.1=127.0.0.1:1:2 server.2=127.0.0.1:3:4"),
        ),
        ("1 ", &format!("{A}\n{B}"), Refused),
        ("", &format!("{A}\n{B}"), Refused),
        ("-1", &format!("{A}\n{B}\nserver.-1=127.0.0.1:5:6"), Refused),
        (
            "1",
            &format!("server.+1=127.0.0.1:1:2\n{B}\nserver=x"),
            Member(2181, "server.1=127.0.0.1:1:2 server.2=127.0.0.1:3:4"),
        ),
        (
            "1",
            &format!("{A}\n{B}\nversion=7A"),
            Member(
                2181,
                "server.1=127.0.0.1:1:2 server.2=127.0.0.1:3:4 version=7a",
            ),
        ),
        ("1", &format!("{A}\n{B}\nversion=x"), Refused),
        (
            "1",
            &format!("{A}\n{B};2185"),
            Member(
                2181,
                "server.1=127.0.0.1:1:2 server.2=127.0.0.1:3:4;0.0.0.0:2185",
            ),
        ),
        ("2", &format!("{A}\n{B};2185"), Refused),
        (
            "2",
            &format!("{A}\n{B};127.0.0.1:2181"),
            Member(
                2181,
                "server.1=127.0.0.1:1:2 server.2=127.0.0.1:3:4;127.0.0.1:2181",
            ),
        ),
        ("1", &format!("{A}\n{B}\nweight.1=3"), Refused),
        ("1", &format!("{A}\n{B}\ngroup.1=1"), Refused),
        ("1", &format!("{A}\n{B}\ngroup.1=1:2\ngroup.2=2"), Refused),
        ("1", &format!("{A}\n{B}\ngroupx=1:2"), Refused),
        (
            "1",
            &format!("{A}\n{B}\ngroup.1=1:2:\nweight.1=2"),
            Member(
                2181,
                "server.1=127.0.0.1:1:2 server.2=127.0.0.1:3:4 group.1=1:2 weight.1=2 weight.2=1",
            ),
        ),
        ("1", &format!("{A}\n{B}\nelectionAlg=0"), Refused),
        ("1", &format!("{A}\n{B}\npeerType=voter"), Refused),
        ("1", &format!("{A}\n{B}\ninitLimit=0"), Refused),
        ("1", &format!("{A}\n{B}|127.0.0.1:5:6"), Refused),
        (
            "1",
            &format!("{A}\n{B}\nquorum.auth.serverRequireSasl=true"),
            Refused,
        ),
    ] {
        let text = format!("initLimit=10\nsyncLimit=5\n{lines}");
        match (Scratch::of_server(id).load_with(&text), java) {
            (Err(_), Refused) => {}
            (Ok((config, _)), Alone) => assert!(config.ensemble.is_none(), "{lines}"),
            (Ok((config, _)), Member(port, told)) => {
                assert_eq!(config.listeners[0].port, port, "{lines}");
                let members = config.ensemble.unwrap().members.text();
                let ours = members.replace('\n', " ").replace(":participant", "");
                assert_eq!(ours.trim_end_matches(" version=0"), told, "{lines}");
            }
            (ours, _) => panic!("{id:?} and {lines}: {ours:?}"),
        }
    }
}

#[test]
fn groups_and_weights_make_quorums() {
    let text = format!("{THREE}group.1=1:2\ngroup.2=3\nweight.1=2\nweight.3=0\n");
    let members = Scratch::of_server("1").quiet_member(&text).members;
    let is_quorum = |ids: &[i64]| members.is_quorum(&ids.iter().copied().map(ServerId).collect());
    assert!(is_quorum(&[1]) && !is_quorum(&[2, 3]));
    assert!(
        members
            .text()
            .ends_with("\ngroup.1=1:2\ngroup.2=3\nweight.1=2\nweight.2=1\nweight.3=0\nversion=0")
    );
}

#[test]
fn the_dynamic_file_names_its_version() {
    let scratch = Scratch::of_server("1");
    let lines = "server.1=zk1:1:2:participant;2181\nserver.2=zk2:1:2:participant;2181\n\
                 server.3=zk3:1:2:participant;2181\n";
    for (name, version) in [
        ("zoo.cfg.dynamic", 0),
        ("zoo.cfg.dynamic.100000000", 0x1_0000_0000),
        ("zoo.cfg.dynamic.A", 10),
        ("zoo.cfg.dynamic.0x5", 0),
    ] {
        let path = scratch.write(name, lines);
        let text = format!("dynamicConfigFile=DIR/{name}\ninitLimit=1\nsyncLimit=1");
        let ensemble = scratch.quiet_member(&text);
        assert_eq!(ensemble.members.version(), version, "{name}");
        assert_eq!(ensemble.origin, MembersOrigin::Dynamic(path));
    }
    scratch.write("zoo.cfg.dynamic.-5", lines);
    let error = scratch.error("dynamicConfigFile=DIR/zoo.cfg.dynamic.-5\ninitLimit=1\nsyncLimit=1");
    assert!(
        error.contains("DIR/zoo.cfg:1: error: dynamicConfigFile: ")
            && error.contains("a version that is negative"),
        "{error}"
    );
}

#[test]
fn a_change_that_zookeeper_was_told_of_is_read() {
    let scratch = Scratch::of_server("1");
    let path = scratch.write("members", &THREE[..THREE.find("initLimit").unwrap()]);
    scratch.write("zoo.cfg.dynamic.next", "server.1=zk1:1:2\nversion=5");
    let text = "dynamicConfigFile=DIR/members\ninitLimit=1\nsyncLimit=1\nreconfigEnabled=true";
    let ensemble = scratch.quiet_member(text);
    assert_eq!(ensemble.origin, MembersOrigin::Dynamic(path));
    assert_eq!(ensemble.members.version(), 0);
    assert!(ensemble.reconfig_enabled);
    assert_eq!(ensemble.file, Some(scratch.path.join("zoo.cfg")));
    let next = ensemble.next.as_ref().unwrap();
    assert_eq!((next.version(), next.voters().count()), (5, 1));

    // Where members cannot change, it is left alone.
    let fixed = text.replace("\nreconfigEnabled=true", "");
    assert_eq!(scratch.quiet_member(&fixed).next, None);
    // One that is in force, or older.
    for name in ["members.5", "members.6"] {
        scratch.write(name, &THREE[..THREE.find("initLimit").unwrap()]);
        let ensemble = scratch.quiet_member(&text.replace("members", name));
        assert_eq!(ensemble.next, None, "{name}");
    }
    for (broken, why) in [
        ("server.1=zk1\nversion=5", "dynamic.next has a change"),
        ("server.1=zk1:1:2\nversion=x", "lacks a number"),
        ("version=5", "there is no participant"),
    ] {
        scratch.write("zoo.cfg.dynamic.next", broken);
        let error = scratch.error(text);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn members_that_can_be_changed_stand_where_the_change_can_be_written() {
    let scratch = Scratch::of_server("1");
    let path = scratch.write("zoo.cfg", "initLimit=1\nsyncLimit=1\nreconfigEnabled=true");
    let mut sources = Sources::file(&path);
    let data_dir = scratch.path.to_str().unwrap();
    let lines = THREE
        .lines()
        .take(3)
        .filter_map(|line| line.split_once('='));
    for (name, value) in lines.chain([("dataDir", data_dir), ("clientPort", "2181")]) {
        let written = Written::new(name, value, Origin::Property);
        sources.written.push(written);
    }
    let error = load(&sources).unwrap_err().to_string();
    assert!(
        error.contains("error: reconfigEnabled: needs the members, or dynamicConfigFile, to stand"),
        "{error}"
    );
}

#[test]
fn what_is_not_served_in_ensembles_is_warned_of_there_only() {
    let keys = "reconfigEnabled=true\nlocalSessionsEnabled=true\nlocalSessionsUpgradingEnabled=false\n\
                observerMasterPort=2889\noraclePath=/o\nsyncEnabled=false\n";
    assert_eq!(scratch_findings(&format!("{keys}{THREE}")), {
        "DIR/zoo.cfg:4: warning: observerMasterPort: has no effect in an ensemble: only the leader serves observers\n\
         DIR/zoo.cfg:5: warning: oraclePath: has no effect in an ensemble: an oracle is not asked; of two participants both are needed\n\
         DIR/zoo.cfg:6: warning: syncEnabled: has no effect in an ensemble: an observer always writes to disk\n"
    });
    assert_eq!(scratch_findings(keys), "");
    for refused in ["sslQuorum=true", "quorum.auth.enableSasl=true"] {
        let error = Scratch::of_server("1").error(&format!("{THREE}{refused}"));
        assert!(
            error.contains(":6: error: ") && error.contains("not supported"),
            "{error}"
        );
    }
}

fn scratch_findings(text: &str) -> String {
    Scratch::of_server("1").load_with(text).unwrap().1
}

#[test]
fn a_snapshot_of_more_than_itself_is_not_waited_for() {
    let (config, findings) = Scratch::of_server("1")
        .load_with(&format!("snapshotSizeFactor=1.5\n{THREE}"))
        .unwrap();
    let leader = config.ensemble.unwrap().leader;
    assert_eq!(leader.snapshot_size_factor, Some(0.33));
    assert_eq!(
        findings,
        "DIR/zoo.cfg:1: warning: snapshotSizeFactor: 1.5 is more than 1, so that 0.33 is in force, as in ZooKeeper\n"
    );
}

#[test]
fn the_values_in_force_make_the_same_member_again() {
    let scratch = Scratch::of_server("3");
    let text = format!(
        "{THREE}server.4=d:1:2:observer\ngroup.1=1:2:3\nsnapshotSizeFactor=0.5\nforceSnapshotSync=true\n\
         fastleader.maxNotificationInterval=1000"
    );
    let config = scratch.quiet(&text);
    let first = effective_text(&config);
    let (again, _) = scratch.load(&first).unwrap();
    assert_eq!(effective_text(&again), first);
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
    assert!(
        first.starts_with(
            "# server 3 of an ensemble, a participant; its members:\n\
             #   server.1=zk1:2888:3888:participant\n"
        ),
        "{first}"
    );
    for line in [
        "server.1=zk1:2888:3888",
        "group.1=1:2:3",
        "forceSnapshotSync=true",
        "connectToLearnerMasterLimit=10",
    ] {
        assert!(
            first.lines().any(|one| one == line),
            "{line} is not in\n{first}"
        );
    }
    assert!(!first.contains("observerMasterPort"), "{first}");
}

/// As a server of ZooKeeper 3.9.5 prints it.
#[test]
fn conf_prints_the_membership() {
    let scratch = Scratch::of_server("4");
    let text = format!(
        "{THREE}server.4=[::1]:2889:3889:observer|127.0.0.1:2890:3889:observer;127.0.0.1:2184\n\
         peerType=observer\nmultiAddress.enabled=true\ndataDir=DIR\n"
    );
    let (config, findings) = scratch.load(&text).unwrap();
    assert_eq!(findings, "");
    let figures = ConfFigures {
        client_port: 2184,
        data_dir: Path::new("/d"),
        data_dir_bytes: 10,
        data_log_dir: Path::new("/l"),
        data_log_bytes: 20,
        members: None,
        is_read_only: false,
    };
    let without = config.conf(&ConfFigures {
        is_read_only: true,
        ..figures
    });
    assert!(without.ends_with("\npeerType=1\n"), "{without}");
    let conf = config.conf(&figures);
    let (_, of_members) = conf.split_once("clientPortListenBacklog=-1\n").unwrap();
    assert_eq!(
        of_members,
        "serverId=4\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=3889\nquorumPort=2889|2890\n\
         peerType=1\nmembership: \nserver.1=zk1:2888:3888:participant\nserver.2=zk2:2888:3888:participant\n\
         server.3=zk3:2888:3888:participant\n\
         server.4=[0:0:0:0:0:0:0:1]:2889:3889|127.0.0.1:2890:3889:observer;127.0.0.1:2184\nversion=0"
    );
}

#[test]
fn the_sample_of_an_ensemble_loads_without_a_word() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/zoo_ensemble.cfg");
    let text = std::fs::read_to_string(path).unwrap();
    for (id, role) in [
        ("1", Role::Participant),
        ("3", Role::Participant),
        ("4", Role::Observer),
    ] {
        let mut text = text.replace("dataDir=/var/lib/zabd", "dataDir=DIR");
        if role == Role::Observer {
            text = text.replace("#peerType", "peerType");
        }
        let (config, findings) = Scratch::of_server(id).load(&text).unwrap();
        assert_eq!(findings, "", "{id}");
        assert_eq!(config.ensemble.unwrap().role(), role);
    }
}
