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
