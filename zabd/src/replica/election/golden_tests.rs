//! An election among servers of ZooKeeper, with this one in the place of one of them.

use super::tests::{Tested, members, params};
use super::*;

/// What servers of ZooKeeper 3.9.5 said to each other, from the first connection between these two; `direction` is `>`
/// for the one that connected.
fn captured(from_to: &str, direction: &str) -> Vec<String> {
    let capture = include_str!("../../../../jute-codec/tests/golden/quorum.packets");
    let link = capture.split("\n= ").find(|link| link.starts_with(from_to));
    link.unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix(direction)?.strip_prefix(" notification "))
        .map(str::to_owned)
        .collect()
}

fn decode(frame: &str) -> Notification {
    let bytes: Vec<u8> = (8..frame.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&frame[at..at + 2], 16).unwrap())
        .collect();
    Notification::decode(&bytes.into()).unwrap()
}

#[test]
fn says_what_zookeeper_says_byte_for_byte() {
    // Three servers of ZooKeeper that start for the first time. This one is in the place of server 1.
    let from_2 = captured("election 2 1", ">");
    let from_3 = captured("election 3 1", ">");
    let first = decode(&from_2[0]);
    let configs = members(first.members.as_ref().unwrap());
    let mut tested = Tested::new(params(1), configs);
    let offer = Candidacy {
        zxid: Zxid(0),
        peer_epoch: 0,
    };
    tested.begin(0, offer);
    let configs = tested.configs.clone();
    for (from, frame) in [(2, &from_2[0]), (3, &from_3[0])] {
        let (election, out) = (&mut tested.election, &mut tested.out);
        election.on_notification(10, ServerId(from), &decode(frame), &configs, out);
    }
    let said_to_2: Vec<String> = tested
        .out
        .iter()
        .filter_map(|effect| match effect {
            ElectionEffect::Notify { to, notification } if *to == ServerId(2) => {
                let mut frame = Vec::new();
                notification.write_frame(&mut frame);
                Some(frame.iter().map(|byte| format!("{byte:02x}")).collect())
            }
            _ => None,
        })
        .collect();
    assert_eq!(said_to_2, captured("election 2 1", "<"));
}
