//! What comes behind a snapshot, taken or refused.

use jute_codec::digest::{DIGEST_VERSION, TxnDigest};
use jute_codec::quorum::PacketKind;

use super::*;
use crate::image::{BehindError, Taking};
use crate::state::DigestMismatch;

/// The first `snapshot` transactions of a history as received in a snapshot.
fn behind(history: &[TxnEntry], snapshot: usize) -> (Server, Behind<SimDisk>) {
    let server = Server::new();
    let state = Server::with(&history[..snapshot], usize::MAX).state;
    let behind = server.behind(state).unwrap();
    (server, behind)
}

/// Feeds pieces as a connection does: what is not taken comes again, with more behind it. What is left at NEWLEADER.
fn feed(behind: &mut Behind<SimDisk>, bytes: &[u8], piece: usize) -> Result<Vec<u8>, BehindError> {
    let mut given = Vec::new();
    for piece in bytes.chunks(piece) {
        given.extend_from_slice(piece);
        match behind.feed(&given)? {
            Taking::More(taken) => drop(given.drain(..taken)),
            Taking::NewLeader(taken) => {
                given.drain(..taken);
                return Ok(given);
            }
        }
    }
    panic!("NEWLEADER is overlooked");
}

fn logged(server: &mut Server, received: install::Received) -> Vec<Zxid> {
    let dir = server.storage.layout.received_log_dir.clone();
    server.storage.log.adopt(&dir).unwrap();
    let log = server.storage.log.read_after(received.snapshot).unwrap();
    log.map(|record| record.unwrap().0).collect()
}

#[test]
fn what_is_committed_is_in_the_state_and_everything_in_the_log_however_it_is_cut() {
    let history = history();
    let states = states(&history);
    let zxid = |place: usize| history[place - 1].header.zxid;
    let mut bytes = Vec::new();
    LeaderPacket::Ping { zxid: zxid(5) }.write(&mut bytes);
    // In the snapshot already.
    for entry in &history[3..5] {
        proposal(entry).write(&mut bytes);
    }
    for place in 4..6 {
        LeaderPacket::Commit { zxid: zxid(place) }.write(&mut bytes);
    }
    bytes.extend(packets(&history[5..14], 5));
    let mut whole = Vec::new();
    new_leader().write(&mut whole);
    for piece in [1, 3, 7, 100, LIMIT] {
        let (mut server, mut behind) = behind(&history, 5);
        let left = feed(&mut behind, &bytes, piece).unwrap();
        assert!(
            whole.starts_with(&left) && left.len() >= 4,
            "pieces of {piece}"
        );
        let taken_over = behind.finish().unwrap();
        assert_eq!(face(&taken_over.state), face(&states[10]));
        let pending: Vec<Zxid> = taken_over.pending.iter().map(|(zxid, _)| *zxid).collect();
        assert_eq!(pending, [11, 12, 13, 14].map(zxid));
        let received = install::Received {
            snapshot: zxid(5),
            through: zxid(14),
        };
        assert_eq!(taken_over.received, received);
        assert_eq!((taken_over.successor, taken_over.mismatch), (None, None));
        let expected: Vec<Zxid> = (6..=14).map(zxid).collect();
        assert_eq!(logged(&mut server, received), expected);
    }
}

#[test]
fn observers_are_informed_and_changes_of_the_membership_say_who_leads() {
    let history = history();
    let inform = |place: usize, leader: Option<i64>| {
        let LeaderPacket::Proposal { zxid, txn } = proposal(&history[place - 1]) else {
            unreachable!()
        };
        match leader {
            Some(leader) => LeaderPacket::InformAndActivate { zxid, leader, txn },
            None => LeaderPacket::Inform { zxid, txn },
        }
    };
    let activate = LeaderPacket::CommitAndActivate {
        zxid: history[8].header.zxid,
        leader: 2,
    };
    for (packets, successor) in [
        (vec![inform(8, None), inform(9, None)], None),
        (vec![inform(8, Some(3)), inform(9, None)], Some(3)),
        (
            vec![inform(8, Some(3)), proposal(&history[8]), activate],
            Some(2),
        ),
    ] {
        let (_server, mut behind) = behind(&history, 7);
        let mut bytes = Vec::new();
        for packet in packets.into_iter().chain([new_leader()]) {
            packet.write(&mut bytes);
        }
        feed(&mut behind, &bytes, 50).unwrap();
        let taken_over = behind.finish().unwrap();
        assert_eq!(taken_over.state.last_zxid(), history[8].header.zxid);
        assert_eq!(taken_over.successor, successor);
        assert!(taken_over.pending.is_empty());
    }
}

