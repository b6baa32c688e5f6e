//! What was seen in a run, in the words of the promises; and the book that is kept of it for all checkers.

use std::collections::{BTreeMap, BTreeSet};

use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket};
use zabd::replica::zab::{Epochs, Role};

use super::entry::{Entry, common, last, through};

/// The number of a server.
pub type Server = i64;

/// A connection, and who is at its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// A number that no other has.
    pub number: u64,
    /// Who made it.
    pub learner: Server,
    /// Who accepted it.
    pub leader: Server,
}

/// A write that has reached the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// A transaction at the end of the log.
    Entry(Entry),
    /// Both epochs.
    Epochs(Epochs),
    /// The end of the log is cut off behind this one.
    Cut(Zxid),
    /// A history in place of all there was.
    History(Vec<Entry>),
}

/// One thing that was seen.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A server came up with what its disk has.
    Recovered {
        /// Which.
        server: Server,
        /// The epochs.
        epochs: Epochs,
        /// Snapshot and log.
        history: &'a [Entry],
        /// Something that was there is known to be missing.
        lacks: bool,
    },
    /// A server has another role.
    Role {
        /// Which.
        server: Server,
        /// The role.
        role: Role,
    },
    /// A server has begun to serve; everything that it did along with that was seen.
    Established {
        /// Which.
        server: Server,
        /// The epoch that it serves in.
        epoch: i64,
    },
    /// A leader takes a new transaction.
    Proposed {
        /// The leader.
        server: Server,
        /// The transaction.
        entry: Entry,
    },
    /// A server hands a transaction to its log.
    Appended {
        /// Which.
        server: Server,
        /// The transaction.
        entry: Entry,
    },
    /// A server applies a transaction.
    Applied {
        /// Which.
        server: Server,
        /// The transaction.
        entry: Entry,
        /// It says that the transaction is committed.
        committed: bool,
    },
    /// A client is told that its transaction is committed.
    Answered {
        /// By whom.
        server: Server,
        /// The transaction.
        entry: Entry,
    },
    /// A server cuts off the end of its history, in memory.
    Cut {
        /// Which.
        server: Server,
        /// What is kept ends with this one.
        zxid: Zxid,
    },
    /// A server takes another history for its own, in memory.
    Replaced {
        /// Which.
        server: Server,
        /// The history.
        history: &'a [Entry],
        /// As much of it as is applied.
        applied: &'a [Entry],
    },
    /// A write has reached the disk.
    OnDisk {
        /// Whose.
        server: Server,
        /// What.
        written: &'a Written,
    },
    /// A server goes by this membership as the one in force.
    InForce {
        /// Which.
        server: Server,
        /// The membership's version.
        version: i64,
    },
    /// A server votes for itself.
    Stood {
        /// Which.
        server: Server,
        /// With this as its newest transaction.
        zxid: Zxid,
    },
    /// A packet leaves a leader.
    ToLearner {
        /// On which connection.
        link: Link,
        /// What.
        packet: &'a LeaderPacket,
    },
    /// A packet of a leader arrives.
    AtLearner {
        /// On which connection.
        link: Link,
        /// What.
        packet: &'a LeaderPacket,
    },
    /// A packet leaves a learner.
    ToLeader {
        /// On which connection.
        link: Link,
        /// What.
        packet: &'a LearnerPacket,
    },
    /// A packet of a learner arrives.
    AtLeader {
        /// On which connection.
        link: Link,
        /// What.
        packet: &'a LearnerPacket,
    },
}

/// A server as far as it was seen.
#[derive(Debug, Default)]
pub struct Ghost {
    /// What it is.
    pub role: Option<Role>,
    /// The epoch that it serves in.
    pub serves: Option<i64>,
    /// What it has logged, on disk or not.
    pub log: Vec<Entry>,
    /// What it has applied.
    pub applied: Vec<Entry>,
    /// What is on its disk.
    pub disk: Vec<Entry>,
    /// The epochs on its disk.
    pub epochs: Epochs,
    /// What it has ever applied while it served, or had applied when it began to.
    pub delivered: Vec<Entry>,
}

/// A leadership.
#[derive(Debug)]
pub struct Reign {
    /// Who.
    pub leader: Server,
    /// The history that it began with.
    pub initial: Vec<Entry>,
    /// What was proposed.
    pub proposed: Vec<Entry>,
}

impl Reign {
    /// The whole history through `zxid`.
    pub fn through(&self, zxid: Zxid) -> impl Iterator<Item = &Entry> {
        let all = self.initial.iter().chain(&self.proposed);
        all.take_while(move |entry| entry.zxid <= zxid)
    }
}

/// What a server delivered just now.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// Which server.
    pub server: Server,
    /// All that it has delivered.
    pub all: &'a [Entry],
    /// From here on it is new.
    pub new_from: usize,
    /// So much had been delivered before; more than `new_from` if something was taken back.
    pub before: usize,
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    /// The servers that vote at first.
    pub voters: BTreeSet<Server>,
    /// All servers seen.
    pub servers: BTreeMap<Server, Ghost>,
    /// All leaderships, by epoch.
    pub reigns: BTreeMap<i64, Reign>,
    delivery: Option<(Server, usize, usize)>,
}

