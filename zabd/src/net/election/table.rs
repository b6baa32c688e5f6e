//! What is known of the other servers: where they are, what is to be sent to them, how they are connected.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::replica::ensemble::{HostPort, ServerId};

/// Where servers have their election ports.
pub type Addresses = BTreeMap<ServerId, Vec<HostPort>>;

/// All other servers. Nothing in here waits.
#[derive(Debug, Default)]
pub(super) struct Table {
    committed: Addresses,
    proposed: Addresses,
    peers: BTreeMap<ServerId, Peer>,
    strangers_max: usize,
    // How many names were given to servers that have none.
    unnamed: i64,
    links: u64,
}

/// One of them. There is an entry for each that is connected, called, or sent to.
#[derive(Debug, Default)]
struct Peer {
    // The newest message that no connection has taken yet.
    queued: Option<Bytes>,
    // The newest that one has taken.
    sent: Option<Bytes>,
    link: Option<Live>,
    dial: Dial,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Dial {
    #[default]
    Idle,
    /// A call is under way; if it fails, these are to be called.
    Busy(Option<Vec<HostPort>>),
}

/// A connection.
#[derive(Debug)]
struct Live {
    link: LinkNumber,
    ends: Ends,
    task: AbortHandle,
    wake: Arc<Notify>,
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// This server's.
    pub local: SocketAddr,
    /// The other's.
    pub remote: SocketAddr,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells a server's connections apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkNumber(u64);

/// Addresses to call: those of one entry side by side, the entries one after another.
pub(super) type Plan = Vec<Vec<HostPort>>;

impl Table {
    pub(super) fn new(strangers_max: usize) -> Self {
        Self {
            strangers_max,
            ..Self::default()
        }
    }

    pub(super) fn set_members(&mut self, committed: Addresses, proposed: Addresses) {
        self.committed = committed;
        self.proposed = proposed;
        let Self {
            committed,
            proposed,
            peers,
            ..
        } = self;
        peers.retain(|server, peer| {
            committed.contains_key(server) || proposed.contains_key(server) || peer.is_in_use()
        });
    }

    /// All servers of both memberships.
    pub(super) fn members(&self) -> Vec<ServerId> {
        let mut members: Vec<_> = self
            .committed
            .keys()
            .chain(self.proposed.keys())
            .copied()
            .collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// A message for a server, in place of one that still waits. One for a server that nobody knows is dropped.
    pub(super) fn queue(&mut self, to: ServerId, message: Bytes) {
        if self.is_member(to) {
            self.peers.entry(to).or_default();
        }
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.queued = Some(message);
            if let Some(live) = &peer.link {
                live.wake.notify_one();
            }
        }
    }

    /// The message for a connection to send next. To a `fresh` connection the last one is sent again if there is no
    /// other: nobody knows whether it arrived.
    pub(super) fn next_message(
        &mut self,
        to: ServerId,
        link: LinkNumber,
        fresh: bool,
    ) -> Option<Bytes> {
        let peer = self.peers.get_mut(&to)?;
        if peer.link.as_ref()?.link != link {
            return None;
        }
        if let Some(message) = peer.queued.take() {
            peer.sent = Some(message);
            return peer.sent.clone();
        }
        peer.sent.clone().filter(|_| fresh)
    }

    /// Whether the messages for at least one server have been taken; not if there never were any.
    pub(super) fn has_delivered(&self) -> bool {
        self.peers
            .values()
            .any(|peer| peer.queued.is_none() && peer.sent.is_some())
    }

    /// Begins a call to a server without a connection; `None` if one is under way or it is not known where it is.
    pub(super) fn begin_call(&mut self, to: ServerId) -> Option<Plan> {
        let peer = self.peers.get(&to);
        if peer.is_some_and(Peer::is_in_use) {
            return None;
        }
        self.begin(to, Vec::new())
    }

