//! What the driver has begun.

use std::collections::VecDeque;

use jute_codec::Text;
use jute_codec::proto::ConnectResponse;
use jute_codec::quorum::LearnerPacket;

use crate::replica::effect::{Answer, Effect};
use crate::replica::input::Input;
use crate::replica::zab::ZabEffect;
use crate::state::conn::ConnId;
use crate::state::{Committed, Outputs, Service};

/// What was taken and is not carried out yet: nothing between two turns, unless somebody has left it to the thread.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) inputs: Vec<Input>,
    pub(super) effects: Vec<Effect>,
    pub(super) steps: VecDeque<Step>,
    pub(super) outputs: Outputs,
    pub(super) fold_backlog: usize,
}

impl Work {
    /// With the effects of a replica that has just been made.
    pub(super) fn begin(effects: Vec<Effect>) -> Self {
        Self {
            effects,
            ..Self::default()
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.inputs.is_empty() && self.effects.is_empty() && self.steps.is_empty()
    }

    /// Whether it can be carried out without waiting: it is only what writes and answers are made of.
    pub(super) fn is_quick(&self) -> bool {
        self.effects.iter().all(|effect| match effect {
            Effect::Write { .. }
            | Effect::Commit(_)
            | Effect::Connected { .. }
            | Effect::CloseConn { .. }
            | Effect::Synced { .. }
            | Effect::Answered { .. }
            | Effect::QuotaExceeded { .. }
            | Effect::Peer(ZabEffect::ToLearner { .. }) => true,
            // That of NEWLEADER and UPTODATE says more, and something is noted on disk before.
            Effect::Peer(ZabEffect::ToLeader { packet, .. }) => {
                !matches!(packet, LearnerPacket::Ack { zxid } if zxid.counter() == 0)
            }
            _ => false,
        })
    }
}

/// Something for the state or for connections, in the order of the replica's effects.
#[derive(Debug)]
pub(super) enum Step {
    Commit(Box<Committed>),
    Connected(ConnId, ConnectResponse),
    Close(ConnId),
    Synced {
        conn: ConnId,
        xid: i32,
        path: Option<Text>,
    },
    Answered {
        conn: ConnId,
        xid: i32,
        answer: Answer,
    },
    /// `/zookeeper/config` says this.
    Config(Text, i64),
    /// Lets clients do more, or sends all of them away.
    Serve(Service),
    /// Puts another state in place: when everything before has been applied, and before anything behind.
    ReplaceState(ZabEffect),
}

impl Step {
    /// The path of the node that is about to change.
    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Self::Commit(committed) => committed.entry.txn.path().map(Text::as_str),
            _ => None,
        }
    }
}
