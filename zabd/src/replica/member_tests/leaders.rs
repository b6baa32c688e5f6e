//! Leaders and servers come and go.

use super::*;

#[test]
fn sessions_survive_the_leader_and_keep_their_ephemeral_nodes() {
    let mut world = three();
    let leader = world.leader();
    let (conn, session) = world.new_session(leader);
    world.ask(
        leader,
        conn,
        session,
        1,
        create("/mine", CreateFlags::Ephemeral),
    );
    let (log, epochs) = world.stop(leader);
    world.run(2000);
    let follower = world.followers()[0];
    let conn = world.connect(follower, session);
    assert_eq!(world.last_heard(conn), Some(&Heard::Connected(session)));
    // The follower tells the leader that it hears of the session.
    world.run(30_000);
    assert_eq!(world.paths(follower, session), ["/mine"]);

    world.start_with(leader, log, epochs);
    world.run(5000);
    world.assert_in_step();

    world.silent.insert(session);
    world.run(20_000);
    for server in 1..=3 {
        assert_eq!(world.paths(server, session), Vec::<String>::new());
    }
    assert_eq!(world.last_heard(conn), Some(&Heard::Closed));
    let conn = world.connect(follower, session);
    assert_eq!(
        world.heard[&conn],
        [Heard::Connected(SessionId::NONE), Heard::Closed]
    );
    world.assert_in_step();
}

#[test]
fn a_server_that_was_away_gets_what_it_missed() {
    let mut world = three();
    let leader = world.leader();
    let away = world.followers()[0];
    let (conn, session) = world.new_session(leader);
    let (log, epochs) = world.stop(away);
    for xid in 1..=9 {
        let path = format!("/n{xid}");
        world.ask(
            leader,
            conn,
            session,
            xid,
            create(&path, CreateFlags::Persistent),
        );
    }
    world.run(3000);
    assert_eq!(world.leader(), leader, "two of three are a quorum");
    world.start_with(away, log, epochs);
    world.run(3000);
    world.assert_in_step();
    let (conn, session) = world.new_session(away);
    world.ask(
        away,
        conn,
        session,
        1,
        create("/n9", CreateFlags::Persistent),
    );
    let err = ErrorCode::NodeExists.code();
    assert_eq!(world.last_heard(conn), Some(&Heard::Reply { xid: 1, err }));
}

#[test]
fn an_epoch_without_zxids_makes_way_for_the_next() {
    let mut world = three_in(World {
        counter_max: Some(20),
        ..World::default()
    });
    let server = world.followers()[0];
    let first_epoch = world.servers[&ServerId(server)].epochs.current;
    let (mut conn, session) = world.new_session(server);
    world.ask(
        server,
        conn,
        session,
        1,
        create("/mine", CreateFlags::Ephemeral),
    );
    for xid in 2..=100 {
        let path = format!("/n{xid}");
        let mut waited_ms = 0;
        loop {
            world.ask(
                server,
                conn,
                session,
                xid,
                create(&path, CreateFlags::Persistent),
            );
            match world.last_heard(conn) {
                Some(Heard::Reply { xid: answered, err }) if *answered == xid => {
                    assert!([0, ErrorCode::NodeExists.code()].contains(err), "{err}");
                    break;
                }
                // As clients do when their connection is gone.
                _ => {
                    world.run(100);
                    waited_ms += 100;
                    assert!(waited_ms < 2 * TICK_MS, "{path} was not answered");
                    conn = world.connect(server, session);
                }
            }
        }
    }
    world.run(5000);
    world.assert_in_step();
    let state = &world.servers[&ServerId(server)].state;
    assert!(state.last_zxid().epoch() >= first_epoch + 5);
    assert_eq!(world.paths(server, session), ["/mine"]);
    let counters = world
        .servers
        .values()
        .flat_map(|server| &server.log)
        .map(|(zxid, _)| zxid.counter());
    assert_eq!(counters.max(), Some(20));
}

#[test]
fn a_server_that_may_lack_something_neither_votes_nor_leads_before_it_has_everything() {
    let mut world = three();
    let leader = world.leader();
    let (conn, session) = world.new_session(leader);
    world.ask(
        leader,
        conn,
        session,
        1,
        create("/kept", CreateFlags::Persistent),
    );
    let mut disks: BTreeMap<i64, _> = (1..=3).map(|server| (server, world.stop(server))).collect();
    for server in [2, 3] {
        world.start_perhaps_lacking(server, Vec::new(), Epochs::default(), true);
    }
    world.run(30_000);
    assert!(world.servers.values().all(|server| !server.serves));

    let (log, epochs) = disks.remove(&1).unwrap();
    world.start_with(1, log, epochs);
    world.run(30_000);
    // Two of three have nothing, and nothing of that is a quorum.
    assert!(world.servers.values().all(|server| !server.serves));

    world.stop(2);
    let (log, epochs) = disks.remove(&2).unwrap();
    world.start_with(2, log, epochs);
    // It asks ever more seldom, once a minute in the end.
    world.run(70_000);
    assert_eq!(world.leader(), 2);
    world.assert_in_step();
    let kept = world.servers[&ServerId(3)].state.last_zxid();
    assert!(kept.epoch() >= 1, "{kept}");
}
