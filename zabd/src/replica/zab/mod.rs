//! ZAB: one order of transactions for all servers. Transactions are opaque here, but for those that change who belongs to
//! them.
//!
//! [`Zab`] is one server's share: the election, then leading or learning, then the election again. Pure, like
//! everything in `replica`: it is told what happened ([`ZabInput`]) and says what to do ([`ZabEffect`]), in order.
//!
//! | module | what it holds |
//! |---|---|
//! | `input`, `effect`, `params` | the boundary |
//! | `dispatch` | which input goes to the election, to the role, or to neither |
//! | `roles` | from one role to the next: settling on disk, the election, its outcome |
//! | `view` | what others may ask |
//! | `core` | what a server has whatever its role |
//! | `history` | what this server has logged and committed, and the newest of it in memory |
//! | `leader` | discovery, synchronisation, broadcast, from the leader's side |
//! | `learner` | the same from the side of followers and observers |
//! | `reconfig` | transactions that change the membership |
//! | `sync_plan` | how a learner is brought up to date: which packets, from where |
//!
//! Rules and names: sections 5 to 11 of `quorum-protocol.md`. Promises kept here: `AckMeansDurable`,
//! `HistoryBeforeEpochBeforeAck`, `NoAckOvertakes`, `CommitInOrder`, `SyncStartsClean`.

mod core;
mod dispatch;
mod effect;
mod history;
mod input;
mod leader;
mod learner;
mod params;
mod reconfig;
mod roles;
mod sync_plan;
mod view;

use std::collections::VecDeque;

use bytes::Bytes;
use jute_codec::{SessionId, Zxid};

use self::core::{Core, Installing, Logged};
use super::effect::WriteSeq;
use super::election::{Election, ElectionParams};
use super::ensemble::Configs;
pub use dispatch::UNKNOWN_TXN;
pub use effect::ZabEffect;
use history::History;
pub use input::{LogPlace, ZabInput};
use leader::Leader;
use learner::Learner;
pub use params::ZabParams;

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
}
