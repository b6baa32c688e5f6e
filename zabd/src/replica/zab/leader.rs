//! The leader's side: an epoch is agreed on, learners are brought up to date, transactions are broadcast.
//!
//! ZooKeeper: `Leader`, `LearnerHandler`; sections 7, 8, 10 and 11.1 of `quorum-protocol.md`.

mod peers;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::packet::PROTOCOL_VERSION;
use jute_codec::quorum::{LeaderPacket, LearnerInfo, LearnerPacket};

use super::core::{Core, Logged};
use super::sync_plan::{self, SyncPlan};
use super::{Left, LinkId, LogPlace, ZabEffect};
use crate::replica::effect::WriteSeq;
use crate::replica::ensemble::{Members, ServerId};
use peers::{Peer, Peers, Stage};

/// A server that leads, or is about to.
#[derive(Debug)]
pub(super) struct Leader {
    phase: Phase,
    peers: Peers,
    /// When the phase must be over, until it is [`Phase::Broadcast`].
    phase_deadline_ms: i64,
    next_ping_ms: i64,
    /// Pings come twice a tick; the quorum is counted once.
    half_ticks: u64,
    /// What this server stood at when it was elected.
    stood_at: (i64, Zxid),
    /// Proposed and not committed, in order.
    outstanding: VecDeque<Logged>,
    /// ZooKeeper: `Leader.propose`, `XidRolloverException`.
    counter_max: i64,
    last_proposed: Zxid,
    /// Own proposals that are not on disk yet.
    unsynced: VecDeque<(WriteSeq, Zxid)>,
    /// The newest own proposal on disk.
    own_acked: Zxid,
    /// Learners' syncs that wait for a commit.
    syncs: VecDeque<(Zxid, LinkId)>,
    unnamed: i64,
    /// Another server leads by the membership that came into force. Nothing is committed any more; how often the
    /// followers were looked after since.
    handing_over: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Who is there? Servers that have said so, this one among them.
    Gathering(BTreeSet<ServerId>),
    /// The epoch is chosen and goes to disk.
    Choosing(WriteSeq),
    /// LEADERINFO is out; servers that have agreed.
    Agreeing(BTreeSet<ServerId>),
    /// A quorum has agreed. Servers that have the whole initial history; `own` is the write after which this server is
    /// one of them.
    Synchronising {
        acked: BTreeSet<ServerId>,
        own: WriteSeq,
    },
    /// A quorum has the history: transactions are proposed.
    Broadcast,
}

impl Leader {
    pub(super) fn new(now_ms: i64, core: &mut Core, out: &mut Vec<ZabEffect>) -> Self {
        let params = &core.params;
        let mut leader = Self {
            phase: Phase::Gathering(BTreeSet::from([params.me])),
            peers: Peers::default(),
            phase_deadline_ms: now_ms + params.init_ms(),
            next_ping_ms: now_ms + params.ping_ms(),
            half_ticks: 0,
            stood_at: (core.epochs.current, core.history.logged()),
            outstanding: VecDeque::new(),
            counter_max: params.counter_max,
            last_proposed: core.history.logged(),
            unsynced: VecDeque::new(),
            own_acked: Zxid::ZERO,
            syncs: VecDeque::new(),
            unnamed: 0,
            handing_over: None,
        };
        out.push(ZabEffect::Listen(true));
        leader.choose_epoch(core, out);
        leader
    }

    /// What is left when the role ends: connections are closed, proposals nobody knows the fate of are returned.
    pub(super) fn into_logged(self, out: &mut Vec<ZabEffect>) -> VecDeque<Logged> {
        out.push(ZabEffect::Listen(false));
        out.extend(self.peers.links().map(|link| ZabEffect::CloseLink { link }));
        self.outstanding
    }

