//! The membership changes while servers and clients go on.

use jute_codec::proto::ReconfigRequest;

use super::*;

const BADARGUMENTS: i32 = -8;
const NEWCONFIGNOQUORUM: i32 = -13;
const BADVERSION: i32 = -103;
const NOAUTH: i32 = -102;
const BY_SUPER: (&str, &str) = ("super", "");

fn line(server: i64, role: &str) -> String {
    let host = (b'a' + u8::try_from(server).unwrap() - 1) as char;
    format!("server.{server}={host}:2888:3888:{role};2181")
}

fn members(servers: impl IntoIterator<Item = i64>) -> Arc<Members> {
    let lines: Vec<String> = servers
        .into_iter()
        .map(|server| line(server, "participant"))
        .collect();
    Arc::new(lines.join("\n").parse().unwrap())
}

fn reconfig(joining: &str, leaving: &str) -> ReconfigRequest {
    let text = |text: &str| (!text.is_empty()).then(|| Text::from(text));
    ReconfigRequest {
        joining_servers: text(joining),
        leaving_servers: text(leaving),
        new_members: None,
        current_config_id: -1,
    }
}

impl World {
    /// An ensemble of these, with a client of the first that may do everything.
    fn ensemble(servers: std::ops::RangeInclusive<i64>) -> Self {
        let mut world = Self {
            ids: vec![Id::new(BY_SUPER.0, BY_SUPER.1)],
            ..Self::default()
        };
        for server in servers.clone() {
            world
                .members
                .insert(ServerId(server), members(servers.clone()));
        }
        for server in servers {
            world.start(server);
        }
        world.run(5000);
        world
    }

    /// Starts a server that knows of the others, and of itself.
    fn join(&mut self, server: i64, others: std::ops::RangeInclusive<i64>, role: &str) {
        let known = members(others);
        let lines = format!("{}\n{}", known.text(), line(server, role));
        self.members
            .insert(ServerId(server), Arc::new(lines.parse().unwrap()));
        self.start(server);
        self.run(5000);
    }

    fn change(&mut self, at: i64, request: ReconfigRequest) -> i32 {
        let (conn, session) = self.new_session(at);
        self.ask(at, conn, session, 1, Request::Reconfig(request));
        let heard = self.heard[&conn].iter();
        let mut replies = heard.filter_map(|heard| match heard {
            Heard::Reply { xid: 1, err } => Some(*err),
            _ => None,
        });
        let err = replies.next_back().expect("an answer");
        self.run(20_000);
        err
    }

    fn voters(&self, server: i64) -> Vec<i64> {
        let configs = &self.servers[&ServerId(server)].configs;
        assert!(!configs.is_changing());
        configs.committed.voters().map(|voter| voter.0).collect()
    }

    fn role(&self, server: i64) -> Role {
        self.servers[&ServerId(server)]
            .replica
            .zab()
            .unwrap()
            .role()
    }

    /// All servers serve, by this membership, and what is written reaches all of them.
    fn assert_goes_on(&mut self, voters: &[i64]) {
        let ids: Vec<i64> = self.servers.keys().map(|id| id.0).collect();
        for id in &ids {
            assert!(self.servers[&ServerId(*id)].serves, "{id} does not serve");
            assert_eq!(self.voters(*id), voters, "as {id} has it");
        }
        for id in ids {
            let (conn, session) = self.new_session(id);
            let xid = 7;
            self.ask(
                id,
                conn,
                session,
                xid,
                create(&format!("/{}", session.0), CreateFlags::Persistent),
            );
            assert_eq!(
                self.last_heard(conn),
                Some(&Heard::Reply { xid, err: 0 }),
                "at {id}"
            );
        }
        self.assert_in_step();
        let texts: BTreeSet<String> = self
            .servers
            .values()
            .map(|server| server.state.config().unwrap().0.to_owned())
            .collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
    }
}

#[test]
fn a_membership_that_was_only_written_gets_a_version() {
    let world = World::ensemble(1..=3);
    for server in world.servers.values() {
        assert_eq!(server.configs.committed.version(), 1 << 32);
        let (text, version) = server.state.config().unwrap();
        assert!(text.ends_with("version=100000000"), "{text}");
        assert_eq!(version, 1 << 32);
    }
}

#[test]
fn servers_join_one_after_the_other() {
    let mut world = World::ensemble(1..=3);
    for joining in 4..=5 {
        world.join(joining, 1..=joining - 1, "participant");
        assert_eq!(world.role(joining), Role::Following, "without a vote");
        assert_eq!(world.voters(joining), (1..joining).collect::<Vec<_>>());
        let request = reconfig(&line(joining, "participant"), "");
        assert_eq!(world.change(1, request), 0);
        world.assert_goes_on(&(1..=joining).collect::<Vec<_>>());
    }
    // Of five, two may go.
    world.stop(1);
    world.stop(4);
    world.run(20_000);
    world.assert_goes_on(&[1, 2, 3, 4, 5]);
}

#[test]
fn a_removed_follower_goes_on_without_a_vote() {
    let mut world = World::ensemble(1..=3);
    assert_eq!(world.leader(), 3);
    assert_eq!(world.change(2, reconfig("", "1")), 0);
    assert_eq!(world.leader(), 3);
    assert_eq!(world.role(1), Role::Following);
    world.assert_goes_on(&[2, 3]);
    // The two that are left need each other.
    world.stop(2);
    world.run(20_000);
    assert!(!world.servers[&ServerId(3)].serves);
}

