//! What a server has whatever its role: settings, membership, epochs, history, the numbers of its writes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::quorum::{Notification, PeerState};
use jute_codec::{SessionId, Text, Zxid};

use super::history::History;
use super::reconfig::{self, Unreadable};
use super::{Epochs, LinkId, ZabEffect, ZabParams};
use crate::replica::effect::WriteSeq;
use crate::replica::election::Candidacy;
use crate::replica::ensemble::{Configs, Members, ServerId};

/// The part of [`super::Zab`] that its roles share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) params: ZabParams,
    pub(super) configs: Configs,
    /// As promised; on disk once `last_write` of the promise is durable.
    pub(super) epochs: Epochs,
    pub(super) history: History,
    /// The newest write asked for.
    pub(super) last_write: WriteSeq,
    /// The newest write on disk.
    pub(super) durable: WriteSeq,
    /// [`super::ZabInput::Truncated`], [`super::ZabInput::Installed`] or its opposite is to come.
    pub(super) installing: Installing,
    /// See [`super::Recovered::may_lack`].
    pub(super) may_lack: bool,
    /// The leader whose tree is another than this server's, which its disk confirms.
    pub(super) doubt: Option<Doubt>,
    /// The leader whose transactions this server cannot read, and until when it is not joined.
    pub(super) avoided: Option<(ServerId, i64)>,
    /// The newest epoch that this server has led, since it was started.
    pub(super) led: i64,
    pub(super) links_made: u64,
    /// The newest membership that was given out in this history and has not come into force, if another was proposed since.
    pub(super) given_out: Option<Arc<Members>>,
    /// The newest membership that voters said to be proposed since this server looks for a leader, if it does not have
    /// that itself.
    pub(super) rumour: Option<Arc<Members>>,
    /// Who leads when this role is over, if a change of the membership has said so.
    pub(super) successor: Option<ServerId>,
    /// A change is proposed by which this server votes, and it is not in the log: its leader has told it.
    pub(super) is_to_vote: bool,
    /// Sessions that a learner has heard of since the leader's last PING, with their timeouts in milliseconds.
    pub(super) touched: BTreeMap<SessionId, i32>,
}

/// Connections that this server makes are numbered from here on.
const OWN_LINKS: u64 = 1 << 63;

/// What is being done to the history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Installing {
    #[default]
    Nothing,
    /// Its end is cut off.
    Cut,
    /// A leader's takes its place.
    Snapshot,
    /// The state is made anew out of it, as it was not what the leader made of the same; under this leader.
    Check(Option<ServerId>),
}

/// A leader whose tree differs from this server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) leader: ServerId,
    /// Until then it is not joined: whoever has this server's tree leaves it meanwhile, and if that is a quorum, it is
    /// the leader who is the odd one.
    pub(super) until_ms: i64,
}

impl Doubt {
    /// Whether this server, looking for a leader, is not to count what somebody says.
    fn passes_over(self, now_ms: i64, notification: &Notification) -> bool {
        let is_election = notification.state == PeerState::Looking;
        notification.leader == self.leader.0 && (is_election || now_ms < self.until_ms)
    }
}

/// A transaction that is in the log, and of which nobody knows yet whether it will be committed.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) zxid: Zxid,
    pub(super) txn: Bytes,
    pub(super) write: WriteSeq,
}

/// A leader's history that has taken the place of everything.
#[derive(Debug)]
pub(super) struct Installed {
    /// In the log, durably, and not known to be committed.
    pub(super) pending: VecDeque<Logged>,
    /// Who leads from now on, if a change of the membership in it has said so that is news to this server.
    pub(super) led_by: Option<ServerId>,
    /// Whether all memberships in `pending` can be read.
    pub(super) is_readable: bool,
}

/// What it means for a server that another membership is in force.
#[derive(Debug)]
pub(super) struct Activated {
    /// The one before.
    pub(super) former: Arc<Members>,
    /// It differs in more than the version.
    pub(super) is_another: bool,
}

impl Core {
    /// The newest transaction that this server vouches for to this leader: none if it wants everything anew.
    pub(super) fn vouched_to(&self, leader: ServerId) -> Zxid {
        if self.doubt.is_some_and(|doubt| doubt.leader == leader) {
            Zxid(-1)
        } else {
            self.vouched()
        }
    }

