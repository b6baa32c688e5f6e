//! Snapshots sent, and taken or refused.

use jute_codec::data::StatPersisted;
use jute_codec::quorum::snapshot::{write_acl, write_count, write_end, write_node, write_session};
use proptest::prelude::Rng as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::image::Progress;
use crate::state::RowError;

#[test]
fn a_learner_gets_what_the_leader_has_however_it_is_cut() {
    let mut leader = Server::with(&history(), 5);
    leader.fold();
    let reference = whole(leader.stream(LIMIT));
    for slice_bytes in [0, 1, 100, 1000] {
        let stream = leader.stream(slice_bytes);
        assert_eq!(stream.zxid(), Zxid(EPOCH + 17));
        assert_eq!(whole(stream), reference, "slices of {slice_bytes}");
    }
    for piece in [1, 13, 1000, LIMIT] {
        let mut learner = Server::new();
        let received = receive(
            &mut learner,
            Zxid(EPOCH + 17),
            pieces(&[&reference[..], b"rest"].concat().into(), piece),
        )
        .unwrap();
        assert_eq!(received.rest, &b"rest"[..]);
        assert_eq!(face(&received.state), face(&leader.state));
        learner.store.adopt_staged().unwrap();
        assert_eq!(learner.stored(), leader.stored());
    }
}

#[test]
fn a_stream_is_of_one_moment_while_the_leader_goes_on() {
    let history = history();
    let mut leader = Server::with(&history[..12], 3);
    leader.fold();
    let expected = face(&leader.state);
    let mut stream = leader.stream(64);
    let mut slices = vec![stream.next_slice().unwrap().unwrap()];
    for entry in &history[12..] {
        leader.commit(entry);
        leader.fold();
        slices.extend(stream.next_slice().unwrap());
    }
    slices.extend(stream.by_ref().map(Result::unwrap));
    assert_eq!(stream.zxid(), Zxid(EPOCH + 12));
    let received = receive(&mut Server::new(), stream.zxid(), slices).unwrap();
    assert_eq!(face(&received.state), expected);
}

#[test]
fn what_follows_a_snapshot_stays_in_the_log_while_it_is_sent() {
    let history = history();
    let mut leader = Server::with(&history[..10], 4);
    assert!(
        SnapshotStream::open(&MemStore::new(), &leader.storage.log.index(), 100)
            .unwrap()
            .is_none()
    );
    let index = leader.storage.log.index();
    let (stream, hold) = SnapshotStream::open(&leader.store, &index, 100)
        .unwrap()
        .unwrap();
    assert_eq!(stream.zxid(), Zxid(EPOCH + 4));
    leader.fold();
    leader.storage.log.roll().unwrap();
    leader.commit(&history[10]);
    leader.storage.log.purge(Zxid(EPOCH + 10)).unwrap();
    let (from, to) = (stream.zxid(), Zxid(EPOCH + 11));
    drop(stream);
    assert_eq!(index.read_range(from, to).unwrap().count(), 7);
    drop(hold);
    leader.storage.log.purge(Zxid(EPOCH + 10)).unwrap();
    assert!(index.read_range(from, to).is_err());
}

/// The snapshot file of a real server, whose digest stands in it.
#[test]
fn what_a_java_server_has_is_taken_with_the_digest_that_it_counted() {
    let text = include_str!("../../../../jute-codec/tests/golden/server.snapshot");
    let hex: String = text.lines().skip(1).collect();
    let file: Vec<u8> = (0..hex.len() / 2)
        .map(|place| u8::from_str_radix(&hex[place * 2..place * 2 + 2], 16).unwrap())
        .collect();
    let body_end = file.len() - 67;
    let word = |at: usize| i64::from_be_bytes(file[at..at + 8].try_into().unwrap());
    let (zxid, digest) = (Zxid(word(body_end + 13)), word(body_end + 25));
    assert!(zxid > Zxid::ZERO, "the server told no digest");
    let body = [&file[16..body_end], b"\0\0\0\x0aBenWasHere"].concat();

    let mut learner = Server::new();
    let received = receive(&mut learner, zxid, [body.into()]).unwrap();
    assert_eq!(received.state.digest(), digest.cast_unsigned());
    assert_eq!(received.state.sessions().len(), 1);
    assert_eq!(received.state.sessions_with_ephemerals().count(), 1);
    // And on to the next one.
    learner.store.adopt_staged().unwrap();
    let again = whole(learner.stream(500));
    let next = receive(&mut Server::new(), zxid, [again]).unwrap();
    assert_eq!(face(&next.state), face(&received.state));
}

/// A stream of these nodes with no data, the second list being `ip:1`.
fn stream_of(nodes: &[(&str, i64)]) -> Bytes {
    let mut out = Vec::new();
    write_count(1, &mut out);
    write_session(SessionId(1), 1000, &mut out);
    write_count(1, &mut out);
    write_acl(2, &[Acl::new(1, "ip", "1")], &mut out);
    for (path, acl) in nodes {
        write_node(path, None, *acl, &StatPersisted::ZERO, &mut out);
    }
    write_end(&mut out);
    out.into()
}

