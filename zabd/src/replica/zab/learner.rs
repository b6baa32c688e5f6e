//! The side of followers and observers: they find the leader, take over its history, and go along.
//!
//! ZooKeeper: `Learner`, `Follower`, `Observer`; sections 7.3, 9, 10.3, 10.4 and 11.2 of `quorum-protocol.md`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::packet::PROTOCOL_VERSION;
use jute_codec::quorum::{LeaderPacket, LearnerInfo, LearnerPacket};

use super::core::{Core, Installed, Installing, Logged};
use super::history::follows;
use super::{Left, LinkId, ZabEffect, reconfig};
use crate::replica::effect::WriteSeq;
use crate::replica::ensemble::{Members, ServerId};

/// A server that follows or observes, or is about to.
#[derive(Debug)]
pub(super) struct Learner {
    leader: ServerId,
    observer: bool,
    link: LinkId,
    stage: Stage,
    deadline_ms: i64,
    /// In the log, not committed.
    pending: VecDeque<Logged>,
    /// Proposals that are not acknowledged yet, by the write that must be on disk first.
    unacked: VecDeque<(WriteSeq, Zxid)>,
    /// What came while the history was being replaced.
    held: VecDeque<LeaderPacket>,
    held_bytes: usize,
    /// The membership that NEWLEADER has told, until UPTODATE.
    told_members: Option<Arc<Members>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The connection is being made.
    Connecting,
    /// It has said who it is.
    Introduced,
    /// It is about to agree to the epoch; before, its newest whole epoch was this one.
    Agreeing(WriteSeq, i64),
    /// It has agreed.
    Agreed,
    /// The history is being cut or replaced; what is expected to be its end, if that is known.
    Installing(Option<Zxid>),
    /// It takes over what it lacks.
    Synchronising,
    /// The history is whole, and the epoch that says so goes to disk behind it.
    Adopting(WriteSeq),
    /// It has said so.
    Adopted,
    /// It serves clients.
    Active,
}

impl Learner {
    pub(super) fn new(
        now_ms: i64,
        core: &mut Core,
        leader: ServerId,
        observer: bool,
        out: &mut Vec<ZabEffect>,
    ) -> Self {
        let link = core.next_link();
        out.push(ZabEffect::Connect { link, leader });
        Self {
            leader,
            observer,
            link,
            stage: Stage::Connecting,
            deadline_ms: now_ms + core.params.init_ms(),
            pending: VecDeque::new(),
            unacked: VecDeque::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            told_members: None,
        }
    }

    /// What is left when the role ends: the connection is closed, proposals nobody knows the fate of are returned.
    pub(super) fn into_logged(self, out: &mut Vec<ZabEffect>) -> VecDeque<Logged> {
        out.push(ZabEffect::CloseLink { link: self.link });
        self.pending
    }

    pub(super) fn is_established(&self) -> bool {
        self.stage == Stage::Active
    }

    pub(super) const fn leader(&self) -> ServerId {
        self.leader
    }

    pub(super) const fn is_observer(&self) -> bool {
        self.observer
    }

    /// The connection to a leader that takes requests.
    pub(super) fn serving_link(&self) -> Option<LinkId> {
        self.is_established().then_some(self.link)
    }

    pub(super) const fn deadline(&self) -> i64 {
        self.deadline_ms
    }

    pub(super) fn wakeup(&self, now_ms: i64) -> Result<(), Left> {
        if now_ms < self.deadline_ms {
            return Ok(());
        }
        Err(Left(match self.stage {
            Stage::Connecting => "the leader could not be reached within initLimit",
            Stage::Active | Stage::Adopted => "nothing was heard of the leader for syncLimit",
            _ => "not synchronised with the leader within initLimit",
        }))
    }

