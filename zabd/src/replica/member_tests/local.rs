//! Sessions that only their server knows.

use jute_codec::proto::{CreateTtlRequest, MultiOp, MultiOps};
use jute_codec::txn::Txn;

use super::*;

fn three_with(local_sessions: LocalSessions) -> World {
    three_in(World {
        local_sessions,
        ..World::default()
    })
}

impl World {
    /// How many transactions the server has applied in this epoch.
    fn applied(&self, server: i64) -> i64 {
        self.servers[&ServerId(server)].state.last_zxid().counter()
    }

    fn knows(&self, server: i64, session: SessionId) -> bool {
        let state = &self.servers[&ServerId(server)].state;
        state.sessions().contains_key(&session)
    }

    /// The newest transaction, a multi.
    fn last_multi(&self, server: i64) -> Vec<Txn> {
        let (_, txn) = self.servers[&ServerId(server)].log.last().unwrap();
        match TxnEntry::decode(txn).unwrap().txn {
            Txn::Multi(parts) => parts,
            other => panic!("{other:?}"),
        }
    }

    fn one_of_each(&self) -> [i64; 2] {
        [self.leader(), self.followers()[0]]
    }

    /// What a request came to: the last that its connection heard.
    fn outcome(
        &mut self,
        server: i64,
        (conn, session): (ConnId, SessionId),
        xid: i32,
        request: Request,
    ) -> i32 {
        self.ask(server, conn, session, xid, request);
        match self.last_heard(conn) {
            Some(Heard::Reply { xid: of, err }) if *of == xid => *err,
            other => panic!("{other:?} at {server}"),
        }
    }
}

fn in_multi(requests: impl IntoIterator<Item = Request>) -> Request {
    let ops = requests.into_iter().map(|request| match request {
        Request::Create(create) => MultiOp::Create(create),
        Request::CreateContainer(create) => MultiOp::CreateContainer(create),
        other => panic!("{other:?}"),
    });
    Request::Multi(MultiOps(ops.collect()))
}

fn container(path: &str, flags: CreateFlags) -> Request {
    match create(path, flags) {
        Request::Create(create) => Request::CreateContainer(create),
        other => other,
    }
}

#[test]
fn a_local_session_takes_no_transaction_to_begin_and_to_end() {
    let mut world = three_with(LocalSessions::Kept);
    for server in world.one_of_each() {
        let before = world.applied(server);
        let (conn, session) = world.new_session(server);
        assert!(!world.knows(server, session));
        assert_eq!(world.applied(server), before);
        let client = (conn, session);
        let path = format!("/by-{server}");
        let made = create(&path, CreateFlags::Persistent);
        assert_eq!(world.outcome(server, client, 1, made), DONE);
        world.ask(server, conn, session, 2, Request::CloseSession);
        let replied = Heard::Reply { xid: 2, err: DONE };
        assert!(world.heard[&conn].ends_with(&[replied, Heard::Closed]));
        // Only the create.
        assert_eq!(world.applied(server), before + 1);
        let conn = world.connect(server, session);
        let refused = [Heard::Connected(SessionId::NONE), Heard::Closed];
        assert_eq!(world.heard[&conn], refused);
    }
    world.assert_in_step();
}

#[test]
fn a_local_session_comes_back_to_its_own_server_only() {
    let mut world = three_with(LocalSessions::Upgraded);
    let [leader, follower] = world.one_of_each();
    for (server, other) in [(leader, follower), (follower, leader)] {
        let (former, session) = world.new_session(server);
        let conn = world.connect(other, session);
        let refused = [Heard::Connected(SessionId::NONE), Heard::Closed];
        assert_eq!(world.heard[&conn], refused);
        let conn = world.connect(server, session);
        assert_eq!(world.last_heard(conn), Some(&Heard::Connected(session)));
        assert_eq!(world.last_heard(former), Some(&Heard::Closed));
    }
}

