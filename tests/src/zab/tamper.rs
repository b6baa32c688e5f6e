//! Faults that are planted between a core and its world.

use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket, PeerState};
use zabd::replica::ensemble::ServerId;
use zabd::replica::zab::{LinkId, Role, ZabEffect, ZabInput};

use super::book::{Server, Written};
use super::disk::Write;
use super::entry::Entry;
use super::net::Item;
use super::plan::Planted;
use super::world::World;

impl World {
    /// What a hasty server does about an input before it has thought about it.
    pub(super) fn hasty(&self, input: &ZabInput) -> Vec<ZabEffect> {
        let ZabInput::FromLeader { link, packet } = input else {
            return Vec::new();
        };
        let zxid = match packet {
            LeaderPacket::Proposal { zxid, .. } if self.plan.has(Planted::AckBeforeLog) => *zxid,
            LeaderPacket::NewLeader { epoch, .. } if self.plan.has(Planted::NewLeaderAckAtOnce) => {
                *epoch
            }
            _ => return Vec::new(),
        };
        let packet = LearnerPacket::Ack { zxid };
        vec![ZabEffect::ToLeader {
            link: *link,
            packet,
        }]
    }

    pub(super) fn tamper(&mut self, id: Server, effects: Vec<ZabEffect>) -> Vec<ZabEffect> {
        let Some(planted) = self.plan.planted else {
            return effects;
        };
        let mut tampered = Vec::new();
        for effect in effects {
            self.tamper_one(planted, id, effect, &mut tampered);
        }
        tampered
    }

    fn tamper_one(
        &mut self,
        planted: Planted,
        id: Server,
        mut effect: ZabEffect,
        out: &mut Vec<ZabEffect>,
    ) {
        let happens = self.rng.chance(1, 8);
        match (planted, &mut effect) {
            (
                Planted::CommitsSwapped,
                ZabEffect::ToLearner {
                    packet: LeaderPacket::Commit { .. },
                    ..
                },
            )
            | (Planted::AppliedSwapped, ZabEffect::Commit { .. }) => {
                let held = &mut self.server(id).held;
                if held.is_empty() && happens {
                    held.push(effect);
                    return;
                }
                out.push(effect);
                out.append(held);
                return;
            }
            (
                Planted::AppliedLate,
                ZabEffect::Commit { zxid, .. } | ZabEffect::Replay { zxid, .. },
            ) => {
                let epoch = zxid.epoch();
                let held = &mut self.server(id).held;
                let first = match held.first() {
                    Some(ZabEffect::Commit { zxid, .. } | ZabEffect::Replay { zxid, .. }) => {
                        Some(zxid.epoch())
                    }
                    _ => None,
                };
                match first {
                    None if happens => held.push(effect),
                    Some(held_since) if held_since < epoch => {
                        out.push(effect);
                        out.append(held);
                    }
                    _ => out.push(effect),
                }
                return;
            }
            (
                Planted::ProposalLeftOut,
                ZabEffect::ToLearner {
                    packet: LeaderPacket::Proposal { .. },
                    ..
                },
            )
            | (Planted::CommitLost, ZabEffect::Commit { .. })
                if happens =>
            {
                return;
            }
            (
                Planted::ProposalGarbled,
                ZabEffect::ToLearner {
                    packet: LeaderPacket::Proposal { txn, .. },
                    ..
                },
            )
            | (Planted::AppliedGarbled, ZabEffect::Commit { txn, .. })
                if happens =>
            {
                *txn = Entry::bytes(1_000_000_000 + self.rng.below(1_000_000));
            }
            (Planted::StagesSwapped, ZabEffect::ToLearner { packet, .. }) => {
                if matches!(packet, LeaderPacket::NewLeader { .. }) {
                    *packet = LeaderPacket::UpToDate;
                }
            }
            (Planted::InformForAll, ZabEffect::ToLearner { packet, .. }) => {
                if let LeaderPacket::Commit { zxid } = *packet {
                    let txn = Entry::bytes(0);
                    *packet = LeaderPacket::Inform { zxid, txn };
                }
            }
            (Planted::TruncTooFar, ZabEffect::ToLearner { packet, .. }) => {
                if let LeaderPacket::Diff { zxid } = *packet {
                    let zxid = Zxid((zxid.epoch() << 32) + 1);
                    *packet = LeaderPacket::Trunc { zxid };
                }
            }
            (
                Planted::DoubleVote,
                ZabEffect::ToLeader {
                    packet: LearnerPacket::AckEpoch { current_epoch, .. },
                    ..
                },
            ) => {
                *current_epoch = (*current_epoch).max(0);
            }
            (Planted::VoteTooOld, ZabEffect::Notify { notification, .. })
                if notification.state == PeerState::Looking && notification.leader == id =>
            {
                notification.zxid = Zxid(notification.zxid.0 - 1);
            }
            _ => {}
        }
        out.push(effect);
    }

