//! The membership: a version of it, and the one or two that count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ServerId;
use super::member::{Member, Role};

/// One version of the membership.
///
/// ZooKeeper: `QuorumVerifier`, `QuorumMaj`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The zxid of the transaction that made it; 0 for one that is written in a file and nowhere else.
    pub version: i64,
    /// All servers by id.
    pub servers: BTreeMap<ServerId, Member>,
}

impl Members {
    /// Whether the server votes.
    #[must_use]
    pub fn is_voter(&self, server: ServerId) -> bool {
        self.servers
            .get(&server)
            .is_some_and(|member| member.role == Role::Participant)
    }

    /// The servers that vote.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        self.servers
            .iter()
            .filter(|(_, member)| member.role == Role::Participant)
            .map(|(server, _)| *server)
    }

    /// Whether these servers are a quorum; those that do not vote do not count.
    #[must_use]
    pub fn is_quorum(&self, servers: &BTreeSet<ServerId>) -> bool {
        let voters = self.voters().count();
        self.voters()
            .filter(|voter| servers.contains(voter))
            .count()
            > voters / 2
    }
}

/// The membership that is in force, and the newest one that was proposed.
///
/// Between the proposal of a change and its commit the two differ, and every decision needs a quorum of both.
#[derive(Debug, Clone)]
pub struct Configs {
    /// In force.
    pub committed: Arc<Members>,
    /// The newest one heard of; the same as `committed` unless a change is under way.
    pub proposed: Arc<Members>,
}

impl Configs {
    /// One membership, in force, with no change under way.
    #[must_use]
    pub fn of(members: Arc<Members>) -> Self {
        Self {
            committed: Arc::clone(&members),
            proposed: members,
        }
    }

    /// Whether a newer membership waits to come into force.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.proposed.version > self.committed.version
    }

    /// Whether these servers are a quorum of every membership that counts.
    #[must_use]
    pub fn is_quorum(&self, servers: &BTreeSet<ServerId>) -> bool {
        self.committed.is_quorum(servers)
            && (!self.is_changing() || self.proposed.is_quorum(servers))
    }

    /// Whether the server votes in either.
    #[must_use]
    pub fn is_voter(&self, server: ServerId) -> bool {
        self.committed.is_voter(server) || self.proposed.is_voter(server)
    }
}
impl Members {
    /// t
    pub fn text(&self) -> String {
        String::new()
    }
}
