//! The membership: a version of it, and the one or two that count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jute_codec::Text;
use thiserror::Error;

use super::ServerId;
use super::member::{Member, MemberError, Role};
use super::quorum::{Groups, GroupsError};
use super::text;

/// One version of the membership.
///
/// ZooKeeper: `QuorumVerifier`, `QuorumMaj`, `QuorumHierarchical`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    version: i64,
    servers: BTreeMap<ServerId, Member>,
    // Not there: every participant weighs 1 and more than half of them are enough.
    groups: Option<Groups>,
    // Made of the others.
    text: Text,
}

/// What is wrong with a membership.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MembersError {
    /// A `\u` that four hexadecimal digits do not follow.
    #[error("line {0} has \\u followed by something else than four hexadecimal digits")]
    Escape(u32),
    /// A key that does not belong into a membership.
    #[error("{0:?} is none of server.N, group.N, weight.N and version")]
    Key(String),
    /// What follows the dot is no number, or the value should be one and is none.
    #[error("{key}={value} lacks a number where one is needed")]
    Number {
        /// The line's key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Two spellings of one id.
    #[error("server {0} is there twice")]
    Twice(ServerId),
    /// A member that is malformed.
    #[error("server {server} {error}")]
    Member {
        /// Which.
        server: ServerId,
        /// What is wrong.
        error: MemberError,
    },
    /// Groups that do not fit.
    #[error(transparent)]
    Groups(#[from] GroupsError),
    /// A version below 0: Java cannot read it.
    #[error("the version is negative")]
    NegativeVersion,
    /// Nobody votes.
    #[error("there is no participant")]
    NoParticipant,
    /// One participant, which others observe, although it may stand alone.
    #[error("observers need more than one participant, or standaloneEnabled=false")]
    LoneParticipant,
    /// Too long for a message of the election port.
    #[error("its text of {0} bytes is too long to be told to others")]
    TooLong(usize),
}

/// Whether a single participant stands alone, without an ensemble.
///
/// ZooKeeper: `standaloneEnabled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standalone {
    /// It does; the default.
    Enabled,
    /// It is an ensemble of one.
    Disabled,
}

impl Members {
    /// A membership where more than half of the participants are a quorum.
    ///
    /// `version` is the zxid of the transaction that made it; 0 for one that is written in a file and nowhere else.
    #[must_use]
    pub fn majority(version: i64, servers: BTreeMap<ServerId, Member>) -> Self {
        Self::new(version, servers, None)
    }

    /// A membership with groups.
    #[must_use]
    pub fn hierarchical(version: i64, servers: BTreeMap<ServerId, Member>, groups: Groups) -> Self {
        Self::new(version, servers, Some(groups))
    }

    fn new(version: i64, servers: BTreeMap<ServerId, Member>, groups: Option<Groups>) -> Self {
        let text = Text::from(text::write(version, &servers, groups.as_ref()));
        Self {
            version,
            servers,
            groups,
            text,
        }
    }

    /// The same members and groups in another version.
    #[must_use]
    pub fn with_version(self, version: i64) -> Self {
        Self::new(version, self.servers, self.groups)
    }

    /// The zxid of the transaction that made it; 0 for one that is written in a file and nowhere else.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// All servers by id.
    #[must_use]
    pub fn servers(&self) -> &BTreeMap<ServerId, Member> {
        &self.servers
    }

    /// The groups, if quorums are made of groups.
    #[must_use]
    pub fn groups(&self) -> Option<&Groups> {
        self.groups.as_ref()
    }

    /// The text that servers tell each other and that `/zookeeper/config` holds.
    ///
    /// ZooKeeper: `QuorumMaj.toString`, `QuorumHierarchical.toString`.
    #[must_use]
    pub fn text(&self) -> Text {
        self.text.clone()
    }

    /// Whether it may be told to others.
    ///
    /// A Java server takes no further part in elections once it has been sent a membership that this refuses. With
    /// [`Standalone::Enabled`] that holds for all Java servers, else for those that are set up likewise.
    ///
    /// ZooKeeper: `QuorumPeerConfig.parseDynamicConfig`.
    ///
    /// # Errors
    /// A [`MembersError`] for what makes it fit for nobody.
    pub fn check(&self, standalone: Standalone) -> Result<(), MembersError> {
        let voters = self.voters().count();
        if self.version < 0 {
            Err(MembersError::NegativeVersion)
        } else if voters == 0 {
            Err(MembersError::NoParticipant)
        } else if voters == 1 && self.servers.len() > 1 && standalone == Standalone::Enabled {
            Err(MembersError::LoneParticipant)
        } else if self.text.len() > TEXT_BYTES_MAX {
            Err(MembersError::TooLong(self.text.len()))
        } else {
            Ok(())
        }
    }

