//! What servers say to each other: what is written is read back as it was, in pieces of any size, and each type of
//! packet needs the data that ZooKeeper needs.

use bytes::{Bytes, BytesMut};
use jute_codec::quorum::notification::{NOTIFICATION_VERSION, take_frame};
use jute_codec::quorum::packet::PROTOCOL_VERSION;
use jute_codec::quorum::{
    InitialMessage, LeaderPacket, LearnerInfo, LearnerPacket, Notification, PacketDecoder,
    PacketKind, PeerAddress, PeerState, QuorumPacket,
};
use jute_codec::{DecodeError, Id, SessionId, Text, Zxid};
use proptest::prelude::*;
use proptest::sample::Index;

fn record(kind: i32, data: Option<&'static [u8]>) -> QuorumPacket {
    QuorumPacket {
        kind,
        zxid: Zxid(0x1_0000_0000),
        data: data.map(Bytes::from_static),
        ids: None,
    }
}

fn learner(kind: PacketKind, data: &'static [u8]) -> Result<LearnerPacket, DecodeError> {
    LearnerPacket::from_record(record(kind.code(), Some(data)))
        .map(|packet| packet.expect("learners send this type"))
}

/// `quorum-protocol.md` §6: who sends which type, and what data it needs at least.
#[test]
fn each_type_has_its_sender_and_its_shortest_data() {
    const LEADER: &[(PacketKind, Option<usize>)] = &[
        (PacketKind::Proposal, Some(0)),
        (PacketKind::Commit, None),
        (PacketKind::Ping, None),
        (PacketKind::Revalidate, Some(9)),
        (PacketKind::Sync, None),
        (PacketKind::Inform, Some(0)),
        (PacketKind::CommitAndActivate, Some(8)),
        (PacketKind::NewLeader, None),
        (PacketKind::UpToDate, None),
        (PacketKind::Diff, None),
        (PacketKind::Trunc, None),
        (PacketKind::Snap, None),
        (PacketKind::LeaderInfo, Some(4)),
        (PacketKind::InformAndActivate, Some(8)),
    ];
    const LEARNER: &[(PacketKind, Option<usize>)] = &[
        (PacketKind::Request, Some(16)),
        (PacketKind::Ack, None),
        (PacketKind::Ping, Some(0)),
        (PacketKind::Revalidate, Some(12)),
        (PacketKind::FollowerInfo, None),
        (PacketKind::ObserverInfo, None),
        (PacketKind::AckEpoch, Some(4)),
    ];
    const DATA: &[u8] = &[0; 16];

    fn check<T: std::fmt::Debug>(
        senders: &[(PacketKind, Option<usize>)],
        decode: fn(QuorumPacket) -> Result<Option<T>, DecodeError>,
    ) {
        for code in -1..25 {
            let shortest = senders.iter().find(|(kind, _)| kind.code() == code);
            let Some((kind, shortest)) = shortest else {
                let unknown = decode(record(code, None)).map(|packet| packet.is_none());
                assert_eq!(unknown, Ok(true), "{code}");
                continue;
            };
            let is_ok = |data| decode(record(code, data)).is_ok_and(|packet| packet.is_some());
            assert_eq!(is_ok(None), shortest.is_none(), "{kind} without data");
            let shortest = shortest.unwrap_or(0);
            assert!(is_ok(Some(&DATA[..shortest])), "{kind}");
            for length in 0..shortest {
                assert!(!is_ok(Some(&DATA[..length])), "{kind} with {length} bytes");
            }
        }
    }
    check(LEADER, LeaderPacket::from_record);
    check(LEARNER, LearnerPacket::from_record);
}

#[test]
fn a_learner_may_say_who_it_is_in_fewer_words() {
    const DATA: &[u8] = &[
        0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 99,
    ];
    for (length, server, protocol_version, config_version) in [
        (0, 0, 1, 0),
        (7, 0, 1, 0),
        (8, 7, 1, 0),
        (11, 7, 1, 0),
        (12, 7, PROTOCOL_VERSION, 0),
        (19, 7, PROTOCOL_VERSION, 0),
        (20, 7, PROTOCOL_VERSION, 0x1_0000_0002),
        (21, 7, PROTOCOL_VERSION, 0x1_0000_0002),
    ] {
        let expected = LearnerPacket::FollowerInfo {
            accepted_epoch: Zxid(0x1_0000_0000),
            info: Some(LearnerInfo {
                server,
                protocol_version,
                config_version,
            }),
        };
        assert_eq!(
            learner(PacketKind::FollowerInfo, &DATA[..length]),
            Ok(expected),
            "{length}"
        );
    }
}

#[test]
fn the_sessions_of_a_ping_come_whole() {
    const DATA: &[u8] = &[
        0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4,
    ];
    let sessions = [(SessionId(1), 2), (SessionId(3), 4)];
    for length in 0..=DATA.len() {
        let expected = LearnerPacket::Ping {
            zxid: Zxid(0x1_0000_0000),
            touched: sessions[..length / 12].to_vec(),
        };
        let ping = learner(PacketKind::Ping, &DATA[..length]);
        match length % 12 {
            0 => assert_eq!(ping, Ok(expected)),
            _ => assert!(ping.is_err(), "{length}"),
        }
    }
}

