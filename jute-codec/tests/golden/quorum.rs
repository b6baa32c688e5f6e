//! What servers of Apache ZooKeeper said to each other: each message is decoded, looked at and written again to the
//! same bytes.

use std::collections::BTreeSet;

use crate::vectors::{Direction, Frame, Link, PACKETS, links};
use bytes::{Bytes, BytesMut};
use jute_codec::proto::{OpCode, Request};
use jute_codec::quorum::notification::{NOTIFICATION_VERSION, take_frame};
use jute_codec::quorum::packet::PROTOCOL_VERSION;
use jute_codec::quorum::{
    InitialMessage, LeaderPacket, LearnerInfo, LearnerPacket, Notification, PacketDecoder,
    PacketKind, PeerState,
};
use jute_codec::txn::{Txn, TxnEntry};
use jute_codec::{Id, Reader, SessionId, Text, Zxid};

/// The observer; the others vote.
const OBSERVER: i64 = 4;

/// What its client asks for.
const SESSION_TIMEOUT_MS: i32 = 20_000;

/// A packet, whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Packet {
    FromLeader(LeaderPacket),
    FromLearner(LearnerPacket),
}

/// The packets of a connection, in order, each with what it was before it was decoded.
fn packets(link: &Link) -> Vec<(Packet, &Frame)> {
    link.said
        .iter()
        .filter(|frame| frame.name != "snapshot")
        .map(|frame| {
            let mut buffer = BytesMut::from(&frame.payload[..]);
            let record = PacketDecoder::default().take(&mut buffer);
            let record = record.expect("it is well-formed").expect("it is whole");
            assert!(buffer.is_empty(), "{}", frame.name);
            let kind = PacketKind::from_i32(record.kind).map(PacketKind::text);
            assert_eq!(kind, Some(frame.name));
            let packet = match frame.direction {
                Direction::ToServer => {
                    LearnerPacket::from_record(record).map(|it| it.map(Packet::FromLearner))
                }
                Direction::FromServer => {
                    LeaderPacket::from_record(record).map(|it| it.map(Packet::FromLeader))
                }
            };
            let packet = packet.expect("it is well-formed");
            (packet.expect("its sender sends such packets"), frame)
        })
        .collect()
}

/// All packets of a capture.
fn all_packets(capture: &str) -> Vec<Packet> {
    links(capture, "quorum")
        .iter()
        .flat_map(packets)
        .map(|(packet, _)| packet)
        .collect()
}

fn from_leaders(capture: &str) -> impl Iterator<Item = LeaderPacket> {
    all_packets(capture)
        .into_iter()
        .filter_map(|packet| match packet {
            Packet::FromLeader(packet) => Some(packet),
            Packet::FromLearner(_) => None,
        })
}

fn from_learners(capture: &str) -> impl Iterator<Item = LearnerPacket> {
    all_packets(capture)
        .into_iter()
        .filter_map(|packet| match packet {
            Packet::FromLearner(packet) => Some(packet),
            Packet::FromLeader(_) => None,
        })
}

#[test]
fn packets_are_written_as_they_were_read() {
    for (capture, _) in PACKETS {
        for link in links(capture, "quorum") {
            for (packet, frame) in packets(&link) {
                let mut written = Vec::new();
                match &packet {
                    Packet::FromLeader(packet) => packet.write(&mut written),
                    Packet::FromLearner(packet) => packet.write(&mut written),
                }
                assert_eq!(written, frame.payload, "{packet:?}");
            }
        }
    }
}

