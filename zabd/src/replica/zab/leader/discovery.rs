//! Discovery: servers say who they are, and agree to an epoch that is newer than all they have agreed to.

use std::collections::BTreeSet;
use std::sync::Arc;

use jute_codec::Zxid;
use jute_codec::quorum::packet::PROTOCOL_VERSION;
use jute_codec::quorum::{LeaderPacket, LearnerInfo};

use super::peers::Stage;
use super::{Leader, Phase};
use crate::replica::ensemble::{Members, ServerId};
use crate::replica::zab::core::Core;
use crate::replica::zab::{Left, LinkId, ZabEffect};

impl Leader {
    pub(super) fn on_info(
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
    pub(super) fn choose_epoch(&mut self, core: &mut Core, out: &mut Vec<ZabEffect>) {
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

    pub(super) fn inform(&mut self, core: &Core, link: LinkId, out: &mut Vec<ZabEffect>) {
        if let Some(peer) = self.peers.get_mut(link) {
            peer.stage = Stage::Informed;
            let packet = LeaderPacket::LeaderInfo {
                epoch: Zxid(core.epochs.accepted << 32),
                protocol_version: PROTOCOL_VERSION,
            };
            Self::send(link, packet, out);
        }
    }

    pub(super) fn on_ack_epoch(
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
    pub(super) fn agree(&mut self, now_ms: i64, core: &mut Core, out: &mut Vec<ZabEffect>) {
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

    /// A membership that was never agreed on gets the epoch as its version, so that it is newer than one that somebody
    /// has only written down.
    ///
    /// ZooKeeper: `Leader.lead`.
    pub(super) fn give_members_a_version(core: &mut Core, out: &mut Vec<ZabEffect>) {
        let members = &core.configs.committed;
        if core.params.reconfig_enabled && members.version() == 0 && !core.configs.is_changing() {
            let version = core.epochs.accepted << 32;
            let members = Members::clone(members).with_version(version);
            core.propose_members(Arc::new(members), out);
        }
    }
}

/// The last epoch: ACKEPOCH has 32 bits for it.
const EPOCH_MAX: i64 = i32::MAX as i64;
/// In ACKEPOCH: the learner may lack something that it has acknowledged.
const LACKING: Zxid = Zxid(-1);
/// In ACKEPOCH: the learner had agreed to the epoch before.
const ACCEPTED_BEFORE: i32 = -1;
/// The id of observers that have none.
const UNNAMED: i64 = i64::MAX;
