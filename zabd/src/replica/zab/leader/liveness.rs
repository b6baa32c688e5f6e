//! Who is still there: pings, patience with learners, and the end of a leader that no quorum follows.

use std::collections::BTreeSet;

use jute_codec::Zxid;
use jute_codec::quorum::LeaderPacket;

use super::peers::{Peer, Stage};
use super::{HANDED_OVER, Leader};
use crate::replica::ensemble::ServerId;
use crate::replica::zab::core::Core;
use crate::replica::zab::{Left, LinkId, ZabEffect};

impl Leader {
    pub(in crate::replica::zab) fn on_heard(&mut self, now_ms: i64, core: &Core, link: LinkId) {
        if let Some(peer) = self.peers.get_mut(link) {
            let patience_ms = if peer.stage >= Stage::Synced {
                core.params.sync_ms()
            } else {
                core.params.init_ms() + core.params.sync_ms()
            };
            peer.deadline_ms = now_ms + patience_ms;
        }
    }

    pub(in crate::replica::zab) fn wakeup(
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

    /// Whether a quorum has been heard of within syncLimit. Else another may lead already: this one stays until the tick is
    /// over, for servers that come back, but what it has may be old.
    pub(in crate::replica::zab) fn hears_quorum(&self, now_ms: i64, core: &Core) -> bool {
        self.is_quorum(core, |peer| now_ms < peer.deadline_ms)
    }

    pub(super) fn has_quorum(&self, core: &Core) -> bool {
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