/// Each direction of each connection as it was, snapshots included, in pieces of several sizes.
#[test]
fn streams_come_apart_where_they_should() {
    for (capture, _) in PACKETS {
        for link in links(capture, "quorum") {
            for direction in [Direction::ToServer, Direction::FromServer] {
                let said: Vec<_> = link.said(direction).collect();
                let stream: Vec<u8> = said.iter().flat_map(|it| it.payload.to_vec()).collect();
                for size in [1, 7, 1000, usize::MAX] {
                    let mut decoder = PacketDecoder::default();
                    let mut buffer = BytesMut::new();
                    let mut expected = said.iter();
                    let mut snapshot = None::<&Frame>;
                    for piece in stream.chunks(size) {
                        buffer.extend_from_slice(piece);
                        loop {
                            if let Some(frame) = snapshot {
                                if buffer.len() < frame.payload.len() {
                                    break;
                                }
                                assert_eq!(buffer.split_to(frame.payload.len()), frame.payload);
                                snapshot = None;
                            }
                            let Some(packet) = decoder.take(&mut buffer).expect("well-formed")
                            else {
                                break;
                            };
                            let kind = PacketKind::from_i32(packet.kind).map(PacketKind::text);
                            assert_eq!(kind, expected.next().map(|frame| frame.name));
                            if kind == Some("SNAP") {
                                snapshot = expected.next().copied();
                            }
                        }
                    }
                    assert!(buffer.is_empty() && expected.next().is_none());
                }
            }
        }
    }
}

/// The list is complete: a type without a capture fails here.
#[test]
fn every_type_of_packet_is_in_a_capture() {
    let captured: BTreeSet<_> = PACKETS
        .iter()
        .flat_map(|(capture, _)| links(capture, "quorum"))
        .flat_map(|link| link.said)
        .map(|frame| (frame.direction == Direction::ToServer, frame.name))
        .collect();
    for kind in PacketKind::ALL {
        let sent = |to_leader| captured.contains(&(to_leader, kind.text()));
        let both = matches!(kind, PacketKind::Ping | PacketKind::Revalidate);
        assert_eq!(sent(true) && sent(false), both, "{kind}");
        assert!(sent(true) || sent(false), "{kind}");
    }
}

/// `quorum-protocol.md` §7.1.
#[test]
fn every_connection_begins_in_the_same_order() {
    let mut ways = BTreeSet::new();
    for link in links("quorum", "quorum") {
        // The leader's pings may come in between.
        let names = link.said.iter().map(|frame| frame.name);
        let names: Vec<_> = names.filter(|name| *name != "PING").collect();
        let info = match link.from {
            OBSERVER => "OBSERVERINFO",
            _ => "FOLLOWERINFO",
        };
        assert_eq!(names[..3], [info, "LEADERINFO", "ACKEPOCH"]);
        ways.insert(names[3]);
        let history: Vec<_> = names[4..]
            .iter()
            .take_while(|name| **name != "NEWLEADER")
            .copied()
            .collect();
        match names[3] {
            "DIFF" => assert_eq!(history, ["PROPOSAL", "COMMIT"].repeat(history.len() / 2)),
            "SNAP" => assert_eq!(history, ["snapshot"]),
            _ => assert_eq!((names[3], history.len()), ("TRUNC", 0)),
        }
        let rest = &names[4 + history.len()..];
        assert_eq!(rest[..4], ["NEWLEADER", "ACK", "UPTODATE", "ACK"]);
    }
    assert_eq!(Vec::from_iter(ways), ["DIFF", "SNAP", "TRUNC"]);
}

