//! ZAB: one order of transactions for all servers. Transactions are opaque here, but for those that change who belongs to
//! them.
//!
//! [`Zab`] is one server's share: the election, then leading or learning, then the election again. Pure, like
//! everything in `replica`: it is told what happened ([`ZabInput`]) and says what to do ([`ZabEffect`]), in order.
//!
//! | module | what it holds |
//! |---|---|
//! | `history` | what this server has logged and committed, and the newest of it in memory |
//! | `leader` | discovery, synchronisation, broadcast, from the leader's side |
//! | `learner` | the same from the side of followers and observers |
//! | `reconfig` | transactions that change the membership |
//! | `sync_plan` | how a learner is brought up to date: which packets, from where |
//!
//! Rules and names: sections 5 to 11 of `quorum-protocol.md`. Promises kept here: `AckMeansDurable`,
//! `HistoryBeforeEpochBeforeAck`, `NoAckOvertakes`, `CommitInOrder`, `SyncStartsClean`.

mod core;
mod history;
mod leader;
mod learner;
mod reconfig;
mod sync_plan;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use jute_codec::data::Id;
use jute_codec::quorum::{LeaderPacket, LearnerPacket, Notification};
use jute_codec::{SessionId, Zxid};

use self::core::{Core, Doubt, Installing, Logged};
use super::effect::WriteSeq;
use super::election::{Election, ElectionEffect, ElectionParams, Vote};
use super::ensemble::{Configs, ServerId, Standalone};
use history::History;
use leader::Leader;
use learner::Learner;

/// A connection between a leader and a learner. Numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// The two epochs that a server promises by; on disk before they are spoken of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch that this server has agreed to: it follows no lower one.
    pub accepted: i64,
    /// The newest epoch whose whole initial history is in this server's log.
    pub current: i64,
}

/// What this server is to the ensemble at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing yet: it looks for a leader, or for a quorum that wants it.
    Looking,
    /// It leads, or is about to.
    Leading,
    /// It follows, or is about to.
    Following,
    /// It observes, or is about to.
    Observing,
}

/// One thing that happened.
#[derive(Debug)]
pub enum ZabInput {
    /// A message on the election port.
    Notified {
        /// From whom.
        from: ServerId,
        /// What.
        notification: Notification,
    },
    /// A learner has connected, or the connection that [`ZabEffect::Connect`] asked for is there.
    LinkUp {
        /// The connection.
        link: LinkId,
    },
    /// A connection is gone, or could not be made.
    LinkDown {
        /// The connection; the one that [`ZabEffect::Connect`] named if it could not be made.
        link: LinkId,
    },
    /// A packet from a learner.
    FromLearner {
        /// On which connection.
        link: LinkId,
        /// What.
        packet: LearnerPacket,
    },
    /// A packet from the leader.
    FromLeader {
        /// On which connection.
        link: LinkId,
        /// What.
        packet: LeaderPacket,
    },
    /// The leader sent a transaction that is none that this server knows.
    Unknown {
        /// On which connection.
        link: LinkId,
    },
    /// This write and all before it are on disk.
    Durable(WriteSeq),
    /// The log cannot be written. Nothing is acknowledged, and the server takes no part, until what was asked for is
    /// reported durable after all.
    LogTrouble,
    /// What this server made of the leader's transactions is not what the leader made of them. It leaves the leader, and
    /// looks who is wrong (docs/decisions/0004).
    Diverged,
    /// The answer to [`ZabEffect::Check`].
    Checked {
        /// What is on disk comes to what the leader said: only this server's memory was wrong.
        agrees: bool,
    },
    /// The answer to [`ZabEffect::LookUp`].
    LookedUp {
        /// The connection that it was asked for.
        link: LinkId,
        /// What the log has there.
        found: LogPlace,
    },
    /// Bytes of a snapshot, or of a part of the log, have gone over the connection: it is alive. At the most every half
    /// tick or so.
    Heard {
        /// The connection.
        link: LinkId,
    },
    /// The history was cut as [`ZabEffect::Truncate`] asked; log and state are durable, and end with this transaction.
    Truncated {
        /// The newest transaction.
        zxid: Zxid,
    },
    /// The history was replaced as [`ZabEffect::ReceiveSnapshot`] asked, durably and in one step: by the snapshot and all that
    /// came behind it up to NEWLEADER.
    Installed {
        /// The newest transaction in the state: the last one that the leader has said to be committed.
        zxid: Zxid,
        /// What the log has behind it.
        pending: Vec<(Zxid, Bytes)>,
        /// Who leads from now on, if a change of the membership that came into force behind the snapshot has said so.
        successor: Option<ServerId>,
    },
    /// The snapshot that [`ZabEffect::ReceiveSnapshot`] asked for broke off; the old history is in place, whole. Each
    /// such effect is answered once, by this or by [`ZabInput::Installed`], whatever becomes of the connection.
    NotInstalled,
    /// The time that [`Zab::deadline`] named has come.
    Wakeup,
}