impl Book {
    /// An empty book about an ensemble.
    #[must_use]
    pub fn new(voters: impl IntoIterator<Item = Server>) -> Self {
        Self {
            voters: voters.into_iter().collect(),
            ..Self::default()
        }
    }

    /// A server.
    ///
    /// # Panics
    /// When it was never seen.
    #[must_use]
    pub fn of(&self, server: Server) -> &Ghost {
        &self.servers[&server]
    }

    /// What was delivered by what was seen last.
    #[must_use]
    pub fn delivery(&self) -> Option<Delivery<'_>> {
        let (server, new_from, before) = self.delivery?;
        let all = &self.of(server).delivered;
        Some(Delivery {
            server,
            all,
            new_from,
            before,
        })
    }

    /// Whether these servers are a majority of those who vote by the end of a history.
    #[must_use]
    pub fn is_quorum(&self, history: &[Entry], servers: impl Iterator<Item = Server>) -> bool {
        let newest = history.iter().rev().find_map(|entry| entry.members());
        let voters = newest.map_or_else(
            || self.voters.clone(),
            |members| members.voters().map(|voter| voter.0).collect(),
        );
        servers.filter(|server| voters.contains(server)).count() > voters.len() / 2
    }

    /// Takes down what was seen; the checkers look at the book after that.
    pub fn take_down(&mut self, seen: &Seen<'_>) {
        self.delivery = None;
        match seen {
            Seen::Recovered {
                server,
                epochs,
                history,
                ..
            } => {
                let ghost = self.servers.entry(*server).or_default();
                ghost.role = Some(Role::Looking);
                ghost.serves = None;
                ghost.log = history.to_vec();
                ghost.applied = history.to_vec();
                ghost.disk = history.to_vec();
                ghost.epochs = *epochs;
            }
            Seen::Role { server, role } => {
                let ghost = self.servers.entry(*server).or_default();
                ghost.role = Some(*role);
                ghost.serves = None;
            }
            Seen::Established { server, epoch } => {
                if self.of(*server).role == Some(Role::Leading) {
                    self.begin_reign(*server, *epoch);
                }
                let ghost = self.servers.entry(*server).or_default();
                ghost.serves = Some(*epoch);
                let before = ghost.delivered.len();
                let new_from = common(&ghost.delivered, &ghost.applied);
                ghost.delivered.clone_from(&ghost.applied);
                self.delivery = Some((*server, new_from, before));
            }
            Seen::Proposed { server, entry } => {
                self.begin_reign(*server, entry.zxid.epoch());
                if let Some(reign) = self.reigns.get_mut(&entry.zxid.epoch()) {
                    reign.proposed.push(*entry);
                }
            }
            Seen::Appended { server, entry } => {
                self.servers.entry(*server).or_default().log.push(*entry);
            }
            Seen::Applied { server, entry, .. } => {
                let ghost = self.servers.entry(*server).or_default();
                ghost.applied.push(*entry);
                if ghost.serves.is_some() {
                    let before = ghost.delivered.len();
                    ghost.delivered.push(*entry);
                    self.delivery = Some((*server, before, before));
                }
            }
            Seen::Cut { server, zxid } => {
                let ghost = self.servers.entry(*server).or_default();
                ghost.log.truncate(through(&ghost.log, *zxid));
                ghost.applied.truncate(through(&ghost.applied, *zxid));
            }
            Seen::Replaced {
                server,
                history,
                applied,
            } => {
                let ghost = self.servers.entry(*server).or_default();
                ghost.log = history.to_vec();
                ghost.applied = applied.to_vec();
            }
            Seen::OnDisk { server, written } => {
                let ghost = self.servers.entry(*server).or_default();
                match written {
                    Written::Entry(entry) => ghost.disk.push(*entry),
                    Written::Epochs(epochs) => ghost.epochs = *epochs,
                    Written::Cut(zxid) => ghost.disk.truncate(through(&ghost.disk, *zxid)),
                    Written::History(history) => ghost.disk.clone_from(history),
                }
            }
            Seen::ToLearner {
                link,
                packet: LeaderPacket::NewLeader { epoch, .. },
            } => self.begin_reign(link.leader, epoch.epoch()),
            Seen::Answered { .. }
            | Seen::InForce { .. }
            | Seen::Stood { .. }
            | Seen::ToLearner { .. }
            | Seen::AtLearner { .. }
            | Seen::ToLeader { .. }
            | Seen::AtLeader { .. } => {}
        }
    }

    /// The first that is seen of a reign settles what it begins with.
    fn begin_reign(&mut self, leader: Server, epoch: i64) {
        let log = &self.servers.entry(leader).or_default().log;
        self.reigns.entry(epoch).or_insert_with(|| Reign {
            leader,
            initial: log
                .iter()
                .filter(|entry| entry.zxid.epoch() < epoch)
                .copied()
                .collect(),
            proposed: Vec::new(),
        });
    }

    /// The newest transaction that a server has logged.
    #[must_use]
    pub fn last_logged(&self, server: Server) -> Zxid {
        last(&self.of(server).log)
    }
}