#[test]
fn a_removed_leader_hands_over() {
    let mut world = World::ensemble(1..=3);
    assert_eq!(world.leader(), 3);
    let epoch = world.servers[&ServerId(1)].epochs.current;
    let (conn, session) = world.new_session(3);
    world.ask(3, conn, session, 1, Request::Reconfig(reconfig("", "3")));
    // Nobody waits for anybody's patience to run out.
    world.run(3000);
    let leader = world.leader();
    assert!([1, 2].contains(&leader), "{leader}");
    assert_eq!(world.role(3), Role::Following);
    assert_eq!(world.servers[&ServerId(1)].epochs.current, epoch + 1);
    world.assert_goes_on(&[1, 2]);
}

#[test]
fn observer_and_participant_become_each_other() {
    let mut world = World::ensemble(1..=3);
    world.join(4, 1..=3, "observer");
    assert_eq!(world.change(1, reconfig(&line(4, "observer"), "")), 0);
    assert_eq!(world.role(4), Role::Observing);
    world.assert_goes_on(&[1, 2, 3]);

    assert_eq!(world.change(4, reconfig(&line(4, "participant"), "")), 0);
    assert_eq!(world.role(4), Role::Following);
    world.assert_goes_on(&[1, 2, 3, 4]);

    let leader = world.leader();
    assert_eq!(
        world.change(leader, reconfig(&line(leader, "observer"), "")),
        0
    );
    assert_eq!(world.role(leader), Role::Observing);
    assert_ne!(world.leader(), leader);
    let voters: Vec<i64> = (1..=4).filter(|id| *id != leader).collect();
    world.assert_goes_on(&voters);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut world = World::ensemble(1..=3);
    let whole = |text: &str| ReconfigRequest {
        new_members: Some(Text::from(text)),
        ..reconfig("", "")
    };
    let by_version = |current_config_id| ReconfigRequest {
        current_config_id,
        ..reconfig("", "1")
    };
    for (request, err) in [
        (reconfig(&line(4, "participant"), "1,2"), NEWCONFIGNOQUORUM),
        (reconfig("server.4=d:1:2", ""), BADARGUMENTS),
        (reconfig("", "1,2"), BADARGUMENTS),
        (reconfig("", "x"), -5),
        (by_version(5), BADVERSION),
        (whole("server.1=a:1:2,clientPort=4"), BADARGUMENTS),
        (whole("server.x=a:1:2"), -5),
    ] {
        let said = format!("{request:?}");
        assert_eq!(world.change(2, request), err, "{said}");
        assert_eq!(world.voters(1), [1, 2, 3]);
    }
    world.ids.clear();
    assert_eq!(world.change(2, reconfig("", "1")), NOAUTH);
    world.ids = vec![Id::new(BY_SUPER.0, BY_SUPER.1)];
    assert_eq!(world.change(2, by_version(1 << 32)), 0);
    world.assert_goes_on(&[2, 3]);
}

#[test]
fn a_server_that_was_away_hears_of_it_in_the_election() {
    let mut world = World::ensemble(1..=3);
    let (log, epochs) = world.stop(1);
    world.join(4, 1..=3, "participant");
    assert_eq!(world.change(2, reconfig(&line(4, "participant"), "")), 0);
    world.join(5, 1..=4, "participant");
    assert_eq!(world.change(2, reconfig(&line(5, "participant"), "")), 0);
    world.start_with(1, log, epochs);
    world.run(20_000);
    world.assert_goes_on(&[1, 2, 3, 4, 5]);
}

#[test]
fn a_change_that_only_the_log_knows_is_brought_to_its_end() {
    let mut world = World::ensemble(1..=3);
    world.join(4, 1..=3, "participant");
    let before = world.servers[&ServerId(1)].configs.committed.clone();
    assert_eq!(world.change(2, reconfig(&line(4, "participant"), "")), 0);
    // Nobody has stored that it was committed.
    let stopped: Vec<_> = (1..=4).map(|id| (id, world.stop(id))).collect();
    for (id, (log, epochs)) in stopped {
        world.members.insert(ServerId(id), Arc::clone(&before));
        world.start_with(id, log, epochs);
    }
    world.run(20_000);
    world.assert_goes_on(&[1, 2, 3, 4]);
}

#[test]
fn hostile_memberships_are_not_taken_over() {
    let mut world = World::ensemble(1..=3);
    world.stop(1);
    world.stop(2);
    world.run(20_000);
    for text in [
        "server.7=x:1:2\nversion=zz",
        "server.7=x:1:2:observer\nversion=900000000",
        "server.7=x:1:2\nserver.8=y:1:2\nversion=-1",
        "\\u00g0",
        "version=900000000",
        "server.7=x:1:2\nserver.8=y:1:2:observer\nversion=900000000",
        "server.7=x:1:2\nserver.8=y:1:2\nversion=5",
    ] {
        let notification = jute_codec::quorum::Notification {
            state: jute_codec::quorum::PeerState::Looking,
            leader: 7,
            zxid: Zxid::ZERO,
            election_epoch: 1,
            peer_epoch: 0,
            version: 2,
            members: Some(Text::from(text)),
            proposed: None,
        };
        let from = ServerId(7);
        world.tell(ServerId(3), ZabInput::Notified { from, notification });
        world.run(0);
        assert_eq!(world.voters(3), [1, 2, 3], "{text:?}");
    }
}
