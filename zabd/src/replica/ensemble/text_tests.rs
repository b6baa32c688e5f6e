//! Memberships as text: what is written, and what is read back.

use super::*;
use crate::replica::ensemble::{GroupsError, MemberError, Standalone};

/// What `QuorumVerifier.toString` of ZooKeeper 3.9.5 says after `QuorumPeerConfig.parseDynamicConfig` has read the
/// first text.
const TOLD_BY_ZOOKEEPER: [(&str, &str); 15] = [
    (
        "server.1=h1:2888:3888\nserver.2=h2:2888:3888\nserver.3=h3:2888:3888:observer",
        "server.1=h1:2888:3888:participant\nserver.2=h2:2888:3888:participant\n\
         server.3=h3:2888:3888:observer\nversion=0",
    ),
    (
        "server.2=127.0.0.1:2888:3888:Participant;2181\nserver.1=localhost:2888:3888:OBSERVER;127.0.0.1:2182\n\
         server.10=h:1:2\nversion=1f0000000A",
        "server.1=localhost:2888:3888:observer;127.0.0.1:2182\n\
         server.2=127.0.0.1:2888:3888:participant;0.0.0.0:2181\nserver.10=h:1:2:participant\nversion=1f0000000a",
    ),
    (
        "server.1=[::1]:2888:3888;[fe80::1]:2182\nserver.2=[::ffff:1.2.3.4]:1:2\n\
         server.3=[2001:DB8::A]:1:2:observer",
        "server.1=[0:0:0:0:0:0:0:1]:2888:3888:participant;[fe80:0:0:0:0:0:0:1]:2182\n\
         server.2=1.2.3.4:1:2:participant\nserver.3=[2001:db8:0:0:0:0:0:a]:1:2:observer\nversion=0",
    ),
    (
        "server.1=b.x:3:4|a.x:1:2;2181\nserver.2=c:1:2",
        "server.1=a.x:1:2|b.x:3:4:participant;0.0.0.0:2181\nserver.2=c:1:2:participant\nversion=0",
    ),
    (
        "server.1=Z:1:2|a:3:4\nserver.2=c:1:2",
        "server.1=Z:1:2|a:3:4:participant\nserver.2=c:1:2:participant\nversion=0",
    ),
    (
        "server.16=h:1:2\nserver.1=h:1:2\nserver.2=h:1:2",
        "server.16=h:1:2:participant\nserver.1=h:1:2:participant\nserver.2=h:1:2:participant\nversion=0",
    ),
    (
        "server.100=h:1:2\nserver.200=h:1:2\nserver.15=h:1:2\nserver.-8=h:1:2\nserver.70000=h:1:2\n\
         server.5000000001=h:1:2",
        "server.70000=h:1:2:participant\nserver.100=h:1:2:participant\nserver.5000000001=h:1:2:participant\n\
         server.-8=h:1:2:participant\nserver.200=h:1:2:participant\nserver.15=h:1:2:participant\nversion=0",
    ),
    (
        "# c\nserver.1 h:1:2\nserver.2:h:1:2\n!x",
        "server.1=h:1:2:participant\nserver.2=h:1:2:participant\nversion=0",
    ),
    (
        "server.+1=h:1:2\nserver.\\u0032=h:1:2;",
        "server.1=h:1:2:participant\nserver.2=h:1:2:participant\nversion=0",
    ),
    (
        "server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2\ngroup.1=1:2\ngroup.2=3\nweight.3=5\nweight.1=1",
        "server.1=h:1:2:participant\nserver.2=h:1:2:participant\nserver.3=h:1:2:participant\n\
         group.1=1:2\ngroup.2=3\nweight.1=1\nweight.2=1\nweight.3=5\nversion=0",
    ),
    (
        "server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2:observer\ngroup.1=2:1\ngroup.2=3\nweight.3=0",
        "server.1=h:1:2:participant\nserver.2=h:1:2:participant\nserver.3=h:1:2:observer\n\
         group.1=1:2\ngroup.2=3\nweight.1=1\nweight.2=1\nweight.3=0\nversion=0",
    ),
    (
        "server.1=h:1:2\nserver.2=h:1:2\ngroup.1=1:2:9:\nweight.9=7",
        "server.1=h:1:2:participant\nserver.2=h:1:2:participant\n\
         group.1=1:2:9\nweight.1=1\nweight.2=1\nweight.9=7\nversion=0",
    ),
    (
        "server.1=h:1:2\nserver.2=h:1:2\ngroup.16=1\ngroup.1=2\nweight.1=3",
        "server.1=h:1:2:participant\nserver.2=h:1:2:participant\n\
         group.16=1\ngroup.1=2\nweight.1=3\nweight.2=1\nversion=0",
    ),
    ("", "version=0"),
    (
        "server.1=h:1:2\nversion=0",
        "server.1=h:1:2:participant\nversion=0",
    ),
];

#[test]
fn is_told_as_zookeeper_tells_it() {
    for (given, told) in TOLD_BY_ZOOKEEPER {
        let members: Members = given.parse().unwrap();
        assert_eq!(&*members.text(), told, "{given:?}");
        let again: Members = told.parse().unwrap();
        assert_eq!(again.text(), members.text(), "{given:?}");
        assert!(again.is_same_as(&members.with_version(99)), "{given:?}");
    }
}

