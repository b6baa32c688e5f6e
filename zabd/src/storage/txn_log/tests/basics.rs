//! What the log does when nothing fails.

use super::*;
use crate::storage::disk::Crash;

#[test]
fn what_was_synced_is_read_back() {
    let disk = SimDisk::new(1);
    let (mut log, recovered) = open(&disk);
    assert_eq!(
        recovered,
        Recovered {
            last_zxid: Zxid::ZERO,
            oldest_base: None,
            sealed: false,
            torn: None
        }
    );
    append(&mut log, 1..=3, 50);
    assert_eq!(log.durable_zxid(), Zxid::ZERO);
    assert_eq!(zxids(&log), [0; 0]);
    log.sync().unwrap();
    append(&mut log, [4], 0);
    log.sync().unwrap();
    log.close().unwrap();
    let (log, recovered) = open(&disk);
    assert_eq!((recovered.last_zxid, recovered.sealed), (Zxid(4), true));
    let read = try_contents(&log, Zxid(2)).unwrap();
    assert_eq!(
        read,
        [(Zxid(3), txn(Zxid(3), 50)), (Zxid(4), txn(Zxid(4), 0))]
    );
    assert!(try_contents(&log, Zxid(4)).unwrap().is_empty());
    assert!(try_contents(&log, Zxid(9)).unwrap().is_empty());
}

#[test]
fn one_batch_is_one_write_and_one_sync() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, [1], 10);
    log.sync().unwrap();
    let before = disk.operations();
    append(&mut log, 2..=9, 10);
    assert_eq!(log.sync().unwrap().txns, 8);
    assert_eq!(disk.operations() - before, 2);
    assert_eq!(log.sync().unwrap().txns, 0);
    assert_eq!(disk.operations() - before, 2);
}

#[test]
fn zxids_must_follow_each_other() {
    let (mut log, _) = open(&SimDisk::new(1));
    append(&mut log, [1, 2, 0x1_0000_0001, 0x1_0000_0002], 8);
    for wrong in [0x1_0000_0002, 0x1_0000_0004, 3, 0] {
        assert!(
            matches!(
                log.append(Zxid(wrong), Bytes::new()),
                Err(LogError::OutOfOrder { .. })
            ),
            "{wrong:#x}"
        );
    }
    append(&mut log, [0x1_0000_0003, 0x7_0000_0001], 8);
    assert_eq!(log.last_zxid(), Zxid(0x7_0000_0001));

    // Nothing follows the last of all.
    append(&mut log, [i64::MAX], 8);
    assert!(matches!(
        log.append(Zxid(i64::MIN), Bytes::new()),
        Err(LogError::OutOfOrder { .. })
    ));
}

#[test]
fn segments_follow_each_other_and_large_batches_get_large_ones() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk);
    for zxid in 1..=40 {
        append(&mut log, [zxid], if zxid == 20 { 50_000 } else { 1000 });
        log.sync().unwrap();
    }
    assert!(segment_files(&disk).len() > 4);
    assert_eq!(zxids(&log), (1..=40).collect::<Vec<_>>());
    log.close().unwrap();
    let (log, _) = open(&disk);
    assert_eq!(zxids(&log), (1..=40).collect::<Vec<_>>());
}

#[test]
fn purging_keeps_what_comes_after_and_reuses_the_file() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk);
    for zxid in 1..=60 {
        if log.wants_spare() {
            log.spares().prepare().unwrap();
        }
        append(&mut log, [zxid], 1000);
        log.sync().unwrap();
    }
    let bases = log.index().segment_bases();
    assert!(bases.len() > 4);
    let keep_from = bases[3];
    assert_eq!(log.purge(Zxid(keep_from.0 + 1)).unwrap(), 3);
    assert_eq!(log.index().oldest_base(), Some(keep_from));
    assert_eq!(zxids(&log), (keep_from.0 + 1..=60).collect::<Vec<_>>());
    assert!(matches!(
        log.read_after(Zxid(1)),
        Err(LogError::Purged { .. })
    ));
    // All of it stays readable while stale records fill the recycled file.
    for zxid in 61..=90 {
        append(&mut log, [zxid], 1000);
        log.sync().unwrap();
    }
    drop(log);
    disk.reboot(Crash::Power);
    let (mut log, _) = open(&disk);
    assert_eq!(zxids(&log), (keep_from.0 + 1..=90).collect::<Vec<_>>());
    // The newest segment is never purged.
    log.purge(Zxid(i64::MAX)).unwrap();
    assert_eq!(log.index().segment_bases().len(), 1);
    assert_eq!(log.last_zxid(), Zxid(90));
}

