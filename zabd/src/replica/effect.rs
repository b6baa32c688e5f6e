//! What a replica wants done.

use bytes::Bytes;
use jute_codec::proto::{ConnectResponse, ReplyHeader};
use jute_codec::{ErrorCode, SessionId, Text, Zxid};

use super::zab::{Epochs, ZabEffect};
use crate::state::conn::ConnId;
use crate::state::{Committed, Outputs};

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
    /// Apply to the state. Commits come in zxid order; in an ensemble perhaps before the write is durable here.
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
    /// Store both epochs; [`super::input::Input::Durable`] reports it like an append.
    StoreEpochs {
        /// The write's number.
        write: WriteSeq,
        /// What to store.
        epochs: Epochs,
    },
    /// Answer a sync: everything that it waits for has been given out as [`Effect::Commit`].
    Synced {
        /// Who.
        conn: ConnId,
        /// The client's number for the request.
        xid: i32,
        /// The path that it named, for the answer.
        path: Option<Text>,
    },
    /// Answer a request that takes no transaction: everything before it of the same session has been given out.
    Answered {
        /// Who.
        conn: ConnId,
        /// The client's number for the request.
        xid: i32,
        /// What came of it.
        answer: Answer,
    },
    /// `/zookeeper/config` is to say this, if it says something else.
    Config {
        /// The text.
        text: Text,
        /// The version of the membership.
        version: i64,
    },
    /// Clients may be served, and folds go on. Of a server that stands alone this goes without saying.
    Serve,
    /// Folds go on, and other servers serve clients: of a leader that takes none. Then as after [`Effect::Serve`].
    ServeNobody,
    /// Clients may read, and no more: what is applied may never be committed, and must not reach a snapshot on disk.
    ServeReadOnly,
    /// Close all connections of clients and take no more; no folds until [`Effect::Serve`].
    StopServing,
    /// Something for the other servers, or for log and state as a whole. Never [`ZabEffect::Append`],
    /// [`ZabEffect::StoreEpochs`], [`ZabEffect::Commit`], [`ZabEffect::Replay`] or one that is answered in here.
    Peer(ZabEffect),
    /// A request goes, or would have gone, beyond the quota on this path: for operators.
    QuotaExceeded {
        /// The path that the quota is on.
        path: Text,
        /// Whether the request fails for it.
        refused: bool,
    },
    /// A session was not heard of in time; its end follows as a transaction.
    Expired {
        /// Which.
        session: SessionId,
    },
}

/// The answer to a request that takes no transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is carried out; there is nothing to tell.
    Done,
    /// It is refused.
    Refused(ErrorCode),
    /// A handshake's answer, again.
    Session(ConnectResponse),
}

impl Answer {
    /// Adds the answer to the connection's outputs; `zxid` is the newest transaction applied.
    pub fn tell(&self, conn: ConnId, xid: i32, zxid: Zxid, outputs: &mut Outputs) {
        let err = match self {
            Self::Session(response) => return outputs.reply_raw(conn, response),
            Self::Done => 0,
            Self::Refused(code) => code.code(),
        };
        outputs.reply(conn, &ReplyHeader { xid, zxid, err }, |_| {});
    }
}
