//! Leaders that send what this release does not know.

use super::*;

#[test]
fn a_leader_whose_transactions_are_unknown_is_left_and_not_joined_for_a_while() {
    let mut world = three();
    let (leader, follower) = (world.leader(), ServerId(world.followers()[0]));
    let mut ends = world.links.keys();
    let own = ends.rfind(|(server, link)| *server == follower && link.0 >> 63 == 1);
    let link = own.unwrap().1;
    // A type that nobody has heard of.
    let mut txn = vec![0; 28];
    txn[12..20].copy_from_slice(&(1_i64 << 32 | 1).to_be_bytes());
    txn.extend_from_slice(&99_i32.to_be_bytes());
    let packet = LeaderPacket::Proposal {
        zxid: Zxid(1 << 32 | 1),
        txn: Bytes::from(txn),
    };
    world.step(follower, Input::Peer(ZabInput::FromLeader { link, packet }));
    let role = |world: &World| world.servers[&follower].replica.zab().unwrap().role();
    assert_eq!(role(&world), Role::Looking);
    world.run(9 * TICK_MS);
    assert_eq!(role(&world), Role::Looking);
    assert_eq!(world.leader(), leader);
    // It tries again, as the next release may be there by then.
    world.run(70_000);
    assert_eq!(role(&world), Role::Following);
    world.assert_in_step();
}