    pub(super) fn on_link_up(
        &mut self,
        now_ms: i64,
        core: &Core,
        link: LinkId,
        out: &mut Vec<ZabEffect>,
    ) {
        if link != self.link || self.stage != Stage::Connecting {
            return;
        }
        self.stage = Stage::Introduced;
        self.hear(now_ms, core);
        let accepted_epoch = Zxid(core.epochs.accepted << 32);
        let info = Some(LearnerInfo {
            server: core.params.me.0,
            protocol_version: PROTOCOL_VERSION,
            config_version: core.configs.committed.version(),
        });
        let packet = if self.observer {
            LearnerPacket::ObserverInfo {
                accepted_epoch,
                info,
            }
        } else {
            LearnerPacket::FollowerInfo {
                accepted_epoch,
                info,
            }
        };
        self.send(packet, out);
    }

    pub(super) fn on_link_down(&self, link: LinkId) -> Result<(), Left> {
        if link != self.link {
            return Ok(());
        }
        Err(Left(match self.stage {
            Stage::Connecting => "the leader could not be reached",
            _ => "the connection to the leader is gone",
        }))
    }

    /// Bytes of a snapshot have come.
    pub(super) fn on_heard(&mut self, now_ms: i64, core: &Core, link: LinkId) {
        if link == self.link {
            self.hear(now_ms, core);
        }
    }

    fn hear(&mut self, now_ms: i64, core: &Core) {
        let patience_ms = match self.stage {
            Stage::Adopted | Stage::Active => core.params.sync_ms(),
            _ => core.params.init_ms(),
        };
        self.deadline_ms = now_ms + patience_ms;
    }

    fn send(&self, packet: LearnerPacket, out: &mut Vec<ZabEffect>) {
        let link = self.link;
        out.push(ZabEffect::ToLeader { link, packet });
    }

    pub(super) fn on_packet(
        &mut self,
        now_ms: i64,
        core: &mut Core,
        link: LinkId,
        packet: LeaderPacket,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        if link != self.link {
            return Ok(());
        }
        self.hear(now_ms, core);
        if matches!(self.stage, Stage::Installing(_)) {
            return self.hold(core, packet);
        }
        match (packet, self.stage) {
            (LeaderPacket::LeaderInfo { epoch, .. }, Stage::Introduced) => {
                self.on_leader_info(core, epoch.epoch(), out)
            }
            (packet, Stage::Agreed) => self.on_plan(core, packet, out),
            (
                packet,
                Stage::Synchronising | Stage::Adopting(_) | Stage::Adopted | Stage::Active,
            ) => self.on_history(core, packet, out),
            _ => Err(Left("the leader spoke out of turn")),
        }
    }

    fn hold(&mut self, core: &Core, packet: LeaderPacket) -> Result<(), Left> {
        if let LeaderPacket::Proposal { txn, .. }
        | LeaderPacket::Inform { txn, .. }
        | LeaderPacket::InformAndActivate { txn, .. } = &packet
        {
            self.held_bytes += txn.len();
        }
        self.held.push_back(packet);
        if self.held_bytes > core.params.held_bytes_max || self.held.len() > HELD_MAX {
            return Err(Left("too much came while the history was being replaced"));
        }
        Ok(())
    }

    fn on_leader_info(
        &mut self,
        core: &mut Core,
        epoch: i64,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        if epoch < core.epochs.accepted {
            return Err(Left("the leader's epoch is older than one agreed to"));
        }
        if epoch == core.epochs.accepted {
            // Agreed to before: to be led, but not to be counted.
            self.agree(core, ACCEPTED_BEFORE, out);
        } else {
            core.epochs.accepted = epoch;
            self.stage = Stage::Agreeing(core.store_epochs(out), core.epochs.current);
        }
        Ok(())
    }

    fn agree(&mut self, core: &Core, current_epoch: i64, out: &mut Vec<ZabEffect>) {
        self.stage = Stage::Agreed;
        let packet = LearnerPacket::AckEpoch {
            zxid: core.vouched_to(self.leader),
            // The leader keeps epochs within 31 bits; one that is not counts for nothing.
            current_epoch: i32::try_from(current_epoch).unwrap_or(-1),
        };
        self.send(packet, out);
    }