    /// Says in the name of those who are to vote that they have the change which lets them.
    pub(super) fn acknowledge_for_the_new(&mut self, leader: Server, entry: Entry) {
        if !self.plan.has(Planted::OldQuorumAlone) {
            return;
        }
        let (Some(members), Some(zab)) = (entry.members(), &self.servers[&leader].zab) else {
            return;
        };
        let former = &zab.configs().committed;
        let links = self.net.conns.values().filter_map(|conn| {
            let learner = ServerId(conn.learner.server);
            let is_new = members.is_voter(learner) && !former.is_voter(learner);
            (conn.leader.server == leader && conn.leader.open && is_new).then_some(conn.leader.id)
        });
        for link in links.collect::<Vec<LinkId>>() {
            let packet = LearnerPacket::Ack { zxid: entry.zxid };
            self.feed_later(0, leader, ZabInput::FromLearner { link, packet });
        }
    }

    /// Whether a write is forgotten.
    pub(super) fn skips_append(&mut self, what: &Written) -> bool {
        self.plan.has(Planted::LogGap) && matches!(what, Written::Entry(_)) && self.rng.chance(1, 8)
    }

    /// Lets epoch files overtake what was written ahead of them.
    pub(super) fn epochs_first(&mut self, id: Server) {
        if !self.plan.has(Planted::EpochBeforeHistory) {
            return;
        }
        let disk = &mut self.server(id).disk;
        let waiting = disk.pending.iter().skip(disk.flushing);
        let place = waiting
            .clone()
            .position(|write| matches!(write.what, Written::Epochs(_)));
        if let Some(place) = place
            && let Some(write) = disk.pending.remove(disk.flushing + place)
        {
            disk.pending.insert(disk.flushing, write);
        }
    }

    /// Puts off what a role that is over has handed to the log, until the next one has made its log.
    pub(super) fn writes_later(&mut self, id: Server) {
        if !self.plan.has(Planted::LateWriter) {
            return;
        }
        let server = self.server(id);
        let waiting = server.disk.pending.split_off(server.disk.flushing);
        let (late, others): (Vec<Write>, Vec<Write>) = waiting
            .into_iter()
            .partition(|write| matches!(write.what, Written::Entry(_)));
        server.disk.pending.extend(others);
        let said = late.iter().filter_map(|write| write.seq).max();
        server.put_off = late;
        if let Some(said) = said {
            self.feed_later(1000, id, ZabInput::Durable(said));
        }
    }

    /// Whether a write waits until the server serves.
    pub(super) fn is_put_off(&self, id: Server, what: &Written) -> bool {
        let server = &self.servers[&id];
        self.plan.has(Planted::SyncUnlogged)
            && server.role == Role::Following
            && !server.serves()
            && matches!(what, Written::Entry(_))
    }

    /// Whether a learner overlooks what its leader says.
    pub(super) fn overlooks(&self, id: Server, input: &ZabInput) -> bool {
        let ZabInput::FromLeader {
            link,
            packet: LeaderPacket::Commit { .. },
        } = input
        else {
            return false;
        };
        let server = &self.servers[&id];
        self.plan.has(Planted::CommitLostInSync)
            && server.disk.epochs.current == server.disk.epochs.accepted
            && !server.serves()
            && self.net.find(id, *link).is_some()
    }

    /// Whether something on a connection overtakes what set out before it.
    pub(super) fn swaps(&mut self, item: &Item) -> bool {
        match item {
            Item::FromLearner(LearnerPacket::Ack { .. }) => self.plan.has(Planted::AcksSwapped),
            Item::FromLeader(_) => self.plan.has(Planted::WireSwaps) && self.rng.chance(1, 8),
            _ => false,
        }
    }
}