#[test]
fn who_learners_and_leaders_say_they_are() {
    for link in links("quorum", "quorum") {
        let packets: Vec<_> = packets(&link).into_iter().map(|(it, _)| it).collect();
        let (accepted_epoch, info) = match &packets[0] {
            Packet::FromLearner(LearnerPacket::FollowerInfo {
                accepted_epoch,
                info,
            }) if link.from != OBSERVER => (accepted_epoch, info),
            Packet::FromLearner(LearnerPacket::ObserverInfo {
                accepted_epoch,
                info,
            }) if link.from == OBSERVER => (accepted_epoch, info),
            other => panic!("{other:?}"),
        };
        let expected = LearnerInfo {
            server: link.from,
            protocol_version: PROTOCOL_VERSION,
            config_version: 0,
        };
        assert_eq!(info.as_ref(), Some(&expected));
        let Packet::FromLeader(LeaderPacket::LeaderInfo {
            epoch,
            protocol_version: PROTOCOL_VERSION,
        }) = packets[1]
        else {
            panic!("{:?}", packets[1]);
        };
        assert_eq!((epoch.counter(), accepted_epoch.counter()), (0, 0));
        let Packet::FromLearner(LearnerPacket::AckEpoch {
            zxid,
            current_epoch,
        }) = packets[2]
        else {
            panic!("{:?}", packets[2]);
        };
        // §7.3: a server that has accepted the epoch before must not count again.
        let again = *accepted_epoch == epoch;
        assert_eq!(current_epoch == -1, again);
        assert!(zxid < epoch || again);
        let new_leader = packets.iter().find_map(|packet| match packet {
            Packet::FromLeader(LeaderPacket::NewLeader { epoch, members }) => {
                Some((*epoch, members.clone()))
            }
            _ => None,
        });
        let members = Bytes::from_static(MEMBERS.as_bytes());
        assert_eq!(new_leader, Some((epoch, Some(members))));
        let ack = Packet::FromLearner(LearnerPacket::Ack { zxid: epoch });
        assert!(packets.iter().filter(|packet| **packet == ack).count() >= 2);
    }
}

/// The configuration of all four servers.
const MEMBERS: &str = "server.1=s1:2888:3888:participant
server.2=s2:2888:3888:participant
server.3=s3:2888:3888:participant
server.4=s4:2888:3888:observer
version=0";

/// The old leader has one transaction more than anybody else.
#[test]
fn a_surplus_transaction_is_truncated() {
    let mut truncations = 0;
    for link in links("quorum", "quorum") {
        if let [
            _,
            _,
            (Packet::FromLearner(LearnerPacket::AckEpoch { zxid: surplus, .. }), _),
            (Packet::FromLeader(LeaderPacket::Trunc { zxid }), _),
            ..,
        ] = &packets(&link)[..]
        {
            assert_eq!(zxid.next(), *surplus);
            truncations += 1;
        }
    }
    assert_eq!(truncations, 1);
}

#[test]
fn proposals_carry_transactions_as_the_log_has_them() {
    let mut types = BTreeSet::new();
    for (capture, _) in PACKETS {
        for packet in from_leaders(capture) {
            let (LeaderPacket::Proposal { zxid, txn }
            | LeaderPacket::Inform { zxid, txn }
            | LeaderPacket::InformAndActivate { zxid, txn, .. }) = packet
            else {
                continue;
            };
            let entry = TxnEntry::decode(&txn).expect("it is a transaction");
            assert_eq!(entry.header.zxid, zxid);
            // Only a failed request changes nothing and says nothing of the tree.
            assert_eq!(entry.digest.is_none(), matches!(entry.txn, Txn::Error(_)));
            let mut written = Vec::new();
            entry.write(&mut written);
            assert_eq!(written, txn);
            types.insert(entry.header.op);
        }
    }
    assert_eq!(Vec::from_iter(types), [-11, -10, -1, 1, 5, 16]);
}

/// Commits are of proposals that were sent on the same connection, in their order.
#[test]
fn commits_and_acks_follow_the_proposals() {
    let mut commits = 0;
    for link in links("quorum", "quorum") {
        let mut proposed = Vec::new();
        let mut committed = 0;
        for (packet, _) in packets(&link) {
            match packet {
                Packet::FromLeader(LeaderPacket::Proposal { zxid, .. }) => proposed.push(zxid),
                Packet::FromLeader(LeaderPacket::Commit { zxid }) => {
                    assert_eq!(proposed[committed], zxid);
                    committed += 1;
                }
                Packet::FromLearner(LearnerPacket::Ack { zxid }) if zxid.counter() > 0 => {
                    assert!(proposed.contains(&zxid));
                }
                _ => {}
            }
        }
        commits += committed;
    }
    assert!(commits > 20);
}