    /// The first packet after agreement says how the history is to be made the leader's.
    fn on_plan(
        &mut self,
        core: &mut Core,
        packet: LeaderPacket,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        match packet {
            LeaderPacket::Diff { .. } => self.stage = Stage::Synchronising,
            LeaderPacket::Trunc { zxid } if zxid == core.history.logged() => {
                self.stage = Stage::Synchronising;
            }
            LeaderPacket::Trunc { zxid } if zxid > core.history.logged() => {
                return Err(Left("the leader keeps more than there is"));
            }
            LeaderPacket::Trunc { zxid } => {
                core.installing = Installing::Cut;
                self.stage = Stage::Installing(Some(zxid));
                out.push(ZabEffect::Truncate { zxid });
            }
            LeaderPacket::Snap { zxid } if zxid.epoch() > core.epochs.accepted => {
                return Err(Left("the leader's snapshot is of an epoch that is to come"));
            }
            LeaderPacket::Snap { zxid } => {
                core.installing = Installing::Snapshot;
                self.stage = Stage::Installing(None);
                let link = self.link;
                let epoch = core.epochs.accepted;
                out.push(ZabEffect::ReceiveSnapshot { link, zxid, epoch });
            }
            LeaderPacket::Ping { .. } => {}
            _ => {
                return Err(Left(
                    "the leader sent transactions before it said after which",
                ));
            }
        }
        Ok(())
    }

    /// The history ends with `zxid` now, on disk and in the state; [`Core`] knows already.
    pub(super) fn on_truncated(
        &mut self,
        now_ms: i64,
        core: &mut Core,
        zxid: Zxid,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        let Stage::Installing(expected) = self.stage else {
            return Ok(());
        };
        if expected.is_some_and(|expected| expected != zxid) {
            return Err(Left("the leader kept a transaction that was not there"));
        }
        self.go_on(now_ms, core, out)
    }

    /// The history is the leader's now, on disk and in the state; [`Core`] knows already.
    pub(super) fn on_installed(
        &mut self,
        now_ms: i64,
        core: &mut Core,
        installed: Installed,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        if !self.observer {
            let pending = installed.pending.iter();
            self.unacked
                .extend(pending.map(|logged| (logged.write, logged.zxid)));
        }
        self.pending = installed.pending;
        if !installed.is_readable {
            return Err(UNREADABLE);
        }
        if let Some(leader) = installed.led_by {
            self.stay_unless_handed_over(core, leader)?;
        }
        self.go_on(now_ms, core, out)
    }

    fn go_on(
        &mut self,
        now_ms: i64,
        core: &mut Core,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        self.stage = Stage::Synchronising;
        self.held_bytes = 0;
        for packet in std::mem::take(&mut self.held) {
            self.on_packet(now_ms, core, self.link, packet, out)?;
        }
        Ok(())
    }

    fn on_history(
        &mut self,
        core: &mut Core,
        packet: LeaderPacket,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        match packet {
            LeaderPacket::Proposal { zxid, txn } => self.on_proposal(core, zxid, txn, out),
            LeaderPacket::Commit { zxid } => self.on_commit(core, zxid, out),
            LeaderPacket::Inform { zxid, txn } => {
                self.on_proposal(core, zxid, txn, out)?;
                self.on_commit(core, zxid, out)
            }
            LeaderPacket::CommitAndActivate { zxid, leader } => {
                self.on_activate(core, zxid, ServerId(leader), out)
            }
            LeaderPacket::InformAndActivate { zxid, leader, txn } => {
                self.on_proposal(core, zxid, txn, out)?;
                self.on_activate(core, zxid, ServerId(leader), out)
            }
            LeaderPacket::NewLeader { epoch, members } => {
                self.on_new_leader(core, epoch, members, out)
            }
            LeaderPacket::UpToDate => self.on_up_to_date(core, out),
            LeaderPacket::Ping { zxid } if self.is_established() => {
                let touched = std::mem::take(&mut core.touched).into_iter().collect();
                self.send(LearnerPacket::Ping { zxid, touched }, out);
                Ok(())
            }
            LeaderPacket::Ping { .. } => Ok(()),
            LeaderPacket::Revalidate { session, valid } if self.is_established() => {
                out.push(ZabEffect::Revalidated { session, valid });
                Ok(())
            }
            LeaderPacket::Sync if self.is_established() => {
                out.push(ZabEffect::Synced);
                Ok(())
            }
            _ => Err(Left("the leader spoke out of turn")),
        }
    }

