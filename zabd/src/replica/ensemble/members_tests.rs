//! Memberships and their quorums, read from text.

use super::*;

fn members(text: &str) -> Members {
    text.parse().unwrap()
}

fn ids(ids: &[i64]) -> BTreeSet<ServerId> {
    ids.iter().map(|id| ServerId(*id)).collect()
}

#[test]
fn more_than_half_of_the_participants_are_a_quorum() {
    for (voters, enough) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)] {
        let lines: Vec<String> = (1..=voters)
            .map(|id| format!("server.{id}=h:1:2"))
            .chain(["server.8=h:1:2:observer".to_owned()])
            .collect();
        let members = members(&lines.join("\n"));
        for present in 0..=voters {
            let mut servers: Vec<i64> = (1..=present).collect();
            servers.extend([8, 77]);
            let is_quorum = members.is_quorum(&ids(&servers));
            assert_eq!(is_quorum, present >= enough, "{present} of {voters}");
        }
    }
    assert!(!members("version=0").is_quorum(&ids(&[1])));
}

#[test]
fn a_change_needs_quorums_of_both() {
    let old = members("server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2\nversion=5");
    let new = members("server.3=h:1:2\nserver.4=h:1:2\nserver.5=h:1:2:observer\nversion=6");
    let mut configs = Configs {
        rumoured: None,
        committed: Arc::new(old),
        proposed: Arc::new(new),
    };
    assert!(configs.is_changing());
    for (servers, is_quorum) in [
        (&[1, 2][..], false),
        (&[3, 4], false),
        (&[1, 3, 5], false),
        (&[1, 3, 4], true),
    ] {
        assert_eq!(configs.is_quorum(&ids(servers)), is_quorum, "{servers:?}");
    }
    assert!(configs.is_voter(ServerId(1)) && configs.is_voter(ServerId(4)));
    assert!(!configs.is_voter(ServerId(5)));
    configs.proposed = Arc::new(members("server.4=h:1:2\nversion=4"));
    assert!(!configs.is_changing());
    assert!(configs.is_quorum(&ids(&[1, 2])));
}

const SIX: &str = "server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2\nserver.4=h:1:2\nserver.5=h:1:2\n\
                   server.6=h:1:2\nserver.7=h:1:2:observer\n";

#[test]
fn with_groups_most_of_the_weight_in_most_of_the_groups_is_a_quorum() {
    for (groups, servers, is_quorum) in [
        ("group.1=1:2:3\ngroup.2=4:5:6", &[1, 2, 4, 5][..], true),
        ("group.1=1:2:3\ngroup.2=4:5:6", &[1, 2, 3, 4], false),
        ("group.1=1:2:3\ngroup.2=4:5:6", &[], false),
        ("group.1=1:2\ngroup.2=3:4\ngroup.3=5:6", &[1, 2, 3, 4], true),
        (
            "group.1=1:2\ngroup.2=3:4\ngroup.3=5:6",
            &[1, 2, 3, 5],
            false,
        ),
        // One server outweighs the others of its group.
        ("group.1=1:2:3:4:5:6\nweight.1=6", &[1], true),
        ("group.1=1:2:3:4:5:6\nweight.1=5", &[1], false),
        ("group.1=1:2:3:4:5:6\nweight.1=6", &[2, 3, 4, 5, 6], false),
        // A group without weight is not counted, a server without adds nothing.
        (
            "group.1=1:2:3\ngroup.2=4:5:6\nweight.4=0\nweight.5=0\nweight.6=0",
            &[1, 2],
            true,
        ),
        (
            "group.1=1:2:3\ngroup.2=4:5:6\nweight.1=0",
            &[2, 3, 4, 5],
            true,
        ),
        (
            "group.1=1:2:3\ngroup.2=4:5:6\nweight.1=0",
            &[1, 2, 4, 5],
            false,
        ),
        (
            "group.1=1:2:3:4:5:6\nweight.1=0\nweight.2=0\nweight.3=0\nweight.4=0\nweight.5=0\nweight.6=0",
            &[1, 2, 3, 4, 5, 6],
            false,
        ),
        // An observer weighs in its group and does not vote; a stranger likewise.
        (
            "group.1=1:2:3:4:5:6:7\nweight.7=9",
            &[1, 2, 3, 4, 5, 6, 7],
            false,
        ),
        (
            "group.1=1:2:3:4:5:6:8\nweight.8=5",
            &[1, 2, 3, 4, 5, 8],
            false,
        ),
        (
            "group.1=1:2:3:4:5:6:8\nweight.8=5",
            &[1, 2, 3, 4, 5, 6, 8],
            true,
        ),
    ] {
        let members = members(&format!("{SIX}{groups}"));
        assert_eq!(
            members.is_quorum(&ids(servers)),
            is_quorum,
            "{groups} {servers:?}"
        );
    }
}

