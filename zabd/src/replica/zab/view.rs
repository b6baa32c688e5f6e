//! What may be asked of a server: its role, what it has, when it must be woken.

use std::collections::BTreeSet;

use jute_codec::Zxid;

#[cfg(doc)]
use super::ZabInput;
use super::{Epochs, LinkId, Role, State, Zab};
use crate::replica::ensemble::{Configs, ServerId};

impl Zab {
    /// When to step with [`ZabInput::Wakeup`], in the milliseconds of `now_ms`.
    #[must_use]
    pub fn deadline(&self) -> i64 {
        let role = match &self.state {
            State::Settling(_) | State::Electing => i64::MAX,
            State::Leading(leader) => leader.deadline(),
            State::Learning(learner) => learner.deadline(),
        };
        role.min(self.election.deadline())
    }

    /// The id that the next transaction gets; only of a leader that a quorum follows.
    #[must_use]
    pub fn next_zxid(&self) -> Option<Zxid> {
        match &self.state {
            State::Leading(leader) => leader.next_zxid(),
            _ => None,
        }
    }

    /// The role.
    #[must_use]
    pub const fn role(&self) -> Role {
        match &self.state {
            State::Settling(_) | State::Electing => Role::Looking,
            State::Leading(_) => Role::Leading,
            State::Learning(learner) if learner.is_observer() => Role::Observing,
            State::Learning(_) => Role::Following,
        }
    }

    /// The leader, or who is about to be.
    #[must_use]
    pub const fn leader(&self) -> Option<ServerId> {
        match &self.state {
            State::Settling(_) | State::Electing => None,
            State::Leading(_) => Some(self.core.params.me),
            State::Learning(learner) => Some(learner.leader()),
        }
    }

    /// Whether something that this server has acknowledged may be missing, so that it does not vote.
    #[must_use]
    pub const fn may_lack(&self) -> bool {
        self.core.may_lack
    }

    /// Whether the state is as of the end of the log and stays so, and lacks nothing that was acknowledged, and nobody
    /// has said that it is wrong: while this server looks for a leader. What it holds may never be committed.
    #[must_use]
    pub const fn is_waiting_whole(&self) -> bool {
        matches!(self.state, State::Electing) && !self.core.may_lack && self.core.doubt.is_none()
    }

    /// The leader whose tree is another than this server's, by what is on disk, if that is not settled yet.
    #[must_use]
    pub fn doubts(&self) -> Option<ServerId> {
        self.core.doubt.map(|doubt| doubt.leader)
    }

    /// Whether clients may be served.
    #[must_use]
    pub fn is_established(&self) -> bool {
        match &self.state {
            State::Settling(_) | State::Electing => false,
            State::Leading(leader) => leader.is_established(),
            State::Learning(learner) => learner.is_established(),
        }
    }

    /// Whether what this server has is what the ensemble has: a leader that has heard of a quorum within syncLimit.
    #[must_use]
    pub fn hears_quorum(&self, now_ms: i64) -> bool {
        match &self.state {
            State::Leading(leader) => leader.hears_quorum(now_ms, &self.core),
            _ => false,
        }
    }

    /// Where requests go: the connection to a leader, of a learner that serves clients.
    #[must_use]
    pub fn serving_link(&self) -> Option<LinkId> {
        match &self.state {
            State::Learning(learner) => learner.serving_link(),
            _ => None,
        }
    }

    /// Learners of a leader: who, whether an observer, whether it serves clients.
    #[must_use]
    pub fn learners(&self) -> Vec<(ServerId, bool, bool)> {
        match &self.state {
            State::Leading(leader) => leader.learners().collect(),
            _ => Vec::new(),
        }
    }

    /// The memberships that count.
    #[must_use]
    pub const fn configs(&self) -> &Configs {
        &self.core.configs
    }

    /// Of a leader that a quorum follows: servers that have everything and get everything new, this one among them.
    /// Observers are none of them.
    ///
    /// ZooKeeper: `Leader.isQuorumSynced`.
    #[must_use]
    pub fn synced(&self) -> BTreeSet<ServerId> {
        match &self.state {
            State::Leading(leader) if leader.is_established() => leader.synced(&self.core),
            _ => BTreeSet::new(),
        }
    }

    /// The epochs, as promised or about to be.
    #[must_use]
    pub const fn epochs(&self) -> Epochs {
        self.core.epochs
    }

    /// The newest transaction in the log, durable or on its way.
    #[must_use]
    pub const fn last_logged(&self) -> Zxid {
        self.core.history.logged()
    }

    /// The newest transaction given out to be applied.
    #[must_use]
    pub fn last_applied(&self) -> Zxid {
        self.core.history.known()
    }

    /// Syncs of a leader's learners that wait for a commit.
    #[must_use]
    pub fn pending_syncs(&self) -> usize {
        match &self.state {
            State::Leading(leader) => leader.pending_syncs(),
            _ => 0,
        }
    }

    /// Proposals of a leader that are not committed.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        match &self.state {
            State::Leading(leader) => leader.outstanding(),
            _ => 0,
        }
    }
}
