//! What a replica wants done.

use bytes::Bytes;
use jute_codec::proto::ConnectResponse;
use jute_codec::{SessionId, Text, Zxid};

use crate::state::Committed;
use crate::state::conn::ConnId;

/// The number of a durable write. Log appends, and later epoch files, share one sequence: promises and entries must
/// not overtake each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WriteSeq(pub u64);

impl WriteSeq {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One thing to do. Effects are carried out in order.
#[derive(Debug)]
pub enum Effect {
    /// Append to the log; [`super::input::Input::Durable`] reports that it and all before it are on disk.
    Write {
        /// The write's number.
        write: WriteSeq,
        /// The transaction.
        zxid: Zxid,
        /// Its bytes, as in the log and in proposals.
        payload: Bytes,
    },
    /// Apply to the state. Commits come in zxid order, each after its write was reported durable.
    Commit(Box<Committed>),
    /// Answer a handshake without a transaction.
    Connected {
        /// Who.
        conn: ConnId,
        /// What.
        response: ConnectResponse,
    },
    /// Close a connection, once what it was told is written.
    CloseConn {
        /// Which.
        conn: ConnId,
    },
    /// A request goes, or would have gone, beyond the quota on this path: for operators.
    QuotaExceeded {
        /// The path that the quota is on.
        path: Text,
    },
    /// A session was not heard of in time; its end follows as a transaction.
    Expired {
        /// Which.
        session: SessionId,
    },
}
