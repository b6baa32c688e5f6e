//! Servers that come to another tree by the same transactions.

use jute_codec::txn::{CreateTxn, Txn, TxnHeader};

use super::*;

/// Three servers, a client at the leader, and a node.
fn with_client() -> (World, i64, (ConnId, SessionId)) {
    let mut world = three();
    let leader = world.leader();
    let client = world.new_session(leader);
    write(&mut world, leader, client, "/right");
    (world, leader, client)
}

/// Three servers, of which the one that leads has had another tree from before it led.
fn with_odd_leader() -> (World, i64) {
    let mut world = three();
    let disks: Vec<_> = (1..=3).map(|server| (server, world.stop(server))).collect();
    for (server, (log, epochs)) in disks {
        world.start_with(server, log, epochs);
    }
    world.alter(3);
    world.run(5_000);
    assert_eq!(world.leader(), 3);
    (world, 3)
}

fn write(world: &mut World, server: i64, (conn, session): (ConnId, SessionId), path: &str) {
    world.ask(
        server,
        conn,
        session,
        1,
        create(path, CreateFlags::Persistent),
    );
}

/// A node that nobody has asked for.
fn rogue() -> TxnEntry {
    let txn = Txn::Create(CreateTxn {
        path: Text::from("/rogue"),
        data: None,
        acl: None,
        ephemeral: false,
        parent_cversion: 1,
    });
    TxnEntry {
        header: TxnHeader {
            client_id: SessionId(1),
            cxid: 1,
            zxid: Zxid(1),
            time: 1,
            op: txn.op().code(),
        },
        txn,
        digest: None,
    }
}

impl World {
    /// Alters the tree of a server, in memory.
    fn alter_memory(&mut self, server: i64) {
        let committed = Committed {
            entry: rogue(),
            origin: None,
            close: None,
        };
        let server = self.servers.get_mut(&ServerId(server)).unwrap();
        let before = server.state.digest();
        server
            .state
            .apply(&committed, &mut Outputs::default())
            .unwrap();
        assert_ne!(server.state.digest(), before);
    }

    /// Alters it on disk, too, with its digest.
    fn alter(&mut self, server: i64) {
        self.alter_memory(server);
        self.servers.get_mut(&ServerId(server)).unwrap().altered = Some(rogue());
    }

    fn serving(&self) -> Vec<i64> {
        let servers = self.servers.iter();
        let serving = servers.filter(|(_, server)| server.serves);
        serving.map(|(id, _)| id.0).collect()
    }

    fn is_rogue(&self, server: i64) -> bool {
        self.servers[&ServerId(server)].altered.is_some()
    }
}

/// Its disk has what the leader has: nothing is sent anew, and nobody else notices.
#[test]
fn a_memory_that_is_wrong_is_made_anew() {
    let (mut world, leader, client) = with_client();
    let follower = world.followers()[0];
    world.alter_memory(follower);
    write(&mut world, leader, client, "/next");
    world.run(5_000);
    assert_eq!(world.checks, [(follower, true)]);
    assert_eq!((world.leader(), world.serving()), (leader, vec![1, 2, 3]));
    write(&mut world, leader, client, "/last");
    world.assert_in_step();
}

/// The digest that the leader predicts is not counted anew out of its tree: it notices, too.
#[test]
fn a_leader_whose_memory_is_wrong_makes_it_anew() {
    let (mut world, leader, client) = with_client();
    world.alter_memory(leader);
    write(&mut world, leader, client, "/next");
    world.run(20_000);
    assert_eq!(world.checks, [(leader, true)]);
    assert_eq!(world.serving(), [1, 2, 3]);
    let leader = world.leader();
    let client = world.new_session(leader);
    write(&mut world, leader, client, "/last");
    world.assert_in_step();
}

/// The leader keeps its quorum, so it is the follower who is wrong.
#[test]
fn a_copy_that_differs_is_fetched_anew_from_a_leader_that_stays() {
    let (mut world, leader, client) = with_client();
    let follower = world.followers()[0];
    world.alter(follower);
    write(&mut world, leader, client, "/next");
    let patience_ms = 2 * 5 * TICK_MS;
    world.run(patience_ms - 1000);
    assert!(
        !world.serving().contains(&follower),
        "it waits what others think"
    );
    assert!(world.is_rogue(follower));
    world.run(30_000);
    assert_eq!((world.leader(), world.serving()), (leader, vec![1, 2, 3]));
    assert!(!world.is_rogue(follower));
    write(&mut world, leader, client, "/last");
    world.assert_in_step();
}

/// All followers see it: they elect one of themselves, and the old leader takes over its copy.
#[test]
fn a_leader_that_differs_from_all_others_leads_no_more() {
    let (mut world, leader) = with_odd_leader();
    let followers = world.followers();
    world.connect(leader, SessionId::NONE);
    for follower in &followers {
        assert!(!world.serving().contains(follower));
    }
    world.run(20_000);
    let next = world.leader();
    assert!(followers.contains(&next), "{next}");
    let client = world.new_session(next);
    world.run(60_000);
    assert_eq!((world.leader(), world.serving()), (next, vec![1, 2, 3]));
    write(&mut world, next, client, "/last");
    world.assert_in_step();
    assert!(world.servers.keys().all(|id| !world.is_rogue(id.0)));
}

/// The followers notice one after the other; the first must not bring the wrong tree to the quorum of it.
#[test]
fn whoever_leaves_first_does_not_come_back_to_a_leader_that_others_are_about_to_leave() {
    let (mut world, leader) = with_odd_leader();
    let followers = world.followers();
    // The second one hears of it late.
    let late = ServerId(followers[1]);
    world.deaf.insert(late);
    world.connect(leader, SessionId::NONE);
    assert!(!world.serving().contains(&followers[0]));
    world.run(3_000);
    assert_eq!(world.leader(), leader);
    world.deaf.clear();
    let unheard = std::mem::take(&mut world.unheard);
    world.inputs.extend(unheard);
    world.run(30_000);
    let next = world.leader();
    assert_ne!(next, leader);
    world.connect(next, SessionId::NONE);
    world.run(60_000);
    assert!(world.servers.keys().all(|id| !world.is_rogue(id.0)));
    assert_eq!(world.serving(), [1, 2, 3]);
}

/// One against one: nobody leads, nobody's copy is replaced, until a third one settles it.
#[test]
fn two_that_differ_wait_for_a_third() {
    for (wrong_leads, expected_rogue) in [(true, false), (false, false)] {
        let (mut world, leader) = if wrong_leads {
            with_odd_leader()
        } else {
            let (world, leader, _) = with_client();
            (world, leader)
        };
        let followers = world.followers();
        let (other, third) = (followers[0], followers[1]);
        let (log, epochs) = world.stop(third);
        world.run(1_000);
        if !wrong_leads {
            world.alter(other);
        }
        world.connect(leader, SessionId::NONE);
        world.run(120_000);
        assert_eq!(world.serving(), Vec::<i64>::new());
        assert_ne!(world.is_rogue(leader), world.is_rogue(other));
        world.start_with(third, log, epochs);
        world.run(120_000);
        let leads = world.leader();
        // Whoever has another tree notices now at the latest.
        world.connect(leads, SessionId::NONE);
        world.run(120_000);
        let leads = world.leader();
        let client = world.new_session(leads);
        write(&mut world, leads, client, "/last");
        world.run(120_000);
        assert_eq!(world.serving(), [1, 2, 3], "{wrong_leads}");
        world.assert_in_step();
        assert_eq!(world.is_rogue(leads), expected_rogue, "{wrong_leads}");
    }
}