#[test]
fn a_new_membership_is_activated_with_the_leader_that_stays() {
    let leaders: BTreeSet<_> = links("reconfig", "quorum")
        .iter()
        .map(|link| link.to)
        .collect();
    let [leader] = Vec::from_iter(leaders)[..] else {
        panic!("several leaders");
    };
    let mut followers = 0;
    let mut observers = 0;
    for packet in from_leaders("reconfig") {
        match packet {
            LeaderPacket::CommitAndActivate { leader: named, .. } => {
                assert_eq!(named, leader);
                followers += 1;
            }
            LeaderPacket::InformAndActivate {
                zxid,
                leader: named,
                txn,
            } => {
                assert_eq!(named, leader);
                let txn = TxnEntry::decode(&txn).expect("it is a transaction").txn;
                let Txn::Reconfig(set) = txn else {
                    panic!("{txn:?}");
                };
                let text = set.data.expect("a membership is never null");
                let version = format!("\nversion={:x}", zxid.0);
                assert!(text.ends_with(version.as_bytes()), "{text:?}");
                observers += 1;
            }
            _ => {}
        }
    }
    assert_eq!((followers, observers), (2, 1));
}

#[test]
fn sessions_are_touched_and_validated() {
    let mut touched = BTreeSet::new();
    let mut asked = Vec::new();
    for packet in from_learners("quorum") {
        match packet {
            LearnerPacket::Ping { touched: some, .. } => touched.extend(some),
            LearnerPacket::Revalidate {
                session,
                timeout_ms,
            } => asked.push((session, timeout_ms)),
            _ => {}
        }
    }
    assert!(touched.len() >= 2);
    assert!(
        touched
            .iter()
            .all(|(_, timeout)| *timeout == SESSION_TIMEOUT_MS)
    );
    // One session, once alive and once closed.
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0], asked[1]);
    assert!(touched.contains(&asked[0]));
    let mut answers: Vec<_> = from_leaders("quorum")
        .filter_map(|packet| match packet {
            LeaderPacket::Revalidate { session, valid } => Some((session, valid)),
            _ => None,
        })
        .collect();
    answers.sort_by_key(|(_, valid)| *valid);
    assert_eq!(answers, [(asked[0].0, false), (asked[0].0, true)]);
}

#[test]
fn requests_are_those_of_the_clients() {
    let mut requests = Vec::<(SessionId, OpCode, Option<usize>)>::new();
    for (capture, _) in PACKETS {
        for packet in from_learners(capture) {
            let LearnerPacket::Request {
                session,
                cxid,
                op,
                body,
                ids,
            } = packet
            else {
                continue;
            };
            let op = OpCode::from_i32(op).expect("it is one of the client protocol");
            let mut reader = Reader::new(&body);
            let request = Request::read(op, &mut reader).expect("the body is that of the opcode");
            assert_eq!(reader.remaining(), 0);
            match request {
                Request::CreateSession { timeout_ms } => {
                    assert_eq!((timeout_ms, cxid), (SESSION_TIMEOUT_MS, 0));
                    assert_eq!(ids, None);
                }
                _ => assert_eq!(
                    ids.as_ref().map(|ids| &ids[0]),
                    Some(&Id::new("ip", "127.0.0.1"))
                ),
            }
            requests.push((session, op, ids.map(|ids| ids.len())));
        }
    }
    let (first, _, _) = requests
        .iter()
        .find(|(_, _, ids)| *ids == Some(2))
        .expect("one client has two identities");
    let of_first: Vec<_> = requests
        .iter()
        .filter(|(session, _, _)| session == first)
        .map(|(_, op, ids)| (*op, *ids))
        .collect();
    assert_eq!(of_first.len(), 7);
    for expected in [
        (OpCode::CreateSession, None),
        (OpCode::Create, Some(2)),
        (OpCode::SetData, Some(2)),
        (OpCode::Delete, Some(2)),
        (OpCode::Sync, Some(2)),
        // From another connection, which has not authenticated.
        (OpCode::Create, Some(1)),
        (OpCode::CloseSession, Some(1)),
    ] {
        assert!(of_first.contains(&expected), "{expected:?}");
    }
    assert!(requests.iter().any(|(_, op, _)| *op == OpCode::Reconfig));
}

