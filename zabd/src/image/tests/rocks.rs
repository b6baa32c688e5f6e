//! The same in real directories.

use std::path::Path;

use super::*;
use crate::storage::disk::{RealDisk, TestDir};
use crate::storage::snapshot::RocksStore;

fn open(dir: &Path) -> Storage<RealDisk, RocksStore> {
    let options = StorageOptions {
        data_dir: dir.into(),
        data_log_dir: dir.into(),
        log: LOG,
        log_behind: LogBehind::Refuse,
    };
    Storage::open(&RealDisk, &options, RocksStore::open).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("zabd")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Taken, or broken off, or decided on and cut short: the next start has the one history or the other, and cleans up.
#[test]
fn a_received_snapshot_takes_the_place_of_a_history_on_disk() {
    let history = history();
    let mut leader = Server::with(&history, 3);
    leader.fold();
    let stream = whole(leader.stream(100));
    let zxid = leader.state.last_zxid();
    let next = Zxid(zxid.0 + 1);
    for stop in ["broken off", "staged", "decided", "finished"] {
        let dir = TestDir::new("image-rocks");
        let mut storage = open(dir.path());
        storage
            .log
            .append(Zxid(1), Bytes::from_static(b"an old history"))
            .unwrap();
        storage.log.sync().unwrap();
        let mut store = storage.snapshot;
        let mut receiver = SnapshotReceiver::begin(&mut store, zxid, params(), LIMIT).unwrap();
        if stop == "broken off" {
            receiver.feed(&stream[..stream.len() / 2]).unwrap();
            drop(receiver);
        } else {
            receiver.feed(&stream).unwrap();
            let received = receiver.finish().unwrap();
            assert_eq!(face(&received.state), face(&leader.state));
        }
        let beside = storage.layout.received_log_dir.clone();
        let index = storage.log.index();
        let mut staged = StagedLog::begin(&RealDisk, &beside, LOG, &index, zxid).unwrap();
        if stop == "broken off" {
            drop(staged);
        } else {
            staged.append(next, Bytes::from_static(b"behind")).unwrap();
            staged.finish().unwrap();
        }
        if ["decided", "finished"].contains(&stop) {
            let received = install::Received {
                snapshot: zxid,
                through: next,
            };
            let installation = Installation::begin(&RealDisk, &storage.layout, received).unwrap();
            if stop == "finished" {
                let log = &mut storage.log;
                let adopt_log = || {
                    log.adopt(&beside)?;
                    Ok(log.index())
                };
                installation
                    .finish(&RealDisk, &mut store, adopt_log)
                    .unwrap();
            }
        }
        drop((store, storage.log, storage.lock));
        let storage = open(dir.path());
        let last = storage.log.last_zxid();
        if ["decided", "finished"].contains(&stop) {
            assert_eq!(storage.snapshot_meta.unwrap().zxid, zxid, "{stop}");
            assert_eq!(last, next);
        } else {
            assert!(storage.snapshot_meta.is_none(), "{stop}");
            assert_eq!(last, Zxid(1), "{stop}");
        }
        assert_eq!(names(dir.path()), ["LOCK", "log", "snapshot"], "{stop}");
        drop(storage);
        assert_eq!(open(dir.path()).log.last_zxid(), last, "{stop} again");
    }
}

#[test]
fn a_store_on_disk_sends_what_one_in_memory_sends() {
    let history = history();
    let mut leader = Server::with(&history, 3);
    leader.fold();
    let stream = whole(leader.stream(100));
    let dir = TestDir::new("image-send");
    let mut store = RocksStore::open(&dir.path().join("snapshot")).unwrap();
    let zxid = leader.state.last_zxid();
    let mut receiver = SnapshotReceiver::begin(&mut store, zxid, params(), LIMIT).unwrap();
    receiver.feed(&stream).unwrap();
    drop(receiver.finish().unwrap());
    store.adopt_staged().unwrap();
    let view = store.view().unwrap().unwrap();
    // The numbers of lists are given in the order of paths, in both.
    assert_eq!(whole(SnapshotStream::new(view, 77)), stream);
}