/// What the log on disk has of a learner's newest transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPlace {
    /// That very transaction, and everything after it.
    Exactly,
    /// Not that one; the newest one before it is this, and everything after it is there.
    After(Zxid),
    /// The log begins later, cannot be read, or is longer than a snapshot is worth.
    Unusable,
}

/// One thing to do. Effects are carried out in order.
#[derive(Debug)]
pub enum ZabEffect {
    /// Append to the log; [`ZabInput::Durable`] reports that it and all before it are on disk.
    Append {
        /// The write's number.
        write: WriteSeq,
        /// The transaction's id.
        zxid: Zxid,
        /// Its bytes.
        txn: Bytes,
    },
    /// Store both epochs; reported like an append.
    StoreEpochs {
        /// The write's number.
        write: WriteSeq,
        /// What to store.
        epochs: Epochs,
    },
    /// Apply to the state: the transaction is committed. Replays and commits come in zxid order, each transaction
    /// once.
    Commit {
        /// The transaction's id.
        zxid: Zxid,
        /// Its bytes.
        txn: Bytes,
    },
    /// Apply to the state, although nobody knows whether it will be committed: a transaction that is in the log when no
    /// client is served. Whoever leads next keeps it, or has it cut off by [`ZabEffect::Truncate`]. Nothing of it may
    /// reach a snapshot on disk before [`ZabEffect::Established`].
    Replay {
        /// The transaction's id.
        zxid: Zxid,
        /// Its bytes.
        txn: Bytes,
    },
    /// Forget every transaction after this one, in the log and in the state, durably; then [`ZabInput::Truncated`].
    Truncate {
        /// The newest transaction to keep.
        zxid: Zxid,
    },
    /// Make the state anew out of what is on disk, as of where it is now, and see whether that agrees with the leader's; then
    /// [`ZabInput::Checked`].
    Check,
    /// Take the snapshot that comes on the connection, and the transactions that come behind it before NEWLEADER, in place
    /// of the whole history, durably and in one step: what the snapshot alone has may be less than this server has
    /// acknowledged. Then [`ZabInput::Installed`], or [`ZabInput::NotInstalled`] if it breaks off before. NEWLEADER and
    /// what follows it is handed on only then, or may be handed on before.
    ReceiveSnapshot {
        /// The connection.
        link: LinkId,
        /// As of when the leader says it is.
        zxid: Zxid,
        /// The newest epoch that a transaction in it may be of.
        epoch: i64,
    },
    /// A message for the election port.
    Notify {
        /// To whom; never this server.
        to: ServerId,
        /// What.
        notification: Notification,
    },
    /// Connect to all servers on the election port, if not connected.
    ConnectElection,
    /// Connect to the leader's quorum port.
    Connect {
        /// The number that the connection gets.
        link: LinkId,
        /// Whose.
        leader: ServerId,
    },
    /// Listen on the quorum port, or stop; without it connections are refused.
    Listen(bool),
    /// Close a connection at once. No [`ZabInput::LinkDown`] follows.
    CloseLink {
        /// Which.
        link: LinkId,
    },
    /// A packet for a learner.
    ToLearner {
        /// On which connection.
        link: LinkId,
        /// What.
        packet: LeaderPacket,
    },
    /// A packet for the leader.
    ToLeader {
        /// On which connection.
        link: LinkId,
        /// What.
        packet: LearnerPacket,
    },
    /// Look where a transaction is in the log; the answer is [`ZabInput::LookedUp`].
    LookUp {
        /// For whom.
        link: LinkId,
        /// Which transaction.
        zxid: Zxid,
    },
    /// Send transactions from the log, as PROPOSAL and COMMIT, before everything that is sent on the connection from
    /// now on. If that fails the connection is closed.
    SendLog {
        /// On which connection.
        link: LinkId,
        /// Those after this one,
        after: Zxid,
        /// up to this one.
        through: Zxid,
    },
    /// Send SNAP and a snapshot, then what the log has after it as by [`ZabEffect::SendLog`]. Of what is sent on the
    /// connection from now on, PROPOSAL and COMMIT that the snapshot has in it already are left out.
    SendSnapshot {
        /// On which connection.
        link: LinkId,
        /// The newest transaction that must have been sent then.
        through: Zxid,
    },
    /// The role, or the leader, is another.
    RoleChanged {
        /// The role.
        role: Role,
        /// The leader, if there is one.
        leader: Option<ServerId>,
        /// Why, for operators.
        why: &'static str,
    },
    /// A quorum has the epoch's initial history: clients may be served.
    Established {
        /// The epoch.
        epoch: i64,
    },
    /// The membership in force, or the one proposed, is another. Connections go by both. The one in force is to be
    /// stored, for the next start; the one proposed is found again in the log: nothing waits for it to be stored.
    Members {
        /// Both.
        configs: Configs,
    },
    /// To the leader: a request that reached a learner.
    Requested {
        /// On which connection.
        link: LinkId,
        /// The client's session.
        session: SessionId,
        /// The client's number for it.
        cxid: i32,
        /// The opcode.
        op: i32,
        /// The record of the request.
        body: Bytes,
        /// Who the client is.
        ids: Vec<Id>,
    },
    /// To the leader: learners have heard of these sessions; timeouts are in milliseconds.
    Touched {
        /// Which.
        sessions: Vec<(SessionId, i32)>,
    },
    /// To the leader: a learner asks whether a session lives.
    Revalidate {
        /// On which connection.
        link: LinkId,
        /// The session.
        session: SessionId,
        /// The timeout that its client asks for, in milliseconds.
        timeout_ms: i32,
    },
    /// To a learner: the answer.
    Revalidated {
        /// The session.
        session: SessionId,
        /// Whether it lives.
        valid: bool,
    },
    /// The oldest sync in flight is over: everything that it waits for has been given out as [`ZabEffect::Commit`].
    Synced,
    /// This server cannot go on without harm: it must end, and its operator must know why.
    Fatal {
        /// Why, and what to do.
        why: String,
    },
}

