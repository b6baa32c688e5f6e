//! A crash at every operation while a received snapshot takes the place of the history.

use super::*;
use crate::storage::install::Installation;

/// Takes a snapshot in place of the history, then one more transaction. Whether each is durable.
fn install(server: &mut Server, zxid: Zxid, stream: &Bytes, next: &TxnEntry) -> (bool, bool) {
    if receive(server, zxid, pieces(stream, 1000)).is_err() {
        return (false, false);
    }
    let Ok(installation) = Installation::begin(&server.disk, &server.storage.layout, zxid) else {
        return (false, false);
    };
    let log = &mut server.storage.log;
    let done = installation.finish(&server.disk, &mut server.store, |zxid| log.restart_at(zxid));
    if done.is_err() {
        return (false, false);
    }
    let mut payload = Vec::new();
    next.write(&mut payload);
    log.append(next.header.zxid, payload.into()).unwrap();
    (true, log.sync().is_ok())
}

/// The old history ends before, with or after the snapshot that is received, or is empty.
#[test]
fn a_crash_anywhere_while_installing_leaves_the_old_history_or_the_new_one() {
    let history = history();
    let states = states(&history);
    let mut seen = [0; 3];
    // How long the old history is, how much of it is in the old snapshot, what is received.
    for (old, folded, new) in [
        (0, 99, 16),
        (9, 4, 12),
        (12, 12, 12),
        (17, 6, 12),
        (6, 99, 3),
    ] {
        let mut leader = Server::with(&history[..new], usize::MAX);
        leader.fold();
        let stream = whole(leader.stream(300));
        let next = &history[new];
        let zxid = next.header.zxid.0 - 1;
        let learner = Server::with(&history[..old], folded);
        let Server { disk, store, .. } = learner;
        disk.reboot(Crash::Process);
        let mut operation = 0;
        loop {
            let disk = disk.fork();
            disk.reseed(operation * 7 + old as u64);
            let mut server = Server::start(disk.clone(), deep_copy(&store));
            disk.crash_at(disk.operations() + operation);
            let (installed, appended) = install(&mut server, Zxid(zxid), &stream, next);
            let over = !disk.is_off();
            assert_eq!(over, appended);
            let server = server.restart();
            assert!(!server.store.has_staged());
            let found = face(&server.state);
            if found == face(&states[new + 1]) && server.state.last_zxid() == next.header.zxid {
                seen[2] += 1;
            } else if found == face(&states[new]) && !appended {
                seen[1] += 1;
            } else {
                assert_eq!(found, face(&states[old]), "{old} {new} {operation}");
                assert!(!installed);
                seen[0] += 1;
            }
            // Whatever it is, it goes on and comes back.
            let at = server.state.last_zxid().0 - EPOCH.min(server.state.last_zxid().0);
            let mut server = server;
            server.commit(&entry(at + 1, 7, Txn::CreateSession { timeout_ms: 1 }));
            let expected = face(&server.state);
            assert_eq!(face(&server.restart().state), expected);
            if over {
                break;
            }
            operation += 1;
        }
    }
    assert!(seen.iter().all(|seen| *seen > 5), "{seen:?}");
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
