//! Fast leader election: which server is to lead.
//!
//! Every voter proposes the server with the newest history that it has heard of, itself at first. Once a quorum
//! proposes the same one in the same round, and nothing better turns up for a moment, that server leads. Servers that
//! have a leader answer those that look for one, so a latecomer joins without disturbing anybody.
//!
//! The moment is for votes that are still on their way. Once everybody has voted alike but the leader that was lost,
//! nothing is waited for: it is mostly dead, and if it is not, the others are a quorum without it. ZooKeeper waits all
//! the same, which is the longer part of a fail-over there.
//!
//! Here rounds begin and end, and votes are sent; `count` counts those of others, `vote` says which of two is better, and
//! `outsiders` how often a server that does not vote is answered.
//!
//! Owns the rounds and the votes. Sends nothing by itself and knows no connection: it is told of notifications and of
//! the time, and says what to send. That the winner is fit to lead is not settled here; discovery
//! makes sure of it, so the worst that a wrong winner costs is time.
//!
//! ZooKeeper: `FastLeaderElection`; sections 3 and 4 of `quorum-protocol.md`.

mod count;
#[cfg(test)]
mod golden_tests;
mod outsiders;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod tests;
mod vote;

use std::collections::{BTreeMap, BTreeSet};

use jute_codec::Zxid;
use jute_codec::quorum::notification::NOTIFICATION_VERSION;
use jute_codec::quorum::{Notification, PeerState};

use super::ensemble::{Configs, ServerId};
use outsiders::Outsiders;
pub use vote::Vote;
use vote::{Ballot, Candidate};

/// What does not change from one election to the next.
#[derive(Debug, Clone)]
pub struct ElectionParams {
    /// This server.
    pub me: ServerId,
    /// Whether this server is an observer by its configuration.
    pub is_observer: bool,
    /// How long nothing better must turn up before a quorum's choice holds, in milliseconds; ZooKeeper waits 200.
    pub finalize_wait_ms: i64,
    /// How long to wait before votes are sent a second time, in milliseconds; ZooKeeper's default is 200.
    ///
    /// ZooKeeper: `zookeeper.fastleader.minNotificationInterval`.
    pub min_interval_ms: i64,
    /// The wait doubles every time, up to this, in milliseconds; ZooKeeper's default is 60,000.
    ///
    /// ZooKeeper: `zookeeper.fastleader.maxNotificationInterval`.
    pub max_interval_ms: i64,
}

/// What this server has to offer as a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidacy {
    /// The newest transaction in its log. -1 if some of the log may be lost: then this server neither votes nor is
    /// voted for, and waits until others have a leader.
    pub zxid: Zxid,
    /// The newest epoch whose whole initial history it has.
    pub peer_epoch: i64,
}

/// One thing to do. Effects are carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ElectionEffect {
    /// Send to another server; a message to the same one that still waits may be thrown away.
    Notify {
        /// To whom; never this server.
        to: ServerId,
        /// What.
        notification: Notification,
    },
    /// Connect to all servers that are not connected.
    ConnectAll,
    /// The election is over. This server leads if the vote is for it, and follows or observes otherwise.
    Elected {
        /// What was decided.
        vote: Vote,
    },
}

/// One server's share in elections.
#[derive(Debug)]
pub struct Election {
    params: ElectionParams,
    // Rises with each election, and becomes that of the ensemble that this server joins; ZooKeeper calls it the
    // logical clock.
    round: i64,
    // What the last election that ended has decided.
    current: Option<Vote>,
    // Whether this server still keeps to it.
    is_serving: bool,
    // Whose votes decided it.
    supporters: BTreeSet<ServerId>,
    looking: Option<Looking>,
    outsiders: Outsiders,
}

/// An election that runs.
#[derive(Debug)]
struct Looking {
    initial: Candidate,
    proposal: Candidate,
    // The newest vote of each voter, all of this round.
    received: BTreeMap<ServerId, Ballot>,
    // What voters say who have a leader, of whatever round.
    settled: BTreeMap<ServerId, Ballot>,
    // Doubles every time that votes are sent without anything new. ZooKeeper keeps it when there is, and puts off the
    // next time whenever it hears from anybody, so talkative servers keep each other from saying what somebody missed.
    wait_ms: i64,
    notify_at_ms: i64,
    // Voters whose newest word is for a server that does not vote, as far as this one knows.
    astray: BTreeSet<ServerId>,
    // Set while a quorum is for the proposal.
    finalize_at_ms: Option<i64>,
    // Whom the election before this one has made the leader, if that was another server.
    lost: Option<ServerId>,
}

impl Election {
    /// A server in round 0 that looks for nobody yet.
    #[must_use]
    pub fn new(params: ElectionParams) -> Self {
        Self {
            outsiders: Outsiders::new(params.min_interval_ms),
            params,
            round: 0,
            current: None,
            is_serving: false,
            supporters: BTreeSet::new(),
            looking: None,
        }
    }

