//! Measures the transaction log: `cargo run --release -p zabd --example log_throughput -- <dir> [seconds]`.
//!
//! Writes to a directory of its own under `<dir>` and removes it. Prints a table: bytes a transaction, how
//! many are in flight, transactions and fsyncs a second, and what one batch takes, as the log thread sees it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jute_codec::Zxid;
use zabd::storage::disk::RealDisk;
use zabd::storage::log_thread::{DurableWrite, LogEvent, LogThread, LogThreadOptions, WriteSeq};
use zabd::storage::txn_log::{LogOptions, TxnLog};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = args
        .next()
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or(3);
    let dir = dir.join(format!("log-throughput-{}", std::process::id()));
    println!("txn_bytes in_flight   txns/s fsyncs/s  mean_us   max_us   MB/s");
    for (txn_bytes, in_flight) in [
        (200, 1),
        (200, 32),
        (200, 1024),
        (1200, 1),
        (1200, 32),
        (1200, 1024),
    ] {
        measure(&dir, txn_bytes, in_flight, Duration::from_secs(seconds))?;
        std::fs::remove_dir_all(&dir)?;
    }
    replay(&dir)?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn measure(dir: &Path, txn_bytes: usize, in_flight: u64, time: Duration) -> anyhow::Result<()> {
    let (log, _) = TxnLog::open(RealDisk, dir, LogOptions::default())?;
    let durable = Arc::new((Mutex::new(0), Condvar::new()));
    let for_events = Arc::clone(&durable);
    let thread = LogThread::spawn(log, LogThreadOptions::default(), move |event| match event {
        LogEvent::Durable(WriteSeq(seq)) => {
            *for_events.0.lock().expect("nobody panics holding it") = seq;
            for_events.1.notify_one();
        }
        other => panic!("{other:?}"),
    })?;
    let handle = thread.handle();
    let txn = Bytes::from(vec![0x5a; txn_bytes]);
    let started = Instant::now();
    let mut seq = 0;
    while started.elapsed() < time {
        {
            let acked = durable.0.lock().expect("nobody panics holding it");
            let room = durable
                .1
                .wait_while(acked, |acked| *acked + in_flight <= seq);
            drop(room.expect("nobody panics holding it"));
        }
        seq += 1;
        handle.submit(
            WriteSeq(seq),
            DurableWrite::Append(vec![(Zxid(seq.cast_signed()), txn.clone())]),
        )?;
        if seq % 50_000 == 0 {
            handle.purge(Zxid(seq.cast_signed() - 50_000));
        }
    }
    let stats = handle.stats();
    let of = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
    let elapsed = started.elapsed().as_secs_f64();
    let (txns, syncs) = (of(&stats.txns), of(&stats.count));
    println!(
        "{txn_bytes:9} {in_flight:9} {:8.0} {:8.0} {:8.0} {:8} {:6.1}",
        txns as f64 / elapsed,
        syncs as f64 / elapsed,
        of(&stats.total_us) as f64 / syncs.max(1) as f64,
        of(&stats.max_us),
        of(&stats.bytes) as f64 / elapsed / 1e6,
    );
    thread.shutdown()?;
    Ok(())
}

/// How fast a restart reads the log back.
fn replay(dir: &Path) -> anyhow::Result<()> {
    let txns = 1_000_000;
    let (mut log, _) = TxnLog::open(RealDisk, dir, LogOptions::default())?;
    for zxid in 1..=txns {
        log.append(Zxid(zxid), Bytes::from_static(&[0x5a; 200]))?;
        if zxid % 1000 == 0 {
            log.sync()?;
        }
    }
    drop(log);
    let started = Instant::now();
    let (log, _) = TxnLog::open(RealDisk, dir, LogOptions::default())?;
    let opened = started.elapsed();
    let read = log.read_after(Zxid::ZERO)?.filter(Result::is_ok).count();
    let elapsed = started.elapsed();
    println!(
        "open without seal {:.0} ms; replay of {read} txns of 200 B {:.0} ms ({:.1} M/s)",
        opened.as_secs_f64() * 1e3,
        elapsed.as_secs_f64() * 1e3,
        read as f64 / elapsed.as_secs_f64() / 1e6
    );
    Ok(())
}
