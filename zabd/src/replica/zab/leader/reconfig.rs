//! A change of the membership comes into force, and may make another server the leader.

use std::sync::Arc;

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::LeaderPacket;

use super::Leader;
use crate::replica::ensemble::ServerId;
use crate::replica::zab::ZabEffect;
use crate::replica::zab::core::Core;

impl Leader {
    /// The change that `zxid` proposed is committed. Everybody is told, and who leads from now on; if that is another
    /// server, this one commits nothing more and waits until the others have left, so that a quorum has heard of it.
    ///
    /// ZooKeeper: `Leader.tryToCommit`.
    pub(super) fn activate_members(
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
}
