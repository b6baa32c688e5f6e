//! Synchronisation: a learner gets what it lacks, and the epoch begins once a quorum has its initial history.

use std::sync::Arc;

use jute_codec::Zxid;
use jute_codec::quorum::LeaderPacket;

use super::broadcast::commit;
use super::peers::Stage;
use super::{HANDED_OVER, Leader, Phase};
use crate::replica::zab::core::Core;
use crate::replica::zab::sync_plan::{self, SyncPlan};
use crate::replica::zab::{Left, LinkId, LogPlace, ZabEffect};

impl Leader {
    pub(super) fn synchronise(&mut self, core: &Core, link: LinkId, out: &mut Vec<ZabEffect>) {
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

    pub(in crate::replica::zab) fn on_looked_up(
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

    pub(super) fn on_ack_new_leader(
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

    /// Begins to broadcast once a quorum has the initial history; with it a change of the membership that is in there
    /// comes into force.
    ///
    /// ZooKeeper: `Leader.startZkServer`.
    pub(super) fn establish(
        &mut self,
        core: &mut Core,
        out: &mut Vec<ZabEffect>,
    ) -> Result<(), Left> {
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

    fn activate(&mut self, link: LinkId, out: &mut Vec<ZabEffect>) {
        if let Some(peer) = self.peers.get_mut(link) {
            peer.stage = Stage::Active;
            Self::send(link, LeaderPacket::UpToDate, out);
            for (zxid, leader) in std::mem::take(&mut peer.held) {
                Self::send(link, commit(zxid, leader), out);
            }
        }
    }
}
