//! What a server has logged, and the newest of it in memory.

use std::collections::VecDeque;

use bytes::Bytes;
use jute_codec::Zxid;

use crate::replica::effect::WriteSeq;

/// The transactions that a server has, as far as the order of things is concerned.
///
/// Everything up to [`History::known`] is in the state. What is logged beyond it belongs to the role that the server
/// plays: proposals of which nobody knows yet whether they will be committed.
///
/// ZooKeeper: `ZKDatabase.committedLog`, `DataTree.lastProcessedZxid`.
#[derive(Debug)]
pub(super) struct History {
    logged: Zxid,
    // `recent` has everything after this one, up to `known`.
    floor: Zxid,
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    recent_max: usize,
    recent_bytes_max: usize,
}

/// A transaction kept in memory.
#[derive(Debug)]
pub(super) struct Recent {
    pub(super) zxid: Zxid,
    pub(super) txn: Bytes,
    // It may go from memory once it is on disk, where learners can be served from as well.
    write: WriteSeq,
}

impl History {
    /// What was found on disk, and the end of it in memory.
    pub(super) fn new(
        last: Zxid,
        recent: Vec<(Zxid, Bytes)>,
        recent_max: usize,
        recent_bytes_max: usize,
    ) -> Self {
        let mut history = Self {
            logged: last,
            floor: last,
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_max,
            recent_bytes_max,
        };
        // The oldest only says where the others begin.
        let mut recent = recent.into_iter();
        if let Some((oldest, _)) = recent.next() {
            history.floor = oldest;
            for (zxid, txn) in recent {
                history.know(zxid, txn, WriteSeq(0), WriteSeq(0));
            }
        }
        debug_assert_eq!(
            history.known(),
            last,
            "what is in memory ends where the log does"
        );
        history
    }

    /// The newest transaction in the log, durable or on its way.
    pub(super) const fn logged(&self) -> Zxid {
        self.logged
    }

    pub(super) fn log(&mut self, zxid: Zxid) {
        self.logged = zxid;
    }

    /// The newest transaction that was given out to be applied.
    pub(super) fn known(&self) -> Zxid {
        self.recent.back().map_or(self.floor, |recent| recent.zxid)
    }

    /// Memory has everything after this one.
    pub(super) const fn floor(&self) -> Zxid {
        self.floor
    }

    /// What is in memory after `zxid`, oldest first.
    pub(super) fn after(&self, zxid: Zxid) -> impl Iterator<Item = &Recent> {
        let start = self.recent.partition_point(|recent| recent.zxid <= zxid);
        self.recent.range(start..)
    }

    /// The newest transaction not after `zxid`, if memory reaches that far back.
    pub(super) fn at_or_before(&self, zxid: Zxid) -> Option<Zxid> {
        if zxid < self.floor {
            return None;
        }
        let end = self.recent.partition_point(|recent| recent.zxid <= zxid);
        Some(
            end.checked_sub(1)
                .map_or(self.floor, |last| self.recent[last].zxid),
        )
    }

    /// A transaction is given out to be applied. Of the oldest in memory those go that are too many, if on disk.
    ///
    /// A gap before it, as logs of old have them, is nothing to hand on: memory begins behind it (ZOOKEEPER-4925).
    pub(super) fn know(&mut self, zxid: Zxid, txn: Bytes, write: WriteSeq, durable: WriteSeq) {
        if !follows(self.known(), zxid) {
            self.recent.clear();
            self.recent_bytes = 0;
            self.floor = zxid;
            return;
        }
        self.recent_bytes += txn.len();
        self.recent.push_back(Recent { zxid, txn, write });
        while self.recent.len() > self.recent_max || self.recent_bytes > self.recent_bytes_max {
            let Some(oldest) = self.recent.pop_front_if(|oldest| oldest.write <= durable) else {
                break;
            };
            self.recent_bytes -= oldest.txn.len();
            self.floor = oldest.zxid;
        }
    }

    /// Everything after `zxid` is gone, from log and state.
    pub(super) fn cut(&mut self, zxid: Zxid) {
        while let Some(newest) = self.recent.pop_back_if(|newest| newest.zxid > zxid) {
            self.recent_bytes -= newest.txn.len();
        }
        if self.recent.is_empty() {
            self.floor = zxid;
        }
        self.logged = zxid;
    }

