//! Serving those who only read, without a leader.

use super::*;

/// How long there must have been no leader.
const AFTER_MS: i64 = 2000;

/// Long enough for a leader, or a follower, to give up.
const GIVING_UP_MS: i64 = 8000;

fn three_that_show(local_sessions: LocalSessions) -> World {
    three_in(World {
        local_sessions,
        read_only_after_ms: Some(AFTER_MS),
        ..World::default()
    })
}

impl World {
    fn shows(&self, server: i64) -> bool {
        let server = &self.servers[&ServerId(server)];
        assert_eq!(server.shows, server.replica.is_read_only());
        assert!(!(server.serves && server.shows));
        server.shows
    }

    fn reader(&mut self, server: i64) -> (ConnId, SessionId) {
        let conn = self.connect_as(server, SessionId::NONE, Some(true));
        match self.last_heard(conn) {
            Some(Heard::ConnectedReadOnly(session)) => (conn, *session),
            other => panic!("no session: {other:?}"),
        }
    }

    /// Stops all but one server; that one has something by then.
    fn leave_alone(&mut self, kept: i64) -> SessionId {
        let (conn, session) = self.new_session(kept);
        self.ask(
            kept,
            conn,
            session,
            1,
            create("/kept", CreateFlags::Persistent),
        );
        for other in (1..=3).filter(|server| *server != kept) {
            let (log, epochs) = self.stop(other);
            self.disks.insert(other, (log, epochs));
        }
        self.run(GIVING_UP_MS);
        session
    }
}

#[test]
fn a_server_without_a_leader_serves_readers_after_a_while() {
    for local_sessions in [LocalSessions::Off, LocalSessions::Kept] {
        for kept in 1..=3 {
            let mut world = three_that_show(local_sessions);
            assert!((1..=3).all(|server| !world.shows(server)));
            let before = world.leave_alone(kept);
            assert!(world.shows(kept));
            let zxid = world.servers[&ServerId(kept)].state.last_zxid();
            let (conn, session) = world.reader(kept);
            // Others are sent away without a word,
            for read_only in [Some(false), None] {
                let conn = world.connect_as(kept, SessionId::NONE, read_only);
                assert_eq!(world.heard[&conn], [Heard::Closed]);
            }
            // and so are those whose session a leader would have to vouch for.
            let conn_before = world.connect_as(kept, before, Some(true));
            let answer = match local_sessions {
                LocalSessions::Off => vec![Heard::Closed],
                _ => vec![Heard::Connected(SessionId::NONE), Heard::Closed],
            };
            assert_eq!(world.heard[&conn_before], answer);

            let err = ErrorCode::NotReadOnly.code();
            let path = Some(Text::from("/"));
            for (xid, request) in (1..).zip([
                create("/new", CreateFlags::Persistent),
                create("/new", CreateFlags::Ephemeral),
                Request::Sync(PathRequest { path }),
                Request::CreateSession { timeout_ms: 9999 },
            ]) {
                world.ask(kept, conn, session, xid, request);
                assert_eq!(world.last_heard(conn), Some(&Heard::Reply { xid, err }));
            }
            // Its session goes on with another connection, while it is heard of.
            world.run(20_000);
            let next = world.connect_as(kept, session, Some(true));
            assert_eq!(
                world.last_heard(next),
                Some(&Heard::ConnectedReadOnly(session))
            );
            assert_eq!(world.last_heard(conn), Some(&Heard::Closed));
            world.ask(kept, next, session, 9, Request::CloseSession);
            let closed = [Heard::Reply { xid: 9, err: DONE }, Heard::Closed];
            assert!(world.heard[&next].ends_with(&closed));
            let gone = world.connect_as(kept, session, Some(true));
            let refused = [Heard::Connected(SessionId::NONE), Heard::Closed];
            assert_eq!(world.heard[&gone], refused);
            assert_eq!(world.servers[&ServerId(kept)].state.last_zxid(), zxid);
        }
    }
}

#[test]
fn a_reader_that_is_not_heard_of_is_forgotten() {
    let mut world = three_that_show(LocalSessions::Off);
    world.leave_alone(1);
    let (conn, session) = world.reader(1);
    world.silent.insert(session);
    world.run(8000);
    assert_eq!(world.last_heard(conn), Some(&Heard::Closed));
}

#[test]
fn readers_are_sent_away_when_there_is_a_quorum_again() {
    let mut world = three_that_show(LocalSessions::Off);
    world.leave_alone(1);
    let (_, session) = world.reader(1);
    let (log, epochs) = world.disks.remove(&2).unwrap();
    world.start_with(2, log, epochs);
    world.run(70_000);
    assert!(!world.shows(1));
    assert!(world.servers[&ServerId(1)].serves);
    assert_eq!(world.sent_away, [ServerId(1), ServerId(1)], "from both");
    // Its session was this server's, as a reader's server.
    for server in [1, 2] {
        let conn = world.connect_as(server, session, Some(true));
        let refused = [Heard::Connected(SessionId::NONE), Heard::Closed];
        assert_eq!(world.heard[&conn], refused);
    }
    world.assert_in_step();
}

#[test]
fn an_election_that_is_over_soon_is_not_noticed() {
    let mut world = three_that_show(LocalSessions::Off);
    let leader = world.leader();
    world.sent_away.clear();
    world.stop(leader);
    for _ in 0..100 {
        world.run(100);
        for server in (1..=3).filter(|server| *server != leader) {
            assert!(!world.shows(server));
        }
    }
}

#[test]
fn nobody_is_shown_anything_unless_that_is_asked_for() {
    let mut world = three();
    world.leave_alone(1);
    world.run(60_000);
    assert!(!world.shows(1));
}

#[test]
fn a_copy_that_may_lack_something_is_not_shown() {
    let mut world = World {
        read_only_after_ms: Some(AFTER_MS),
        ..World::default()
    };
    world.start_perhaps_lacking(1, Vec::new(), Epochs::default(), true);
    world.start_perhaps_lacking(2, Vec::new(), Epochs::default(), false);
    world.run(60_000);
    assert!(!world.shows(1));
    assert!(world.shows(2));
}