#[test]
fn a_reader_keeps_what_is_purged_under_it() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk);
    for zxid in 1..=40 {
        append(&mut log, [zxid], 1000);
        log.sync().unwrap();
    }
    let mut reader = log.read_after(Zxid::ZERO).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().0, Zxid(1));
    log.purge(Zxid(40)).unwrap();
    for zxid in 41..=80 {
        append(&mut log, [zxid], 1000);
        log.sync().unwrap();
    }
    let rest: Vec<i64> = reader.map(|record| record.unwrap().0.0).collect();
    assert_eq!(rest, (2..=40).collect::<Vec<_>>());
}

#[test]
fn truncation_forgets_and_a_later_epoch_goes_on() {
    for cut in [0, 1, 7, 20, 33, 40, 41] {
        let disk = SimDisk::new(1);
        let (mut log, _) = open(&disk);
        for zxid in 1..=40 {
            append(&mut log, [zxid], 900);
            log.sync().unwrap();
        }
        append(&mut log, [41], 10);
        assert_eq!(log.truncate_after(Zxid(cut)).unwrap(), Zxid(cut));
        append(&mut log, [0x1_0000_0001], 10);
        log.sync().unwrap();
        let expected: Vec<i64> = (1..=cut).chain([0x1_0000_0001]).collect();
        assert_eq!(zxids(&log), expected);
        drop(log);
        disk.reboot(Crash::Power);
        let (log, _) = open(&disk);
        assert_eq!(zxids(&log), expected);
    }
}

#[test]
fn truncation_between_epochs_ends_at_the_last_transaction_before() {
    let (mut log, _) = open(&SimDisk::new(1));
    append(&mut log, [1, 2, 0x2_0000_0001], 10);
    log.sync().unwrap();
    assert_eq!(log.truncate_after(Zxid(0x1_0000_0005)).unwrap(), Zxid(2));
    assert_eq!(log.last_zxid(), Zxid(2));
    log.restart_at(Zxid(50)).unwrap();
    assert!(matches!(
        log.truncate_after(Zxid(49)),
        Err(LogError::Refused(_))
    ));
}

#[test]
fn a_restart_leaves_only_what_follows_the_snapshot() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 1..=20, 900);
    log.sync().unwrap();
    append(&mut log, [21], 10);
    log.restart_at(Zxid(0x3_0000_0040)).unwrap();
    append(&mut log, [0x3_0000_0041], 10);
    log.sync().unwrap();
    assert_eq!(segment_files(&disk).len(), 1);
    drop(log);
    disk.reboot(Crash::Power);
    let (log, recovered) = open(&disk);
    assert_eq!(recovered.oldest_base, Some(Zxid(0x3_0000_0040)));
    assert_eq!(zxids(&log), [0x3_0000_0041]);
}

#[test]
fn opening_again_and_again_leaves_no_trail_of_files() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 1..=3, 10);
    log.sync().unwrap();
    append(&mut log, [4], 10);
    log.sync().unwrap();
    drop(log);
    for _ in 0..5 {
        disk.reboot(Crash::Process);
        let (log, recovered) = open(&disk);
        assert_eq!((recovered.last_zxid, recovered.torn), (Zxid(4), None));
        drop(log);
    }
    // The first, and the one into which the last batch was copied.
    assert_eq!(segment_files(&disk).len(), 2);
}

#[test]
fn a_second_opener_is_turned_away() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk);
    assert!(matches!(try_open(&disk), Err(LogError::Locked { .. })));
    drop(log);
    open(&disk);
}

#[test]
fn rolling_on_demand_begins_a_segment() {
    let disk = SimDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, [1], 10);
    log.roll().unwrap();
    append(&mut log, [2], 10);
    log.sync().unwrap();
    assert_eq!(log.index().segment_bases(), [Zxid(0), Zxid(1)]);
}

#[test]
fn the_real_disk_serves_as_well() {
    use crate::storage::disk::{RealDisk, TestDir};
    let dir = TestDir::new("log");
    let (mut log, _) = TxnLog::open(RealDisk, dir.path(), OPTIONS).unwrap();
    for zxid in 1..=60 {
        if log.wants_spare() {
            log.spares().prepare().unwrap();
        }
        log.append(Zxid(zxid), txn(Zxid(zxid), 700)).unwrap();
        log.sync().unwrap();
    }
    assert!(matches!(
        TxnLog::open(RealDisk, dir.path(), OPTIONS),
        Err(LogError::Locked { .. })
    ));
    log.purge(Zxid(30)).unwrap();
    log.truncate_after(Zxid(50)).unwrap();
    log.close().unwrap();
    let (log, recovered) = TxnLog::open(RealDisk, dir.path(), OPTIONS).unwrap();
    assert_eq!(recovered.last_zxid, Zxid(50));
    let oldest = recovered.oldest_base.unwrap();
    let read: Vec<i64> = log
        .read_after(oldest)
        .unwrap()
        .map(|record| record.unwrap().0.0)
        .collect();
    assert_eq!(read, (oldest.0 + 1..=50).collect::<Vec<_>>());
}