fn zxids() -> impl Strategy<Value = Zxid> {
    any::<i64>().prop_map(Zxid)
}

fn sessions() -> impl Strategy<Value = SessionId> {
    any::<i64>().prop_map(SessionId)
}

fn data() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 0..2000),
    ]
    .prop_map(Bytes::from)
}

/// Characters beyond the BMP are left out: Java's writer and reader do not agree about them.
fn texts() -> impl Strategy<Value = Option<Text>> {
    let text = prop::collection::vec(proptest::char::range('\0', '\u{d7ff}'), 0..8)
        .prop_map(|characters| Text::from(characters.into_iter().collect::<String>()));
    prop::option::of(text)
}

fn ids() -> impl Strategy<Value = Option<Vec<Id>>> {
    let id = (texts(), texts()).prop_map(|(scheme, id)| Id { scheme, id });
    prop::option::of(prop::collection::vec(id, 0..4))
}

fn leader_packets() -> impl Strategy<Value = LeaderPacket> {
    prop_oneof![
        (zxids(), any::<i32>()).prop_map(|(epoch, protocol_version)| LeaderPacket::LeaderInfo {
            epoch,
            protocol_version
        }),
        zxids().prop_map(|zxid| LeaderPacket::Diff { zxid }),
        zxids().prop_map(|zxid| LeaderPacket::Trunc { zxid }),
        zxids().prop_map(|zxid| LeaderPacket::Snap { zxid }),
        (zxids(), data()).prop_map(|(zxid, txn)| LeaderPacket::Proposal { zxid, txn }),
        zxids().prop_map(|zxid| LeaderPacket::Commit { zxid }),
        (zxids(), any::<i64>())
            .prop_map(|(zxid, leader)| LeaderPacket::CommitAndActivate { zxid, leader }),
        (zxids(), data()).prop_map(|(zxid, txn)| LeaderPacket::Inform { zxid, txn }),
        (zxids(), any::<i64>(), data())
            .prop_map(|(zxid, leader, txn)| LeaderPacket::InformAndActivate { zxid, leader, txn }),
        (zxids(), prop::option::of(data()))
            .prop_map(|(epoch, members)| LeaderPacket::NewLeader { epoch, members }),
        Just(LeaderPacket::UpToDate),
        zxids().prop_map(|zxid| LeaderPacket::Ping { zxid }),
        (sessions(), any::<bool>())
            .prop_map(|(session, valid)| LeaderPacket::Revalidate { session, valid }),
        Just(LeaderPacket::Sync),
    ]
}

fn learner_packets() -> impl Strategy<Value = LearnerPacket> {
    let info = prop::option::of((any::<i64>(), any::<i32>(), any::<i64>()).prop_map(
        |(server, protocol_version, config_version)| LearnerInfo {
            server,
            protocol_version,
            config_version,
        },
    ));
    prop_oneof![
        (zxids(), info.clone()).prop_map(|(accepted_epoch, info)| LearnerPacket::FollowerInfo {
            accepted_epoch,
            info
        }),
        (zxids(), info).prop_map(|(accepted_epoch, info)| LearnerPacket::ObserverInfo {
            accepted_epoch,
            info
        }),
        (zxids(), any::<i32>()).prop_map(|(zxid, current_epoch)| LearnerPacket::AckEpoch {
            zxid,
            current_epoch
        }),
        zxids().prop_map(|zxid| LearnerPacket::Ack { zxid }),
        (
            zxids(),
            prop::collection::vec((sessions(), any::<i32>()), 0..40)
        )
            .prop_map(|(zxid, touched)| LearnerPacket::Ping { zxid, touched }),
        (sessions(), any::<i32>()).prop_map(|(session, timeout_ms)| LearnerPacket::Revalidate {
            session,
            timeout_ms
        }),
        (sessions(), any::<i32>(), any::<i32>(), data(), ids()).prop_map(
            |(session, cxid, op, body, ids)| {
                LearnerPacket::Request {
                    session,
                    cxid,
                    op,
                    body,
                    ids,
                }
            }
        ),
    ]
}

fn notifications() -> impl Strategy<Value = Notification> {
    let state = prop_oneof![
        Just(PeerState::Looking),
        Just(PeerState::Following),
        Just(PeerState::Leading),
        Just(PeerState::Observing),
    ];
    let members = prop::option::of((".{0,40}", prop::option::of(".{0,40}")));
    (
        state,
        any::<i64>(),
        zxids(),
        any::<i64>(),
        any::<i64>(),
        members,
    )
        .prop_map(
            |(state, leader, zxid, election_epoch, peer_epoch, members)| Notification {
                state,
                leader,
                zxid,
                election_epoch,
                peer_epoch,
                version: if members.is_some() {
                    NOTIFICATION_VERSION
                } else {
                    0
                },
                proposed: members
                    .as_ref()
                    .and_then(|(_, proposed)| proposed.as_deref().map(Text::from)),
                members: members.map(|(members, _)| Text::from(members)),
            },
        )
}