#[test]
fn local_sessions_end_when_nothing_is_heard_of_them() {
    let mut world = three_with(LocalSessions::Kept);
    for server in world.one_of_each() {
        let (conn, session) = world.new_session(server);
        let (kept, _) = world.new_session(server);
        let before = world.applied(server);
        world.silent.insert(session);
        world.run(5000);
        assert_eq!(world.last_heard(conn), Some(&Heard::Connected(session)));
        world.run(3000);
        assert_eq!(world.last_heard(conn), Some(&Heard::Closed));
        assert_ne!(world.last_heard(kept), Some(&Heard::Closed));
        assert_eq!(world.applied(server), before);
    }
}

#[test]
fn ephemeral_nodes_are_refused_where_sessions_stay_local() {
    let local = ErrorCode::EphemeralOnLocalSession.code();
    let unknown = ErrorCode::SessionExpired.code();
    let mut world = three_with(LocalSessions::Kept);
    for server in world.one_of_each() {
        let client = world.new_session(server);
        let before = world.applied(server);
        let asked = [
            (create("/e", CreateFlags::Ephemeral), local),
            (create("/e", CreateFlags::EphemeralSequential), local),
            (create("/missing/e", CreateFlags::Ephemeral), local),
            // Not what an upgrade is for.
            (container("/e", CreateFlags::Ephemeral), unknown),
            (create("/p", CreateFlags::Persistent), DONE),
            (container("/c", CreateFlags::Container), DONE),
        ];
        for (xid, (request, expected)) in (1..).zip(asked) {
            let what = format!("{request:?} at {server}");
            let expected = match (&request, expected) {
                (_, DONE) if server != world.leader() => ErrorCode::NodeExists.code(),
                _ => expected,
            };
            assert_eq!(
                world.outcome(server, client, xid, request),
                expected,
                "{what}"
            );
        }
        // A refusal takes a zxid like any other.
        assert_eq!(world.applied(server), before + 6);
        assert!(!world.knows(server, client.1));
    }
    world.assert_in_step();
}

#[test]
fn a_multi_says_which_part_is_refused() {
    let mut world = three_with(LocalSessions::Kept);
    for (server, expected) in world.one_of_each().into_iter().zip([
        ErrorCode::EphemeralOnLocalSession,
        ErrorCode::SessionExpired,
    ]) {
        let (conn, session) = world.new_session(server);
        let multi = in_multi([
            create("/a", CreateFlags::Persistent),
            create("/b", CreateFlags::Ephemeral),
            create("/c", CreateFlags::Persistent),
        ]);
        world.ask(server, conn, session, 1, multi);
        let codes = [expected.code(), ErrorCode::RuntimeInconsistency.code()];
        let failed = &world.last_multi(server)[1..];
        assert_eq!(failed, codes.map(Txn::Error), "at {server}");
    }
    world.assert_in_step();
}

#[test]
fn a_session_becomes_everybodys_when_it_creates_an_ephemeral_node() {
    for in_a_multi in [false, true] {
        let mut world = three_with(LocalSessions::Upgraded);
        for server in world.one_of_each() {
            let client = world.new_session(server);
            let (conn, session) = client;
            let before = world.applied(server);
            let path = format!("/of-{server}");
            let request = create(&path, CreateFlags::Ephemeral);
            let request = if in_a_multi {
                in_multi([
                    create(&format!("/p-{server}"), CreateFlags::Persistent),
                    request,
                ])
            } else {
                request
            };
            assert_eq!(world.outcome(server, client, 1, request), DONE);
            assert_eq!(world.applied(server), before + 2);
            assert!((1..=3).all(|server| world.knows(server, session)));
            // It lives by what its server hears of it,
            world.run(20_000);
            assert_eq!(world.paths(server, session), [path]);
            // moves,
            let other = if server == 1 { 2 } else { 1 };
            let moved = world.connect(other, session);
            assert_eq!(world.last_heard(moved), Some(&Heard::Connected(session)));
            world.ask(
                server,
                conn,
                session,
                2,
                create("/x", CreateFlags::Persistent),
            );
            assert_eq!(world.last_heard(conn), Some(&Heard::Closed));
            // and ends by a transaction.
            world.ask(other, moved, session, 3, Request::CloseSession);
            assert_eq!(world.last_heard(moved), Some(&Heard::Closed));
            assert_eq!(world.paths(1, session), Vec::<String>::new());
            assert!((1..=3).all(|server| !world.knows(server, session)));
        }
        world.assert_in_step();
    }
}

