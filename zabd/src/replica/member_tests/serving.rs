//! Clients are served, by whom, and until when.

use super::*;

#[test]
fn clients_of_every_server_get_their_own_answers() {
    let mut world = three();
    assert!(world.servers.values().all(|server| server.serves));
    for server in 1..=3 {
        let (conn, session) = world.new_session(server);
        let path = format!("/from-{server}");
        for (xid, err) in [(1, DONE), (2, ErrorCode::NodeExists.code())] {
            world.ask(
                server,
                conn,
                session,
                xid,
                create(&path, CreateFlags::Persistent),
            );
            assert_eq!(world.last_heard(conn), Some(&Heard::Reply { xid, err }));
        }
    }
    world.assert_in_step();
    let zxid = world.servers[&ServerId(1)].state.last_zxid();
    assert_eq!((zxid.epoch(), zxid.counter()), (1, 9));
}

#[test]
fn a_sync_is_answered_behind_what_it_waits_for() {
    let mut world = three();
    for server in 1..=3 {
        let (conn, session) = world.new_session(server);
        let sync = Request::Sync(PathRequest {
            path: Some(Text::from("/")),
        });
        world.ask(server, conn, session, 7, sync);
        assert_eq!(
            world.last_heard(conn),
            Some(&Heard::Reply { xid: 7, err: DONE })
        );
    }
}

#[test]
fn a_session_moves_and_its_old_connection_ends_without_a_reply() {
    let mut world = three();
    let [one, other] = world.followers()[..] else {
        panic!("two followers");
    };
    let (old, session) = world.new_session(one);
    world.ask(
        one,
        old,
        session,
        1,
        create("/mine", CreateFlags::Ephemeral),
    );
    let new = world.connect(other, session);
    assert_eq!(world.last_heard(new), Some(&Heard::Connected(session)));
    world.ask(
        one,
        old,
        session,
        2,
        create("/late", CreateFlags::Persistent),
    );
    assert_eq!(world.last_heard(old), Some(&Heard::Closed));
    assert!(
        !world.heard[&old]
            .iter()
            .any(|heard| matches!(heard, Heard::Reply { xid: 2, .. }))
    );
    world.ask(
        other,
        new,
        session,
        3,
        create("/mine2", CreateFlags::Ephemeral),
    );
    world.ask(other, new, session, 4, Request::CloseSession);
    assert_eq!(world.last_heard(new), Some(&Heard::Closed));
    assert_eq!(world.paths(1, session), Vec::<String>::new());
    world.assert_in_step();
}

#[test]
fn a_leader_that_takes_no_clients_leads_those_of_others() {
    let mut world = three_in(World {
        leaders_only_lead: true,
        ..World::default()
    });
    let leads = |world: &World| {
        let leaders = world.servers.iter().filter(|(_, server)| server.only_leads);
        leaders.map(|(id, _)| id.0).collect::<Vec<_>>()
    };
    let leader = leads(&world)[0];
    assert_eq!(leads(&world), [leader]);
    assert!(!world.servers[&ServerId(leader)].serves);
    let follower = if leader == 1 { 2 } else { 1 };
    let (conn, session) = world.new_session(follower);
    world.ask(
        follower,
        conn,
        session,
        1,
        create("/kept", CreateFlags::Ephemeral),
    );
    assert_eq!(
        world.last_heard(conn),
        Some(&Heard::Reply { xid: 1, err: DONE })
    );
    world.assert_in_step();
    world.stop(leader);
    world.run(5000);
    assert_eq!(leads(&world).len(), 1);
    assert!(world.sent_away.iter().any(|server| server.0 != leader));
}

#[test]
fn a_leader_without_followers_sends_its_clients_away() {
    let mut world = three();
    let leader = world.leader();
    let (conn, session) = world.new_session(leader);
    for follower in world.followers() {
        world.stop(follower);
    }
    // Nobody can acknowledge it.
    world.ask(
        leader,
        conn,
        session,
        1,
        create("/lost", CreateFlags::Persistent),
    );
    assert_eq!(world.last_heard(conn), Some(&Heard::Connected(session)));
    world.run(10_000);
    assert!(!world.servers[&ServerId(leader)].serves);
}

/// Its followers have gone on without it, and their last words are still unread.
#[test]
fn a_leader_that_stood_still_answers_no_sync() {
    let half_tick_ms = TICK_MS / 2;
    // On whole ticks a leader also sees whether it has to go.
    for (before_ms, stood_still_ms) in [
        (0, TICK_MS),
        (0, SYNC_LIMIT_MS + TICK_MS),
        (half_tick_ms, TICK_MS),
        (half_tick_ms, SYNC_LIMIT_MS + TICK_MS),
    ] {
        let mut world = three();
        world.run(before_ms);
        let leader = world.leader();
        let (conn, session) = world.new_session(leader);
        let id = ServerId(leader);
        for peer in world.followers() {
            let heard = world.links.iter().find_map(|((server, link), other)| {
                (*server == id && other.0 == ServerId(peer)).then_some(*link)
            });
            let link = heard.expect("a follower is connected");
            world.tell(id, ZabInput::Heard { link });
        }
        world.now_ms += stood_still_ms;
        world.step(id, Input::Overdue);
        // What is unread now is read, and nobody knows yet what became of it.
        for (server, input) in std::mem::take(&mut world.inputs) {
            world.step(server, input);
        }
        let sync = Request::Sync(PathRequest {
            path: Some(Text::from("/")),
        });
        world.submit(leader, conn, session, 7, sync);
        let is_answered = world.last_heard(conn) == Some(&Heard::Reply { xid: 7, err: DONE });
        let is_sent_away =
            world.last_heard(conn) == Some(&Heard::Closed) || !world.servers[&id].serves;
        assert_eq!(
            is_answered,
            stood_still_ms < SYNC_LIMIT_MS,
            "{stood_still_ms}"
        );
        assert_eq!(is_sent_away, !is_answered, "{stood_still_ms}");
    }
}
