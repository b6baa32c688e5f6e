//! The network: messages of the election, connections between servers and of clients, and what becomes of them when
//! it is cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket, Notification};
use zabd::replica::zab::LinkId;

use super::disk::{Logged, last};

/// A server, by its id, or a client.
pub(super) type Node = i64;

/// Clients are numbered from here on.
pub(super) const FIRST_CLIENT: Node = 100;

/// Which way: to whoever opened the connection, a learner or a client, or to whom it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    ToCaller,
    ToCalled,
}

impl Way {
    pub(super) const BOTH: [Self; 2] = [Self::ToCaller, Self::ToCalled];

    pub(super) const fn back(self) -> Self {
        match self {
            Self::ToCaller => Self::ToCalled,
            Self::ToCalled => Self::ToCaller,
        }
    }
}

/// What goes over a connection.
#[derive(Debug)]
pub(super) enum Item {
    /// The connection is there.
    Opened,
    FromLeader(LeaderPacket),
    FromLearner(LearnerPacket),
    /// What follows SNAP.
    Snapshot {
        history: Vec<Logged>,
        altered: bool,
    },
    /// From a client, or to one.
    Bytes(Bytes),
    /// The other end is closed.
    End,
}

/// One direction of a connection: nothing overtakes anything.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) items: VecDeque<(i64, Item)>,
    pub(super) arrival_us: i64,
    pub(super) scheduled: bool,
    /// The end is under way: nothing follows it.
    pub(super) ended: bool,
}

/// What a leader's end has still to send.
#[derive(Debug)]
pub(super) enum Out {
    Packet(LeaderPacket),
    Log { after: Zxid, through: Zxid },
    Snapshot { through: Zxid },
}

/// A leader's history as a learner receives it: a snapshot, and what comes behind it. It is put in place as a whole, or
/// not at all.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    /// The connection that it comes on.
    pub(super) link: u64,
    pub(super) history: Vec<Logged>,
    /// So many are in the snapshot itself.
    pub(super) folded: usize,
    /// So many are committed; the others are proposed.
    pub(super) committed: usize,
    /// Who leads from now on, if a change of the members that is committed has said so.
    pub(super) successor: Option<Node>,
    /// The snapshot is another than what its transactions come to.
    pub(super) altered: bool,
}

/// What becomes of a packet behind a snapshot.
#[derive(Debug)]
pub(super) enum Staging {
    /// It is a part of what is staged.
    Taken,
    /// All of it is there; the packet comes again when it is in place.
    Whole(LeaderPacket),
    /// Nobody can make anything of it: the connection is of no use.
    Refused,
}

impl Staged {
    pub(super) const fn new(link: u64, history: Vec<Logged>, altered: bool) -> Self {
        let folded = history.len();
        Self {
            link,
            history,
            folded,
            committed: folded,
            successor: None,
            altered,
        }
    }

    /// As [`zabd::image::Behind`] does it.
    pub(super) fn take(&mut self, packet: LeaderPacket) -> Staging {
        let is_taken = match packet {
            LeaderPacket::Proposal { zxid, txn } => self.propose(zxid, txn),
            LeaderPacket::Commit { zxid } => self.commit(zxid, None),
            LeaderPacket::Inform { zxid, txn } => {
                self.propose(zxid, txn) && self.commit(zxid, None)
            }
            LeaderPacket::CommitAndActivate { zxid, leader } => self.commit(zxid, Some(leader)),
            LeaderPacket::InformAndActivate { zxid, leader, txn } => {
                self.propose(zxid, txn) && self.commit(zxid, Some(leader))
            }
            LeaderPacket::Ping { .. } => true,
            packet @ LeaderPacket::NewLeader { .. } => return Staging::Whole(packet),
            _ => false,
        };
        if is_taken {
            Staging::Taken
        } else {
            Staging::Refused
        }
    }

    fn propose(&mut self, zxid: Zxid, txn: Bytes) -> bool {
        let logged = last(&self.history);
        if zxid <= logged && self.committed == self.history.len() {
            return true;
        }
        let follows = zxid.0 == logged.0 + 1 || zxid.epoch() > logged.epoch();
        if follows {
            self.history.push(Logged { zxid, txn });
        }
        follows && zxid.counter() != 0
    }