    /// Begins a call to a server that has called from `advertised` and must be called back. What connection there was
    /// is over, for that server does not know it any more. If a call is under way, this one is made should it fail.
    pub(super) fn begin_call_back(
        &mut self,
        to: ServerId,
        advertised: Vec<HostPort>,
    ) -> Option<Plan> {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.link = None;
            if let Dial::Busy(next) = &mut peer.dial {
                *next = Some(advertised);
                return None;
            }
        }
        self.begin(to, advertised)
    }

    fn begin(&mut self, to: ServerId, advertised: Vec<HostPort>) -> Option<Plan> {
        let plan = self.plan(to, advertised);
        if plan.is_empty() || !self.has_room_for(to) {
            self.forget_if_idle(to);
            return None;
        }
        self.peers.entry(to).or_default().dial = Dial::Busy(None);
        Some(plan)
    }

    /// Ends a call; `None` unless another is to be made at once.
    pub(super) fn end_call(&mut self, to: ServerId, connected: bool) -> Option<Plan> {
        let peer = self.peers.get_mut(&to)?;
        let Dial::Busy(next) = std::mem::take(&mut peer.dial) else {
            return None;
        };
        if let Some(advertised) = next.filter(|_| !connected) {
            return self.begin(to, advertised);
        }
        self.forget_if_idle(to);
        None
    }

    /// Makes a connection the server's only one. It is refused if there are too many strangers.
    pub(super) fn attach(
        &mut self,
        to: ServerId,
        ends: Ends,
        spawn: impl FnOnce(LinkNumber, Arc<Notify>) -> AbortHandle,
    ) -> bool {
        if !self.has_room_for(to) {
            return false;
        }
        self.links += 1;
        let link = LinkNumber(self.links);
        let wake = Arc::new(Notify::new());
        let task = spawn(link, Arc::clone(&wake));
        let peer = self.peers.entry(to).or_default();
        peer.link = Some(Live {
            link,
            ends,
            task,
            wake,
        });
        true
    }

    /// The connection is over.
    pub(super) fn detach(&mut self, from: ServerId, link: LinkNumber) {
        if let Some(peer) = self.peers.get_mut(&from)
            && peer.link.as_ref().is_some_and(|live| live.link == link)
        {
            peer.link = None;
            self.forget_if_idle(from);
        }
    }

    /// A name for a server that has none.
    pub(super) const fn name_unnamed(&mut self) -> ServerId {
        self.unnamed -= 1;
        ServerId(self.unnamed)
    }

    /// Ends all connections.
    pub(super) fn clear(&mut self) {
        self.peers.clear();
    }

    /// The servers that are connected, and how.
    pub(super) fn connected(&self) -> BTreeMap<ServerId, Ends> {
        self.peers
            .iter()
            .filter_map(|(server, peer)| Some((*server, peer.link.as_ref()?.ends)))
            .collect()
    }

    /// Where it says it is first, then the membership in force, then the proposed one if that differs.
    fn plan(&self, to: ServerId, advertised: Vec<HostPort>) -> Plan {
        let mut plan = Vec::new();
        let known = [self.committed.get(&to), self.proposed.get(&to)];
        for addresses in std::iter::once(advertised).chain(known.into_iter().flatten().cloned()) {
            if !addresses.is_empty() && !plan.contains(&addresses) {
                plan.push(addresses);
            }
        }
        plan
    }

    fn is_member(&self, server: ServerId) -> bool {
        self.committed.contains_key(&server) || self.proposed.contains_key(&server)
    }

    fn has_room_for(&self, server: ServerId) -> bool {
        self.is_member(server) || self.peers.contains_key(&server) || {
            let strangers = self.peers.keys().filter(|peer| !self.is_member(**peer));
            strangers.count() < self.strangers_max
        }
    }

    /// Of a stranger nothing is kept.
    fn forget_if_idle(&mut self, server: ServerId) {
        if !self.is_member(server)
            && self
                .peers
                .get(&server)
                .is_some_and(|peer| !peer.is_in_use())
        {
            self.peers.remove(&server);
        }
    }
}

impl Peer {
    fn is_in_use(&self) -> bool {
        self.link.is_some() || self.dial != Dial::Idle
    }
}