fn initial_messages() -> impl Strategy<Value = InitialMessage> {
    let host = prop_oneof![
        "[a-z][a-z0-9.-]{0,20}",
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string()),
    ];
    let address = (host, any::<u16>()).prop_map(|(host, port)| PeerAddress { host, port });
    let addresses = prop::collection::vec(
        address.prop_filter("no wildcard", |address| !address.is_wildcard()),
        0..5,
    );
    (any::<i64>(), addresses).prop_map(|(server, addresses)| InitialMessage {
        // A negative id needs an address behind it.
        server: if addresses.is_empty() {
            server & i64::MAX
        } else {
            server
        },
        addresses,
    })
}

/// What `take` gets out of `stream` when it comes in pieces that end at `cuts`.
fn in_pieces<T>(
    stream: &[u8],
    cuts: &[Index],
    mut take: impl FnMut(&mut BytesMut) -> Option<T>,
) -> Vec<T> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut buffer = BytesMut::new();
    let mut from = 0;
    let mut taken = Vec::new();
    for end in ends {
        buffer.extend_from_slice(&stream[from..end]);
        from = end;
        while let Some(value) = take(&mut buffer) {
            taken.push(value);
        }
    }
    assert!(buffer.is_empty(), "{buffer:x?}");
    taken
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..30)
}

proptest! {
    #[test]
    fn packets_of_leaders_come_out_as_they_went_in(
        packets in prop::collection::vec(leader_packets(), 0..8), cuts in cuts(),
    ) {
        let mut stream = Vec::new();
        for packet in &packets {
            packet.write(&mut stream);
        }
        let mut decoder = PacketDecoder::default();
        let taken = in_pieces(&stream, &cuts, |buffer| {
            let packet = decoder.take(buffer).expect("it is well-formed")?;
            assert!(packet.ids.is_none());
            let kind = PacketKind::from_i32(packet.kind);
            let packet = LeaderPacket::from_record(packet).expect("it is well-formed");
            assert_eq!(packet.as_ref().map(LeaderPacket::kind), kind);
            packet
        });
        prop_assert_eq!(taken, packets);
    }

    #[test]
    fn packets_of_learners_come_out_as_they_went_in(
        packets in prop::collection::vec(learner_packets(), 0..8), cuts in cuts(),
    ) {
        let mut stream = Vec::new();
        for packet in &packets {
            packet.write(&mut stream);
        }
        let mut decoder = PacketDecoder::default();
        let taken = in_pieces(&stream, &cuts, |buffer| {
            let packet = decoder.take(buffer).expect("it is well-formed")?;
            let kind = PacketKind::from_i32(packet.kind);
            let packet = LearnerPacket::from_record(packet).expect("it is well-formed");
            assert_eq!(packet.as_ref().map(LearnerPacket::kind), kind);
            packet
        });
        prop_assert_eq!(taken, packets);
    }

    /// The initial message, and what follows it on the connection.
    #[test]
    fn messages_of_the_election_port_come_out_as_they_went_in(
        initial in initial_messages(),
        notifications in prop::collection::vec(notifications(), 0..8),
        cuts in cuts(),
    ) {
        let mut stream = Vec::new();
        initial.write(&mut stream);
        for notification in &notifications {
            notification.write_frame(&mut stream);
        }
        let mut begun = None;
        let taken = in_pieces(&stream, &cuts, |buffer| {
            if begun.is_none() {
                begun = InitialMessage::take(buffer).expect("it is well-formed");
                begun.as_ref()?;
            }
            let frame = take_frame(buffer).expect("frames are short")?;
            Some(Notification::decode(&frame).expect("it is well-formed"))
        });
        prop_assert_eq!(begun, Some(initial));
        prop_assert_eq!(taken, notifications);
    }
}

/// A large packet in many small pieces is not looked at again for each piece: its data could be anything meanwhile.
#[test]
fn what_was_followed_is_not_looked_at_again() {
    let proposal = LeaderPacket::Proposal {
        zxid: Zxid(1),
        txn: vec![1; 1_000_000].into(),
    };
    let mut stream = Vec::new();
    proposal.write(&mut stream);
    let mut decoder = PacketDecoder::default();
    let mut buffer = BytesMut::from(&stream[..100]);
    assert_eq!(decoder.take(&mut buffer), Ok(None));
    assert_eq!(decoder.missing(&buffer), stream.len() - 100);
    buffer[12..16].copy_from_slice(&[0xff; 4]);
    for (index, piece) in stream[100..].chunks(1000).enumerate() {
        assert_eq!(decoder.take(&mut buffer), Ok(None), "{index}");
        buffer.extend_from_slice(piece);
    }
    buffer[12..16].copy_from_slice(&stream[12..16]);
    let packet = decoder
        .take(&mut buffer)
        .map(|packet| packet.map(LeaderPacket::from_record));
    assert_eq!(packet, Ok(Some(Ok(Some(proposal)))));
}
