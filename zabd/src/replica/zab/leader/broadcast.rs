//! Broadcast: proposals leave, are acknowledged, and committed in order.

use std::collections::BTreeSet;

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::LeaderPacket;

use super::Leader;
use super::peers::Stage;
use crate::replica::ensemble::ServerId;
use crate::replica::zab::core::Core;
use crate::replica::zab::{LinkId, ZabEffect};

impl Leader {
    /// Proposes a transaction under the id that [`Self::next_zxid`] gave.
    pub(in crate::replica::zab) fn propose(
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

    pub(super) fn on_ack(
        &mut self,
        core: &mut Core,
        link: LinkId,
        zxid: Zxid,
        out: &mut Vec<ZabEffect>,
    ) {
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

    /// Commits, in order, what a quorum has on disk (`CommitInOrder`).
    pub(super) fn commit(&mut self, core: &mut Core, out: &mut Vec<ZabEffect>) {
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

    /// Tells followers that a proposal is committed, and who leads from then on if it says so: at once or, those that are
    /// still to be told UPTODATE, behind that.
    pub(super) fn tell_followers(
        &mut self,
        zxid: Zxid,
        leader: Option<ServerId>,
        out: &mut Vec<ZabEffect>,
    ) {
        for (link, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.observer) {
            match peer.stage {
                Stage::Active => Self::send(link, commit(zxid, leader), out),
                Stage::Synchronising | Stage::Synced => peer.held.push((zxid, leader)),
                _ => {}
            }
        }
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
    pub(super) fn on_sync(
        &mut self,
        now_ms: i64,
        core: &Core,
        link: LinkId,
        out: &mut Vec<ZabEffect>,
    ) {
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
}

/// COMMIT, or what says who leads from now on, too.
pub(super) fn commit(zxid: Zxid, leader: Option<ServerId>) -> LeaderPacket {
    match leader {
        Some(ServerId(leader)) => LeaderPacket::CommitAndActivate { zxid, leader },
        None => LeaderPacket::Commit { zxid },
    }
}