    /// A snapshot has taken the place of everything.
    pub(super) fn replace(&mut self, zxid: Zxid) {
        self.recent.clear();
        self.recent_bytes = 0;
        self.floor = zxid;
        self.logged = zxid;
    }
}

/// Whether `zxid` may follow `last`: the next of its epoch, or the first ones of a later one.
///
/// The first of an epoch is 1; some Java histories begin later, so any of a later epoch will do.
pub(super) fn follows(last: Zxid, zxid: Zxid) -> bool {
    last.0.checked_add(1) == Some(zxid.0) || zxid.epoch() > last.epoch()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(last: i64, recent_max: usize) -> History {
        History::new(Zxid(last), Vec::new(), recent_max, 1 << 20)
    }

    fn know(history: &mut History, zxids: impl IntoIterator<Item = i64>, durable: u64) {
        for zxid in zxids {
            let write = WriteSeq(zxid.cast_unsigned());
            history.log(Zxid(zxid));
            history.know(
                Zxid(zxid),
                Bytes::from_static(b"x"),
                write,
                WriteSeq(durable),
            );
        }
    }

    fn zxids(history: &History, after: i64) -> Vec<i64> {
        history
            .after(Zxid(after))
            .map(|recent| recent.zxid.0)
            .collect()
    }

    #[test]
    fn memory_keeps_the_newest_and_all_that_is_not_on_disk() {
        let mut history = history(4, 3);
        know(&mut history, 5..=9, 6);
        assert_eq!((history.floor(), history.known()), (Zxid(6), Zxid(9)));
        assert_eq!(zxids(&history, 7), [8, 9]);
        know(&mut history, [10, 11], 6);
        assert_eq!(zxids(&history, 0), [7, 8, 9, 10, 11]);
        know(&mut history, [12], 12);
        assert_eq!(zxids(&history, 0), [10, 11, 12]);
    }

    #[test]
    fn places_are_found_within_memory_only() {
        let mut history = history(4, 10);
        know(&mut history, [5, 6, 0x1_0000_0001], 0);
        for (asked, found) in [
            (3, None),
            (4, Some(4)),
            (6, Some(6)),
            (9, Some(6)),
            (0x1_0000_0005, Some(0x1_0000_0001)),
        ] {
            assert_eq!(
                history.at_or_before(Zxid(asked)),
                found.map(Zxid),
                "{asked}"
            );
        }
    }

    #[test]
    fn a_cut_below_memory_leaves_none() {
        let mut history = history(4, 10);
        know(&mut history, 5..=9, 9);
        history.cut(Zxid(7));
        assert_eq!((history.known(), history.logged()), (Zxid(7), Zxid(7)));
        history.cut(Zxid(2));
        assert_eq!((history.floor(), history.known()), (Zxid(2), Zxid(2)));
        history.replace(Zxid(30));
        assert_eq!((history.floor(), history.logged()), (Zxid(30), Zxid(30)));
    }

    #[test]
    fn recovered_transactions_are_in_memory() {
        let recent = [7, 8, 9].map(|zxid| (Zxid(zxid), Bytes::new()));
        let history = History::new(Zxid(9), recent.into(), 10, 100);
        assert_eq!((history.floor(), history.known()), (Zxid(7), Zxid(9)));
    }

    #[test]
    fn memory_begins_behind_a_gap() {
        let recent = [5, 6, 8, 9].map(|zxid| (Zxid(zxid), Bytes::new()));
        let history = History::new(Zxid(9), recent.into(), 10, 100);
        assert_eq!((history.floor(), history.known()), (Zxid(8), Zxid(9)));
        assert_eq!(zxids(&history, 0), [9]);
        assert_eq!(history.at_or_before(Zxid(6)), None);
    }

    #[test]
    fn what_may_follow() {
        let last = Zxid(0x5_0000_0003);
        assert!(follows(last, Zxid(0x5_0000_0004)));
        assert!(follows(last, Zxid(0x6_0000_0001)));
        for wrong in [0x5_0000_0003, 0x5_0000_0005, 0x4_0000_0009] {
            assert!(!follows(last, Zxid(wrong)), "{wrong:#x}");
        }
    }
}