    fn on_proposal(
        &mut self,
        core: &mut Core,
        zxid: Zxid,
        txn: Bytes,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        let logged = core.history.logged();
        if zxid <= logged && !self.is_established() && self.pending.is_empty() {
            // In the snapshot already, or in the history that both have.
            return Ok(());
        }
        if !follows(logged, zxid) || zxid.counter() == 0 || zxid.epoch() > core.epochs.accepted {
            return Err(Left("the leader left transactions out"));
        }
        let members = core.members_of(&txn).map_err(|_| UNREADABLE)?;
        let logged = core.append(zxid, txn, out);
        if let Some(members) = members {
            core.propose_members(members, out);
        }
        if !self.observer {
            self.unacked.push_back((logged.write, zxid));
        }
        self.pending.push_back(logged);
        Ok(())
    }

    fn on_commit(
        &mut self,
        core: &mut Core,
        zxid: Zxid,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        match self.pending.pop_front_if(|logged| logged.zxid == zxid) {
            Some(logged) if self.is_established() => core.commit(logged, out),
            Some(logged) => core.replay(logged, out),
            None if zxid <= core.history.known() && !self.is_established() => {}
            None => return Err(Left("the leader committed out of order")),
        }
        Ok(())
    }

    /// The oldest proposal is committed, and changes the membership; `leader` leads from now on.
    ///
    /// ZooKeeper: `Follower.processPacket`, `Observer.processPacket`.
    fn on_activate(
        &mut self,
        core: &mut Core,
        zxid: Zxid,
        leader: ServerId,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        let members = match self.pending.front() {
            Some(logged) if logged.zxid == zxid => {
                core.members_of(&logged.txn).map_err(|_| UNREADABLE)?
            }
            _ => None,
        };
        self.on_commit(core, zxid, out)?;
        match members.and_then(|members| core.activate(members, out)) {
            Some(_) => self.stay_unless_handed_over(core, leader),
            None => Ok(()),
        }
    }

    /// A membership is in force, and with it `leader` leads.
    fn stay_unless_handed_over(&self, core: &mut Core, leader: ServerId) -> Result<(), Left> {
        core.is_to_vote = false;
        if self.observer != core.observes() || leader != self.leader {
            core.successor = Some(leader);
            return Err(Left(
                "the membership is another, and with it the leader or what this server is",
            ));
        }
        Ok(())
    }

    /// Everything before is in the log, in order, before the epoch that vouches for it; and that before the word is
    /// given (`HistoryBeforeEpochBeforeAck`).
    fn on_new_leader(
        &mut self,
        core: &mut Core,
        epoch: Zxid,
        members: Option<Bytes>,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
        if self.stage != Stage::Synchronising || epoch != Zxid(core.epochs.accepted << 32) {
            return Err(Left("NEWLEADER out of turn, or of another epoch"));
        }
        if let Some(text) = members.filter(|text| text.len() > 1 && core.params.reconfig_enabled) {
            let members = reconfig::read(&text, core.params.standalone).map_err(|_| UNREADABLE)?;
            // An observer is not told of proposals: a change of this epoch that has not come is not committed, and may
            // never be. It comes when it is.
            let change = Zxid(members.version());
            let is_to_come = change > core.history.logged()
                && change.counter() > 0
                && change.epoch() == epoch.epoch();
            core.is_to_vote = is_to_come && members.is_voter(core.params.me);
            if !is_to_come {
                core.on_told_members(Arc::clone(&members), out);
                self.told_members = Some(members);
            }
            if self.observer != core.observes() {
                core.successor = Some(self.leader);
                return Err(Left(
                    "a change of the members is proposed that makes this server vote, or none is any more",
                ));
            }
        }
        core.epochs.current = epoch.epoch();
        self.stage = Stage::Adopting(core.store_epochs(out));
        Ok(())
    }