#[test]
fn what_makes_no_tree_is_refused_and_what_was_there_stays() {
    let mut learner = Server::with(&history(), 8);
    let before = (learner.stored(), face(&learner.state));
    let good = stream_of(&[("", -1), ("/a", 2), ("/a/b", -1)]);
    type Check = fn(&ReceiveError) -> bool;
    let table: [(&str, Bytes, Check); 9] = [
        ("nothing", Bytes::new(), |error| {
            matches!(error, ReceiveError::BrokenOff)
        }),
        ("a part", good.slice(..good.len() - 1), |error| {
            matches!(error, ReceiveError::BrokenOff)
        }),
        ("no node", stream_of(&[]), |error| {
            matches!(error, ReceiveError::Empty)
        }),
        ("no root", stream_of(&[("/a", -1)]), |error| {
            matches!(error, ReceiveError::Row(RowError::NoParent { .. }))
        }),
        ("two roots", stream_of(&[("", -1), ("", -1)]), |error| {
            matches!(error, ReceiveError::Twice { .. })
        }),
        (
            "a node twice",
            stream_of(&[("", -1), ("/a", -1), ("/b", -1), ("/a", -1)]),
            |error| matches!(error, ReceiveError::Twice { .. }),
        ),
        (
            "no parent",
            stream_of(&[("", -1), ("/a/b", -1), ("/a", -1)]),
            |error| matches!(error, ReceiveError::Row(RowError::NoParent { .. })),
        ),
        ("no path", stream_of(&[("", -1), ("a", -1)]), |error| {
            matches!(error, ReceiveError::Row(RowError::NotAPath { .. }))
        }),
        (
            "another end",
            [&good[..good.len() - 1], b"!"].concat().into(),
            |error| matches!(error, ReceiveError::Stream(_)),
        ),
    ];
    for (what, stream, expected) in table {
        for piece in [1, LIMIT] {
            let error = receive(&mut learner, Zxid(5), pieces(&stream, piece)).unwrap_err();
            assert!(expected(&error), "{what}: {error}");
            learner.store.discard_staged().unwrap();
            assert!(!learner.store.has_staged());
        }
    }
    assert_eq!((learner.stored(), face(&learner.state)), before);
    let learner = learner.restart();
    assert_eq!(face(&learner.state), before.1);
    receive(&mut Server::new(), Zxid(5), [good]).unwrap();
}

#[test]
fn a_list_that_the_stream_lacks_lets_nobody_in() {
    let stream = stream_of(&[("", -1), ("/a", 2), ("/b", 3), ("/c", -1)]);
    let received = receive(&mut Server::new(), Zxid(5), [stream]).unwrap();
    let tree = received.state.tree();
    let allows = |path: &str, wanted| {
        let id = tree.find(path).unwrap();
        received
            .state
            .params()
            .acl
            .allows(tree.acl(id), wanted, &[])
    };
    assert!(allows("/c", 31));
    for perm in [1, 2, 4, 8, 16] {
        assert!(!allows("/b", perm), "{perm}");
    }
}

#[test]
fn feeding_tells_when_it_is_complete() {
    let stream = stream_of(&[("", -1)]);
    let mut store = MemStore::new();
    let mut receiver = SnapshotReceiver::begin(&mut store, Zxid(1), params(), LIMIT).unwrap();
    let (most, last) = stream.split_at(stream.len() - 1);
    assert_eq!(receiver.feed(most).unwrap(), Progress::More);
    assert_eq!(receiver.feed(last).unwrap(), Progress::Complete);
    assert_eq!(receiver.feed(b"more").unwrap(), Progress::Complete);
    assert_eq!(receiver.finish().unwrap().rest, &b"more"[..]);
}

/// Bytes changed at random: what is taken all the same is a state in order, which can be sent on.
#[test]
fn damaged_streams_are_refused_or_are_trees() {
    let mut leader = Server::with(&history(), 5);
    leader.fold();
    let stream = whole(leader.stream(100));
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(RngAlgorithm::default()),
    );
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..2000 {
        let rng = runner.rng();
        let mut bytes = stream.to_vec();
        for _ in 0..=rng.next_u32() % 3 {
            let at = rng.next_u32() as usize % bytes.len();
            match rng.next_u32() % 4 {
                0 => bytes[at] ^= 1 << (rng.next_u32() % 8),
                1 => bytes[at] = [0, 1, 0x7f, 0xff][rng.next_u32() as usize % 4],
                2 => drop(bytes.remove(at)),
                _ => {
                    let end = (at + 60).min(bytes.len());
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        let mut learner = Server::new();
        let Ok(received) = receive(&mut learner, Zxid(9), pieces(&bytes.into(), 50)) else {
            refused += 1;
            continue;
        };
        taken += 1;
        learner.store.adopt_staged().unwrap();
        let again = whole(learner.stream(64));
        let next = receive(&mut Server::new(), Zxid(9), [again]).unwrap();
        assert_eq!(face(&next.state), face(&received.state));
    }
    assert!(taken > 300 && refused > 300, "{taken} {refused}");
}