/// What a server goes by; the same for as long as it lives.
#[derive(Debug, Clone)]
pub struct ZabParams {
    /// This server.
    pub me: ServerId,
    /// The length of a tick, in milliseconds. ZooKeeper: `tickTime`.
    pub tick_ms: i64,
    /// How long a learner may take to be synchronised, in ticks. ZooKeeper: `initLimit`.
    pub init_limit: i64,
    /// How long nothing may be heard of a peer, in ticks. ZooKeeper: `syncLimit`.
    pub sync_limit: i64,
    /// How many committed transactions are kept in memory for learners. ZooKeeper: `zookeeper.commitLogCount`.
    pub recent_max: usize,
    /// How many bytes of them.
    pub recent_bytes_max: usize,
    /// How many bytes of transactions may wait while the history is cut or replaced.
    pub held_bytes_max: usize,
    /// Whether the membership may change. ZooKeeper: `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// Whether a single participant would stand alone. ZooKeeper: `standaloneEnabled`.
    pub standalone: Standalone,
    /// Learners always get a snapshot. ZooKeeper: `zookeeper.forceSnapshotSync`.
    pub force_snapshot_sync: bool,
    /// How many learners may be on their way to a snapshot when an observer comes for one.
    /// ZooKeeper: `zookeeper.leader.maxConcurrentSnapSyncs`.
    pub snap_syncs_max: usize,
    /// The same for transactions. ZooKeeper: `zookeeper.leader.maxConcurrentDiffSyncs`.
    pub diff_syncs_max: usize,
    /// How long a candidate listens for a better vote, in milliseconds.
    pub finalize_wait_ms: i64,
    /// The shortest wait before votes are sent again, in milliseconds.
    /// ZooKeeper: `zookeeper.fastleader.minNotificationInterval`.
    pub notification_min_ms: i64,
    /// The longest one. ZooKeeper: `zookeeper.fastleader.maxNotificationInterval`.
    pub notification_max_ms: i64,
    /// The last counter that an epoch uses; a leader that has come to it makes way for the next epoch.
    pub counter_max: i64,
}