fn number(key: &str, value: &str) -> MembersError {
    MembersError::Number {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

#[test]
fn what_zookeeper_cannot_read_is_refused() {
    let two = "server.1=h:1:2\nserver.2=h:1:2\n";
    let grouped = "server.1=h:1:2\nserver.2=h:1:2\ngroup.1=1:2\n";
    let member = |error| MembersError::Member {
        server: ServerId(1),
        error,
    };
    for (given, error) in [
        ("server.x=h:1:2".to_owned(), number("server.x", "h:1:2")),
        ("server.1=h:1:1".to_owned(), member(MemberError::SamePorts)),
        ("server.1=h:1".to_owned(), member(MemberError::Form)),
        (
            "server.1=h:70000:1".to_owned(),
            member(MemberError::Port("70000".to_owned())),
        ),
        (
            "server.1=h:1:2:voter".to_owned(),
            member(MemberError::Role("voter".to_owned())),
        ),
        (format!("{two}version=xyz"), number("version", "xyz")),
        (
            format!("{two}version=ffffffffffffffff"),
            number("version", "ffffffffffffffff"),
        ),
        (
            format!("{two}clientPort=5"),
            MembersError::Key("clientPort".to_owned()),
        ),
        (format!("{two}group.1=1::2"), number("group.1", "1::2")),
        (format!("{two}group.1="), number("group.1", "")),
        (format!("{two}group=1:2"), number("group", "1:2")),
        (format!("{grouped}weight.1=x"), number("weight.1", "x")),
        (format!("{grouped}weight.=1"), number("weight.", "1")),
        (
            format!("{two}group.1=1"),
            GroupsError::Missing(ServerId(2)).into(),
        ),
        (
            format!("{two}weight.1=2"),
            GroupsError::Missing(ServerId(1)).into(),
        ),
        (
            format!("{grouped}group.2=2"),
            GroupsError::Several(ServerId(2)).into(),
        ),
        (
            format!("{two}group.1=1:2:2"),
            GroupsError::Several(ServerId(2)).into(),
        ),
        (
            format!("{grouped}server.3=h:1:2:observer\ngroup.2=3"),
            GroupsError::Unknown(ServerId(3)).into(),
        ),
        (
            format!("{grouped}group.2=9"),
            GroupsError::Unknown(ServerId(9)).into(),
        ),
        ("server.1=\\u00g0".to_owned(), MembersError::Escape(1)),
    ] {
        let read = given.parse::<Members>();
        assert_eq!(read.unwrap_err(), error, "{given:?}");
    }
}

#[test]
fn what_zookeeper_reads_and_we_refuse() {
    let grouped = "server.1=h:1:2\nserver.2=h:1:2\ngroup.1=1:2\n";
    for (given, error) in [
        // Which of both lines counts there depends on the order of a hash table.
        (
            "server.1=h:1:2\nserver.01=i:1:2".to_owned(),
            MembersError::Twice(ServerId(1)),
        ),
        // No two quorums need to meet.
        (
            format!("{grouped}weight.1=-1"),
            GroupsError::Negative(ServerId(1)).into(),
        ),
        (
            format!("{grouped}group.01=5\nweight.5=1"),
            GroupsError::Twice(1).into(),
        ),
        (
            format!("{grouped}weight.1={}", i64::MAX),
            GroupsError::TooHeavy(1).into(),
        ),
        // It would be told as something else.
        (
            "server.1=h\\nversion\\=x:1:2".to_owned(),
            MembersError::Member {
                server: ServerId(1),
                error: MemberError::Host("h\nversion=x".to_owned()),
            },
        ),
    ] {
        let read = given.parse::<Members>();
        assert_eq!(read.unwrap_err(), error, "{given:?}");
    }
}

#[test]
fn nothing_is_told_that_would_stop_a_java_server_from_voting() {
    use Standalone::{Disabled, Enabled};
    let three = "server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2:observer\n";
    let lone = "server.1=h:1:2\nserver.2=h:1:2:observer";
    let negative = format!("{three}version=-1");
    for (given, standalone, expected) in [
        (three, Enabled, None),
        ("server.1=h:1:2", Enabled, None),
        ("server.1=h:1:2", Disabled, None),
        (lone, Enabled, Some(MembersError::LoneParticipant)),
        (lone, Disabled, None),
        ("", Enabled, Some(MembersError::NoParticipant)),
        ("", Disabled, Some(MembersError::NoParticipant)),
        (
            "server.1=h:1:2:observer",
            Enabled,
            Some(MembersError::NoParticipant),
        ),
        (&negative, Enabled, Some(MembersError::NegativeVersion)),
    ] {
        let members: Members = given.parse().unwrap();
        assert_eq!(members.check(standalone).err(), expected, "{given:?}");
    }
    let host = "h".repeat(600_000);
    let long: Members = format!("{three}server.4={host}:1:2").parse().unwrap();
    assert!(matches!(
        long.check(Enabled),
        Err(MembersError::TooLong(600_000..))
    ));
}

#[test]
fn memberships_in_messages_of_zookeeper_are_told_alike() {
    let captures = [
        include_str!("../../../../jute-codec/tests/golden/quorum.packets"),
        include_str!("../../../../jute-codec/tests/golden/reconfig.packets"),
    ];
    for capture in captures {
        let mut seen = 0;
        for line in capture.lines() {
            let Some((_, digits)) = line.split_once(" notification ") else {
                continue;
            };
            let bytes: Vec<u8> = (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                .collect();
            let text = std::str::from_utf8(&bytes[48..]).unwrap();
            let members: Members = text.parse().unwrap();
            assert_eq!(&*members.text(), text);
            assert_eq!(members.check(Standalone::Enabled), Ok(()));
            seen += 1;
        }
        assert!(seen > 10);
    }
}