    fn commit(&mut self, zxid: Zxid, leader: Option<Node>) -> bool {
        let oldest = self.history.get(self.committed);
        if oldest.is_some_and(|logged| logged.zxid == zxid) {
            self.committed += 1;
            self.successor = leader.or(self.successor);
            return true;
        }
        zxid <= last(&self.history[..self.committed])
    }
}

/// One end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) node: Node,
    pub(super) boot: u64,
    pub(super) open: bool,
    /// The server's number for it, between servers.
    pub(super) id: LinkId,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) caller: End,
    pub(super) called: End,
    pub(super) to_caller: Pipe,
    pub(super) to_called: Pipe,
    /// Between servers: what the leader has still to send.
    pub(super) outbox: VecDeque<Out>,
    /// A part of the log, or a snapshot, is being read.
    pub(super) busy: bool,
    /// A snapshot was sent as of this one.
    pub(super) in_snapshot: Zxid,
    /// A snapshot has come, NEWLEADER has not.
    pub(super) staged: Option<Staged>,
    /// A snapshot is about to come, or all of a history has come and is not in place: nothing is read.
    pub(super) stalled: bool,
    /// Of a client that has a session: the epoch in which the server serves.
    pub(super) epoch: i64,
}

impl Link {
    pub(super) fn new(caller: End, called: End) -> Self {
        Self {
            caller,
            called,
            to_caller: Pipe::default(),
            to_called: Pipe::default(),
            outbox: VecDeque::new(),
            busy: false,
            in_snapshot: Zxid::ZERO,
            staged: None,
            stalled: false,
            epoch: 0,
        }
    }

    pub(super) const fn end(&self, way: Way) -> &End {
        match way {
            Way::ToCaller => &self.caller,
            Way::ToCalled => &self.called,
        }
    }

    pub(super) const fn end_mut(&mut self, way: Way) -> &mut End {
        match way {
            Way::ToCaller => &mut self.caller,
            Way::ToCalled => &mut self.called,
        }
    }

    pub(super) const fn pipe_mut(&mut self, way: Way) -> &mut Pipe {
        match way {
            Way::ToCaller => &mut self.to_caller,
            Way::ToCalled => &mut self.to_called,
        }
    }

    pub(super) const fn is_of_client(&self) -> bool {
        self.caller.node >= FIRST_CLIENT
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
    pub(super) cut: BTreeSet<(Node, Node)>,
    /// What goes between these and other servers takes so much longer, in microseconds.
    pub(super) slow: BTreeMap<Node, u64>,
    pub(super) slots: BTreeMap<(Node, Node), Slot>,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) by_end: BTreeMap<(Node, LinkId), u64>,
    pub(super) made: u64,
}

impl Net {
    pub(super) fn is_cut(&self, from: Node, to: Node) -> bool {
        self.cut.contains(&(from, to))
    }

    /// How much longer something takes from one node to another.
    pub(super) fn extra_us(&self, from: Node, to: Node) -> u64 {
        if from >= FIRST_CLIENT || to >= FIRST_CLIENT {
            return 0;
        }
        let extra = |node| self.slow.get(&node).copied().unwrap_or_default();
        extra(from).max(extra(to))
    }

    /// Whether something is wrong with the network around a node.
    pub(super) fn is_ill(&self, node: Node) -> bool {
        self.slow.contains_key(&node) || self.is_cut_off(node)
    }

    fn is_cut_off(&self, node: Node) -> bool {
        self.cut
            .iter()
            .any(|(from, to)| *from == node || *to == node)
    }

    /// Whose end of which connection a server means.
    pub(super) fn find(&self, server: Node, id: LinkId) -> Option<(u64, Way)> {
        let number = *self.by_end.get(&(server, id))?;
        let link = self.links.get(&number)?;
        let is_caller = link.caller.node == server && link.caller.id == id;
        let way = if is_caller {
            Way::ToCaller
        } else {
            Way::ToCalled
        };
        Some((number, way))
    }

    /// Forgets connections of which both ends are closed.
    pub(super) fn forget_if_over(&mut self, number: u64) {
        if let Some(link) = self.links.get(&number)
            && !link.caller.open
            && !link.called.open
        {
            if !link.is_of_client() {
                // A server that has started again gives numbers out again.
                for end in [link.caller, link.called] {
                    if self.by_end.get(&(end.node, end.id)) == Some(&number) {
                        self.by_end.remove(&(end.node, end.id));
                    }
                }
            }
            self.links.remove(&number);
        }
    }
}