#[test]
fn a_leader_that_sends_something_else_is_refused() {
    let history = history();
    let at = |place: usize| proposal(&history[place - 1]);
    let zxid = |place: usize| history[place - 1].header.zxid;
    let altered = |zxid: Zxid, txn: &'static [u8]| LeaderPacket::Proposal {
        zxid,
        txn: Bytes::from_static(txn),
    };
    let LeaderPacket::Proposal { txn, .. } = at(7) else {
        unreachable!()
    };
    let other = LeaderPacket::Proposal { zxid: zxid(6), txn };
    let mut many = vec![];
    for place in 6..5000 {
        let txn = Txn::CreateSession { timeout_ms: 1 };
        many.push(proposal(&entry(place, 7, txn)));
    }
    let cases: Vec<(Vec<LeaderPacket>, &str)> = vec![
        (vec![at(7)], "left out what comes between"),
        (vec![at(6), at(8)], "left out what comes between"),
        (vec![at(6), at(6)], "left out what comes between"),
        (vec![altered(Zxid(EPOCH), b"")], "no such transaction"),
        (vec![altered(zxid(6), b"nothing")], "no such transaction"),
        (vec![other], "no such transaction"),
        (
            vec![altered(Zxid(2 * EPOCH + 1), b"")],
            "the leader of epoch 0x1 sent 0x200000001",
        ),
        (vec![LeaderPacket::Commit { zxid: zxid(6) }], "out of order"),
        (
            vec![at(6), at(7), LeaderPacket::Commit { zxid: zxid(7) }],
            "out of order",
        ),
        (vec![LeaderPacket::UpToDate], "UPTODATE between"),
        (vec![LeaderPacket::Sync], "SYNC between"),
        (vec![LeaderPacket::Snap { zxid: zxid(6) }], "SNAP between"),
        (many, "without committing any"),
    ];
    for (packets, words) in cases {
        let (_server, mut behind) = behind(&history, 5);
        let mut bytes = Vec::new();
        for packet in packets.iter().chain([&new_leader()]) {
            packet.write(&mut bytes);
        }
        let refused = feed(&mut behind, &bytes, 1000);
        if let [LeaderPacket::Proposal { zxid, .. }] = packets[..]
            && zxid == Zxid(EPOCH)
        {
            // Older than the snapshot: it is in there.
            refused.unwrap();
            continue;
        }
        let problem = refused.unwrap_err().to_string();
        assert!(problem.contains(words), "{problem}");
    }
    let (_server, mut behind) = behind(&history, 5);
    let garbage = [&PacketKind::Proposal.code().to_be_bytes()[..], &[0xff; 60]].concat();
    let problem = behind.feed(&garbage).unwrap_err();
    assert!(matches!(problem, BehindError::Packet(_)), "{problem}");
}

/// Java's snapshots have some of what comes behind them: as long as they come out right that is none of a difference.
#[test]
fn what_the_tree_comes_to_counts_at_the_end() {
    let mut history = history();
    let (states, snapshot) = (states(&history), history[..13].to_vec());
    for (entry, state) in history.iter_mut().zip(&states[1..]) {
        entry.digest = Some(TxnDigest {
            version: DIGEST_VERSION,
            tree_digest: state.digest().cast_signed(),
        });
    }
    let ends_with = |history: &[TxnEntry], through: usize| {
        let (mut leader, mut server) = (Server::with(&snapshot, usize::MAX), Server::new());
        leader.fold();
        // It says that it is as of 11.
        let stream = whole(leader.stream(LIMIT));
        let received = receive(&mut server, history[10].header.zxid, [stream]).unwrap();
        let mut behind = server.behind(received.state).unwrap();
        let packets = packets(&history[11..through], through - 11);
        feed(&mut behind, &packets, 1000).unwrap();
        behind.finish().unwrap().mismatch
    };
    assert_eq!(ends_with(&history, 13), None);
    assert_eq!(ends_with(&history, 16), None);
    let right = states[14].digest();
    history[13].digest = Some(TxnDigest {
        version: DIGEST_VERSION,
        tree_digest: (right + 1).cast_signed(),
    });
    assert_eq!(ends_with(&history, 16), None);
    let mismatch = DigestMismatch {
        zxid: history[13].header.zxid,
        expected: right + 1,
        found: right,
    };
    assert_eq!(ends_with(&history, 14), Some(mismatch));
}
