//! What a replica is told.

use jute_codec::{SessionId, Text};

use super::effect::WriteSeq;
use super::zab::ZabInput;
use crate::state::conn::{ConnId, Submission, WriteBody};

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// A connection asks for something.
    Submitted(Submission),
    /// This write and all before it are on disk.
    Durable(WriteSeq),
    /// From the other servers, or about log and state as a whole. Never [`ZabInput::Durable`] or [`ZabInput::Wakeup`].
    Peer(ZabInput),
    /// The session's connection was heard of at that time, in monotonic milliseconds.
    Touched {
        /// The session.
        session: SessionId,
        /// When.
        at_ms: i64,
    },
    /// A connection is gone; its session lives on.
    Disconnected {
        /// Which.
        conn: ConnId,
    },
    /// The time that [`super::Replica::deadline`] named has come.
    Wakeup,
    /// That time had passed already when what comes next was taken: this server may have stood still while the others went
    /// on. A leader first gives up followers that have been silent; what it has not read yet of them says nothing of now.
    Overdue,
}

impl Input {
    /// The path of the node that a client is about to change.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Submitted(Submission::Write(request)) => match &request.body {
                WriteBody::Request(request) => request.path().map(Text::as_str),
                WriteBody::Malformed => None,
            },
            _ => None,
        }
    }
}
