//! Votes are counted: what others say becomes the proposal, or a decision.

use std::collections::{BTreeMap, BTreeSet};

use jute_codec::quorum::{Notification, PeerState};

use super::vote::{Ballot, Candidate, NOBODY};
use super::{Election, ElectionEffect, Looking, notify};
use crate::replica::ensemble::{Configs, ServerId};

impl Election {
    /// Counts what a voter says while this server looks for a leader.
    pub(super) fn count(
        &mut self,
        now_ms: i64,
        from: ServerId,
        notification: &Notification,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
        let Some(looking) = &mut self.looking else {
            return;
        };
        let ballot = Ballot::of(notification);
        let is_behind =
            ballot.state == PeerState::Looking && ballot.vote.election_epoch < self.round;
        // What somebody says who does not vote is of no use to voters. In ZooKeeper it says so all the same, is answered
        // as an outsider, answers again, and so on until the voter is in the same round.
        if is_behind && configs.is_voter(self.params.me) {
            let vote = looking.proposal.vote(self.round);
            out.push(notify(from, PeerState::Looking, vote, configs));
        }
        if is_behind {
            return;
        }
        if configs.is_voter(ballot.vote.leader) {
            looking.astray.remove(&from);
        } else {
            if ballot.vote.leader != NOBODY {
                looking.astray.insert(from);
            }
            // One that votes only by the membership that is proposed proposes nobody before it has heard a vote of its
            // own round, and hears of none if that is later than this server's.
            let is_later = ballot.vote.election_epoch > self.round;
            if is_later && ballot.state == PeerState::Looking && configs.is_changing() {
                self.round = ballot.vote.election_epoch;
                looking.received.clear();
                looking.proposal = looking.initial;
                looking.finalize_at_ms = None;
                looking.wait_ms = self.params.min_interval_ms;
                self.broadcast(now_ms, configs, out);
                self.tally(now_ms, configs);
            }
            return;
        }
        match ballot.state {
            PeerState::Looking => self.count_looking(now_ms, from, ballot, configs, out),
            PeerState::Observing => {}
            PeerState::Following | PeerState::Leading => {
                self.count_settled(from, ballot, configs, out);
            }
        }
    }

    /// A vote of somebody who looks for a leader too, of this round or a later one.
    fn count_looking(
        &mut self,
        now_ms: i64,
        from: ServerId,
        ballot: Ballot,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
        let Some(looking) = &mut self.looking else {
            return;
        };
        let candidate = Candidate::of(ballot.vote);
        if looking.initial.is_damaged() || candidate.is_damaged() {
            return;
        }
        let is_new = if ballot.vote.election_epoch > self.round {
            self.round = ballot.vote.election_epoch;
            looking.received.clear();
            // Compared with what this server had to offer, not with what it has proposed since: that was of a round
            // that is over.
            looking.proposal = if candidate.is_better_than(looking.initial, &configs.committed) {
                candidate
            } else {
                looking.initial
            };
            true
        } else if candidate.is_better_than(looking.proposal, &configs.committed) {
            looking.proposal = candidate;
            true
        } else {
            false
        };
        let before = looking.received.insert(from, ballot.of_unknown_version());
        if is_new {
            looking.finalize_at_ms = None;
            looking.wait_ms = self.params.min_interval_ms;
            self.broadcast(now_ms, configs, out);
        } else if before.is_none()
            && looking.lost.is_some()
            && looking
                .proposal
                .is_better_than(candidate, &configs.committed)
        {
            // It may have missed the proposal, as it still had the lost leader when that came. In ZooKeeper it learns
            // of it when votes are sent again.
            let vote = looking.proposal.vote(self.round);
            out.push(notify(from, PeerState::Looking, vote, configs));
        }
        self.tally(now_ms, configs);
    }

    /// What somebody says who follows, or leads.
    ///
    /// ZooKeeper: `FastLeaderElection.receivedFollowingNotification`.
    fn count_settled(
        &mut self,
        from: ServerId,
        ballot: Ballot,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
        let Some(looking) = &mut self.looking else {
            return;
        };
        let vote = ballot.vote;
        let is_this_round = vote.election_epoch == self.round;
        if is_this_round {
            looking.received.insert(from, ballot.of_unknown_version());
        }
        looking.settled.insert(from, ballot);
        let decision = is_this_round
            .then_some(&looking.received)
            .into_iter()
            .chain([&looking.settled])
            .map(|votes| (votes, supporters(votes, ballot)))
            .find(|(votes, supporters)| {
                // The leader itself must say so: the others may not have noticed that it is gone.
                let is_leading = if vote.leader == self.params.me {
                    // They may not have noticed either that it was gone, and with it what it had.
                    is_this_round && !looking.initial.is_damaged()
                } else {
                    let leader = votes.get(&vote.leader);
                    leader.is_some_and(|ballot| ballot.state == PeerState::Leading)
                };
                is_leading && is_followed(vote.leader == self.params.me, configs, supporters)
            });
        if let Some((_, supporters)) = decision {
            self.round = vote.election_epoch;
            self.elect(vote, supporters, out);
        }
    }

    /// Looks whether a quorum is for the proposal, and for how long.
    pub(super) fn tally(&mut self, now_ms: i64, configs: &Configs) {
        let Some(looking) = &mut self.looking else {
            return;
        };
        let supporters = looking.supporters(self.round);
        if !configs.is_quorum(&supporters) {
            looking.finalize_at_ms = None;
        } else if looking.is_unanimous(&supporters, configs) {
            looking.finalize_at_ms = Some(now_ms);
        } else if looking.finalize_at_ms.is_none() {
            looking.finalize_at_ms = Some(now_ms.saturating_add(self.params.finalize_wait_ms));
        }
    }
}

impl Looking {
    /// Who is for the proposal.
    pub(super) fn supporters(&self, round: i64) -> BTreeSet<ServerId> {
        supporters(&self.received, Ballot::looking(self.proposal.vote(round)))
    }

    /// Whether a leader was lost, and all voters but it are for the proposal.
    fn is_unanimous(&self, supporters: &BTreeSet<ServerId>, configs: &Configs) -> bool {
        let mut voters = configs.committed.voters().chain(configs.proposed.voters());
        self.lost
            .is_some_and(|lost| voters.all(|voter| voter == lost || supporters.contains(&voter)))
    }
}

/// Whether these are enough for a leader that they say they have. To follow it a quorum of either membership will do,
/// where a change is under way: this server may know of one that the leader has not, and that will not come into force.
/// Whether it can lead is for itself to find out.
fn is_followed(is_me: bool, configs: &Configs, supporters: &BTreeSet<ServerId>) -> bool {
    configs.is_quorum(supporters)
        || !is_me
            && configs.is_changing()
            && (configs.committed.is_quorum(supporters) || configs.proposed.is_quorum(supporters))
}

/// Who has cast this vote.
///
/// ZooKeeper: `FastLeaderElection.getVoteTracker`.
fn supporters(votes: &BTreeMap<ServerId, Ballot>, ballot: Ballot) -> BTreeSet<ServerId> {
    votes
        .iter()
        .filter(|(_, other)| ballot.agrees_with(**other))
        .map(|(server, _)| *server)
        .collect()
}
