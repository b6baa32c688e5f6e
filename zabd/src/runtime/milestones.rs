//! How long elections and synchronisations take, and how often they happen: for operators.
//!
//! ZooKeeper: `ServerMetrics`, as `QuorumPeer`, `Leader`, `Learner` and `LearnerHandler` use it.

use jute_codec::quorum::LeaderPacket;
use metrics::{counter, histogram};

use crate::replica::zab::{Role, ZabEffect};

/// Watches a member of an ensemble change its roles. Times are monotonic milliseconds.
#[derive(Debug)]
pub(super) struct Milestones {
    role: Role,
    role_since_ms: i64,
    // Since when clients are not served that were before.
    unavailable_since_ms: Option<i64>,
    // Transactions that were logged and committed since they were counted.
    logged: u64,
    committed: u64,
}

impl Milestones {
    /// A server that has just started. It looks for a leader, if there are others.
    pub(super) fn new(now_ms: i64, is_member: bool) -> Self {
        if is_member {
            counter!("looking_count").increment(1);
        }
        Self {
            role: Role::Looking,
            role_since_ms: now_ms,
            unavailable_since_ms: None,
            logged: 0,
            committed: 0,
        }
    }

    /// The replica wants this of the other servers.
    pub(super) fn on_peer_effect(&mut self, now_ms: i64, effect: &ZabEffect) {
        match effect {
            ZabEffect::RoleChanged { role, .. } => {
                self.count();
                if *role == Role::Looking {
                    counter!("looking_count").increment(1);
                } else if self.role == Role::Looking {
                    record("election_time", now_ms - self.role_since_ms);
                }
                (self.logged, self.committed) = (0, 0);
                self.role = *role;
                self.role_since_ms = now_ms;
            }
            ZabEffect::SendSnapshot { .. } => counter!("snap_count").increment(1),
            ZabEffect::ToLearner {
                packet: LeaderPacket::Diff { .. } | LeaderPacket::Trunc { .. },
                ..
            } => counter!("diff_count").increment(1),
            _ => {}
        }
    }

    /// The server has what a quorum has, and begins to serve.
    pub(super) fn on_serve(&mut self, now_ms: i64) {
        let took_ms = now_ms - self.role_since_ms;
        match self.role {
            Role::Following => record("follower_sync_time", took_ms),
            Role::Observing => record("observer_sync_time", took_ms),
            Role::Leading | Role::Looking => {}
        }
        if let Some(since_ms) = self.unavailable_since_ms.take() {
            record("unavailable_time", now_ms - since_ms);
            if self.role == Role::Leading {
                record("leader_unavailable_time", now_ms - since_ms);
            }
        }
    }

    /// The server sends its clients away.
    pub(super) fn on_stop_serving(&mut self, now_ms: i64) {
        // Those of a server without a leader were not served in full.
        self.unavailable_since_ms.get_or_insert(now_ms);
    }

    /// A transaction goes to the log.
    pub(super) const fn on_logged(&mut self) {
        self.logged += 1;
    }

    /// A transaction is committed.
    pub(super) const fn on_committed(&mut self) {
        self.committed += 1;
    }

    /// Counts what has been logged and committed: by the leader under other names than by those who follow.
    pub(super) fn count(&mut self) {
        let (logged, committed) = match self.role {
            Role::Leading => ("proposal_count", "commit_count"),
            Role::Following => (
                "learner_proposal_received_count",
                "learner_commit_received_count",
            ),
            Role::Looking | Role::Observing => return,
        };
        if self.logged > 0 {
            counter!(logged).increment(std::mem::take(&mut self.logged));
        }
        if self.committed > 0 {
            counter!(committed).increment(std::mem::take(&mut self.committed));
        }
    }
}

fn record(name: &'static str, took_ms: i64) {
    histogram!(name).record(took_ms as f64);
}
