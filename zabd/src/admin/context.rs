//! Where the figures are.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use jute_codec::SessionId;

use super::member::MemberFigures;
use super::metrics::Metrics;
use crate::auth::Providers;
use crate::net::client::{Connections, ListenerInfo};
use crate::net::clock::MonotonicClock;
use crate::net::stats::{ServerStats, Sizes};
use crate::replica::zab::Role;
use crate::state::State;
use crate::storage::log_thread::FsyncStats;

/// Sessions by the monotonic millisecond at which they expire, soonest first.
pub type SessionBuckets = Vec<(i64, Vec<SessionId>)>;

/// When sessions expire, as far as this server decides it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionDeadlines {
    /// Those that only this server knows; nothing unless sessions may be such.
    pub local: Option<SessionBuckets>,
    /// Those that all servers know.
    pub global: SessionBuckets,
}

/// Everything that answers are made of. Functions are called without any lock held, from the threads of clients, and
/// may take as long as a look at a directory.
#[derive(Clone)]
pub struct AdminContext {
    /// The replicated state.
    pub state: Arc<RwLock<State>>,
    /// All connections of clients.
    pub connections: Arc<Connections>,
    /// What the clients' port counts.
    pub stats: Arc<ServerStats>,
    /// What counts credentials.
    pub auth: Arc<Providers>,
    /// The clock of `connections` and `session_deadlines`; it started with the server.
    pub clock: MonotonicClock,
    /// What the log thread counts.
    pub log: Arc<FsyncStats>,
    /// What is recorded through the `metrics` facade.
    pub metrics: Arc<Metrics>,
    /// When which sessions expire.
    pub session_deadlines: Arc<dyn Fn() -> SessionDeadlines + Send + Sync>,
    /// The whole answer to `conf`.
    pub conf: Arc<dyn Fn(&ListenerInfo) -> String + Send + Sync>,
    /// Bytes below the data directory and below that of the log.
    pub dir_bytes: Arc<dyn Fn() -> (u64, u64) + Send + Sync>,
    /// Whether a word, by its name, is on the whitelist.
    pub is_enabled: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// What the driver and the folder count.
    pub runtime: Arc<dyn Fn() -> RuntimeFigures + Send + Sync>,
    /// What this server is in its ensemble; nothing if it stands alone.
    pub member: Arc<dyn Fn() -> Option<MemberFigures> + Send + Sync>,
    /// Sizes of what this server proposes as leader, in bytes.
    pub proposal_sizes: Arc<Sizes>,
}

impl AdminContext {
    /// Looks at the state under its read lock. Callers take plain values out and make text of them afterwards.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether clients are served; a server that stands alone always serves them.
    pub(super) fn is_serving(&self) -> bool {
        // The role says so sooner than the state does.
        let is_looking = (self.member)()
            .is_some_and(|member| member.role == Role::Looking && !member.is_read_only);
        !is_looking && self.look(State::is_serving)
    }

    /// Whether only those who read are served.
    pub(super) fn is_read_only(&self) -> bool {
        (self.member)().is_some_and(|member| member.is_read_only)
    }

    /// Forgets what `srst` forgets: the clients' port's counts, sizes of proposals, and every metric but gauges.
    ///
    /// ZooKeeper: `ServerStats.reset`.
    pub(super) fn reset_stats(&self) {
        self.stats.reset();
        self.auth.reset_counters();
        self.proposal_sizes.reset();
        self.metrics.reset((self.runtime)(), &self.log);
    }
}

impl fmt::Debug for AdminContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminContext").finish_non_exhaustive()
    }
}

/// Figures of the driver and the folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuntimeFigures {
    /// Transactions given a zxid.
    pub proposed: u64,
    /// Transactions applied.
    pub committed: u64,
    /// Sessions that were not heard of in time.
    pub sessions_expired: u64,
    /// Transactions after which the tree was not what had been predicted.
    pub digest_mismatches: u64,
    /// Transactions that are not durable yet.
    pub outstanding_txns: u64,
    /// Live sessions that all servers know.
    pub sessions: i64,
    /// Live sessions that only this server knows.
    pub local_sessions: i64,
    /// Folds that became durable.
    pub folds: u64,
    /// How long they took together, in milliseconds.
    pub fold_ms_total: u64,
    /// The newest transaction in the snapshot on disk.
    pub last_fold_zxid: i64,
    /// How long recovery took at the start, in milliseconds.
    pub startup_ms: u64,
    /// Transactions that it replayed.
    pub startup_txns: u64,
}
