//! Packets of the quorum port, which follow each other without any length in front.
//!
//! One record, `QuorumPacket`, carries all of them; here they are told apart by who sends them.

use bytes::Bytes;

use crate::data::Id;
use crate::ids::{SessionId, Zxid};
use crate::record::records;

/// The protocol version that every current server announces; older ones are refused.
pub const PROTOCOL_VERSION: i32 = 0x1_0000;

records! {
    /// Who a learner is.
    pub struct LearnerInfo {
        /// The server's id.
        pub server: i64,
        /// [`PROTOCOL_VERSION`].
        pub protocol_version: i32,
        /// The version of the membership that the server goes by.
        pub config_version: i64,
    }
}

/// A packet from a leader, or from a follower that serves observers, to a learner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaderPacket {
    /// LEADERINFO: the epoch that a quorum is asked to accept, in the zxid's high half.
    LeaderInfo {
        /// The epoch's zxid zero.
        epoch: Zxid,
        /// [`PROTOCOL_VERSION`].
        protocol_version: i32,
    },
    /// DIFF: the learner's history is a part of the leader's; what is missing follows.
    Diff {
        /// The leader's newest transaction; learners do not look at it.
        zxid: Zxid,
    },
    /// TRUNC: forget what comes after.
    Trunc {
        /// The newest transaction to keep.
        zxid: Zxid,
    },
    /// SNAP: a whole snapshot follows, as a stream of its own.
    Snap {
        /// As of when it is, or a little later.
        zxid: Zxid,
    },
    /// PROPOSAL.
    Proposal {
        /// The transaction's id.
        zxid: Zxid,
        /// Its bytes, as in the log.
        txn: Bytes,
    },
    /// COMMIT.
    Commit {
        /// The transaction's id.
        zxid: Zxid,
    },
    /// COMMITANDACTIVATE: of a change of the membership.
    CommitAndActivate {
        /// The transaction's id.
        zxid: Zxid,
        /// The server that is to lead from now on.
        leader: i64,
    },
    /// INFORM: proposal and commit in one, for observers.
    Inform {
        /// The transaction's id.
        zxid: Zxid,
        /// Its bytes, as in the log.
        txn: Bytes,
    },
    /// INFORMANDACTIVATE.
    InformAndActivate {
        /// The transaction's id.
        zxid: Zxid,
        /// The server that is to lead from now on.
        leader: i64,
        /// The transaction's bytes, as in the log.
        txn: Bytes,
    },
    /// NEWLEADER: what was sent so far is the whole history that the epoch begins with.
    NewLeader {
        /// The epoch's zxid zero.
        epoch: Zxid,
        /// The text of the leader's newest membership; `None` from old servers.
        members: Option<Bytes>,
    },
    /// UPTODATE: a quorum has that history; clients may be served.
    UpToDate,
    /// PING.
    Ping {
        /// The leader's newest proposal.
        zxid: Zxid,
    },
    /// REVALIDATE: whether a session lives.
    Revalidate {
        /// The session.
        session: SessionId,
        /// Whether it does.
        valid: bool,
    },
    /// SYNC: everything that was committed when the oldest sync in flight reached the leader has been sent.
    Sync,
}

/// A packet from a learner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LearnerPacket {
    /// FOLLOWERINFO: somebody who acknowledges proposals.
    FollowerInfo {
        /// The zxid zero of the newest epoch that it has accepted.
        accepted_epoch: Zxid,
        /// Who; `None` from one without a name.
        info: Option<LearnerInfo>,
    },
    /// OBSERVERINFO: somebody who does not.
    ObserverInfo {
        /// The zxid zero of the newest epoch that it has accepted.
        accepted_epoch: Zxid,
        /// Who; `None` from one without a name.
        info: Option<LearnerInfo>,
    },
    /// ACKEPOCH.
    AckEpoch {
        /// The newest transaction in its log.
        zxid: Zxid,
        /// The epoch whose whole initial history it has; -1 if it has accepted the leader's epoch before and must not
        /// be counted a second time.
        current_epoch: i32,
    },
    /// ACK: of a proposal, or of NEWLEADER and UPTODATE.
    Ack {
        /// The transaction, or the epoch's zxid zero.
        zxid: Zxid,
    },
    /// PING: the answer to one.
    Ping {
        /// As in the leader's.
        zxid: Zxid,
        /// Sessions heard of since the last one, with their timeouts in milliseconds.
        touched: Vec<(SessionId, i32)>,
    },
    /// REVALIDATE: asks whether a session lives.
    Revalidate {
        /// The session.
        session: SessionId,
        /// The timeout that its client asks for, in milliseconds.
        timeout_ms: i32,
    },
    /// REQUEST: a client's request for the leader to decide.
    Request {
        /// The client's session.
        session: SessionId,
        /// The client's number for it.
        cxid: i32,
        /// The opcode.
        op: i32,
        /// The record of the request, without its header.
        body: Bytes,
        /// Who the client is.
        ids: Option<Vec<Id>>,
    },
}
