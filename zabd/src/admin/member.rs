//! What a server of an ensemble is in it, as the words show it.

use crate::replica::ensemble::ServerId;
use crate::replica::zab::Role;

/// A member's place in its ensemble at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberFigures {
    /// The role.
    pub role: Role,
    /// Whether it serves those who only read, without a leader.
    pub is_read_only: bool,
    /// Who leads, or is about to.
    pub leader: Option<ServerId>,
    /// Servers that vote.
    pub quorum_size: usize,
    /// Of a leader; others have none of this.
    pub learners: LearnerCounts,
    /// Of a leader: syncs of learners that wait.
    pub pending_syncs: usize,
    /// Since when this server has led a quorum, in monotonic milliseconds; -1 unless it does.
    pub leading_since_ms: i64,
}

/// Servers connected to a leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LearnerCounts {
    /// All.
    pub all: usize,
    /// Voters that serve clients.
    pub synced_followers: usize,
    /// Followers without a vote that serve clients.
    pub synced_non_voting_followers: usize,
    /// Observers that serve clients.
    pub synced_observers: usize,
}

impl LearnerCounts {
    /// Counts learners: who, whether an observer, whether it serves clients.
    pub fn of(learners: &[(ServerId, bool, bool)], is_voter: impl Fn(ServerId) -> bool) -> Self {
        let mut counts = Self {
            all: learners.len(),
            ..Self::default()
        };
        for (server, is_observer, _) in learners.iter().filter(|(_, _, is_synced)| *is_synced) {
            let count = if *is_observer {
                &mut counts.synced_observers
            } else if is_voter(*server) {
                &mut counts.synced_followers
            } else {
                &mut counts.synced_non_voting_followers
            };
            *count += 1;
        }
        counts
    }
}

/// `Mode` of `srvr`, and `zk_server_state`.
///
/// ZooKeeper: `ServerStats.Provider.getState`.
pub(super) const fn mode(member: Option<&MemberFigures>) -> &'static str {
    match member {
        None => "standalone",
        Some(member) if member.is_read_only => "read-only",
        Some(member) => match member.role {
            // Such a server answers that it is not serving.
            Role::Looking => "looking",
            Role::Leading => "leader",
            Role::Following => "follower",
            Role::Observing => "observer",
        },
    }
}

/// `zk_peer_state`: of a server that serves, which is one past synchronisation.
///
/// ZooKeeper: `QuorumPeer.getDetailedState`.
pub(super) const fn peer_state(role: Role) -> &'static str {
    match role {
        Role::Looking => "looking",
        Role::Leading => "leading - broadcast",
        Role::Following => "following - broadcast",
        Role::Observing => "observing - broadcast",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learners_are_counted_by_what_they_are() {
        let learners = [
            (ServerId(1), false, true),
            (ServerId(2), false, false),
            (ServerId(4), true, true),
            (ServerId(5), true, false),
            (ServerId(6), false, true),
            (ServerId(7), false, true),
        ];
        assert_eq!(
            LearnerCounts::of(&learners, |server| server.0 <= 3),
            LearnerCounts {
                all: 6,
                synced_followers: 1,
                synced_non_voting_followers: 2,
                synced_observers: 1,
            }
        );
    }
}
