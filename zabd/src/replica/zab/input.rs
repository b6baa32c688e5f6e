//! What happens to a server's share in the order of transactions.

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket, Notification};

use super::LinkId;
#[cfg(doc)]
use super::{Zab, ZabEffect};
use crate::replica::effect::WriteSeq;
use crate::replica::ensemble::ServerId;

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