/// The counter after it would overflow into the next epoch.
const COUNTER_MAX: i64 = 0xffff_fffe;

impl ZabParams {
    /// ZooKeeper's values, for one server.
    #[must_use]
    pub const fn new(me: ServerId) -> Self {
        Self {
            me,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            recent_max: 500,
            recent_bytes_max: 32 << 20,
            held_bytes_max: 64 << 20,
            reconfig_enabled: false,
            standalone: Standalone::Enabled,
            force_snapshot_sync: false,
            snap_syncs_max: 10,
            diff_syncs_max: 100,
            finalize_wait_ms: 200,
            notification_min_ms: 200,
            notification_max_ms: 60_000,
            counter_max: COUNTER_MAX,
        }
    }

    const fn init_ms(&self) -> i64 {
        self.tick_ms * self.init_limit
    }

    const fn sync_ms(&self) -> i64 {
        self.tick_ms * self.sync_limit
    }

    /// Twice a tick.
    const fn ping_ms(&self) -> i64 {
        if self.tick_ms < 2 {
            1
        } else {
            self.tick_ms / 2
        }
    }
}

/// What was found on disk.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// The epochs.
    pub epochs: Epochs,
    /// The newest transaction, in the log or, if the log is empty, in the snapshot; the state is as of it.
    pub last: Zxid,
    /// The newest transactions of the log without a gap, ending with `last`; may be empty.
    pub recent: Vec<(Zxid, Bytes)>,
    /// Something that this server has acknowledged may be missing. It is no candidate, and is not counted by a leader,
    /// before it has a leader's whole history.
    pub may_lack: bool,
}

/// One server's share in the ensemble's order of transactions.
#[derive(Debug)]
pub struct Zab {
    core: Core,
    election: Election,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The last role is over, and the disk has not caught up yet; then an election begins. Holds what is logged and not
    /// in the state.
    Settling(VecDeque<Logged>),
    Electing,
    Leading(Leader),
    Learning(Learner),
}

/// Why a learner has left a leader whose transactions it does not know.
pub const UNKNOWN_TXN: &str = "the leader sent a transaction of a type that this server does not know, or a damaged one; it \
    takes no part for as long as it cannot read everything. If all servers can be the same release, make them so";

/// Why a role is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left(&'static str);

impl Zab {
    /// A server that has just started, and looks for a leader.
    #[must_use]
    pub fn new(
        params: ZabParams,
        configs: Configs,
        recovered: Recovered,
        now_ms: i64,
        out: &mut Vec<ZabEffect>,
    ) -> Self {
        let Recovered {
            epochs,
            last,
            recent,
            may_lack,
        } = recovered;
        let election = Election::new(ElectionParams {
            me: params.me,
            // Until it has settled it says nothing.
            is_observer: configs.committed.is_observer(params.me),
            finalize_wait_ms: params.finalize_wait_ms,
            min_interval_ms: params.notification_min_ms,
            max_interval_ms: params.notification_max_ms,
        });
        let history = History::new(last, recent, params.recent_max, params.recent_bytes_max);
        let core = Core {
            params,
            configs,
            epochs,
            history,
            last_write: WriteSeq::default(),
            durable: WriteSeq::default(),
            installing: Installing::Nothing,
            may_lack,
            doubt: None,
            avoided: None,
            led: 0,
            links_made: 0,
            given_out: None,
            rumour: None,
            successor: None,
            is_to_vote: false,
            touched: std::collections::BTreeMap::new(),
        };
        let mut zab = Self {
            core,
            election,
            state: State::Settling(VecDeque::new()),
        };
        zab.settle(now_ms, out);
        zab
    }

