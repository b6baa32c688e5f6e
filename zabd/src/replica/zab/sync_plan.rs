//! How a learner is brought up to date.
//!
//! ZooKeeper: `LearnerHandler.syncFollower`, `queueCommittedProposals`; section 8 of `quorum-protocol.md`.

use jute_codec::Zxid;

use super::LogPlace;
use super::history::History;

/// What to do about a learner's history. What memory has after the place is sent in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncPlan {
    /// Its history is a part of ours: send what comes after.
    Diff {
        /// After this one.
        from: Zxid,
    },
    /// It has transactions that we do not have: they must go, then as above.
    Trunc {
        /// The newest one that it keeps.
        to: Zxid,
    },
    /// Ask the log on disk, then [`plan_from_log`].
    AskLog,
    /// Send everything.
    Snap,
}

/// Decides from what is in memory. `peer` is the newest transaction in the learner's log.
pub(super) fn plan(history: &History, peer: Zxid) -> SyncPlan {
    let newest = history.known();
    if peer == newest {
        return SyncPlan::Diff { from: peer };
    }
    // The counter zero of an epoch is where a leader begins: no transaction, nothing to forget.
    let is_transaction = peer.counter() != 0;
    if peer > newest {
        return if is_transaction && may_keep(newest, peer) {
            SyncPlan::Trunc { to: newest }
        } else {
            SyncPlan::Snap
        };
    }
    match history.at_or_before(peer) {
        Some(found) => around(found, peer),
        None => SyncPlan::AskLog,
    }
}

/// Decides from what the log said.
pub(super) fn plan_from_log(peer: Zxid, found: LogPlace) -> SyncPlan {
    match found {
        LogPlace::Exactly => SyncPlan::Diff { from: peer },
        LogPlace::After(before) => around(before, peer),
        LogPlace::Unusable => SyncPlan::Snap,
    }
}

/// `found` is our newest transaction not after the learner's.
fn around(found: Zxid, peer: Zxid) -> SyncPlan {
    if found == peer || peer.counter() == 0 {
        SyncPlan::Diff { from: found }
    } else if may_keep(found, peer) {
        SyncPlan::Trunc { to: found }
    } else {
        SyncPlan::Snap
    }
}

/// Whether a learner whose newest transaction is `peer` is sure to have `kept`: epochs have no gaps, but which of an
/// earlier epoch it has, nobody knows.
const fn may_keep(kept: Zxid, peer: Zxid) -> bool {
    kept.epoch() == peer.epoch() && kept.counter() != 0
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::SyncPlan::{AskLog, Diff, Snap, Trunc};
    use super::*;
    use crate::replica::effect::WriteSeq;

    const fn zxid(epoch: i64, counter: i64) -> Zxid {
        Zxid(epoch << 32 | counter)
    }

    /// (1,5) is the floor; then (1,6), (1,7), (3,1), (3,2).
    fn history() -> History {
        let mut history = History::new(zxid(1, 5), Vec::new(), 100, 100);
        for zxid in [zxid(1, 6), zxid(1, 7), zxid(3, 1), zxid(3, 2)] {
            history.know(zxid, Bytes::new(), WriteSeq(0), WriteSeq(0));
        }
        history
    }

    #[test]
    fn every_place_of_a_learner() {
        for (peer, expected) in [
            (zxid(3, 2), Diff { from: zxid(3, 2) }),
            (zxid(3, 1), Diff { from: zxid(3, 1) }),
            (zxid(1, 5), Diff { from: zxid(1, 5) }),
            // It was about to lead and proposed nothing.
            (zxid(3, 0), Diff { from: zxid(1, 7) }),
            (zxid(2, 0), Diff { from: zxid(1, 7) }),
            // Proposals that were lost with a leader.
            (zxid(3, 4), Trunc { to: zxid(3, 2) }),
            (zxid(1, 9), Trunc { to: zxid(1, 7) }),
            // All it has of its newest epoch must go, and which it has of the one before is unknown.
            (zxid(2, 1), Snap),
            (zxid(4, 1), Snap),
            (zxid(4, 0), Snap),
            (zxid(1, 4), AskLog),
            (Zxid::ZERO, AskLog),
        ] {
            assert_eq!(plan(&history(), peer), expected, "{peer}");
        }
    }

    #[test]
    fn what_the_log_has_decides_the_same_way() {
        let peer = zxid(2, 4);
        for (found, expected) in [
            (LogPlace::Exactly, Diff { from: peer }),
            (LogPlace::After(zxid(2, 3)), Trunc { to: zxid(2, 3) }),
            (LogPlace::After(zxid(1, 9)), Snap),
            (LogPlace::Unusable, Snap),
        ] {
            assert_eq!(plan_from_log(peer, found), expected, "{found:?}");
        }
        let begun = plan_from_log(zxid(2, 0), LogPlace::After(zxid(1, 9)));
        assert_eq!(begun, Diff { from: zxid(1, 9) });
    }

    #[test]
    fn an_empty_history_has_nothing_to_keep() {
        let empty = History::new(Zxid::ZERO, Vec::new(), 100, 100);
        assert_eq!(plan(&empty, Zxid::ZERO), Diff { from: Zxid::ZERO });
        assert_eq!(plan(&empty, zxid(0, 3)), Snap);
    }
}
