//! A server's disk: a snapshot, a log behind it, epoch files; everything written reaches it in order, later.

use std::collections::VecDeque;

use jute_codec::Zxid;
use zabd::replica::effect::WriteSeq;
use zabd::replica::zab::{Epochs, LogPlace};

use super::book::Written;
use super::entry::{Entry, last, through};
use super::net::Extent;
use crate::sim::rng::Rng;

/// Something to write.
#[derive(Debug)]
pub(super) struct Write {
    /// Its number; cuts and snapshots have none.
    pub(super) seq: Option<WriteSeq>,
    pub(super) what: Written,
    /// Of a leader's history: what is what in it.
    pub(super) extent: Option<Extent>,
}

/// The disk. What was handed to it is in `latest`, what is safe in `durable`.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) epochs: Epochs,
    pub(super) durable: Vec<Entry>,
    pub(super) latest: Vec<Entry>,
    pub(super) pending: VecDeque<Write>,
    /// So many of `pending` are being written.
    pub(super) flushing: usize,
    /// The snapshot has so many from the start.
    pub(super) folded: usize,
    /// The log begins behind so many.
    pub(super) purged: usize,
    pub(super) full: bool,
    /// Something that was on it is missing.
    pub(super) lacks: bool,
    /// The server was told that the log cannot be written.
    pub(super) told: bool,
    pub(super) slow_us: u64,
    /// Snapshots of a leader stay in memory.
    pub(super) loses_snapshots: bool,
}

/// A copy that was set aside.
#[derive(Debug)]
pub(super) struct Aside {
    history: Vec<Entry>,
    folded: usize,
    purged: usize,
    /// The newest epoch whose history it has.
    current: i64,
}

impl Disk {
    /// Everything on it is found damaged, and set aside. What was promised stays.
    pub(super) fn set_aside(&mut self) -> Aside {
        self.latest.clear();
        self.lacks = true;
        Aside {
            history: std::mem::take(&mut self.durable),
            folded: std::mem::take(&mut self.folded),
            purged: std::mem::take(&mut self.purged),
            current: self.epochs.current,
        }
    }

    /// Somebody has made the copy whole and puts it back, unless the server has taken over another one since.
    pub(super) fn put_back(&mut self, aside: Aside) -> bool {
        let is_without = self.lacks && self.durable.is_empty() && self.latest.is_empty();
        if !is_without || self.epochs.current != aside.current {
            return false;
        }
        self.latest.clone_from(&aside.history);
        self.durable = aside.history;
        (self.folded, self.purged) = (aside.folded, aside.purged);
        self.lacks = false;
        true
    }

    pub(super) fn push(&mut self, write: Write) {
        match &write.what {
            Written::Entry(entry) => self.latest.push(*entry),
            Written::Cut(zxid) => {
                self.latest.truncate(through(&self.latest, *zxid));
                self.stay_within();
            }
            Written::Epochs(_) | Written::History(_) => {}
        }
        self.pending.push_back(write);
    }

    /// The oldest of what is pending reaches the disk.
    pub(super) fn write_one(&mut self) -> Option<Write> {
        let write = self.pending.pop_front()?;
        self.flushing = self.flushing.saturating_sub(1);
        match &write.what {
            Written::Entry(entry) => self.durable.push(*entry),
            Written::Epochs(epochs) => self.epochs = *epochs,
            Written::Cut(zxid) => self.durable.truncate(through(&self.durable, *zxid)),
            Written::History(history) => {
                if !self.loses_snapshots {
                    self.durable.clone_from(history);
                }
                self.latest.clone_from(history);
                self.folded = write.extent.map_or(0, |extent| extent.folded);
                self.purged = self.folded;
            }
        }
        Some(write)
    }

    /// Whether this is lost on its way to the disk, on purpose.
    pub(super) const fn loses(&self, what: &Written) -> bool {
        self.loses_snapshots && matches!(what, Written::History(_))
    }

    /// Power is gone: what was safe stays, and of the rest perhaps the beginning.
    pub(super) fn crash(&mut self, rng: &mut Rng) -> Vec<Write> {
        let kept = rng.place(self.pending.len() + 1);
        let written: Vec<Write> = (0..kept).filter_map(|_| self.write_one()).collect();
        let written = written
            .into_iter()
            .filter(|write| !self.loses(&write.what))
            .collect();
        self.pending.clear();
        self.flushing = 0;
        self.latest.clone_from(&self.durable);
        self.stay_within();
        (self.full, self.told) = (false, false);
        written
    }

    pub(super) fn stay_within(&mut self) {
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
    pub(super) fn read_log(&self, after: Zxid, to: Zxid) -> Option<Vec<Entry>> {
        let (from, end) = (through(&self.latest, after), through(&self.latest, to));
        let whole = from >= self.purged && last(&self.latest[..end]) == to;
        (whole && from <= end).then(|| self.latest[from..end].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(len: u64) -> Disk {
        let entries = (1..=len).map(|number| Entry {
            zxid: Zxid((1 << 32) + number.cast_signed()),
            number,
        });
        let durable: Vec<Entry> = entries.collect();
        Disk {
            latest: durable.clone(),
            durable,
            ..Disk::default()
        }
    }

    fn zxid(counter: i64) -> Zxid {
        Zxid((1 << 32) + counter)
    }

    #[test]
    fn the_log_says_what_it_has() {
        let mut disk = disk(5);
        assert_eq!(disk.look_up(zxid(3)), LogPlace::Exactly);
        assert_eq!(disk.look_up(zxid(9)), LogPlace::After(zxid(5)));
        assert_eq!(disk.look_up(Zxid(7)), LogPlace::After(Zxid::ZERO));
        assert_eq!(disk.look_up(Zxid::ZERO), LogPlace::Exactly);
        (disk.folded, disk.purged) = (3, 2);
        assert_eq!(disk.look_up(Zxid::ZERO), LogPlace::Unusable);
        assert_eq!(disk.look_up(zxid(2)), LogPlace::Unusable);
        assert_eq!(disk.look_up(zxid(3)), LogPlace::Exactly);
        assert_eq!(disk.read_log(zxid(1), zxid(4)), None);
        assert_eq!(
            disk.read_log(zxid(2), zxid(4)).map(|read| read.len()),
            Some(2)
        );
        assert_eq!(disk.read_log(zxid(2), zxid(6)), None);
    }

    #[test]
    fn a_crash_loses_the_end_of_what_was_not_safe() {
        let mut lengths = Vec::new();
        for seed in 0..50 {
            let mut disk = disk(2);
            for number in 3..=5 {
                let entry = Entry {
                    zxid: zxid(number),
                    number: number.cast_unsigned(),
                };
                disk.push(Write {
                    seq: Some(WriteSeq(number.cast_unsigned())),
                    what: Written::Entry(entry),
                    extent: None,
                });
            }
            assert_eq!((disk.durable.len(), disk.latest.len()), (2, 5));
            disk.crash(&mut Rng::new(seed));
            assert_eq!(disk.durable, disk.latest);
            lengths.push(disk.durable.len());
        }
        lengths.sort_unstable();
        lengths.dedup();
        assert_eq!(lengths, [2, 3, 4, 5]);
    }
}