    /// Takes one input; what must happen is appended to `out`, in order. `now_ms` never goes back.
    pub fn step(&mut self, now_ms: i64, input: ZabInput, out: &mut Vec<ZabEffect>) {
        let served = self.is_established();
        if let Err(left) = self.take(now_ms, input, out) {
            self.leave(now_ms, left, out);
        }
        // What this server tells others of its vote goes by the epoch, once that stands.
        if !served && self.is_established() {
            self.core.may_lack = false;
            self.core.doubt = None;
            self.election.set_established(self.core.epochs.current);
        }
    }

    fn take(&mut self, now_ms: i64, input: ZabInput, out: &mut Vec<ZabEffect>) -> Result<(), Left> {
        let core = &mut self.core;
        match (input, &mut self.state) {
            // The last role is over, and what to say instead depends on the disk.
            (ZabInput::Notified { .. }, State::Settling(_)) => {}
            (ZabInput::Notified { notification, .. }, State::Electing)
                if core.passes_over(now_ms, &notification) => {}
            (ZabInput::Notified { from, notification }, state) => {
                if matches!(state, State::Electing) && self.take_over_members(&notification, out) {
                    self.elect(now_ms, out);
                    return Ok(());
                }
                if let (State::Electing, Some(text)) = (&self.state, &notification.proposed) {
                    self.core.hear_rumour(from, text);
                }
                let core = &self.core;
                let mut said = Vec::new();
                self.election.on_notification(
                    now_ms,
                    from,
                    &notification,
                    &core.configs,
                    &mut said,
                );
                self.on_election(now_ms, said, out);
            }
            (ZabInput::Durable(write), _) => {
                core.durable = core.durable.max(write);
                self.on_durable(now_ms, out)?;
            }
            (ZabInput::LogTrouble, State::Leading(_) | State::Learning(_)) => {
                return Err(Left("the log cannot be written"));
            }
            // What is being done to the history makes the state anew, too.
            (ZabInput::Diverged, state) if core.installing == Installing::Nothing => {
                let leader = match state {
                    State::Learning(learner) => Some(learner.leader()),
                    _ => None,
                };
                core.installing = Installing::Check(leader);
                out.push(ZabEffect::Check);
                return Err(Left(
                    "this server's tree is not the leader's: it checks its copy",
                ));
            }
            (ZabInput::Checked { agrees }, _) => {
                let Installing::Check(leader) = core.installing else {
                    return Ok(());
                };
                core.installing = Installing::Nothing;
                core.doubt = leader.filter(|_| !agrees).map(|leader| Doubt {
                    leader,
                    until_ms: now_ms + 2 * core.params.sync_ms(),
                });
                self.settle(now_ms, out);
            }
            (ZabInput::Truncated { zxid }, state) if core.installing == Installing::Cut => {
                core.installing = Installing::Nothing;
                core.history.cut(zxid);
                if let State::Learning(learner) = state {
                    return learner.on_truncated(now_ms, core, zxid, out);
                }
                self.settle(now_ms, out);
            }
            (
                ZabInput::Installed {
                    zxid,
                    pending,
                    successor,
                },
                state,
            ) if core.installing == Installing::Snapshot => {
                core.installing = Installing::Nothing;
                let installed = core.replace(zxid, pending, successor, out);
                match state {
                    State::Learning(learner) => {
                        return learner.on_installed(now_ms, core, installed, out);
                    }
                    State::Settling(logged) => *logged = installed.pending,
                    State::Electing | State::Leading(_) => {}
                }
                self.settle(now_ms, out);
            }
            (ZabInput::NotInstalled, state) if core.installing == Installing::Snapshot => {
                core.installing = Installing::Nothing;
                if matches!(state, State::Learning(_)) {
                    return Err(Left("the snapshot broke off"));
                }
                self.settle(now_ms, out);
            }
            (ZabInput::Unknown { link }, State::Learning(learner)) => {
                // It would be the same at once, and the leader has other things to do.
                learner.on_link_down(link).map_err(|_| {
                    core.avoided = Some((learner.leader(), now_ms + core.params.init_ms()));
                    Left(UNKNOWN_TXN)
                })?;
            }
            (ZabInput::LinkUp { link }, State::Leading(leader)) => {
                leader.on_link_up(now_ms, core, link);
            }
            (ZabInput::LinkUp { link }, State::Learning(learner)) => {
                learner.on_link_up(now_ms, core, link, out);
            }
            (ZabInput::LinkDown { link }, State::Leading(leader)) => {
                leader.on_link_down(core, link)?;
            }
            (ZabInput::LinkDown { link }, State::Learning(learner)) => {
                learner.on_link_down(link)?;
            }
            (ZabInput::Heard { link }, State::Leading(leader)) => {
                leader.on_heard(now_ms, core, link)
            }
            (ZabInput::Heard { link }, State::Learning(learner)) => {
                learner.on_heard(now_ms, core, link)
            }
            (ZabInput::FromLearner { link, packet }, State::Leading(leader)) => {
                leader.on_packet(now_ms, core, link, packet, out)?;
            }
            (ZabInput::FromLeader { link, packet }, State::Learning(learner)) => {
                learner.on_packet(now_ms, core, link, packet, out)?;
            }
            (ZabInput::LookedUp { link, found }, State::Leading(leader)) => {
                leader.on_looked_up(core, link, found, out);
            }
            (ZabInput::Wakeup, _) => self.wakeup(now_ms, out)?,
            // Nobody accepts connections but a leader; what comes late, of a role that is over, has no meaning.
            (ZabInput::LinkUp { link }, _) => out.push(ZabEffect::CloseLink { link }),
            _ => {}
        }
        Ok(())
    }