#[test]
fn what_is_asked_together_with_the_upgrade_is_answered_in_order() {
    let mut world = three_with(LocalSessions::Upgraded);
    for server in world.one_of_each() {
        let (conn, session) = world.new_session(server);
        let requests = [
            create("/first", CreateFlags::PersistentSequential),
            create("/own", CreateFlags::EphemeralSequential),
            create("/own", CreateFlags::EphemeralSequential),
            Request::CloseSession,
        ];
        for (xid, request) in (0..).zip(requests) {
            // Nothing is answered in between.
            world.submit(server, conn, session, xid, request);
        }
        world.run(0);
        let replies: Vec<_> = (0..4).map(|xid| Heard::Reply { xid, err: DONE }).collect();
        assert_eq!(world.heard[&conn][1..5], replies);
        assert_eq!(world.last_heard(conn), Some(&Heard::Closed));
        assert!(!world.knows(server, session));
    }
    world.assert_in_step();
}

#[test]
fn a_local_session_closes_behind_its_writes() {
    let mut world = three_with(LocalSessions::Kept);
    for server in world.one_of_each() {
        let (conn, session) = world.new_session(server);
        let path = format!("/last-{server}");
        world.submit(
            server,
            conn,
            session,
            1,
            create(&path, CreateFlags::Persistent),
        );
        world.submit(server, conn, session, 2, Request::CloseSession);
        assert_eq!(world.heard[&conn].len(), 1, "nothing is committed yet");
        world.run(0);
        let replies = [1, 2].map(|xid| Heard::Reply { xid, err: DONE });
        assert_eq!(world.heard[&conn][1..3], replies);
        assert_eq!(world.last_heard(conn), Some(&Heard::Closed));
    }
}

#[test]
fn nodes_with_a_time_to_live_and_containers_do_not_upgrade() {
    let mut world = three_with(LocalSessions::Upgraded);
    for server in world.one_of_each() {
        let client = world.new_session(server);
        let Request::Create(made) = create("/ttl", CreateFlags::Ephemeral) else {
            panic!("a create");
        };
        let ttl = Request::CreateTtl(CreateTtlRequest {
            path: made.path,
            data: made.data,
            acl: made.acl,
            flags: made.flags,
            ttl_ms: 5,
        });
        let refused = ErrorCode::BadArguments.code();
        assert_eq!(world.outcome(server, client, 1, ttl), refused);
        let held = container("/e", CreateFlags::Ephemeral);
        let refused = ErrorCode::SessionExpired.code();
        assert_eq!(world.outcome(server, client, 2, held), refused);
        assert!(!world.knows(server, client.1));
    }
}

#[test]
fn a_learners_local_sessions_end_with_its_leader() {
    let mut world = three_with(LocalSessions::Upgraded);
    let [leader, follower] = world.one_of_each();
    let (_, session) = world.new_session(follower);
    let (conn, kept) = world.new_session(follower);
    world.ask(
        follower,
        conn,
        kept,
        1,
        create("/mine", CreateFlags::Ephemeral),
    );
    world.stop(leader);
    world.run(5000);
    let conn = world.connect(follower, session);
    assert_eq!(world.last_heard(conn), Some(&Heard::Closed));
    let conn = world.connect(follower, kept);
    assert_eq!(world.last_heard(conn), Some(&Heard::Connected(kept)));
}

#[test]
fn a_create_session_of_a_client_that_has_one_takes_no_transaction() {
    let mut world = three_with(LocalSessions::Kept);
    for server in world.one_of_each() {
        let (conn, session) = world.new_session(server);
        let before = world.applied(server);
        let again = Request::CreateSession { timeout_ms: 9999 };
        world.ask(server, conn, session, 1, again);
        assert_eq!(world.heard[&conn].len(), 2, "a handshake's answer");
        assert_eq!(world.applied(server), before);
    }
}