    pub(super) fn is_established(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    pub(super) fn deadline(&self) -> i64 {
        // Clients wait for the next epoch.
        if self.is_used_up() {
            return 0;
        }
        let phase = if self.is_established() {
            i64::MAX
        } else {
            self.phase_deadline_ms
        };
        phase.min(self.next_ping_ms).min(self.peers.deadline())
    }

    /// The id of the next transaction; none when the epoch has no more, or is not established.
    pub(super) fn next_zxid(&self) -> Option<Zxid> {
        let goes_on = self.is_established() && self.handing_over.is_none();
        (goes_on && self.last_proposed.counter() < self.counter_max)
            .then(|| self.last_proposed.next())
    }

    /// Whether the epoch has no more zxids, and everything proposed in it is committed.
    fn is_used_up(&self) -> bool {
        self.is_established()
            && self.last_proposed.counter() >= self.counter_max
            && self.outstanding.is_empty()
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub(super) fn pending_syncs(&self) -> usize {
        self.syncs.len()
    }

    /// Servers in step, observers included, for operators.
    pub(super) fn learners(&self) -> impl Iterator<Item = (ServerId, bool, bool)> {
        self.peers.iter().filter_map(|(_, peer)| {
            Some((peer.server?, peer.observer, peer.stage == Stage::Active))
        })
    }

    pub(super) fn on_link_up(&mut self, now_ms: i64, core: &Core, link: LinkId) {
        self.peers
            .add(link, now_ms + core.params.init_ms() + core.params.sync_ms());
    }

    pub(super) fn on_link_down(&mut self, core: &Core, link: LinkId) -> Result<(), Left> {
        self.peers.remove(link);
        if self.handing_over.is_some() && !self.has_quorum(core) {
            return Err(HANDED_OVER);
        }
        Ok(())
    }

    /// Followers that have everything and get everything, with this server.
    pub(super) fn synced(&self, core: &Core) -> BTreeSet<ServerId> {
        let followers = self.peers.iter().filter(|(_, peer)| !peer.observer);
        let mut servers: BTreeSet<ServerId> = followers
            .filter(|(_, peer)| peer.stage >= Stage::Synced)
            .filter_map(|(_, peer)| peer.server)
            .collect();
        servers.insert(core.params.me);
        servers
    }

    pub(super) fn on_heard(&mut self, now_ms: i64, core: &Core, link: LinkId) {
        if let Some(peer) = self.peers.get_mut(link) {
            let patience_ms = if peer.stage >= Stage::Synced {
                core.params.sync_ms()
            } else {
                core.params.init_ms() + core.params.sync_ms()
            };
            peer.deadline_ms = now_ms + patience_ms;
        }
    }

    pub(super) fn on_packet(
        &mut self,
        now_ms: i64,
        core: &mut Core,
        link: LinkId,
        packet: LearnerPacket,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        let Some(peer) = self.peers.get_mut(link) else {
            return Ok(());
        };
        let stage = peer.stage;
        match (packet, stage) {
            (
                LearnerPacket::FollowerInfo {
                    accepted_epoch,
                    info,
                },
                Stage::Unknown,
            ) => {
                self.on_info(core, link, accepted_epoch.epoch(), info, false, out)?;
            }
            (
                LearnerPacket::ObserverInfo {
                    accepted_epoch,
                    info,
                },
                Stage::Unknown,
            ) => {
                self.on_info(core, link, accepted_epoch.epoch(), info, true, out)?;
            }
            (
                LearnerPacket::AckEpoch {
                    zxid,
                    current_epoch,
                },
                Stage::Informed,
            ) => self.on_ack_epoch(now_ms, core, link, zxid, current_epoch, out),
            (LearnerPacket::Ack { zxid }, Stage::Synchronising) => {
                self.on_ack_new_leader(core, link, zxid, out)?;
            }
            (LearnerPacket::Ack { zxid }, Stage::Synced | Stage::Active) => {
                self.on_ack(core, link, zxid, out);
            }
            (LearnerPacket::Ping { touched, .. }, Stage::Synced | Stage::Active) => {
                if !touched.is_empty() {
                    out.push(ZabEffect::Touched { sessions: touched });
                }
            }
            (
                LearnerPacket::Revalidate {
                    session,
                    timeout_ms,
                },
                Stage::Active,
            ) => {
                out.push(ZabEffect::Revalidate {
                    link,
                    session,
                    timeout_ms,
                });
            }
            (LearnerPacket::Request { op: SYNC, .. }, Stage::Active) => {
                self.on_sync(now_ms, core, link, out)
            }
            (
                LearnerPacket::Request {
                    session,
                    cxid,
                    op,
                    body,
                    ids,
                },
                Stage::Active,
            ) => out.push(ZabEffect::Requested {
                link,
                session,
                cxid,
                op,
                body,
                ids: ids.unwrap_or_default(),
            }),
            // The dialogue is what tells the stages apart: out of turn nothing has a meaning.
            _ => {
                self.close(link, out);
                return Ok(());
            }
        }
        self.on_heard(now_ms, core, link);
        Ok(())
    }

    fn close(&mut self, link: LinkId, out: &mut Vec<ZabEffect>) {
        if self.peers.remove(link) {
            out.push(ZabEffect::CloseLink { link });
        }
    }

    fn send(link: LinkId, packet: LeaderPacket, out: &mut Vec<ZabEffect>) {
        out.push(ZabEffect::ToLearner { link, packet });
    }

    fn on_info(
        &mut self,
        core: &mut Core,
        link: LinkId,
        accepted_epoch: i64,
        info: Option<LearnerInfo>,
        observer: bool,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        let server = match info {
            Some(info)
                if info.protocol_version < PROTOCOL_VERSION
                    || info.config_version > core.configs.committed.version()
                    || info.server == core.params.me.0
                    // No epoch comes after it: nothing that this ensemble can have promised.
                    || accepted_epoch >= EPOCH_MAX =>
            {
                self.close(link, out);
                return Ok(());
            }
            Some(info) if info.server != UNNAMED => ServerId(info.server),
            _ => {
                self.unnamed -= 1;
                ServerId(self.unnamed)
            }
        };
        // A server that comes back before its old connection is known to be dead.
        if let Some(former) = self.peers.link_of(server) {
            self.close(former, out);
        }
        if let Some(peer) = self.peers.get_mut(link) {
            peer.server = Some(server);
            peer.observer = observer;
            peer.accepted_epoch = accepted_epoch;
            peer.stage = Stage::Named;
        }
        if let Phase::Gathering(present) = &mut self.phase {
            // Who observes by the membership in force may vote by the one proposed, and know nothing of it.
            present.insert(server);
            self.choose_epoch(core, out);
        } else if accepted_epoch > core.epochs.accepted
            && core.configs.committed.servers().contains_key(&server)
        {
            // It has agreed to the epoch of a leader that came to nothing, and must follow no earlier one: without a
            // later epoch it would stay out for as long as this one lasts. (Java leaves it out.)
            return Err(Left("a server has agreed to a later epoch already"));
        } else if !matches!(self.phase, Phase::Choosing(_)) {
            self.inform(core, link, out);
        }
        Ok(())
    }

    /// Fixes the epoch once a quorum is there; it goes to disk before anybody hears of it.
    ///
    /// While a change of the membership is under way ZooKeeper asks for a quorum of the one in force only, here and for
    /// [`Self::agree`]. Then two leaders could find quorums for one epoch that have no server in common.
    fn choose_epoch(&mut self, core: &mut Core, out: &mut Vec<ZabEffect>) {
        let Phase::Gathering(present) = &self.phase else {
            return;
        };
        if !core.configs.is_quorum(present) {
            return;
        }
        let seen = self.peers.iter().map(|(_, peer)| peer.accepted_epoch);
        let accepted = seen.fold(core.epochs.accepted, i64::max);
        if accepted >= EPOCH_MAX {
            out.push(ZabEffect::Fatal {
                why: format!(
                    "epoch {accepted} is the last there can be: a server of this ensemble promises by an epoch that no \
                     history leads to; look at the epoch files of all servers"
                ),
            });
            return;
        }
        core.epochs.accepted = accepted + 1;
        self.phase = Phase::Choosing(core.store_epochs(out));
    }

    fn inform(&mut self, core: &Core, link: LinkId, out: &mut Vec<ZabEffect>) {
        if let Some(peer) = self.peers.get_mut(link) {
            peer.stage = Stage::Informed;
            let packet = LeaderPacket::LeaderInfo {
                epoch: Zxid(core.epochs.accepted << 32),
                protocol_version: PROTOCOL_VERSION,
            };
            Self::send(link, packet, out);
        }
    }

    fn on_ack_epoch(
        &mut self,
        now_ms: i64,
        core: &mut Core,
        link: LinkId,
        zxid: Zxid,
        current_epoch: i32,
        out: &mut Vec<ZabEffect>,
    ) {
        let Some(peer) = self.peers.get_mut(link) else {
            return;
        };
        peer.zxid = zxid;
        peer.stage = Stage::Agreed;
        let counts = current_epoch != ACCEPTED_BEFORE && zxid != LACKING;
        let (server, stands_at) = (peer.server, (i64::from(current_epoch), zxid));
        match &mut self.phase {
            Phase::Agreeing(agreed) => {
                // A voter that knows more than this server must not be led by it.
                if current_epoch != ACCEPTED_BEFORE && stands_at > self.stood_at {
                    return self.close(link, out);
                }
                if counts {
                    agreed.extend(server);
                }
                self.agree(now_ms, core, out);
            }
            Phase::Synchronising { .. } | Phase::Broadcast => self.synchronise(core, link, out),
            Phase::Gathering(_) | Phase::Choosing(_) => {}
        }
    }

    /// Goes on once a quorum has agreed to the epoch.
    fn agree(&mut self, now_ms: i64, core: &mut Core, out: &mut Vec<ZabEffect>) {
        let Phase::Agreeing(agreed) = &self.phase else {
            return;
        };
        if !core.configs.is_quorum(agreed) {
            return;
        }
        core.epochs.current = core.epochs.accepted;
        let own = core.store_epochs(out);
        self.phase = Phase::Synchronising {
            acked: BTreeSet::new(),
            own,
        };
        self.phase_deadline_ms = now_ms + core.params.init_ms();
        for link in self.peers.in_stage(Stage::Agreed) {
            self.synchronise(core, link, out);
        }
    }

    fn synchronise(&mut self, core: &Core, link: LinkId, out: &mut Vec<ZabEffect>) {
        let Some(peer) = self.peers.get_mut(link) else {
            return;
        };
        let plan = if core.params.force_snapshot_sync {
            SyncPlan::Snap
        } else {
            sync_plan::plan(&core.history, peer.zxid)
        };
        self.carry_out(core, link, plan, out);
    }

    pub(super) fn on_looked_up(
        &mut self,
        core: &Core,
        link: LinkId,
        found: LogPlace,
        out: &mut Vec<ZabEffect>,
    ) {
        if let Some(peer) = self.peers.get_mut(link)
            && peer.stage == Stage::LookingUp
        {
            let plan = sync_plan::plan_from_log(peer.zxid, found);
            self.carry_out(core, link, plan, out);
        }
    }

    /// Sends what the plan says, then everything newer that memory has, then what is proposed; from here on the learner
    /// gets everything.
    fn carry_out(&mut self, core: &Core, link: LinkId, plan: SyncPlan, out: &mut Vec<ZabEffect>) {
        let by_snapshot = matches!(plan, SyncPlan::Snap);
        if !matches!(plan, SyncPlan::AskLog)
            && !self.peers.may_begin(link, by_snapshot, &core.params)
        {
            // It comes again. A quorum never waits for observers.
            return self.close(link, out);
        }
        let Some(peer) = self.peers.get_mut(link) else {
            return;
        };
        let floor = core.history.floor();
        let from = match plan {
            SyncPlan::AskLog => {
                peer.stage = Stage::LookingUp;
                let zxid = peer.zxid;
                out.push(ZabEffect::LookUp { link, zxid });
                return;
            }
            SyncPlan::Diff { from } => {
                let zxid = core.history.known();
                Self::send(link, LeaderPacket::Diff { zxid }, out);
                from
            }
            SyncPlan::Trunc { to } => {
                Self::send(link, LeaderPacket::Trunc { zxid: to }, out);
                to
            }
            SyncPlan::Snap => {
                out.push(ZabEffect::SendSnapshot {
                    link,
                    through: floor,
                });
                floor
            }
        };
        if from < floor {
            out.push(ZabEffect::SendLog {
                link,
                after: from,
                through: floor,
            });
        }
        for recent in core.history.after(from) {
            let (zxid, txn) = (recent.zxid, recent.txn.clone());
            Self::send(link, LeaderPacket::Proposal { zxid, txn }, out);
            Self::send(link, LeaderPacket::Commit { zxid }, out);
        }
        if !peer.observer {
            for proposal in &self.outstanding {
                let (zxid, txn) = (proposal.zxid, proposal.txn.clone());
                Self::send(link, LeaderPacket::Proposal { zxid, txn }, out);
            }
        }
        peer.stage = Stage::Synchronising;
        peer.by_snapshot = by_snapshot;
        let packet = LeaderPacket::NewLeader {
            epoch: Zxid(core.epochs.accepted << 32),
            members: Some(core.configs.proposed.text().as_bytes_shared().clone()),
        };
        Self::send(link, packet, out);
    }

    fn on_ack_new_leader(
        &mut self,
        core: &mut Core,
        link: LinkId,
        zxid: Zxid,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        if zxid != Zxid(core.epochs.accepted << 32) {
            self.close(link, out);
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(link) else {
            return Ok(());
        };
        peer.stage = Stage::Synced;
        let server = peer.server;
        match &mut self.phase {
            Phase::Synchronising { acked, .. } => {
                acked.extend(server);
                self.establish(core, out)
            }
            _ => {
                self.activate(link, out);
                Ok(())
            }
        }
    }

    fn activate(&mut self, link: LinkId, out: &mut Vec<ZabEffect>) {
        if let Some(peer) = self.peers.get_mut(link) {
            peer.stage = Stage::Active;
            Self::send(link, LeaderPacket::UpToDate, out);
            for (zxid, leader) in std::mem::take(&mut peer.held) {
                Self::send(link, commit(zxid, leader), out);
            }
        }
    }

    /// Tells followers that a proposal is committed, and who leads from then on if it says so: at once or, those that are
    /// still to be told UPTODATE, behind that.
    fn tell_followers(&mut self, zxid: Zxid, leader: Option<ServerId>, out: &mut Vec<ZabEffect>) {
        for (link, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.observer) {
            match peer.stage {
                Stage::Active => Self::send(link, commit(zxid, leader), out),
                Stage::Synchronising | Stage::Synced => peer.held.push((zxid, leader)),
                _ => {}
            }
        }
    }

    /// A membership that was never agreed on gets the epoch as its version, so that it is newer than one that somebody
    /// has only written down.
    ///
    /// ZooKeeper: `Leader.lead`.
    fn give_members_a_version(core: &mut Core, out: &mut Vec<ZabEffect>) {
        let members = &core.configs.committed;
        if core.params.reconfig_enabled && members.version() == 0 && !core.configs.is_changing() {
            let version = core.epochs.accepted << 32;
            let members = Members::clone(members).with_version(version);
            core.propose_members(Arc::new(members), out);
        }
    }

    /// Begins to broadcast once a quorum has the initial history; with it a change of the membership that is in there
    /// comes into force.
    ///
    /// ZooKeeper: `Leader.startZkServer`.
    fn establish(&mut self, core: &mut Core, out: &mut Vec<ZabEffect>) -> Result<(), Left> {
        let Phase::Synchronising { acked, .. } = &self.phase else {
            return Ok(());
        };
        if !core.configs.is_quorum(acked) {
            return Ok(());
        }
        if core.configs.is_changing() {
            let members = Arc::clone(&core.configs.proposed);
            let me = core.params.me;
            let former = core
                .activate(members, out)
                .map(|activated| activated.former);
            let now = &core.configs.committed;
            let moves = former.is_some_and(|former| now.has_at_another_place(&former, me));
            if moves || !now.is_voter(me) {
                return Err(HANDED_OVER);
            }
        }
        self.phase = Phase::Broadcast;
        core.led = core.epochs.accepted;
        self.last_proposed = Zxid(core.epochs.accepted << 32);
        out.push(ZabEffect::Established {
            epoch: core.epochs.accepted,
        });
        for link in self.peers.in_stage(Stage::Synced) {
            self.activate(link, out);
        }
        Ok(())
    }

    /// Proposes a transaction under the id that [`Self::next_zxid`] gave.
    pub(super) fn propose(
        &mut self,
        core: &mut Core,
        zxid: Zxid,
        txn: Bytes,
        out: &mut Vec<ZabEffect>,
    ) {
        debug_assert_eq!(Some(zxid), self.next_zxid(), "zxids are gapless");
        // What this server proposes it can read.
        if let Ok(Some(members)) = core.members_of(&txn) {
            core.propose_members(members, out);
        }
        // The own fsync runs while the proposal is on its way.
        let logged = core.append(zxid, txn, out);
        self.last_proposed = zxid;
        self.unsynced.push_back((logged.write, zxid));
        for link in self.peers.forwarding(false) {
            let packet = LeaderPacket::Proposal {
                zxid,
                txn: logged.txn.clone(),
            };
            Self::send(link, packet, out);
        }
        self.outstanding.push_back(logged);
    }

    fn on_ack(&mut self, core: &mut Core, link: LinkId, zxid: Zxid, out: &mut Vec<ZabEffect>) {
        // Acknowledgements of NEWLEADER and UPTODATE name no transaction.
        if zxid.counter() == 0 {
            return;
        }
        if let Some(peer) = self.peers.get_mut(link) {
            // Nobody can have what was never proposed.
            if zxid > self.last_proposed {
                return self.close(link, out);
            }
            peer.acked = peer.acked.max(zxid);
            if peer.waiting.is_some_and(|(waited, _)| waited <= peer.acked) {
                peer.waiting = None;
            }
            self.commit(core, out);
        }
    }

    pub(super) fn on_durable(
        &mut self,
        now_ms: i64,
        core: &mut Core,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        while let Some((_, zxid)) = self
            .unsynced
            .pop_front_if(|(write, _)| *write <= core.durable)
        {
            self.own_acked = zxid;
        }
        let me = core.params.me;
        match &mut self.phase {
            Phase::Choosing(write) if *write <= core.durable => {
                self.phase = Phase::Agreeing(BTreeSet::from([me]));
                self.phase_deadline_ms = now_ms + core.params.init_ms();
                Self::give_members_a_version(core, out);
                for link in self.peers.in_stage(Stage::Named) {
                    self.inform(core, link, out);
                }
                self.agree(now_ms, core, out);
            }
            Phase::Synchronising { acked, own } if *own <= core.durable => {
                acked.insert(me);
                return self.establish(core, out);
            }
            Phase::Broadcast => self.commit(core, out),
            _ => {}
        }
        Ok(())
    }

    /// Commits, in order, what a quorum has on disk (`CommitInOrder`).
    fn commit(&mut self, core: &mut Core, out: &mut Vec<ZabEffect>) {
        let mut acked = self.quorum_has(core);
        while self.handing_over.is_none()
            && let Some(proposal) = self
                .outstanding
                .pop_front_if(|proposal| proposal.zxid <= acked)
        {
            let (zxid, txn) = (proposal.zxid, proposal.txn.clone());
            let changes_members = core.changes_members(zxid);
            core.commit(proposal, out);
            if changes_members {
                self.activate_members(core, zxid, &txn, out);
                // What comes behind needs no quorum of the former membership any more.
                acked = self.quorum_has(core);
            } else {
                self.tell_followers(zxid, None, out);
                for link in self.peers.forwarding(true) {
                    let txn = txn.clone();
                    Self::send(link, LeaderPacket::Inform { zxid, txn }, out);
                }
            }
            while let Some((_, link)) = self.syncs.pop_front_if(|(after, _)| *after <= zxid) {
                if self.peers.get_mut(link).is_some() {
                    Self::send(link, LeaderPacket::Sync, out);
                }
            }
        }
    }

    /// The change that `zxid` proposed is committed. Everybody is told, and who leads from now on; if that is another
    /// server, this one commits nothing more and waits until the others have left, so that a quorum has heard of it.
    ///
    /// ZooKeeper: `Leader.tryToCommit`.
    fn activate_members(
        &mut self,
        core: &mut Core,
        zxid: Zxid,
        txn: &Bytes,
        out: &mut Vec<ZabEffect>,
    ) {
        let leader = self.designated(core, zxid);
        let members = Arc::clone(&core.configs.proposed);
        core.activate(members, out);
        if leader != core.params.me {
            core.successor = Some(leader);
            self.handing_over = Some(0);
        }
        self.tell_followers(zxid, Some(leader), out);
        let leader = leader.0;
        for link in self.peers.forwarding(true) {
            let txn = txn.clone();
            Self::send(
                link,
                LeaderPacket::InformAndActivate { zxid, leader, txn },
                out,
            );
        }
    }

    /// Who leads by the membership that `zxid` proposed: this server, if it votes and is reached as before; else the one
    /// that has most.
    ///
    /// ZooKeeper: `Leader.getDesignatedLeader`.
    fn designated(&self, core: &Core, zxid: Zxid) -> ServerId {
        let me = core.params.me;
        let (now, then) = (&core.configs.committed, &core.configs.proposed);
        if then.has_voter_at_same_place(now, me) {
            return me;
        }
        let followers = self.peers.iter().filter(|(_, peer)| !peer.observer);
        followers
            .filter(|(_, peer)| peer.acked >= zxid)
            .filter_map(|(_, peer)| Some((peer.acked, peer.server?)))
            .filter(|(_, server)| *server != me && then.is_voter(*server))
            .max()
            // Nobody else votes: this server goes on, at its new place.
            .map_or(me, |(_, server)| server)
    }

    /// The newest proposal that a quorum has acknowledged, with everything before it.
    fn quorum_has(&self, core: &Core) -> Zxid {
        let followers = self.peers.iter().filter(|(_, peer)| !peer.observer);
        let mut acks: Vec<(Zxid, ServerId)> = followers
            .filter_map(|(_, peer)| Some((peer.acked, peer.server?)))
            .collect();
        acks.push((self.own_acked, core.params.me));
        acks.sort_unstable_by(|one, other| other.cmp(one));
        let mut servers = BTreeSet::new();
        for (zxid, server) in acks {
            servers.insert(server);
            if core.configs.is_quorum(&servers) {
                return zxid;
            }
        }
        Zxid::ZERO
    }

    /// A sync is over when everything proposed before it is committed and sent.
    fn on_sync(&mut self, now_ms: i64, core: &Core, link: LinkId, out: &mut Vec<ZabEffect>) {
        // Requests that came before are not proposed, and the learner waits for them: until it is told to go.
        if self.next_zxid().is_none() {
            return;
        }
        if !self.outstanding.is_empty() {
            self.syncs.push_back((self.last_proposed, link));
        } else if self.hears_quorum(now_ms, core) {
            Self::send(link, LeaderPacket::Sync, out);
        } else {
            self.close(link, out);
        }
    }

    /// Whether a quorum has been heard of within syncLimit. Else another may lead already: this one stays until the tick is
    /// over, for servers that come back, but what it has may be old.
    pub(super) fn hears_quorum(&self, now_ms: i64, core: &Core) -> bool {
        self.is_quorum(core, |peer| now_ms < peer.deadline_ms)
    }

    pub(super) fn wakeup(
        &mut self,
        now_ms: i64,
        core: &Core,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        if !self.is_established() && now_ms >= self.phase_deadline_ms {
            return Err(Left("no quorum within initLimit"));
        }
        for link in self.peers.silent(now_ms) {
            self.close(link, out);
        }
        if self.is_used_up() {
            return Err(Left("the epoch has no more zxids; the next one has"));
        }
        if now_ms < self.next_ping_ms {
            return Ok(());
        }
        self.next_ping_ms = now_ms + core.params.ping_ms();
        self.half_ticks += 1;
        if self.is_established() && self.half_ticks.is_multiple_of(2) && !self.has_quorum(core) {
            return Err(Left("no quorum follows any more"));
        }
        if let Some(waited) = &mut self.handing_over {
            *waited += 1;
            if *waited > 2 * core.params.sync_limit || !self.has_quorum(core) {
                return Err(HANDED_OVER);
            }
        }
        self.ping(now_ms, core, out);
        Ok(())
    }

    fn has_quorum(&self, core: &Core) -> bool {
        self.is_quorum(core, |_| true)
    }

    fn is_quorum(&self, core: &Core, counts: impl Fn(&Peer) -> bool) -> bool {
        let followers = self.peers.iter();
        let followers = followers.filter(|(_, peer)| !peer.observer && counts(peer));
        let mut servers: BTreeSet<ServerId> =
            followers.filter_map(|(_, peer)| peer.server).collect();
        servers.insert(core.params.me);
        core.configs.is_quorum(&servers)
    }

    /// Pings; a follower that has not acknowledged within syncLimit what was proposed before an earlier ping has to go.
    fn ping(&mut self, now_ms: i64, core: &Core, out: &mut Vec<ZabEffect>) {
        let last_proposed = self.last_proposed;
        let mut slow = Vec::new();
        for (link, peer) in self.peers.iter_mut() {
            if peer.stage < Stage::Synchronising {
                continue;
            }
            if peer.is_slow(now_ms, last_proposed, core.params.sync_ms()) {
                slow.push(link);
                continue;
            }
            Self::send(
                link,
                LeaderPacket::Ping {
                    zxid: last_proposed,
                },
                out,
            );
        }
        for link in slow {
            self.close(link, out);
        }
    }
}

/// COMMIT, or what says who leads from now on, too.
fn commit(zxid: Zxid, leader: Option<ServerId>) -> LeaderPacket {
    match leader {
        Some(ServerId(leader)) => LeaderPacket::CommitAndActivate { zxid, leader },
        None => LeaderPacket::Commit { zxid },
    }
}

impl Peer {
    fn is_slow(&mut self, now_ms: i64, last_proposed: Zxid, limit_ms: i64) -> bool {
        if self.observer || self.stage != Stage::Active {
            return false;
        }
        match self.waiting {
            Some((_, since_ms)) => now_ms - since_ms > limit_ms,
            None => {
                if last_proposed.counter() != 0 && self.acked < last_proposed {
                    self.waiting = Some((last_proposed, now_ms));
                }
                false
            }
        }
    }
}

const HANDED_OVER: Left = Left("by the new membership another server leads");
/// The last epoch: ACKEPOCH has 32 bits for it.
const EPOCH_MAX: i64 = i32::MAX as i64;
/// In ACKEPOCH: the learner may lack something that it has acknowledged.
const LACKING: Zxid = Zxid(-1);
/// In ACKEPOCH: the learner had agreed to the epoch before.
const ACCEPTED_BEFORE: i32 = -1;
/// The id of observers that have none.
const UNNAMED: i64 = i64::MAX;
/// The opcode of sync.
const SYNC: i32 = 9;