    fn on_up_to_date(&mut self, core: &mut Core, out: &mut Vec<ZabEffect>) -> Result<(), Left> {
        if self.stage != Stage::Adopted {
            return Err(Left("UPTODATE out of turn"));
        }
        self.adopt_members(core, out)?;
        self.stage = Stage::Active;
        let zxid = Zxid(core.epochs.current << 32);
        self.send(LearnerPacket::Ack { zxid }, out);
        out.push(ZabEffect::Established {
            epoch: core.epochs.current,
        });
        self.acknowledge(core, out);
        Ok(())
    }

    /// The membership that came with NEWLEADER is in force, since a quorum has what led to it; not so while the change
    /// itself is still proposed, though ZooKeeper takes it for in force then.
    ///
    /// ZooKeeper: `Learner.syncWithLeader`, `QuorumPeer.processReconfig`.
    fn adopt_members(&mut self, core: &mut Core, out: &mut Vec<ZabEffect>) -> Result<(), Left> {
        let told = self.told_members.take().filter(|members| {
            let mut pending = self.pending.iter();
            !pending.any(|logged| logged.zxid.0 == members.version())
        });
        // All that has been given out is committed by now, perhaps as part of a snapshot.
        let proposed = &core.configs.proposed;
        let known = Some(proposed).filter(|members| members.version() <= core.history.known().0);
        let given_out = core.given_out.take();
        let newest = told
            .into_iter()
            .chain(known.map(Arc::clone))
            .chain(given_out);
        let Some(members) = newest.max_by_key(|members| members.version()) else {
            return Ok(());
        };
        let Some(activated) = core.activate(members, out) else {
            return Ok(());
        };
        let members = &core.configs.committed;
        let leader_stays = members.has_voter_at_same_place(&activated.former, self.leader);
        if activated.is_another && (self.observer != core.observes() || !leader_stays) {
            return Err(Left("the membership is another than this server knew"));
        }
        Ok(())
    }

    pub(super) fn on_durable(&mut self, now_ms: i64, core: &mut Core, out: &mut Vec<ZabEffect>) {
        match self.stage {
            Stage::Agreeing(write, before) if write <= core.durable => {
                self.agree(core, before, out);
            }
            Stage::Adopting(write) if write <= core.durable => {
                self.stage = Stage::Adopted;
                // The leader's whole history is on disk, and with it all that this server may have lacked. To wait for
                // UPTODATE would leave nobody to elect if a quorum goes down before that.
                core.may_lack = false;
                self.hear(now_ms, core);
                let zxid = Zxid(core.epochs.current << 32);
                self.send(LearnerPacket::Ack { zxid }, out);
            }
            Stage::Active => self.acknowledge(core, out),
            _ => {}
        }
    }

    /// Acknowledges what is on disk (`AckMeansDurable`), never before NEWLEADER (`NoAckOvertakes`).
    fn acknowledge(&mut self, core: &Core, out: &mut Vec<ZabEffect>) {
        while let Some((_, zxid)) = self
            .unacked
            .pop_front_if(|(write, _)| *write <= core.durable)
        {
            self.send(LearnerPacket::Ack { zxid }, out);
        }
    }
}

const UNREADABLE: Left = Left("the leader told a membership that cannot be read");
/// In ACKEPOCH: the epoch was agreed to before.
const ACCEPTED_BEFORE: i64 = -1;
/// How many packets may come while the history is being replaced.
const HELD_MAX: usize = 1 << 20;