    /// When to step with [`ZabInput::Wakeup`], in the milliseconds of `now_ms`.
    #[must_use]
    pub fn deadline(&self) -> i64 {
        let role = match &self.state {
            State::Settling(_) | State::Electing => i64::MAX,
            State::Leading(leader) => leader.deadline(),
            State::Learning(learner) => learner.deadline(),
        };
        role.min(self.election.deadline())
    }

    /// The id that the next transaction gets; only of a leader that a quorum follows.
    #[must_use]
    pub fn next_zxid(&self) -> Option<Zxid> {
        match &self.state {
            State::Leading(leader) => leader.next_zxid(),
            _ => None,
        }
    }

    /// Proposes a transaction under the id that [`Zab::next_zxid`] gave; without one nothing happens.
    pub fn propose(&mut self, zxid: Zxid, txn: Bytes, out: &mut Vec<ZabEffect>) {
        if let State::Leading(leader) = &mut self.state
            && leader.next_zxid() == Some(zxid)
        {
            leader.propose(&mut self.core, zxid, txn, out);
        }
    }

    /// Another history is about to be told of as [`ZabInput::Truncated`] or [`ZabInput::Installed`], and this is what
    /// `/zookeeper/config` says as of `zxid` there, with the version. A change in it may be under way; one that was in the former history only is not.
    pub fn know_members(&mut self, logged: Option<(&str, i64)>, out: &mut Vec<ZabEffect>) {
        let core = &mut self.core;
        if core.params.reconfig_enabled {
            let configs = Configs::of(std::sync::Arc::clone(&core.configs.committed));
            let known = configs.with_logged(logged, core.params.standalone);
            core.propose_members(known.proposed, out);
            core.given_out = None;
        }
    }

    /// A learner has heard of a session; the leader is told with the next PING.
    pub fn touch(&mut self, session: SessionId, timeout_ms: i32) {
        if matches!(self.state, State::Learning(_)) {
            self.core.touched.insert(session, timeout_ms);
        }
    }

    /// The role.
    #[must_use]
    pub const fn role(&self) -> Role {
        match &self.state {
            State::Settling(_) | State::Electing => Role::Looking,
            State::Leading(_) => Role::Leading,
            State::Learning(learner) if learner.is_observer() => Role::Observing,
            State::Learning(_) => Role::Following,
        }
    }

    /// The leader, or who is about to be.
    #[must_use]
    pub const fn leader(&self) -> Option<ServerId> {
        match &self.state {
            State::Settling(_) | State::Electing => None,
            State::Leading(_) => Some(self.core.params.me),
            State::Learning(learner) => Some(learner.leader()),
        }
    }

    /// Whether something that this server has acknowledged may be missing, so that it does not vote.
    #[must_use]
    pub const fn may_lack(&self) -> bool {
        self.core.may_lack
    }

