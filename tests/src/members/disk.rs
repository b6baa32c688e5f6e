//! A server's disk: a snapshot, a log behind it, epoch files; everything written reaches it in order, later.

use std::collections::VecDeque;

use bytes::Bytes;
use jute_codec::Zxid;
use zabd::replica::effect::WriteSeq;
use zabd::replica::zab::{Epochs, LogPlace};
use zabd::state::DigestMismatch;

use super::net::Staged;
use crate::sim::rng::Rng;

/// A transaction as it is in logs and on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) zxid: Zxid,
    pub(super) txn: Bytes,
}

/// The id of the newest of a history.
pub(super) fn last(history: &[Logged]) -> Zxid {
    history.last().map_or(Zxid::ZERO, |logged| logged.zxid)
}

/// How many of a history are not after `zxid`.
pub(super) fn through(history: &[Logged], zxid: Zxid) -> usize {
    history.partition_point(|logged| logged.zxid <= zxid)
}

/// What is written.
#[derive(Debug)]
pub(super) enum Written {
    Txn(Logged),
    Epochs(Epochs),
    /// Everything after this one is forgotten.
    Cut(Zxid),
    /// A leader's history takes the place of everything.
    History(Staged),
    /// Nothing: when all before it is written, this is looked into.
    Check(DigestMismatch),
}

/// Something to write.
#[derive(Debug)]
pub(super) struct Write {
    /// Its number; cuts and snapshots have none.
    pub(super) seq: Option<WriteSeq>,
    pub(super) what: Written,
}

/// The disk. What was handed to it is in `latest`, what is safe in `durable`.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) epochs: Epochs,
    pub(super) durable: Vec<Logged>,
    pub(super) latest: Vec<Logged>,
    pub(super) pending: VecDeque<Write>,
    /// So many of `pending` are being written.
    pub(super) flushing: usize,
    /// The snapshot has so many from the start.
    pub(super) folded: usize,
    /// The log begins behind so many.
    pub(super) purged: usize,
    /// The mark of a copy that was set aside, until there is another one.
    pub(super) lacks: bool,
    /// The snapshot is another than what its transactions come to.
    pub(super) altered: bool,
    pub(super) full: bool,
    /// The server was told that the log cannot be written.
    pub(super) told: bool,
    pub(super) slow_us: u64,
}

impl Disk {
    pub(super) fn push(&mut self, write: Write) {
        match &write.what {
            Written::Txn(logged) => self.latest.push(logged.clone()),
            Written::Cut(zxid) => {
                self.latest.truncate(through(&self.latest, *zxid));
                self.stay_within();
            }
            Written::Epochs(_) | Written::History(_) | Written::Check(_) => {}
        }
        self.pending.push_back(write);
    }

    /// The oldest of what is pending reaches the disk.
    pub(super) fn write_one(&mut self) -> Option<Write> {
        let write = self.pending.pop_front()?;
        self.flushing = self.flushing.saturating_sub(1);
        match &write.what {
            Written::Txn(logged) => self.durable.push(logged.clone()),
            Written::Epochs(epochs) => self.epochs = *epochs,
            Written::Cut(zxid) => self.durable.truncate(through(&self.durable, *zxid)),
            Written::History(staged) => {
                self.durable.clone_from(&staged.history);
                self.latest.clone_from(&staged.history);
                self.folded = staged.folded;
                self.purged = self.folded;
                self.altered = staged.altered;
            }
            Written::Check(_) => {}
        }
        Some(write)
    }

    /// Power is gone: what was safe stays, and of the rest perhaps the beginning.
    pub(super) fn crash(&mut self, rng: &mut Rng) {
        let kept = rng.place(self.pending.len() + 1);
        for _ in 0..kept {
            self.write_one();
        }
        self.pending.clear();
        self.flushing = 0;
        self.latest.clone_from(&self.durable);
        self.stay_within();
        (self.full, self.told) = (false, false);
    }

    /// Snapshot and log are set aside, durable mark first. The epochs are in a file of their own.
    pub(super) fn set_aside(&mut self) {
        self.lacks = true;
        self.altered = false;
        self.durable.clear();
        self.latest.clear();
        (self.folded, self.purged) = (0, 0);
    }

    /// The end of what was safe is lost all the same.
    pub(super) fn lose_tail(&mut self, most: usize) {
        let kept = self.durable.len().saturating_sub(most);
        self.durable.truncate(kept);
        self.latest.truncate(kept);
        self.stay_within();
    }

    fn stay_within(&mut self) {
        self.folded = self.folded.min(self.latest.len());
        self.purged = self.purged.min(self.folded);
    }

    /// The snapshot takes in some more, of the first `most`; then the log may lose what the snapshot has.
    pub(super) fn fold(&mut self, most: usize, rng: &mut Rng) {
        let most = most.min(self.durable.len());
        if most > self.folded {
            self.folded += rng.place(most - self.folded + 1);
        }
        if rng.chance(1, 2) {
            self.purged += rng.place(self.folded - self.purged + 1);
        }
    }

    pub(super) fn look_up(&self, zxid: Zxid) -> LogPlace {
        let found = through(&self.latest, zxid);
        match found.checked_sub(1) {
            Some(place) if place < self.purged => LogPlace::Unusable,
            Some(place) if self.latest[place].zxid == zxid => LogPlace::Exactly,
            Some(place) => LogPlace::After(self.latest[place].zxid),
            None if self.purged > 0 => LogPlace::Unusable,
            None if zxid == Zxid::ZERO => LogPlace::Exactly,
            None => LogPlace::After(Zxid::ZERO),
        }
    }

    /// What the log has after `after` up to `to`, if it has all of it.
    pub(super) fn read_log(&self, after: Zxid, to: Zxid) -> Option<Vec<Logged>> {
        let (from, end) = (through(&self.latest, after), through(&self.latest, to));
        let whole = from >= self.purged && last(&self.latest[..end]) == to;
        (whole && from <= end).then(|| self.latest[from..end].to_vec())
    }
}
