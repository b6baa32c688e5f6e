//! Where a transaction is, ranges, the newest transactions, holds; cuts anywhere.

use super::*;
use crate::storage::disk::Crash;
use crate::storage::txn_log::{LogPlace, Unusable};

const EPOCH: i64 = 1 << 32;

/// 1 to 12, then 3 of epoch 5, in segments of two or so, and a new one after each four.
fn log_of_15(disk: &SimDisk) -> TxnLog<SimDisk> {
    let (mut log, _) = open(disk);
    for zxid in (1..=12).chain(5 * EPOCH + 1..=5 * EPOCH + 3) {
        append(&mut log, [zxid], 1500);
        log.sync().unwrap();
        if zxid % EPOCH % 4 == 0 {
            log.roll().unwrap();
        }
    }
    assert!(log.index().segment_bases().len() >= 4);
    log
}

fn range(log: &TxnLog<SimDisk>, after: i64, through: i64) -> Vec<i64> {
    let records = log.index().read_range(Zxid(after), Zxid(through)).unwrap();
    records.map(|record| record.unwrap().0.0).collect()
}

#[test]
fn a_transaction_is_found_or_the_one_before_it() {
    let disk = SimDisk::new(1);
    let log = log_of_15(&disk);
    let table = [
        (0, Ok(())),
        (1, Ok(())),
        (4, Ok(())),
        (7, Ok(())),
        (12, Ok(())),
        (13, Err(12)),
        (3 * EPOCH, Err(12)),
        (5 * EPOCH, Err(12)),
        (5 * EPOCH + 1, Ok(())),
        (5 * EPOCH + 3, Ok(())),
        (5 * EPOCH + 4, Err(5 * EPOCH + 3)),
        (9 * EPOCH, Err(5 * EPOCH + 3)),
    ];
    for (zxid, expected) in table {
        let found = match log.index().look_up(Zxid(zxid), None) {
            LogPlace::Exactly => Ok(()),
            LogPlace::After(before) => Err(before.0),
            LogPlace::Unusable(why) => panic!("{why}"),
        };
        assert_eq!(found, expected, "{zxid:#x}");
    }
}

#[test]
fn what_is_gone_damaged_or_too_long_is_of_no_use() {
    let disk = SimDisk::new(1);
    let mut log = log_of_15(&disk);
    let one = 1500 + 32 + 4;
    let index = log.index();
    for (zxid, bytes_max, usable) in [
        (5 * EPOCH + 2, one, true),
        (5 * EPOCH + 2, one - 1, false),
        (5 * EPOCH + 3, 0, true),
        (1, 14 * one, true),
        (1, 14 * one - 1, false),
    ] {
        let place = index.look_up(Zxid(zxid), Some(bytes_max));
        match place {
            LogPlace::Exactly => assert!(usable, "{zxid:#x} {bytes_max}"),
            LogPlace::Unusable(Unusable::TooLong { after, .. }) => {
                assert!(!usable && after == Zxid(zxid), "{zxid:#x} {bytes_max}");
            }
            other => panic!("{other:?}"),
        }
    }
    log.purge(Zxid(4)).unwrap();
    assert!(matches!(
        index.look_up(Zxid(3), None),
        LogPlace::Unusable(Unusable::Log(LogError::Purged {
            oldest: Zxid(4),
            ..
        }))
    ));
    assert!(matches!(index.look_up(Zxid(4), None), LogPlace::Exactly));
    assert!(disk.flip_bit(&dir().join("0000000000000009.zlog"), 4096 + 100, 1));
    for (zxid, bytes_max) in [(9, None), (5, Some(u64::MAX))] {
        assert!(matches!(
            index.look_up(Zxid(zxid), bytes_max),
            LogPlace::Unusable(Unusable::Log(LogError::Damaged { .. }))
        ));
    }
}

#[test]
fn a_log_without_segments_is_an_empty_history() {
    let (log, _) = open(&SimDisk::new(1));
    let index = log.index();
    assert!(matches!(index.look_up(Zxid::ZERO, None), LogPlace::Exactly));
    assert!(matches!(
        index.look_up(Zxid(3), None),
        LogPlace::After(Zxid::ZERO)
    ));
    assert!(index.tail(10, 1000).unwrap().is_empty());
}

