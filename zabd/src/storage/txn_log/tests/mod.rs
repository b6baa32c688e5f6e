//! The log on a simulated disk.

mod basics;
mod crashes;
mod damage;
mod failures;
mod places;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use jute_codec::Zxid;

use super::{Durability, LogError, LogOptions, Recovered, TxnLog};
use crate::storage::disk::SimDisk;

const DIR: &str = "/log";

/// Small segments, so that a few transactions fill several.
const OPTIONS: LogOptions = LogOptions {
    segment_bytes: 16384,
    inline_segment_bytes: 8192,
    durability: Durability::Fsync,
};

fn dir() -> PathBuf {
    PathBuf::from(DIR)
}

fn try_open(disk: &SimDisk) -> Result<(TxnLog<SimDisk>, Recovered), LogError> {
    TxnLog::open(disk.clone(), Path::new(DIR), OPTIONS)
}

fn open(disk: &SimDisk) -> (TxnLog<SimDisk>, Recovered) {
    try_open(disk).unwrap()
}

/// Contents that no other transaction has.
fn txn(zxid: Zxid, len: usize) -> Bytes {
    let mut bytes = format!("txn {zxid} ").into_bytes();
    let stamp = zxid.0.to_le_bytes();
    bytes.extend(stamp.iter().cycle().take(len.saturating_sub(bytes.len())));
    bytes.into()
}

fn append(log: &mut TxnLog<SimDisk>, zxids: impl IntoIterator<Item = i64>, len: usize) {
    for zxid in zxids {
        log.append(Zxid(zxid), txn(Zxid(zxid), len)).unwrap();
    }
}

fn try_contents(log: &TxnLog<SimDisk>, after: Zxid) -> Result<Vec<(Zxid, Bytes)>, LogError> {
    log.read_after(after)?.collect()
}

fn zxids(log: &TxnLog<SimDisk>) -> Vec<i64> {
    let oldest = log.index().oldest_base().unwrap_or(Zxid::ZERO);
    try_contents(log, oldest)
        .unwrap()
        .into_iter()
        .map(|(zxid, _)| zxid.0)
        .collect()
}

fn segment_files(disk: &SimDisk) -> Vec<PathBuf> {
    use crate::storage::disk::Disk;
    let names = disk.list(Path::new(DIR)).unwrap();
    names
        .iter()
        .filter(|name| name.ends_with(".zlog"))
        .map(|name| dir().join(name))
        .collect()
}