#[test]
fn any_two_quorums_meet() {
    for groups in [
        "",
        "group.1=1:2:3\ngroup.2=4:5:6",
        "group.1=1:2\ngroup.2=3:4\ngroup.3=5:6\nweight.1=3",
        "group.1=1:2:3:7\ngroup.2=4:5\ngroup.3=6\nweight.7=2\nweight.6=0",
    ] {
        let members = members(&format!("{SIX}{groups}"));
        let quorums: Vec<u32> = (0..1 << 6)
            .filter(|set| {
                let servers: Vec<i64> = (1..=6).filter(|id| set & (1 << (id - 1)) != 0).collect();
                members.is_quorum(&ids(&servers))
            })
            .collect();
        assert!(!quorums.is_empty());
        for one in &quorums {
            assert!(quorums.iter().all(|other| one & other != 0), "{groups}");
        }
    }
}

#[test]
fn weights() {
    let plain = members(SIX);
    let grouped = members(&format!("{SIX}group.1=1:2:3:4:5:6\nweight.2=0\nweight.3=7"));
    for (server, of_plain, of_grouped) in [(1, 1, 1), (2, 1, 0), (3, 1, 7), (7, 1, 0), (77, 1, 0)] {
        assert_eq!(plain.weight(ServerId(server)), of_plain);
        assert_eq!(grouped.weight(ServerId(server)), of_grouped);
    }
}

#[test]
fn memberships_are_the_same_by_version_or_by_members() {
    let one = "server.1=h:1:2;5\nserver.2=a:1:2|b:3:4\n";
    for (other, same) in [
        (
            "server.2=b:3:4|a:1:2:participant\nserver.1=H:1:2;0.0.0.0:5\n",
            true,
        ),
        ("server.2=b:3:4|a:1:2|b:3:4\nserver.1=h:1:2;5\n", true),
        ("server.1=h:1:2;5\nserver.2=a:1:2\n", false),
        ("server.1=h:1:2;6\nserver.2=a:1:2|b:3:4\n", false),
        ("server.1=h:1:2\nserver.2=a:1:2|b:3:4\n", false),
        ("server.1=h:1:2:observer;5\nserver.2=a:1:2|b:3:4\n", false),
        ("server.1=h:1:3;5\nserver.2=a:1:2|b:3:4\n", false),
        ("server.1=h:9:2;5\nserver.2=a:1:2|b:3:4\n", false),
        ("server.1=h:1:2;5\nserver.3=a:1:2|b:3:4\n", false),
        ("server.1=h:1:2;5\n", false),
        (
            "server.1=h:1:2;5\nserver.2=a:1:2|b:3:4\nserver.3=c:1:2\n",
            false,
        ),
        (
            "server.1=h:1:2;5\nserver.2=a:1:2|b:3:4\ngroup.1=1:2\n",
            false,
        ),
    ] {
        let left = members(&format!("{one}version=7"));
        let right = members(&format!("{other}version=8"));
        assert_eq!(left.is_same_as(&right), same, "{other}");
        assert_eq!(right.is_same_as(&left), same, "{other}");
        let of_one_kind = !other.contains("group");
        assert_eq!(
            left.is_same_as(&right.with_version(7)),
            of_one_kind,
            "{other}"
        );
    }
    let groups = |lines: &str| members(&format!("{one}{lines}"));
    let left = groups("group.1=1:2\nversion=1");
    for (other, same) in [
        ("group.1=2:1\nweight.2=1\nversion=2", true),
        ("group.1=2:1\nweight.2=2\nversion=2", false),
        ("group.2=2:1\nversion=2", false),
        ("group.2=2:1\nversion=1", true),
    ] {
        assert_eq!(left.is_same_as(&groups(other)), same, "{other}");
    }
}