/// The initial message and the notifications of a connection.
fn election(link: &Link) -> (InitialMessage, Vec<(Notification, &Frame)>) {
    let (first, rest) = link.said.split_first().expect("the connection was used");
    let mut buffer = BytesMut::from(&first.payload[..]);
    let initial = InitialMessage::take(&mut buffer).expect("it is well-formed");
    assert!(buffer.is_empty());
    let notifications = rest
        .iter()
        .map(|frame| {
            let mut buffer = BytesMut::from(&frame.payload[..]);
            let payload = take_frame(&mut buffer).expect("its length is in range");
            assert!(buffer.is_empty());
            let notification = Notification::decode(&payload.expect("it is whole"));
            (notification.expect("it is well-formed"), frame)
        })
        .collect();
    (initial.expect("it is whole"), notifications)
}

#[test]
fn messages_of_elections_are_written_as_they_were_read() {
    for (capture, _) in PACKETS {
        for link in links(capture, "election") {
            let (initial, notifications) = election(&link);
            let mut written = Vec::new();
            initial.write(&mut written);
            assert_eq!(written, link.said[0].payload);
            for (notification, frame) in notifications {
                written.clear();
                notification.write_frame(&mut written);
                assert_eq!(written, frame.payload);
            }
        }
    }
}

#[test]
fn servers_say_who_connects() {
    let addresses = |capture| {
        links(capture, "election")
            .iter()
            .map(|link| {
                let (initial, _) = election(link);
                assert_eq!(initial.server, link.from);
                let addresses: Vec<_> = initial.addresses.iter().map(ToString::to_string).collect();
                (link.from, addresses)
            })
            .collect::<Vec<_>>()
    };
    for (server, addresses) in addresses("quorum") {
        assert_eq!(addresses, [format!("s{server}:3888")]);
    }
    // In which order several addresses come is Java's secret.
    let [(1, several)] = &mut addresses("addresses")[..] else {
        panic!("one message from server 1");
    };
    several.sort();
    assert_eq!(several, &["s1:3888", "s1:3889"]);
}

#[test]
fn votes_say_what_is_known_of_the_servers() {
    let mut states = BTreeSet::new();
    let mut rounds = BTreeSet::new();
    let mut nobody = 0;
    for link in links("quorum", "election") {
        for (notification, frame) in election(&link).1 {
            let sender = match frame.direction {
                Direction::ToServer => link.from,
                Direction::FromServer => link.to,
            };
            assert_eq!(notification.version, NOTIFICATION_VERSION);
            assert_eq!(notification.members, Some(Text::from(MEMBERS)));
            // An observer has nobody to propose until it has heard of somebody.
            let vote = (
                notification.leader,
                notification.zxid.0,
                notification.peer_epoch,
            );
            if vote == (i64::MIN, i64::MIN, i64::MIN) {
                assert_eq!(sender, OBSERVER);
                nobody += 1;
            } else {
                assert!((1..OBSERVER).contains(&notification.leader));
                assert!(notification.zxid >= Zxid::ZERO);
                assert!((0..=2).contains(&notification.peer_epoch));
            }
            states.insert((sender == OBSERVER, notification.state.code()));
            rounds.insert(notification.election_epoch);
        }
    }
    let (looking, following, leading) = (
        PeerState::Looking.code(),
        PeerState::Following.code(),
        PeerState::Leading.code(),
    );
    for state in [
        (false, looking),
        (false, following),
        (false, leading),
        (true, looking),
    ] {
        assert!(states.contains(&state), "{state:?}");
    }
    assert!(rounds.contains(&1) && rounds.contains(&2));
    assert!(nobody > 0);
}
