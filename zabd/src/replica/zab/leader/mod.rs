//! The leader's side: an epoch is agreed on, learners are brought up to date, transactions are broadcast.
//!
//! | module | what it holds |
//! |---|---|
//! | `peers` | the learners, and how far the dialogue with each has come |
//! | `discovery` | who is there, and the epoch that a quorum agrees to |
//! | `synchronise` | a learner is brought up to date; the epoch begins |
//! | `broadcast` | proposals, acknowledgements, commits, syncs |
//! | `reconfig` | a change of the membership is committed: who leads from then on |
//! | `liveness` | pings and patience |
//!
//! ZooKeeper: `Leader`, `LearnerHandler`; sections 7, 8, 10 and 11.1 of `quorum-protocol.md`.

mod broadcast;
mod discovery;
mod liveness;
mod peers;
mod reconfig;
mod synchronise;

use std::collections::{BTreeSet, VecDeque};

use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket};

use super::core::{Core, Logged};
use super::{Left, LinkId, ZabEffect};
use crate::replica::effect::WriteSeq;
use crate::replica::ensemble::ServerId;
use peers::{Peers, Stage};

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
}

const HANDED_OVER: Left = Left("by the new membership another server leads");
/// The opcode of sync.
const SYNC: i32 = 9;
