//! A full or failing disk: nothing is acknowledged that is not durable, and nothing is lost.

use super::*;
use crate::storage::disk::Crash;

fn log_with_3(disk: &SimDisk) -> TxnLog<SimDisk> {
    let (mut log, _) = open(disk);
    for zxid in 1..=3 {
        append(&mut log, [zxid], 100);
        log.sync().unwrap();
    }
    log
}

#[test]
fn a_full_disk_is_waited_out() {
    let disk = SimDisk::new(1);
    let mut log = log_with_3(&disk);
    disk.set_capacity(Some(disk.used_bytes()));
    let mut zxid = 3;
    let error = loop {
        zxid += 1;
        append(&mut log, [zxid], 1000);
        if let Err(error) = log.sync() {
            break error;
        }
    };
    assert!(error.is_disk_full(), "{error}");
    assert_eq!(log.durable_zxid(), Zxid(zxid - 1));
    append(&mut log, [zxid + 1], 1000);
    assert!(log.sync().unwrap_err().is_disk_full());
    assert_eq!(zxids(&log), (1..zxid).collect::<Vec<_>>());
    // Room for less than a whole new segment is enough.
    disk.set_capacity(Some(disk.used_bytes() + 8100));
    log.sync().unwrap_err();
    disk.set_capacity(Some(disk.used_bytes() + 8192));
    log.sync().unwrap();
    assert_eq!(log.durable_zxid(), Zxid(zxid + 1));
    disk.reboot(Crash::Power);
    drop(log);
    let (log, _) = open(&disk);
    assert_eq!(zxids(&log), (1..=zxid + 1).collect::<Vec<_>>());
}

#[test]
fn after_a_failed_write_or_sync_a_fresh_file_takes_over() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let mut log = log_with_3(&disk);
        append(&mut log, 4..=6, 700);
        match seed % 2 {
            0 => disk.fail_writes(0, 1 + seed % 3),
            _ => disk.fail_syncs(0, 1 + seed % 3),
        }
        log.sync().unwrap_err();
        assert_eq!(log.durable_zxid(), Zxid(3));
        append(&mut log, [7], 10);
        while log.sync().is_err() {
            assert_eq!(log.durable_zxid(), Zxid(3));
        }
        assert_eq!(log.durable_zxid(), Zxid(7));
        append(&mut log, [8], 10);
        log.sync().unwrap();
        drop(log);
        disk.reboot(Crash::Power);
        let (log, _) = open(&disk);
        assert_eq!(zxids(&log), (1..=8).collect::<Vec<_>>());
        for (zxid, bytes) in try_contents(&log, Zxid(3)).unwrap() {
            assert_eq!(bytes, txn(zxid, bytes.len()));
        }
    }
}

#[test]
fn a_power_cut_after_a_failed_sync_keeps_the_acknowledged() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let mut log = log_with_3(&disk);
        append(&mut log, 4..=9, 700);
        disk.fail_syncs(0, 1);
        log.sync().unwrap_err();
        drop(log);
        disk.reboot(Crash::Power);
        let (log, _) = open(&disk);
        let found = zxids(&log);
        assert!(found.len() >= 3);
        assert_eq!(
            found,
            (1..=i64::try_from(found.len()).unwrap()).collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_a_killed_process_left_in_memory_is_written_anew() {
    // The sync failed, so the platter lacks what reads back. Opening must not take it for durable.
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let mut log = log_with_3(&disk);
        append(&mut log, 4..=6, 700);
        disk.fail_syncs(0, 1);
        log.sync().unwrap_err();
        drop(log);
        disk.reboot(Crash::Process);
        let (log, recovered) = open(&disk);
        assert_eq!(recovered.last_zxid, Zxid(6));
        drop(log);
        disk.reboot(Crash::Power);
        let (log, _) = open(&disk);
        assert_eq!(zxids(&log), (1..=6).collect::<Vec<_>>());
    }
}

#[test]
fn truncation_on_a_failing_disk_is_repeated_until_it_holds() {
    for skip in 0..4 {
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            let mut log = log_with_3(&disk);
            disk.fail_syncs(skip, 1);
            disk.fail_writes(skip, 1);
            while log.truncate_after(Zxid(1)).is_err() {}
            assert_eq!(log.last_zxid(), Zxid(1));
            append(&mut log, [2], 300);
            while log.sync().is_err() {}
            drop(log);
            disk.reboot(Crash::Power);
            let (log, _) = open(&disk);
            assert_eq!(zxids(&log), [1, 2]);
            assert_eq!(try_contents(&log, Zxid(1)).unwrap()[0].1, txn(Zxid(2), 300));
        }
    }
}

#[test]
fn faults_at_any_moment_cost_no_acknowledged_transaction() {
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        let (mut log, _) = open(&disk);
        let mut acked = 0;
        for zxid in 1..=40 {
            match (seed + u64::try_from(zxid).unwrap() * 7) % 11 {
                0 => disk.fail_writes(seed % 2, 1),
                1 => disk.fail_syncs(seed % 3, 1),
                2 => disk.set_capacity(Some(disk.used_bytes() + 100)),
                3 => disk.set_capacity(None),
                _ => {}
            }
            append(&mut log, [zxid], 400);
            if log.sync().is_ok() {
                acked = zxid;
            }
            assert_eq!(log.durable_zxid(), Zxid(acked));
        }
        drop(log);
        disk.set_capacity(None);
        disk.reboot(Crash::Power);
        let (log, _) = open(&disk);
        let found = zxids(&log);
        assert!(found.len() >= usize::try_from(acked).unwrap());
        assert_eq!(
            found,
            (1..=i64::try_from(found.len()).unwrap()).collect::<Vec<_>>()
        );
    }
}
