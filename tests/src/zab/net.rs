//! The network: messages of the election, connections between leaders and learners, and what becomes of them when it
//! is cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket, Notification};
use zabd::replica::zab::LinkId;

use super::book::{Link, Server};
use super::entry::{Entry, last};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    ToLearner,
    ToLeader,
}

/// What goes over a connection.
#[derive(Debug)]
pub(super) enum Item {
    /// The connection is there.
    Opened,
    FromLeader(LeaderPacket),
    FromLearner(LearnerPacket),
    /// What follows SNAP.
    Snapshot(Vec<Entry>),
    /// The other end is closed.
    End,
}

/// One direction of a connection: nothing overtakes anything.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) items: VecDeque<(i64, Item)>,
    pub(super) arrival_us: i64,
    pub(super) scheduled: bool,
}

/// What a leader's end has still to send.
#[derive(Debug)]
pub(super) enum Out {
    Packet(LeaderPacket),
    Log { after: Zxid, through: Zxid },
    Snapshot { through: Zxid },
}

/// One end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) id: LinkId,
    pub(super) server: Server,
    pub(super) boot: u64,
    pub(super) open: bool,
}

/// A snapshot, and what has come behind it: together they take the place of a history, or not at all.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) history: Vec<Entry>,
    pub(super) extent: Extent,
}

/// What is what in a history that is being received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// The connection that it comes on.
    pub(super) conn: u64,
    /// As of when the snapshot is, as the leader says.
    pub(super) named: Zxid,
    /// So many are in the snapshot itself.
    pub(super) folded: usize,
    /// So many are committed; the others are proposed.
    pub(super) committed: usize,
    /// Who leads from now on, if a change of the members that is committed has said so.
    pub(super) successor: Option<Server>,
}

/// What becomes of a packet behind a snapshot.
#[derive(Debug)]
pub(super) enum Staging {
    /// It is a part of what is staged.
    Taken,
    /// It is for the core.
    Passed(LeaderPacket),
    /// Nobody can make anything of it: the connection is of no use.
    Refused,
}

impl Staged {
    pub(super) const fn new(conn: u64, named: Zxid, history: Vec<Entry>) -> Self {
        let folded = history.len();
        let extent = Extent {
            conn,
            named,
            folded,
            committed: folded,
            successor: None,
        };
        Self { history, extent }
    }

    /// The newest transaction.
    pub(super) fn logged(&self) -> Zxid {
        last(&self.history).max(self.extent.named)
    }

    /// As [`zabd::image::Behind`] does it.
    pub(super) fn take(&mut self, packet: LeaderPacket) -> Staging {
        let is_taken = match packet {
            LeaderPacket::Proposal { zxid, txn } => self.propose(zxid, &txn),
            LeaderPacket::Commit { zxid } => self.commit(zxid, None),
            LeaderPacket::Inform { zxid, txn } => {
                self.propose(zxid, &txn) && self.commit(zxid, None)
            }
            LeaderPacket::CommitAndActivate { zxid, leader } => self.commit(zxid, Some(leader)),
            LeaderPacket::InformAndActivate { zxid, leader, txn } => {
                self.propose(zxid, &txn) && self.commit(zxid, Some(leader))
            }
            LeaderPacket::Ping { .. } => true,
            packet @ LeaderPacket::NewLeader { .. } => return Staging::Passed(packet),
            _ => false,
        };
        if is_taken {
            Staging::Taken
        } else {
            Staging::Refused
        }
    }

    fn propose(&mut self, zxid: Zxid, txn: &[u8]) -> bool {
        let logged = self.logged();
        if zxid <= logged && self.extent.committed == self.history.len() {
            return true;
        }
        let follows = zxid.0 == logged.0 + 1 || zxid.epoch() > logged.epoch();
        if follows {
            self.history.push(Entry::read(zxid, txn));
        }
        follows && zxid.counter() != 0
    }

    fn commit(&mut self, zxid: Zxid, leader: Option<Server>) -> bool {
        let extent = &mut self.extent;
        let oldest = self.history.get(extent.committed);
        if oldest.is_some_and(|entry| entry.zxid == zxid) {
            extent.committed += 1;
            extent.successor = leader.or(extent.successor);
            return true;
        }
        zxid <= last(&self.history[..extent.committed]).max(extent.named)
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) link: Link,
    pub(super) learner: End,
    pub(super) leader: End,
    pub(super) to_learner: Pipe,
    pub(super) to_leader: Pipe,
    pub(super) outbox: VecDeque<Out>,
    /// A part of the log, or a snapshot, is being sent.
    pub(super) busy: bool,
    /// A snapshot was sent as of this one.
    pub(super) in_snapshot: Zxid,
    /// What SNAP said.
    pub(super) named: Zxid,
    /// A snapshot has come, NEWLEADER has not.
    pub(super) staged: Option<Staged>,
    /// The learner reads nothing while it installs a snapshot.
    pub(super) stalled: bool,
}

impl Conn {
    pub(super) const fn end(&self, way: Way) -> &End {
        match way {
            Way::ToLearner => &self.learner,
            Way::ToLeader => &self.leader,
        }
    }

    pub(super) const fn end_mut(&mut self, way: Way) -> &mut End {
        match way {
            Way::ToLearner => &mut self.learner,
            Way::ToLeader => &mut self.leader,
        }
    }

    pub(super) const fn pipe_mut(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::ToLearner => &mut self.to_learner,
            Way::ToLeader => &mut self.to_leader,
        }
    }
}

/// The newest message from one server to another: there is room for one.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) waiting: Option<Notification>,
    pub(super) on_its_way: bool,
    /// What was sent last, and by which life of the sender.
    pub(super) last: Option<(u64, Notification)>,
}

/// The network.
#[derive(Debug, Default)]
pub(super) struct Net {
    /// Nothing gets from the first to the second.
    pub(super) cut: BTreeSet<(Server, Server)>,
    pub(super) slots: BTreeMap<(Server, Server), Slot>,
    pub(super) conns: BTreeMap<u64, Conn>,
    pub(super) by_end: BTreeMap<(Server, LinkId), u64>,
    pub(super) made: u64,
}

impl Net {
    pub(super) fn is_cut(&self, from: Server, to: Server) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Whose end of which connection a server means.
    pub(super) fn find(&self, server: Server, id: LinkId) -> Option<(u64, Way)> {
        let number = *self.by_end.get(&(server, id))?;
        let conn = self.conns.get(&number)?;
        let way = if conn.learner.server == server && conn.learner.id == id {
            Way::ToLearner
        } else {
            Way::ToLeader
        };
        Some((number, way))
    }

    /// Forgets connections of which both ends are closed.
    pub(super) fn forget_if_over(&mut self, number: u64) {
        if let Some(conn) = self.conns.get(&number)
            && !conn.learner.open
            && !conn.leader.open
        {
            self.by_end.remove(&(conn.learner.server, conn.learner.id));
            self.by_end.remove(&(conn.leader.server, conn.leader.id));
            self.conns.remove(&number);
        }
    }
}

impl Way {
    pub(super) const fn back(self) -> Self {
        match self {
            Self::ToLearner => Self::ToLeader,
            Self::ToLeader => Self::ToLearner,
        }
    }
}