    /// Whether the state is as of the end of the log and stays so, and lacks nothing that was acknowledged, and nobody
    /// has said that it is wrong: while this server looks for a leader. What it holds may never be committed.
    #[must_use]
    pub const fn is_waiting_whole(&self) -> bool {
        matches!(self.state, State::Electing) && !self.core.may_lack && self.core.doubt.is_none()
    }

    /// The leader whose tree is another than this server's, by what is on disk, if that is not settled yet.
    #[must_use]
    pub fn doubts(&self) -> Option<ServerId> {
        self.core.doubt.map(|doubt| doubt.leader)
    }

    /// Whether clients may be served.
    #[must_use]
    pub fn is_established(&self) -> bool {
        match &self.state {
            State::Settling(_) | State::Electing => false,
            State::Leading(leader) => leader.is_established(),
            State::Learning(learner) => learner.is_established(),
        }
    }

    /// Whether what this server has is what the ensemble has: a leader that has heard of a quorum within syncLimit.
    #[must_use]
    pub fn hears_quorum(&self, now_ms: i64) -> bool {
        match &self.state {
            State::Leading(leader) => leader.hears_quorum(now_ms, &self.core),
            _ => false,
        }
    }

    /// Where requests go: the connection to a leader, of a learner that serves clients.
    #[must_use]
    pub fn serving_link(&self) -> Option<LinkId> {
        match &self.state {
            State::Learning(learner) => learner.serving_link(),
            _ => None,
        }
    }

    /// Learners of a leader: who, whether an observer, whether it serves clients.
    #[must_use]
    pub fn learners(&self) -> Vec<(ServerId, bool, bool)> {
        match &self.state {
            State::Leading(leader) => leader.learners().collect(),
            _ => Vec::new(),
        }
    }

    /// The memberships that count.
    #[must_use]
    pub const fn configs(&self) -> &Configs {
        &self.core.configs
    }

    /// Of a leader that a quorum follows: servers that have everything and get everything new, this one among them.
    /// Observers are none of them.
    ///
    /// ZooKeeper: `Leader.isQuorumSynced`.
    #[must_use]
    pub fn synced(&self) -> BTreeSet<ServerId> {
        match &self.state {
            State::Leading(leader) if leader.is_established() => leader.synced(&self.core),
            _ => BTreeSet::new(),
        }
    }

    /// The epochs, as promised or about to be.
    #[must_use]
    pub const fn epochs(&self) -> Epochs {
        self.core.epochs
    }

    /// The newest transaction in the log, durable or on its way.
    #[must_use]
    pub const fn last_logged(&self) -> Zxid {
        self.core.history.logged()
    }

    /// The newest transaction given out to be applied.
    #[must_use]
    pub fn last_applied(&self) -> Zxid {
        self.core.history.known()
    }

    /// Syncs of a leader's learners that wait for a commit.
    #[must_use]
    pub fn pending_syncs(&self) -> usize {
        match &self.state {
            State::Leading(leader) => leader.pending_syncs(),
            _ => 0,
        }
    }