    /// Whether this server, looking for a leader, is not to count what somebody says.
    pub(super) fn passes_over(&self, now_ms: i64, notification: &Notification) -> bool {
        let is_avoided = self.avoided.is_some_and(|(leader, until_ms)| {
            let is_led = notification.state != PeerState::Looking;
            is_led && notification.leader == leader.0 && now_ms < until_ms
        });
        let doubt = self.doubt;
        is_avoided || doubt.is_some_and(|doubt| doubt.passes_over(now_ms, notification))
    }

    /// The newest transaction that this server vouches for to others.
    pub(super) fn vouched(&self) -> Zxid {
        if self.may_lack {
            Zxid(-1)
        } else {
            self.history.logged()
        }
    }

    /// What this server has to offer as a leader.
    ///
    /// One that has led an epoch stands at its beginning, though nothing was proposed in it: it leads again, as in
    /// ZooKeeper, unless somebody has more. Whoever has come to that epoch has the same history.
    ///
    /// ZooKeeper: `Leader.startZkServer`, which sets the newest transaction to that.
    pub(super) fn candidacy(&self) -> Candidacy {
        let (vouched, current) = (self.vouched(), self.epochs.current);
        let zxid = if self.led == current && !self.may_lack {
            vouched.max(Zxid(current << 32))
        } else {
            vouched
        };
        Candidacy {
            zxid,
            peer_epoch: current,
        }
    }

    fn next_write(&mut self) -> WriteSeq {
        self.last_write = self.last_write.next();
        self.last_write
    }

    /// Appends to the log.
    pub(super) fn append(&mut self, zxid: Zxid, txn: Bytes, out: &mut Vec<ZabEffect>) -> Logged {
        let write = self.next_write();
        self.history.log(zxid);
        out.push(ZabEffect::Append {
            write,
            zxid,
            txn: txn.clone(),
        });
        Logged { zxid, txn, write }
    }

    /// A leader's history has taken the place of everything: up to `zxid` it is in the state, and has what
    /// [`super::Zab::know_members`] was told; `pending` is behind it in the log.
    pub(super) fn replace(
        &mut self,
        zxid: Zxid,
        pending: Vec<(Zxid, Bytes)>,
        successor: Option<ServerId>,
        out: &mut Vec<ZabEffect>,
    ) -> Installed {
        self.history.replace(zxid);
        let led_by = successor.filter(|_| {
            let members = Arc::clone(&self.configs.proposed);
            self.activate(members, out).is_some()
        });
        let mut installed = Installed {
            pending: VecDeque::with_capacity(pending.len()),
            led_by,
            is_readable: true,
        };
        for (zxid, txn) in pending {
            match self.members_of(&txn) {
                Ok(Some(members)) => self.propose_members(members, out),
                Ok(None) => {}
                Err(Unreadable) => installed.is_readable = false,
            }
            self.history.log(zxid);
            let write = self.durable;
            installed.pending.push_back(Logged { zxid, txn, write });
        }
        installed
    }

    /// Stores the epochs as they are now.
    pub(super) fn store_epochs(&mut self, out: &mut Vec<ZabEffect>) -> WriteSeq {
        let write = self.next_write();
        out.push(ZabEffect::StoreEpochs {
            write,
            epochs: self.epochs,
        });
        write
    }

    /// Gives out a committed transaction of an established epoch.
    pub(super) fn commit(&mut self, logged: Logged, out: &mut Vec<ZabEffect>) {
        let Logged { zxid, txn, write } = logged;
        out.push(ZabEffect::Commit {
            zxid,
            txn: txn.clone(),
        });
        self.history.know(zxid, txn, write, self.durable);
    }

    /// Gives out a logged transaction while nobody is served.
    pub(super) fn replay(&mut self, logged: Logged, out: &mut Vec<ZabEffect>) {
        let Logged { zxid, txn, write } = logged;
        out.push(ZabEffect::Replay {
            zxid,
            txn: txn.clone(),
        });
        self.history.know(zxid, txn, write, self.durable);
    }

    /// Whether a transaction is the change of the membership that waits to come into force.
    pub(super) fn changes_members(&self, zxid: Zxid) -> bool {
        self.configs.is_changing() && self.configs.proposed.version() == zxid.0
    }

