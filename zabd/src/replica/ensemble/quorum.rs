//! Quorums of groups: more than half of the weight in more than half of the groups.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::ServerId;
use super::member::{Member, Role};

/// How servers are put together in groups, and what each of them weighs.
///
/// A group whose whole weight is 0 is not counted. A server of weight 0 is never proposed as leader.
///
/// ZooKeeper: `QuorumHierarchical`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    // Every participant is a key of both. Other servers may be; they weigh in their group's sum and never vote.
    group_of: BTreeMap<ServerId, i64>,
    weights: BTreeMap<ServerId, i64>,
    // The sums; none of them overflows.
    group_weights: BTreeMap<i64, i64>,
}

/// What is wrong with `group.N` and `weight.N` lines.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GroupsError {
    /// A participant is in no group.
    #[error("server {0} is a participant and in no group")]
    Missing(ServerId),
    /// A server is in several.
    #[error("server {0} is in several groups")]
    Several(ServerId),
    /// A server without a weight is none that would weigh 1.
    #[error("server {0} is in a group, but neither is it a participant nor has it a weight")]
    Unknown(ServerId),
    /// A weight below 0.
    #[error("server {0} has a negative weight")]
    Negative(ServerId),
    /// Weights without measure.
    #[error("the weights of group {0} are too great together")]
    TooHeavy(i64),
    /// Two lines for one group.
    #[error("group {0} is there twice")]
    Twice(i64),
}

impl Groups {
    /// Puts servers into groups. A participant without a weight weighs 1.
    ///
    /// ZooKeeper takes negative weights, sums that overflow and a group that is there twice; none of them makes
    /// quorums that must meet. On a server without a weight it fails.
    ///
    /// ZooKeeper: `QuorumHierarchical.parse`, `computeGroupWeight`.
    ///
    /// # Errors
    /// A [`GroupsError`] if some participant is not in exactly one group, or something does not fit together.
    pub fn new(
        servers: &BTreeMap<ServerId, Member>,
        groups: &[(i64, Vec<ServerId>)],
        mut weights: BTreeMap<ServerId, i64>,
    ) -> Result<Self, GroupsError> {
        let mut group_of = BTreeMap::new();
        let mut group_weights: BTreeMap<i64, i64> = BTreeMap::new();
        for (group, members) in groups {
            if group_weights.insert(*group, 0).is_some() {
                return Err(GroupsError::Twice(*group));
            }
            for server in members {
                if group_of.insert(*server, *group).is_some() {
                    return Err(GroupsError::Several(*server));
                }
            }
        }
        for (server, member) in servers {
            if member.role == Role::Participant {
                if !group_of.contains_key(server) {
                    return Err(GroupsError::Missing(*server));
                }
                weights.entry(*server).or_insert(1);
            }
        }
        if let Some((server, _)) = weights.iter().find(|(_, weight)| **weight < 0) {
            return Err(GroupsError::Negative(*server));
        }
        for (server, group) in &group_of {
            let weight = weights.get(server).ok_or(GroupsError::Unknown(*server))?;
            let sum = group_weights.entry(*group).or_default();
            *sum = sum
                .checked_add(*weight)
                .ok_or(GroupsError::TooHeavy(*group))?;
        }
        Ok(Self {
            group_of,
            weights,
            group_weights,
        })
    }

    /// Whether these servers, all of which vote, are enough.
    ///
    /// ZooKeeper: `QuorumHierarchical.containsQuorum`.
    pub(super) fn is_quorum(&self, voters: &BTreeSet<ServerId>) -> bool {
        let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
        for server in voters {
            if let Some(group) = self.group_of.get(server) {
                *sums.entry(*group).or_default() += self.weight(*server);
            }
        }
        let won = sums
            .iter()
            .filter(|(group, sum)| **sum > self.group_weights[group] / 2)
            .count();
        let that_count = self.group_weights.values().filter(|sum| **sum != 0).count();
        won > that_count / 2
    }

    /// What a server weighs; 0 for one that is not known.
    pub(super) fn weight(&self, server: ServerId) -> i64 {
        self.weights.get(&server).copied().unwrap_or(0)
    }

    /// All groups with their servers, which is how they are written.
    pub(super) fn groups(&self) -> impl Iterator<Item = (ServerId, i64)> {
        self.group_of
            .iter()
            .map(|(server, group)| (*server, *group))
    }

    /// All weights.
    pub(super) fn weights(&self) -> impl Iterator<Item = (ServerId, i64)> {
        self.weights
            .iter()
            .map(|(server, weight)| (*server, *weight))
    }
}