    /// Begins an election, in the next round; one that runs is abandoned.
    ///
    /// ZooKeeper: `FastLeaderElection.lookForLeader`.
    pub fn begin(
        &mut self,
        now_ms: i64,
        candidacy: Candidacy,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
        self.is_serving = false;
        self.round = self.round.saturating_add(1);
        let initial = Candidate::initial(&self.params, candidacy, configs);
        let leader = self.current.map(|vote| vote.leader);
        self.looking = Some(Looking {
            initial,
            proposal: initial,
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            astray: BTreeSet::new(),
            wait_ms: self.params.min_interval_ms,
            notify_at_ms: i64::MAX,
            finalize_at_ms: None,
            lost: leader.filter(|leader| *leader != self.params.me),
        });
        self.broadcast(now_ms, configs, out);
        self.tally(now_ms, configs);
    }

    /// Whether this server observes, from now on.
    ///
    /// ZooKeeper: `QuorumPeer.setLearnerType`.
    pub const fn set_observer(&mut self, is_observer: bool) {
        self.params.is_observer = is_observer;
    }

    /// A change of the membership has said who leads: no election is held. The vote is told as that of one.
    ///
    /// ZooKeeper: `QuorumPeer.updateVote`.
    pub fn designate(&mut self, leader: ServerId, candidacy: Candidacy) -> Vote {
        let vote = Vote {
            leader,
            zxid: candidacy.zxid,
            election_epoch: self.round,
            peer_epoch: candidacy.peer_epoch,
        };
        self.looking = None;
        self.current = Some(vote);
        self.is_serving = true;
        self.supporters = BTreeSet::new();
        vote
    }

    /// Takes a notification, whatever this server is doing.
    ///
    /// Who does not vote is answered and not counted. The membership in the message is not looked at here.
    ///
    /// ZooKeeper: `FastLeaderElection.Messenger.WorkerReceiver.run`.
    pub fn on_notification(
        &mut self,
        now_ms: i64,
        from: ServerId,
        notification: &Notification,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
        if from == self.params.me {
            return;
        }
        if !configs.is_voter(from) {
            self.answer_outsider(now_ms, from, configs, out);
        } else if self.looking.is_none() {
            self.answer_latecomer(from, notification, configs, out);
        } else {
            self.count(now_ms, from, notification, configs, out);
        }
    }

    /// To be called when [`Election::deadline`] has come; earlier it does nothing.
    ///
    /// `delivered` says whether the last message to at least one server has gone out. If none has, votes are not sent
    /// once more, but connections are looked after.
    ///
    /// ZooKeeper: `QuorumCnxManager.haveDelivered`.
    pub fn wakeup(
        &mut self,
        now_ms: i64,
        delivered: bool,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
        if now_ms < self.deadline() {
            return;
        }
        let Some(looking) = &mut self.looking else {
            return;
        };
        if looking.finalize_at_ms.is_some() {
            // The membership may be another by now.
            let supporters = looking.supporters(self.round);
            let vote = looking.proposal.vote(self.round);
            if configs.is_quorum(&supporters) {
                return self.elect(vote, supporters, out);
            }
            looking.finalize_at_ms = None;
            looking.notify_at_ms = now_ms.saturating_add(looking.wait_ms);
            return;
        }
        looking.wait_ms = looking
            .wait_ms
            .saturating_mul(2)
            .min(self.params.max_interval_ms);
        if delivered {
            self.broadcast(now_ms, configs, out);
            self.tally(now_ms, configs);
        } else {
            looking.notify_at_ms = now_ms.saturating_add(looking.wait_ms);
            out.push(ElectionEffect::ConnectAll);
        }
    }

    /// The role that the last election gave is over. Until the next one begins nobody is told of a leader.
    pub fn on_role_over(&mut self) {
        self.is_serving = false;
    }

    /// The synchronisation is over: from now on the vote is told with the epoch that was established, as all members
    /// must tell the same one.
    ///
    /// ZooKeeper: `QuorumPeer.updateElectionVote`.
    pub fn set_established(&mut self, epoch: i64) {
        if let Some(vote) = &mut self.current {
            vote.peer_epoch = epoch;
        }
    }

    /// Whether there is no quorum of those that are for servers which vote, and would be one with those that are for
    /// others: they go by a membership that this server does not know. There is nothing of the kind in ZooKeeper, where
    /// nobody is elected then.
    #[must_use]
    pub fn needs_those_astray(&self, configs: &Configs) -> bool {
        let Some(looking) = &self.looking else {
            return false;
        };
        let heard = looking.received.keys().copied();
        let mut heard: BTreeSet<ServerId> = heard
            .filter(|voter| !looking.astray.contains(voter))
            .collect();
        !configs.is_quorum(&heard) && {
            heard.extend(&looking.astray);
            configs.is_quorum(&heard)
        }
    }