    /// A membership was proposed. From here on every decision needs a quorum of it, too.
    ///
    /// ZooKeeper: `QuorumPeer.setLastSeenQuorumVerifier`.
    pub(super) fn propose_members(&mut self, members: Arc<Members>, out: &mut Vec<ZabEffect>) {
        let (version, committed) = (members.version(), &self.configs.committed);
        if version == self.configs.proposed.version() || version < committed.version() {
            return;
        }
        let before = &self.configs.proposed;
        if before.version() > committed.version() && before.version() <= self.history.known().0 {
            self.given_out = Some(Arc::clone(before));
        }
        self.configs.proposed = if version == committed.version() {
            Arc::clone(committed)
        } else {
            members
        };
        self.say_members(out);
    }

    /// A leader told the newest membership that it had when the epoch began. A newer one that the history has stays.
    pub(super) fn on_told_members(&mut self, members: Arc<Members>, out: &mut Vec<ZabEffect>) {
        let proposed = self.configs.proposed.version();
        let is_logged = self.configs.is_changing() && proposed <= self.history.logged().0;
        if !is_logged || members.version() > proposed {
            self.propose_members(members, out);
        }
    }

    /// A membership comes into force, unless one as new is already; what it changes for this server.
    ///
    /// ZooKeeper: `QuorumPeer.processReconfig`.
    pub(super) fn activate(
        &mut self,
        members: Arc<Members>,
        out: &mut Vec<ZabEffect>,
    ) -> Option<Activated> {
        if members.version() <= self.configs.committed.version() {
            return None;
        }
        let former = std::mem::replace(&mut self.configs.committed, members);
        if !self.configs.is_changing() {
            self.configs.proposed = Arc::clone(&self.configs.committed);
        }
        self.say_members(out);
        let now = &self.configs.committed;
        Some(Activated {
            is_another: !former.has_same_servers(now),
            former,
        })
    }

    /// The membership that a transaction brings, where memberships may change.
    pub(super) fn members_of(&self, txn: &Bytes) -> Result<Option<Arc<Members>>, Unreadable> {
        if !self.params.reconfig_enabled {
            return Ok(None);
        }
        reconfig::members_of(txn, self.params.standalone)
    }

    /// A voter says what it knows to be proposed.
    pub(super) fn hear_rumour(&mut self, from: ServerId, text: &Text) {
        let is_known = |members: &Arc<Members>| members.text() == *text;
        let configs = &self.configs;
        if !self.params.reconfig_enabled
            || !configs.committed.is_voter(from)
            || configs.all().chain(&self.rumour).any(is_known)
        {
            return;
        }
        let Ok(members) = reconfig::read(text.as_bytes(), self.params.standalone) else {
            return;
        };
        let newest = configs
            .all()
            .chain(&self.rumour)
            .map(|members| members.version())
            .max();
        if Some(members.version()) > newest {
            self.rumour = Some(members);
        }
    }

    /// The rumour says from now on whom others may vote for, in this election; whether there is one.
    pub(super) fn follow_rumour(&mut self, out: &mut Vec<ZabEffect>) -> bool {
        let Some(rumour) = self.rumour.take() else {
            return false;
        };
        self.configs.rumoured = Some(rumour);
        self.say_members(out);
        true
    }

    /// Another election begins: perhaps it needs no rumour.
    pub(super) fn forget_rumour(&mut self, out: &mut Vec<ZabEffect>) {
        self.rumour = None;
        if self.configs.rumoured.take().is_some() {
            self.say_members(out);
        }
    }

    fn say_members(&mut self, out: &mut Vec<ZabEffect>) {
        let configs = &mut self.configs;
        let newest = configs.proposed.version().max(configs.committed.version());
        configs.rumoured = configs
            .rumoured
            .take()
            .filter(|members| members.version() > newest);
        let configs = configs.clone();
        out.push(ZabEffect::Members { configs });
    }

    /// Whether this server observes. Who is to vote by a change that is proposed does not: the change needs a quorum of
    /// those, and observers are neither asked nor told. (In Java it does; there the change comes into force for an observer
    /// that comes meanwhile, whatever becomes of it.)
    pub(super) fn observes(&self) -> bool {
        let me = self.params.me;
        self.configs.committed.is_observer(me)
            && !self.configs.proposed.is_voter(me)
            && !self.is_to_vote
    }

    /// A number for a connection that this server makes. Those that it accepts are numbered from 0 on.
    pub(super) fn next_link(&mut self) -> LinkId {
        self.links_made += 1;
        LinkId(OWN_LINKS | self.links_made)
    }
}
