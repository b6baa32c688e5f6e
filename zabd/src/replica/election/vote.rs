//! Votes: which of two is better, and when two are one.

use jute_codec::Zxid;
use jute_codec::quorum::{Notification, PeerState};

use super::{Candidacy, ElectionParams};
use crate::replica::ensemble::{Configs, Members, ServerId};

/// A vote for a server as leader.
///
/// ZooKeeper: `Vote`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// For whom.
    pub leader: ServerId,
    /// The newest transaction in that server's log, when it was proposed.
    pub zxid: Zxid,
    /// The round of the election.
    pub election_epoch: i64,
    /// That server's current epoch when it was proposed; once it leads, the epoch that it has established.
    pub peer_epoch: i64,
}

/// Somebody who may be proposed, in whatever round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    leader: ServerId,
    zxid: Zxid,
    peer_epoch: i64,
}

impl Candidate {
    /// What a server proposes before it has heard of anybody: itself, or nobody if it does not vote.
    ///
    /// Who votes only by a membership that is proposed may have the newest history, and then has to lead. ZooKeeper takes
    /// it for none that votes.
    ///
    /// ZooKeeper: `FastLeaderElection.getInitId`, `getInitLastLoggedZxid`, `getPeerEpoch`.
    pub(super) fn initial(
        params: &ElectionParams,
        candidacy: Candidacy,
        configs: &Configs,
    ) -> Self {
        let leader = if configs.is_voter(params.me) && !params.is_observer {
            params.me
        } else {
            NOBODY
        };
        let (zxid, peer_epoch) = if params.is_observer {
            (Zxid(i64::MIN), i64::MIN)
        } else {
            (candidacy.zxid, candidacy.peer_epoch)
        };
        Self {
            leader,
            zxid,
            peer_epoch,
        }
    }

    pub(super) fn of(vote: Vote) -> Self {
        Self {
            leader: vote.leader,
            zxid: vote.zxid,
            peer_epoch: vote.peer_epoch,
        }
    }

    /// Whether some of the candidate's log may be lost.
    pub(super) fn is_damaged(self) -> bool {
        self.zxid == DAMAGED
    }

    /// Whether the newer history is this candidate's. Between equal ones that goes first which votes by the membership in
    /// force, whom everybody knows, then the greater id.
    ///
    /// ZooKeeper: `FastLeaderElection.totalOrderPredicate`.
    pub(super) fn is_better_than(self, other: Self, members: &Members) -> bool {
        let rank = |candidate: Self| {
            let is_known = members.is_voter(candidate.leader);
            (
                candidate.peer_epoch,
                candidate.zxid,
                is_known,
                candidate.leader,
            )
        };
        members.weight(self.leader) != 0 && rank(self) > rank(other)
    }

    pub(super) fn vote(self, round: i64) -> Vote {
        Vote {
            leader: self.leader,
            zxid: self.zxid,
            election_epoch: round,
            peer_epoch: self.peer_epoch,
        }
    }
}

/// A vote as somebody has cast it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ballot {
    pub(super) vote: Vote,
    pub(super) state: PeerState,
    has_version: bool,
}

impl Ballot {
    pub(super) fn of(notification: &Notification) -> Self {
        Self {
            vote: Vote {
                leader: ServerId(notification.leader),
                zxid: notification.zxid,
                election_epoch: notification.election_epoch,
                peer_epoch: notification.peer_epoch,
            },
            state: notification.state,
            has_version: notification.version > 0,
        }
    }

    pub(super) fn looking(vote: Vote) -> Self {
        Self {
            vote,
            state: PeerState::Looking,
            has_version: false,
        }
    }

    /// The same without the message's version, as votes of the own round are kept.
    pub(super) fn of_unknown_version(self) -> Self {
        Self {
            has_version: false,
            ..self
        }
    }

    /// Whether both are the same vote.
    ///
    /// Of servers that have a leader, round and zxid do not count: they joined at different times. Their epochs count
    /// unless just one of both votes has a version; servers without versions tell another epoch.
    ///
    /// ZooKeeper: `Vote.equals`.
    pub(super) fn agrees_with(self, other: Self) -> bool {
        if [self.state, other.state].contains(&PeerState::Looking) {
            return self.vote == other.vote;
        }
        self.vote.leader == other.vote.leader
            && (self.has_version != other.has_version
                || self.vote.peer_epoch == other.vote.peer_epoch)
    }
}

/// Whom a server proposes that does not vote.
pub(super) const NOBODY: ServerId = ServerId(i64::MIN);

/// The newest transaction of a server whose log may have lost some.
const DAMAGED: Zxid = Zxid(-1);