    /// Proposals of a leader that are not committed.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        match &self.state {
            State::Leading(leader) => leader.outstanding(),
            _ => 0,
        }
    }

    fn on_durable(&mut self, now_ms: i64, out: &mut Vec<ZabEffect>) -> Result<(), Left> {
        match &mut self.state {
            State::Settling(_) => self.settle(now_ms, out),
            State::Electing => {}
            State::Leading(leader) => return leader.on_durable(now_ms, &mut self.core, out),
            State::Learning(learner) => learner.on_durable(now_ms, &mut self.core, out),
        }
        Ok(())
    }

    fn wakeup(&mut self, now_ms: i64, out: &mut Vec<ZabEffect>) -> Result<(), Left> {
        let is_due = now_ms >= self.election.deadline();
        if is_due
            && self.election.needs_those_astray(&self.core.configs)
            && self.core.follow_rumour(out)
        {
            self.elect(now_ms, out);
        } else if is_due {
            let mut said = Vec::new();
            self.election
                .wakeup(now_ms, true, &self.core.configs, &mut said);
            self.on_election(now_ms, said, out);
        }
        match &mut self.state {
            State::Settling(_) | State::Electing => Ok(()),
            State::Leading(leader) => leader.wakeup(now_ms, &self.core, out),
            State::Learning(learner) => learner.wakeup(now_ms),
        }
    }

    /// The role is over.
    fn leave(&mut self, now_ms: i64, left: Left, out: &mut Vec<ZabEffect>) {
        let state = std::mem::replace(&mut self.state, State::Electing);
        let logged = match state {
            State::Settling(logged) => logged,
            State::Electing => VecDeque::new(),
            State::Leading(leader) => leader.into_logged(out),
            State::Learning(learner) => learner.into_logged(out),
        };
        self.core.touched.clear();
        self.election.on_role_over();
        out.push(ZabEffect::RoleChanged {
            role: Role::Looking,
            leader: None,
            why: left.0,
        });
        self.state = State::Settling(logged);
        self.settle(now_ms, out);
    }

    /// Begins an election as soon as everything that was asked for is on disk: the vote says what the log has, and the
    /// state is as of the end of the log (`SyncStartsClean`).
    fn settle(&mut self, now_ms: i64, out: &mut Vec<ZabEffect>) {
        let core = &mut self.core;
        let State::Settling(logged) = &mut self.state else {
            return;
        };
        if core.durable < core.last_write || core.installing != Installing::Nothing {
            return;
        }
        for logged in logged.drain(..) {
            // What a cut has overtaken is not in the log any more.
            if logged.zxid > core.history.known() && logged.zxid <= core.history.logged() {
                core.replay(logged, out);
            }
        }
        debug_assert_eq!(
            core.history.known(),
            core.history.logged(),
            "SyncStartsClean"
        );
        self.state = State::Electing;
        core.forget_rumour(out);
        self.election.set_observer(core.observes());
        out.push(ZabEffect::ConnectElection);
        let successor = core.successor.take();
        if let Some(leader) = successor.filter(|leader| core.configs.committed.is_voter(*leader)) {
            // Nobody needs to be asked: who leads was agreed on with the membership.
            let vote = self.election.designate(leader, core.candidacy());
            return self.on_elected(now_ms, vote, "designated", out);
        }
        self.elect(now_ms, out);
    }

    /// Begins an election.
    fn elect(&mut self, now_ms: i64, out: &mut Vec<ZabEffect>) {
        let core = &self.core;
        let mut said = Vec::new();
        self.election
            .begin(now_ms, core.candidacy(), &core.configs, &mut said);
        self.on_election(now_ms, said, out);
    }

    /// Somebody goes by a newer membership than this server, which looks for a leader: that one is in force. Whether it
    /// is of other servers, so that the election begins anew.
    ///
    /// ZooKeeper: `FastLeaderElection.Messenger.WorkerReceiver.run`.
    fn take_over_members(&mut self, notification: &Notification, out: &mut Vec<ZabEffect>) -> bool {
        let core = &mut self.core;
        let Some(text) = notification.members.as_ref() else {
            return false;
        };
        if !core.params.reconfig_enabled || *text == core.configs.committed.text() {
            return false;
        }
        let Ok(members) = reconfig::read(text.as_bytes(), core.params.standalone) else {
            return false;
        };
        let Some(activated) = core.activate(members, out) else {
            return false;
        };
        self.election.set_observer(core.observes());
        activated.is_another
    }

    fn on_election(&mut self, now_ms: i64, said: Vec<ElectionEffect>, out: &mut Vec<ZabEffect>) {
        for effect in said {
            match effect {
                ElectionEffect::Notify { to, notification } => {
                    out.push(ZabEffect::Notify { to, notification });
                }
                ElectionEffect::ConnectAll => out.push(ZabEffect::ConnectElection),
                ElectionEffect::Elected { vote } => {
                    self.on_elected(now_ms, vote, "elected", out);
                }
            }
        }
    }

    fn on_elected(&mut self, now_ms: i64, vote: Vote, why: &'static str, out: &mut Vec<ZabEffect>) {
        let core = &mut self.core;
        self.state = if vote.leader == core.params.me {
            State::Leading(Leader::new(now_ms, core, out))
        } else {
            let observer = core.observes();
            State::Learning(Learner::new(now_ms, core, vote.leader, observer, out))
        };
        out.push(ZabEffect::RoleChanged {
            role: self.role(),
            leader: Some(vote.leader),
            why,
        });
    }
}
