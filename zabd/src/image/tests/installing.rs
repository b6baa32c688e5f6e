//! A crash at every operation while a leader's history, snapshot and log, takes the place of the old one.

use super::*;
use crate::image::Taking;
use crate::storage::disk::Disk as _;

/// What a learner has and takes over, as lengths of one history.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    /// The old history, and how much of it is in the old snapshot.
    old: usize,
    folded: usize,
    /// What is in the snapshot that is received; what is committed behind it; what is proposed.
    snapshot: usize,
    committed: usize,
    proposed: usize,
}

/// What a leader sends, and the transaction after that.
struct Sent {
    zxid: Zxid,
    stream: Bytes,
    behind: Vec<u8>,
    next: TxnEntry,
}

/// Takes a leader's history in place of the old one, then one more transaction. Whether each is durable.
fn install(server: &mut Server, sent: &Sent) -> (bool, bool) {
    let Some(TakenOver {
        received, state, ..
    }) = take(server, sent)
    else {
        return (false, false);
    };
    if !server.put_in_place(received) {
        return (false, false);
    }
    server.state = state;
    let mut payload = Vec::new();
    sent.next.write(&mut payload);
    let log = &mut server.storage.log;
    log.append(sent.next.header.zxid, payload.into()).unwrap();
    (true, log.sync().is_ok())
}

fn take(server: &mut Server, sent: &Sent) -> Option<TakenOver> {
    let received = receive(server, sent.zxid, pieces(&sent.stream, 1000)).ok()?;
    let mut behind = server.behind(received.state).ok()?;
    let mut at = 0;
    loop {
        match behind.feed(&sent.behind[at..]).ok()? {
            Taking::More(taken) => at += taken,
            Taking::NewLeader(_) => return behind.finish().ok(),
        }
    }
}

/// With transactions that fill some segments.
fn long_history() -> Vec<TxnEntry> {
    let mut history = history();
    for version in 2..16 {
        let txn = Txn::SetData(SetDataTxn {
            path: "/a".into(),
            data: Some(Bytes::from_static(&[7; 900])),
            version,
        });
        let zxid = i64::try_from(history.len()).unwrap() + 1;
        history.push(entry(zxid, 7, txn));
    }
    history
}

/// The old history ends before, within or after the new one, or is empty; the new snapshot is older or newer than that.
const EXCHANGES: [Exchange; 8] = [
    exchange((0, 99), 16, 16, 16),
    exchange((9, 4), 12, 12, 12),
    exchange((12, 12), 12, 12, 12),
    exchange((17, 6), 12, 12, 12),
    exchange((6, 99), 3, 3, 3),
    // What was acknowledged comes behind the snapshot.
    exchange((9, 4), 3, 8, 12),
    exchange((20, 6), 2, 20, 20),
    exchange((5, 5), 5, 28, 30),
];

const fn exchange(
    (old, folded): (usize, usize),
    snapshot: usize,
    committed: usize,
    proposed: usize,
) -> Exchange {
    Exchange {
        old,
        folded,
        snapshot,
        committed,
        proposed,
    }
}

#[test]
fn a_crash_anywhere_while_installing_leaves_the_old_history_or_the_new_one() {
    let history = long_history();
    let states = states(&history);
    let mut seen = [0; 3];
    for exchange in EXCHANGES {
        let Exchange {
            old,
            folded,
            snapshot,
            committed,
            proposed,
        } = exchange;
        let mut leader = Server::with(&history[..snapshot], usize::MAX);
        leader.fold();
        let sent = Sent {
            zxid: history[snapshot - 1].header.zxid,
            stream: whole(leader.stream(300)),
            behind: packets(&history[snapshot..proposed], committed - snapshot),
            next: history[proposed].clone(),
        };
        let learner = Server::with(&history[..old], folded);
        let Server { disk, store, .. } = learner;
        disk.reboot(Crash::Process);
        let mut operation = 0;
        loop {
            let disk = disk.fork();
            disk.reseed(operation * 7 + old as u64);
            let mut server = Server::start(disk.clone(), deep_copy(&store));
            disk.crash_at(disk.operations() + operation);
            let (installed, appended) = install(&mut server, &sent);
            let over = !disk.is_off();
            assert_eq!(over, appended);
            if installed {
                assert_eq!(
                    face(&server.state),
                    face(&states[committed]),
                    "{exchange:?}"
                );
            }
            let mut server = server.restart();
            assert!(!server.store.has_staged());
            let staged = &server.storage.layout.received_log_dir;
            assert_eq!(server.disk.list(staged).unwrap(), [""; 0]);
            let found = face(&server.state);
            if found == face(&states[proposed + 1])
                && server.state.last_zxid() == sent.next.header.zxid
            {
                seen[2] += 1;
            } else if found == face(&states[proposed]) && !appended {
                seen[1] += 1;
            } else {
                assert_eq!(found, face(&states[old]), "{exchange:?} {operation}");
                assert!(!installed);
                seen[0] += 1;
            }
            // Whatever it is, it goes on and comes back.
            let at = server.state.last_zxid().0 - EPOCH.min(server.state.last_zxid().0);
            server.commit(&entry(at + 1, 7, Txn::CreateSession { timeout_ms: 1 }));
            let expected = face(&server.state);
            assert_eq!(face(&server.restart().state), expected);
            if over {
                break;
            }
            operation += 1;
        }
    }
    assert!(seen.iter().all(|seen| *seen > 8), "{seen:?}");
}

/// What a disk does not take leaves the old history, and nothing beside it.
#[test]
fn a_history_that_the_disk_has_no_room_for_leaves_the_old_one() {
    let history = long_history();
    let mut leader = Server::with(&history[..3], usize::MAX);
    leader.fold();
    let sent = Sent {
        zxid: history[2].header.zxid,
        stream: whole(leader.stream(300)),
        behind: packets(&history[3..30], 27),
        next: history[30].clone(),
    };
    let mut learner = Server::with(&history[..9], 4);
    let expected = face(&learner.state);
    learner
        .disk
        .set_capacity(Some(learner.disk.used_bytes() + 20_000));
    assert!(take(&mut learner, &sent).is_none());
    let dir = learner.storage.layout.received_log_dir.clone();
    assert!(!learner.disk.list(&dir).unwrap().is_empty());
    StagedLog::discard(&learner.disk, &dir).unwrap();
    assert!(learner.disk.list(&dir).unwrap().is_empty());
    assert_eq!(face(&learner.restart().state), expected);
}

/// A store of its own with the same contents.
fn deep_copy(store: &MemStore) -> MemStore {
    let mut copy = MemStore::new();
    let Some(meta) = store.meta().unwrap() else {
        return copy;
    };
    let mut batch = FoldBatch {
        zxid: meta.zxid,
        digest: meta.digest,
        ..FoldBatch::default()
    };
    store
        .scan_rows(&mut |path, row| {
            let row = (Bytes::copy_from_slice(path), Bytes::copy_from_slice(row));
            batch.puts.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
    store
        .scan_sessions(&mut |session, timeout_ms| batch.session_puts.push((session, timeout_ms)))
        .unwrap();
    copy.write(batch).unwrap();
    copy.flush().unwrap();
    copy
}
