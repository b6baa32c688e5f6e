//! Looking into the log from its end: where a learner's newest transaction is, and the newest transactions of all.

use std::collections::VecDeque;

use bytes::Bytes;
use jute_codec::Zxid;

use super::error::LogError;
use super::format::record_bytes;
use super::reader::LogIndex;
use crate::storage::disk::Disk;

/// What the log has of a history that ends with some transaction.
#[derive(Debug)]
pub enum LogPlace {
    /// That very transaction, as a record or as what the log continues; and everything after it.
    Exactly,
    /// Not that one; the newest one before it is this, and everything after it is there.
    After(Zxid),
    /// Nothing that would help.
    Unusable(Unusable),
}

/// Why the log does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// It begins later, or cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is more of it than a snapshot is worth.
    #[error("the log after {after} is longer than {bytes_max} bytes")]
    TooLong {
        /// What comes after this one.
        after: Zxid,
        /// How long it might be.
        bytes_max: u64,
    },
}

impl<D: Disk> LogIndex<D> {
    /// Looks for `zxid`, for somebody who is then sent everything after it, which may come to `bytes_max` bytes of the
    /// log at most. That much of the log is read.
    ///
    /// ZooKeeper: `ZKDatabase.getProposalsFromTxnLog`, which counts whole files instead.
    #[must_use]
    pub fn look_up(&self, zxid: Zxid, bytes_max: Option<u64>) -> LogPlace {
        self.try_look_up(zxid, bytes_max)
            .unwrap_or_else(LogPlace::Unusable)
    }

    fn try_look_up(&self, zxid: Zxid, bytes_max: Option<u64>) -> Result<LogPlace, Unusable> {
        let bases = self.segment_bases();
        let base = match bases.iter().rev().find(|base| **base <= zxid) {
            Some(base) => *base,
            // Without any segment the history is empty; else it begins later, which the reader says.
            None if bases.is_empty() => Zxid::ZERO,
            None => zxid,
        };
        let (mut floor, mut bytes) = (base, 0);
        for record in self.read_after(base)? {
            let (found, txn) = record?;
            if found <= zxid {
                floor = found;
                continue;
            }
            let Some(bytes_max) = bytes_max else {
                break;
            };
            bytes += record_bytes(txn.len()) as u64;
            if bytes > bytes_max {
                return Err(Unusable::TooLong {
                    after: floor,
                    bytes_max,
                });
            }
        }
        Ok(if floor == zxid {
            LogPlace::Exactly
        } else {
            LogPlace::After(floor)
        })
    }

    /// The newest durable transactions, oldest first and without a gap: at most `txns_max`, whose bytes together are at
    /// most `bytes_max`. For a leader's memory of what it may be asked for.
    ///
    /// ZooKeeper: `ZKDatabase.committedLog`.
    ///
    /// # Errors
    /// Damage; the disk's.
    pub fn tail(&self, txns_max: usize, bytes_max: usize) -> Result<Vec<(Zxid, Bytes)>, LogError> {
        let mut through = self.durable_zxid();
        let mut tail = Tail {
            txns: VecDeque::new(),
            txns_left: txns_max,
            bytes_left: bytes_max,
        };
        // Records can be read forwards only, so segment by segment from the newest.
        for base in self.segment_bases().into_iter().rev() {
            if !tail.prepend(self.read_range(base, through)?)? {
                break;
            }
            through = base;
        }
        Ok(tail.txns.into())
    }
}

struct Tail {
    txns: VecDeque<(Zxid, Bytes)>,
    txns_left: usize,
    bytes_left: usize,
}

impl Tail {
    /// Puts the newest of `records` before what is there; whether older ones may follow.
    fn prepend(
        &mut self,
        records: impl Iterator<Item = Result<(Zxid, Bytes), LogError>>,
    ) -> Result<bool, LogError> {
        let (mut newest, mut bytes, mut room) = (VecDeque::new(), 0, true);
        for record in records {
            let (zxid, txn) = record?;
            bytes += txn.len();
            newest.push_back((zxid, txn));
            while newest.len() > self.txns_left || bytes > self.bytes_left {
                let Some((_, dropped)) = newest.pop_front() else {
                    break;
                };
                bytes -= dropped.len();
                room = false;
            }
        }
        self.txns_left -= newest.len();
        self.bytes_left -= bytes;
        newest.append(&mut self.txns);
        self.txns = newest;
        Ok(room)
    }
}
