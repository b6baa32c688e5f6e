//! The thread of the log, on real and simulated disks.

use std::path::Path;
use std::sync::mpsc;

use super::*;
use crate::storage::disk::{Crash, RealDisk, SimDisk, TestDir};
use crate::storage::txn_log::LogOptions;

const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 32768,
    inline_segment_bytes: 16384,
    durability: crate::storage::txn_log::Durability::Fsync,
};
const FAST: LogThreadOptions = LogThreadOptions {
    queue_bytes_max: 4096,
    batch_bytes_max: 2048,
    retry: Duration::from_millis(2),
    slow_fsync: Duration::from_secs(100),
};

fn append(zxid: i64, len: usize) -> DurableWrite {
    DurableWrite::Append(vec![(Zxid(zxid), vec![7; len].into())])
}

fn spawn<D: Disk>(disk: &D, dir: &Path) -> (LogThread, mpsc::Receiver<LogEvent>) {
    let (log, _) = TxnLog::open(disk.clone(), dir, OPTIONS).unwrap();
    let (events, received) = channel();
    let thread = LogThread::spawn(log, FAST, move |event| drop(events.send(event))).unwrap();
    (thread, received)
}

fn zxids<D: Disk>(disk: &D, dir: &Path) -> (Vec<i64>, bool) {
    let (log, recovered) = TxnLog::open(disk.clone(), dir, OPTIONS).unwrap();
    let oldest = recovered.oldest_base.unwrap_or_default();
    let zxids = log
        .read_after(oldest)
        .unwrap()
        .map(|record| record.unwrap().0.0)
        .collect();
    (zxids, recovered.sealed)
}

/// Waits until `seq` is reported durable; gives back what else was said.
fn until_durable(received: &mpsc::Receiver<LogEvent>, seq: u64) -> Vec<LogEvent> {
    let mut others = Vec::new();
    loop {
        match received.recv_timeout(Duration::from_secs(20)).unwrap() {
            LogEvent::Durable(WriteSeq(durable)) => {
                assert!(durable <= seq);
                if durable == seq {
                    return others;
                }
            }
            other => others.push(other),
        }
    }
}

#[test]
fn writes_become_durable_in_order_and_the_log_is_sealed() {
    let dir = TestDir::new("log-thread");
    let (thread, received) = spawn(&RealDisk, dir.path());
    let handle = thread.handle();
    for seq in 1..=300 {
        handle
            .submit(WriteSeq(seq), append(seq.cast_signed(), 500))
            .unwrap();
    }
    assert!(until_durable(&received, 300).is_empty());
    assert_eq!(handle.waiting_bytes(), 0);
    let syncs = handle.stats().count.load(Ordering::Relaxed);
    assert!((75..=300).contains(&syncs), "at most 4 a batch: {syncs}");
    assert_eq!(handle.stats().txns.load(Ordering::Relaxed), 300);
    handle.purge(Zxid(100));
    thread.shutdown().unwrap();
    assert!(matches!(
        handle.try_submit(WriteSeq(301), append(301, 1)),
        Err(SubmitError::Closed)
    ));
    let (zxids, sealed) = zxids(&RealDisk, dir.path());
    assert!(sealed);
    assert!(zxids[0] > 1 && zxids[0] <= 101, "{}", zxids[0]);
    assert_eq!(zxids, (zxids[0]..=300).collect::<Vec<_>>());
}

#[test]
fn epochs_truncations_and_appends_share_one_order() {
    let disk = SimDisk::new(1);
    let dir = Path::new("/log");
    let (thread, received) = spawn(&disk, dir);
    let handle = thread.handle();
    let epoch = Path::new("/data/currentEpoch");
    handle.submit(WriteSeq(1), append(1, 10)).unwrap();
    handle.submit(WriteSeq(2), append(2, 10)).unwrap();
    handle
        .submit(WriteSeq(3), DurableWrite::TruncateAfter(Zxid(1)))
        .unwrap();
    handle
        .submit(
            WriteSeq(4),
            DurableWrite::SmallFile {
                path: epoch.into(),
                copy: Some("/log/copy".into()),
                bytes: b"1".to_vec(),
            },
        )
        .unwrap();
    handle
        .submit(WriteSeq(5), append(0x1_0000_0001, 10))
        .unwrap();
    until_durable(&received, 5);
    drop(thread);
    disk.reboot(Crash::Power);
    assert_eq!(zxids(&disk, dir).0, [1, 0x1_0000_0001]);
    for path in [epoch, Path::new("/log/copy")] {
        assert_eq!(disk.read_whole(path).unwrap().unwrap(), b"1");
    }
}

#[test]
fn a_full_disk_stops_acknowledgements_until_there_is_room() {
    let disk = SimDisk::new(1);
    let dir = Path::new("/log");
    let (thread, received) = spawn(&disk, dir);
    let handle = thread.handle();
    handle.submit(WriteSeq(1), append(1, 10)).unwrap();
    until_durable(&received, 1);
    disk.set_capacity(Some(disk.used_bytes()));
    let mut seq = 1;
    let full = loop {
        seq += 1;
        match handle.try_submit(WriteSeq(seq), append(seq.cast_signed(), 900)) {
            Ok(()) => {}
            Err(SubmitError::Full(_)) if handle.waiting_bytes() > 3000 => {
                // Full for good only once the trouble is known.
                match received.recv_timeout(Duration::from_millis(200)) {
                    Ok(LogEvent::Trouble(error)) => break error,
                    _ => seq -= 1,
                }
            }
            Err(SubmitError::Full(_)) => seq -= 1,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(full.is_disk_full(), "{full}");
    // Several attempts later it is as silent as before.
    let silence = received.recv_timeout(FAST.retry * 30);
    assert!(silence.is_err(), "{silence:?}");
    disk.set_capacity(None);
    let events = until_durable(&received, seq - 1);
    assert!(matches!(events[..], [LogEvent::Healed]), "{events:?}");
    thread.shutdown().unwrap();
    disk.reboot(Crash::Power);
    assert_eq!(zxids(&disk, dir), ((1..seq.cast_signed()).collect(), true));
}

#[test]
fn writes_out_of_order_end_the_thread() {
    let disk = SimDisk::new(1);
    let (thread, received) = spawn(&disk, Path::new("/log"));
    thread.handle().submit(WriteSeq(1), append(5, 10)).unwrap();
    let event = received.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(
        matches!(event, LogEvent::Failed(LogError::OutOfOrder { .. })),
        "{event:?}"
    );
    assert!(thread.shutdown().is_err());
}

#[test]
fn shutdown_on_a_dead_disk_ends_and_says_so() {
    let disk = SimDisk::new(1);
    let (thread, received) = spawn(&disk, Path::new("/log"));
    disk.crash_at(disk.operations());
    thread.handle().submit(WriteSeq(1), append(1, 10)).unwrap();
    assert!(matches!(
        received.recv_timeout(Duration::from_secs(20)),
        Ok(LogEvent::Trouble(_))
    ));
    assert!(matches!(thread.shutdown(), Err(LogError::Io { .. })));
}
