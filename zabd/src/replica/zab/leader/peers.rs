//! The learners of a leader, by connection.

use std::collections::BTreeMap;

use jute_codec::Zxid;

use crate::replica::ensemble::ServerId;
use crate::replica::zab::{LinkId, ZabParams};

/// How far the dialogue has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Nobody knows who it is.
    Unknown,
    /// It has said who it is.
    Named,
    /// It was told the epoch.
    Informed,
    /// It has agreed.
    Agreed,
    /// The log is asked for its place.
    LookingUp,
    /// It gets what it lacks, and everything new. NEWLEADER is on its way.
    Synchronising,
    /// It has the initial history.
    Synced,
    /// It serves clients.
    Active,
}

/// A learner.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) stage: Stage,
    pub(super) server: Option<ServerId>,
    pub(super) observer: bool,
    pub(super) accepted_epoch: i64,
    /// Whether a snapshot is what it is brought up to date by.
    pub(super) by_snapshot: bool,
    /// The newest transaction in its log when it came.
    pub(super) zxid: Zxid,
    /// The newest proposal that it has acknowledged.
    pub(super) acked: Zxid,
    /// A proposal that it has not acknowledged, and since when that is waited for.
    pub(super) waiting: Option<(Zxid, i64)>,
    /// Commits that it is told of once it is active, and who leads after them if they change that. A follower of version 3.8
    /// cannot take a COMMIT between NEWLEADER and UPTODATE: it begins anew, and again as long as there are writes
    /// (ZOOKEEPER-4394).
    pub(super) held: Vec<(Zxid, Option<ServerId>)>,
    /// When it is given up if nothing is heard of it.
    pub(super) deadline_ms: i64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<LinkId, Peer>);

impl Peers {
    /// Whether a learner may be brought up to date now: an observer may have to come again when others are.
    ///
    /// ZooKeeper: `LearnerSyncThrottler.beginSync`.
    pub(super) fn may_begin(&self, link: LinkId, by_snapshot: bool, params: &ZabParams) -> bool {
        let most = if by_snapshot {
            params.snap_syncs_max
        } else {
            params.diff_syncs_max
        };
        let under_way = self
            .0
            .values()
            .filter(|peer| peer.stage == Stage::Synchronising && peer.by_snapshot == by_snapshot);
        !self.0.get(&link).is_some_and(|peer| peer.observer) || under_way.count() < most
    }

    pub(super) fn add(&mut self, link: LinkId, deadline_ms: i64) {
        let peer = Peer {
            stage: Stage::Unknown,
            server: None,
            observer: false,
            accepted_epoch: 0,
            by_snapshot: false,
            zxid: Zxid::ZERO,
            acked: Zxid::ZERO,
            waiting: None,
            held: Vec::new(),
            deadline_ms,
        };
        self.0.insert(link, peer);
    }

    pub(super) fn remove(&mut self, link: LinkId) -> bool {
        self.0.remove(&link).is_some()
    }

    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Peer> {
        self.0.get_mut(&link)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Peer)> {
        self.0.iter().map(|(link, peer)| (*link, peer))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut Peer)> {
        self.0.iter_mut().map(|(link, peer)| (*link, peer))
    }

    pub(super) fn links(&self) -> impl Iterator<Item = LinkId> {
        self.0.keys().copied()
    }

    pub(super) fn link_of(&self, server: ServerId) -> Option<LinkId> {
        self.iter()
            .find(|(_, peer)| peer.server == Some(server))
            .map(|(link, _)| link)
    }

    pub(super) fn in_stage(&self, stage: Stage) -> Vec<LinkId> {
        self.iter()
            .filter(|(_, peer)| peer.stage == stage)
            .map(|(link, _)| link)
            .collect()
    }

    /// Learners that get everything new: observers, or the others.
    pub(super) fn forwarding(&self, observers: bool) -> impl Iterator<Item = LinkId> {
        self.iter()
            .filter(move |(_, peer)| {
                peer.stage >= Stage::Synchronising && peer.observer == observers
            })
            .map(|(link, _)| link)
    }

    pub(super) fn deadline(&self) -> i64 {
        let deadlines = self.0.values().map(|peer| peer.deadline_ms);
        deadlines.min().unwrap_or(i64::MAX)
    }

    pub(super) fn silent(&self, now_ms: i64) -> Vec<LinkId> {
        self.iter()
            .filter(|(_, peer)| now_ms >= peer.deadline_ms)
            .map(|(link, _)| link)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observers_come_again_when_others_are_brought_up_to_date() {
        let params = ZabParams {
            snap_syncs_max: 1,
            diff_syncs_max: 2,
            ..ZabParams::new(ServerId(1))
        };
        let mut peers = Peers::default();
        let [voter, observer] = [LinkId(1), LinkId(2)];
        for link in 1..=4 {
            peers.add(LinkId(link), 0);
        }
        peers.get_mut(observer).unwrap().observer = true;
        let may = |peers: &Peers| {
            [voter, observer]
                .map(|link| [true, false].map(|snap| peers.may_begin(link, snap, &params)))
        };
        assert_eq!(may(&peers), [[true; 2]; 2]);
        // One gets transactions,
        peers.get_mut(LinkId(3)).unwrap().stage = Stage::Synchronising;
        assert_eq!(may(&peers), [[true; 2]; 2]);
        // another a snapshot,
        let other = peers.get_mut(LinkId(4)).unwrap();
        other.stage = Stage::Synchronising;
        other.by_snapshot = true;
        assert_eq!(may(&peers), [[true; 2], [false, true]]);
        // or transactions, too.
        peers.get_mut(LinkId(4)).unwrap().by_snapshot = false;
        assert_eq!(may(&peers), [[true; 2], [true, false]]);
        peers.get_mut(LinkId(4)).unwrap().stage = Stage::Synced;
        assert_eq!(may(&peers), [[true; 2]; 2]);
    }
}