    /// Whether both are the same membership: of one version, or with the same members and groups.
    ///
    /// ZooKeeper: `QuorumMaj.equals`, `QuorumHierarchical.equals`.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        if self.groups.is_some() != other.groups.is_some() {
            return false;
        }
        self.version == other.version || self.has_same_servers(other)
    }

    /// Whether members and groups are the same, whatever the versions.
    #[must_use]
    pub fn has_same_servers(&self, other: &Self) -> bool {
        self.groups == other.groups
            && self.servers.len() == other.servers.len()
            && self.servers.iter().all(|(server, member)| {
                let twin = other.servers.get(server);
                twin.is_some_and(|twin| member.is_same_as(twin))
            })
    }

    /// Whether the server is a member that does not vote. One that is no member is none.
    #[must_use]
    pub fn is_observer(&self, server: ServerId) -> bool {
        self.servers
            .get(&server)
            .is_some_and(|member| member.role == Role::Observer)
    }

    /// Whether the server is a member of both, and other servers reach it at different quorum ports.
    #[must_use]
    pub fn has_at_another_place(&self, other: &Self, server: ServerId) -> bool {
        let place = |members: &Self| members.servers.get(&server).map(Member::quorum_addresses);
        place(self)
            .zip(place(other))
            .is_some_and(|(here, there)| here != there)
    }

    /// Whether other servers reach this one, which votes in both, at the same quorum ports.
    #[must_use]
    pub fn has_voter_at_same_place(&self, other: &Self, server: ServerId) -> bool {
        let place = |members: &Self| {
            members
                .servers
                .get(&server)
                .filter(|member| member.role == Role::Participant)
                .map(Member::quorum_addresses)
        };
        place(self).is_some_and(|here| place(other) == Some(here))
    }

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
        match &self.groups {
            None => {
                let (mut voters, mut present) = (0, 0);
                for voter in self.voters() {
                    voters += 1;
                    present += usize::from(servers.contains(&voter));
                }
                present > voters / 2
            }
            Some(groups) => {
                let present = self.voters().filter(|voter| servers.contains(voter));
                groups.is_quorum(&present.collect())
            }
        }
    }

    /// What a server weighs: 1 without groups, whoever it is. Those of weight 0 are not proposed as leader.
    ///
    /// ZooKeeper: `QuorumVerifier.getWeight`.
    #[must_use]
    pub fn weight(&self, server: ServerId) -> i64 {
        self.groups
            .as_ref()
            .map_or(1, |groups| groups.weight(server))
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
    /// One that is newer than both, of which this server knows only that others vote by it. It says whom they may mean
    /// and where those are; nothing is decided by it.
    pub rumoured: Option<Arc<Members>>,
}

impl Configs {
    /// One membership, in force, with no change under way.
    #[must_use]
    pub fn of(members: Arc<Members>) -> Self {
        Self {
            committed: Arc::clone(&members),
            proposed: members,
            rumoured: None,
        }
    }

    /// With the change that the log has brought: what `/zookeeper/config` says as of the end of the log, and its version.
    /// Whether that was committed nobody has written down, so it is only proposed.
    #[must_use]
    pub fn with_logged(mut self, logged: Option<(&str, i64)>, standalone: Standalone) -> Self {
        if let Some((text, version)) = logged
            && version > self.committed.version
            && let Ok(members) = text.parse::<Members>()
            && members.version == version
            && members.check(standalone).is_ok()
        {
            self.proposed = Arc::new(members);
        }
        self
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

    /// All that somebody may go by.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Members>> {
        [&self.committed, &self.proposed]
            .into_iter()
            .chain(&self.rumoured)
    }

    /// Whether the server votes in any.
    #[must_use]
    pub fn is_voter(&self, server: ServerId) -> bool {
        self.all().any(|members| members.is_voter(server))
    }

    /// All servers that vote in any.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        self.all().flat_map(|members| members.voters())
    }
}

/// What fits into a message of the election port, in bytes, behind the 44 of the vote.
///
/// ZooKeeper: `QuorumCnxManager.PACKETMAXSIZE`.
const TEXT_BYTES_MAX: usize = 512 * 1024 - 44;

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