    /// When to call [`Election::wakeup`], in milliseconds; `i64::MAX` if nothing waits.
    #[must_use]
    pub fn deadline(&self) -> i64 {
        self.looking.as_ref().map_or(i64::MAX, |looking| {
            looking.finalize_at_ms.unwrap_or(looking.notify_at_ms)
        })
    }

    /// Whether an election runs.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        self.looking.is_some()
    }

    /// What the last election that ended has decided; `None` before.
    ///
    /// ZooKeeper: `QuorumPeer.getCurrentVote`.
    #[must_use]
    pub fn vote(&self) -> Option<Vote> {
        self.current
    }

    /// Whose votes decided the last election that ended.
    ///
    /// ZooKeeper: `FastLeaderElection.leadingVoteSet`.
    #[must_use]
    pub fn supporters(&self) -> &BTreeSet<ServerId> {
        &self.supporters
    }

    fn elect(&mut self, vote: Vote, supporters: BTreeSet<ServerId>, out: &mut Vec<ElectionEffect>) {
        self.looking = None;
        self.current = Some(vote);
        self.is_serving = true;
        self.supporters = supporters;
        out.push(ElectionEffect::Elected { vote });
    }

    /// Sends the proposal to all voters, and counts it if this server is one of them.
    ///
    /// ZooKeeper: `FastLeaderElection.sendNotifications`.
    fn broadcast(&mut self, now_ms: i64, configs: &Configs, out: &mut Vec<ElectionEffect>) {
        let Some(looking) = &mut self.looking else {
            return;
        };
        looking.notify_at_ms = now_ms.saturating_add(looking.wait_ms);
        let me = self.params.me;
        let vote = looking.proposal.vote(self.round);
        let voters: BTreeSet<ServerId> = configs.voters().collect();
        for voter in &voters {
            if *voter != me {
                out.push(notify(*voter, PeerState::Looking, vote, configs));
            }
        }
        let is_damaged = looking.initial.is_damaged() || looking.proposal.is_damaged();
        if voters.contains(&me) && voters.contains(&vote.leader) && !is_damaged {
            looking.received.insert(me, Ballot::looking(vote));
        }
    }

    /// Answers a server that does not vote: with the leader if there is one, else with the proposal.
    ///
    /// ZooKeeper answers with the leader of the election before while a new one runs, and so sends observers to a
    /// server that is gone. It also answers without limit: two servers that take each other for outsiders never stop.
    fn answer_outsider(
        &mut self,
        now_ms: i64,
        to: ServerId,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
        let (state, vote) = match (&self.looking, self.served()) {
            (Some(looking), _) => (PeerState::Looking, looking.proposal.vote(self.round)),
            (None, Some(vote)) => (self.state_with(vote), vote),
            (None, None) => return,
        };
        if self.outsiders.may_answer(now_ms, to) {
            let election_epoch = self.round;
            let vote = Vote {
                election_epoch,
                ..vote
            };
            out.push(notify(to, state, vote, configs));
        }
    }

    /// Tells a voter who looks for a leader that there is one.
    fn answer_latecomer(
        &self,
        to: ServerId,
        notification: &Notification,
        configs: &Configs,
        out: &mut Vec<ElectionEffect>,
    ) {
        if notification.state != PeerState::Looking {
            return;
        }
        if let Some(vote) = self.served() {
            out.push(notify(to, self.state_with(vote), vote, configs));
        }
    }

    fn state_with(&self, vote: Vote) -> PeerState {
        if vote.leader == self.params.me {
            PeerState::Leading
        } else if self.params.is_observer {
            PeerState::Observing
        } else {
            PeerState::Following
        }
    }

    fn served(&self) -> Option<Vote> {
        self.current.filter(|_| self.is_serving)
    }
}

fn notify(to: ServerId, state: PeerState, vote: Vote, configs: &Configs) -> ElectionEffect {
    let members = configs.committed.text();
    let proposed = configs.is_changing().then(|| configs.proposed.text());
    ElectionEffect::Notify {
        to,
        notification: Notification {
            state,
            leader: vote.leader.0,
            zxid: vote.zxid,
            election_epoch: vote.election_epoch,
            peer_epoch: vote.peer_epoch,
            version: NOTIFICATION_VERSION,
            // Both must fit into a frame.
            proposed: proposed.filter(|proposed| members.len() + proposed.len() <= TEXTS_BYTES_MAX),
            members: Some(members),
        },
    }
}

/// What fits into a message of the election port, in bytes, behind the vote and the length of a second membership.
const TEXTS_BYTES_MAX: usize = 512 * 1024 - 44 - 4;
