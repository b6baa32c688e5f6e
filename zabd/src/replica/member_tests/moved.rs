//! Sessions whose client has left a connection to the leader behind, or is said to.

use super::*;

/// A session with a connection to the leader that belongs to a follower since: its client, on its way elsewhere, has
/// come back to the leader before the follower's question got there.
fn moved() -> (World, ConnId, SessionId) {
    let mut world = three();
    let (leader, follower) = (world.leader(), world.followers()[0]);
    let (conn, session) = world.new_session(leader);
    let elsewhere = world.connect(follower, session);
    assert_eq!(
        world.last_heard(elsewhere),
        Some(&Heard::Connected(session))
    );
    let gone = Input::Disconnected { conn: elsewhere };
    world.step(ServerId(follower), gone);
    (world, conn, session)
}

#[test]
fn it_lives_as_long_as_the_leader_hears_of_it() {
    let (mut world, _, session) = moved();
    world.run(30_000);
    for server in world.servers.values() {
        assert!(server.state.sessions().contains_key(&session));
    }
}

#[test]
fn when_it_ends_the_connection_that_was_left_behind_closes() {
    for expires in [true, false] {
        let (mut world, conn, session) = moved();
        if expires {
            world.silent.insert(session);
            world.run(20_000);
        } else {
            let follower = world.followers()[0];
            let elsewhere = world.connect(follower, session);
            world.ask(follower, elsewhere, session, 1, Request::CloseSession);
        }
        assert_eq!(world.last_heard(conn), Some(&Heard::Closed));
    }
}
