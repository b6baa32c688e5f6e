//! ZAB: one order of transactions for all servers. Transactions are opaque here.
//!
//! [`Zab`] is one server's share: the election, then leading or learning, then the election again. Pure, like
//! everything in `replica`: it is told what happened ([`ZabInput`]) and says what to do ([`ZabEffect`]), in order.
//!
//! | module | what it holds |
//! |---|---|
//! | `history` | what this server has logged and committed, and the newest of it in memory |
//! | `leader` | discovery, synchronisation, broadcast, from the leader's side |
//! | `learner` | the same from the side of followers and observers |
//! | `sync_plan` | how a learner is brought up to date: which packets, from where |
//!
//! Rules and names: sections 5 to 11 of `quorum-protocol.md`. Promises kept here: `AckMeansDurable`,
//! `HistoryBeforeEpochBeforeAck`, `NoAckOvertakes`, `CommitInOrder`, `SyncStartsClean`.

use bytes::Bytes;
use jute_codec::data::Id;
use jute_codec::quorum::{LeaderPacket, LearnerPacket, Notification};
use jute_codec::{SessionId, Zxid};

use super::effect::WriteSeq;
use super::ensemble::ServerId;

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
    /// This write and all before it are on disk.
    Durable(WriteSeq),
    /// The log cannot be written; nothing is acknowledged until it can.
    LogTrouble,
    /// The answer to [`ZabEffect::LookUp`].
    LookedUp {
        /// The connection that it was asked for.
        link: LinkId,
        /// What the log has there.
        found: LogPlace,
    },
    /// The history was replaced as [`ZabEffect::Truncate`] or [`ZabEffect::ReceiveSnapshot`] asked; log and state are
    /// durable, and end with this transaction.
    Installed {
        /// The newest transaction.
        zxid: Zxid,
    },
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
    /// Apply to the state. Commits come in zxid order, each once.
    Commit {
        /// The transaction's id.
        zxid: Zxid,
        /// Its bytes.
        txn: Bytes,
    },
    /// Forget every transaction after this one, in the log and in the state, durably; then [`ZabInput::Installed`].
    Truncate {
        /// The newest transaction to keep.
        zxid: Zxid,
    },
    /// Take the snapshot that comes on the connection in place of the whole history, durably; then
    /// [`ZabInput::Installed`]. If it breaks off: [`ZabInput::LinkDown`], with the old history still in place.
    ReceiveSnapshot {
        /// The connection.
        link: LinkId,
        /// As of when the leader says it is.
        zxid: Zxid,
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
    },
    /// A quorum has the epoch's initial history: clients may be served.
    Established {
        /// The epoch.
        epoch: i64,
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
    /// To a learner: a PING came; it is answered with the sessions heard of since the last one.
    Pinged {
        /// On which connection.
        link: LinkId,
        /// To be sent back.
        zxid: Zxid,
    },
    /// The oldest sync in flight is over: everything that it waits for has been given out as [`ZabEffect::Commit`].
    Synced,
    /// This server cannot go on without harm: it must end, and its operator must know why.
    Fatal {
        /// Why, and what to do.
        why: String,
    },
}

#[derive(Debug)]
/// placeholder
pub struct Zab;
impl Zab {
    /// placeholder
    #[must_use]
    pub fn deadline(&self) -> i64 {
        0
    }
}