#[test]
fn ranges_begin_and_end_where_they_are_told_to() {
    let disk = SimDisk::new(1);
    let log = log_of_15(&disk);
    assert_eq!(range(&log, 3, 9), [4, 5, 6, 7, 8, 9]);
    assert_eq!(range(&log, 4, 4), [0; 0]);
    assert_eq!(range(&log, 7, 5), [0; 0]);
    // Between the epochs, where no transaction is.
    assert_eq!(range(&log, 10, 3 * EPOCH), [11, 12]);
    assert_eq!(
        range(&log, 2 * EPOCH, 5 * EPOCH + 2),
        [5 * EPOCH + 1, 5 * EPOCH + 2]
    );
    assert!(matches!(
        log.index().read_range(Zxid(3), Zxid(5 * EPOCH + 4)).err(),
        Some(LogError::NotDurable { .. })
    ));
}

#[test]
fn the_tail_is_bounded_by_count_and_by_bytes() {
    let disk = SimDisk::new(1);
    let mut log = log_of_15(&disk);
    let all: Vec<i64> = zxids(&log);
    let tail = |log: &TxnLog<SimDisk>, txns, bytes| -> Vec<i64> {
        let tail = log.index().tail(txns, bytes).unwrap();
        tail.into_iter().map(|(zxid, _)| zxid.0).collect()
    };
    for count in 0..=16 {
        let expected = &all[15 - count.min(15)..];
        assert_eq!(tail(&log, count, usize::MAX), expected, "{count}");
        assert_eq!(
            tail(&log, usize::MAX, count * 1500 + 1499),
            expected,
            "{count}"
        );
    }
    log.purge(Zxid(5 * EPOCH)).unwrap();
    assert_eq!(tail(&log, 10, usize::MAX), all[12..]);
}

#[test]
fn what_is_held_is_not_purged() {
    let disk = SimDisk::new(1);
    let mut log = log_of_15(&disk);
    let index = log.index();
    let hold = index.hold_after(Zxid(5)).unwrap();
    let second = index.hold_after(Zxid(5)).unwrap();
    log.purge(Zxid(12)).unwrap();
    assert_eq!(index.oldest_base(), Some(Zxid(4)));
    drop(hold);
    log.purge(Zxid(12)).unwrap();
    assert_eq!(range(&log, 5, 8), [6, 7, 8]);
    drop(second);
    log.purge(Zxid(12)).unwrap();
    assert_eq!(index.oldest_base(), Some(Zxid(12)));
    assert!(matches!(
        index.hold_after(Zxid(5)),
        Err(LogError::Purged { .. })
    ));
}

/// Cut at each place there is, go on, and lose power at each operation on the way.
#[test]
fn a_cut_anywhere_then_an_append_survive_a_crash_anywhere() {
    let pristine = SimDisk::new(1);
    drop(log_of_15(&pristine));
    pristine.reboot(Crash::Process);
    let (log, _) = open(&pristine);
    let all = zxids(&log);
    drop(log);
    pristine.reboot(Crash::Power);
    let next = 6 * EPOCH + 1;
    let (mut old, mut cut_only, mut whole) = (0, 0, 0);
    for kept in 1..all.len() {
        let at = all[kept - 1];
        let mut operation = 0;
        loop {
            let disk = pristine.fork();
            disk.reseed(operation * 31 + kept as u64);
            let opened = open(&disk).0;
            let start = disk.operations();
            disk.crash_at(start + operation);
            let done = cut_and_append(opened, at, next);
            let over = !disk.is_off();
            disk.reboot(Crash::Power);
            let (mut log, _) = open(&disk);
            let found = zxids(&log);
            let cut = &all[..kept];
            if found == all {
                assert!(!done.0, "cut after {at:#x} was undone");
                old += 1;
            } else if found == cut {
                assert!(!done.1, "{next:#x} was lost");
                cut_only += 1;
            } else {
                assert_eq!(found, [cut, &[next]].concat(), "cut after {at:#x}");
                whole += 1;
            }
            // Whatever it is, it goes on.
            append(&mut log, [7 * EPOCH + 1], 10);
            log.sync().unwrap();
            assert_eq!(zxids(&log), [&found[..], &[7 * EPOCH + 1]].concat());
            if over {
                break;
            }
            operation += 1;
        }
    }
    assert!(
        old > 0 && cut_only > 0 && whole > 15,
        "{old} {cut_only} {whole}"
    );
}

/// Whether the cut and the append are durable.
fn cut_and_append(mut log: TxnLog<SimDisk>, at: i64, next: i64) -> (bool, bool) {
    if log.truncate_after(Zxid(at)).is_err() {
        return (false, false);
    }
    log.append(Zxid(next), txn(Zxid(next), 700)).unwrap();
    (true, log.sync().is_ok())
}
