//! What a server's share in the order of transactions asks for.

use bytes::Bytes;
use jute_codec::data::Id;
use jute_codec::quorum::{LeaderPacket, LearnerPacket, Notification};
use jute_codec::{SessionId, Zxid};

#[cfg(doc)]
use super::ZabInput;
use super::{Epochs, LinkId, Role};
use crate::replica::effect::WriteSeq;
use crate::replica::ensemble::{Configs, ServerId};

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
