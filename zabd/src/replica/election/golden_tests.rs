//! An election among servers of ZooKeeper, with this one in the place of one of them.

use super::tests::{Tested, members, params};
use super::*;

/// What servers of ZooKeeper said to each other: of 3.9.5, and of the release before.
const CAPTURE: &str = include_str!("../../../../jute-codec/tests/golden/quorum.packets");
const OLD_CAPTURE: &str = include_str!("../../../../jute-codec/tests/golden/quorum-3.8.6.packets");

/// What went over the first connection between two servers; `direction` is `>` for the one that connected.
fn captured(capture: &str, from: i64, to: i64, direction: &str) -> Vec<String> {
    let name = format!("election {from} {to}\n");
    let link = capture.split("\n= ").find(|link| link.starts_with(&name));
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

/// Three servers of ZooKeeper start for the first time. This one, in the place of one of them, hears the first word of some
/// of the others, and says to the first of those what that server said.
fn says_the_same(capture: &str, me: i64, others: &[i64]) {
    let first_of = |other: &i64| decode(&captured(capture, *other, me, ">")[0]);
    let configs = members(first_of(&others[0]).members.as_ref().unwrap());
    let mut tested = Tested::new(params(me), configs);
    let offer = Candidacy {
        zxid: Zxid(0),
        peer_epoch: 0,
    };
    tested.begin(0, offer);
    let configs = tested.configs.clone();
    for other in others {
        let (election, out) = (&mut tested.election, &mut tested.out);
        election.on_notification(10, ServerId(*other), &first_of(other), &configs, out);
    }
    let said: Vec<String> = tested
        .out
        .iter()
        .filter_map(|effect| match effect {
            ElectionEffect::Notify { to, notification } if *to == ServerId(others[0]) => {
                let mut frame = Vec::new();
                notification.write_frame(&mut frame);
                Some(frame.iter().map(|byte| format!("{byte:02x}")).collect())
            }
            _ => None,
        })
        .collect();
    assert_eq!(said, captured(capture, others[0], me, "<"));
}

#[test]
fn says_what_zookeeper_says_byte_for_byte() {
    says_the_same(CAPTURE, 1, &[2, 3]);
    says_the_same(OLD_CAPTURE, 2, &[3]);
}
