//! Figures that the driver keeps for operators.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};

use crate::net::stats::Sizes;
use crate::replica::ensemble::{Members, ServerId};
use crate::replica::zab::Role;

/// Figures that the driver keeps for operators.
#[derive(Debug, Default)]
pub(super) struct DriverFigures {
    /// Transactions given a zxid.
    pub(super) proposed: AtomicU64,
    /// Transactions applied.
    pub(super) committed: AtomicU64,
    /// Sessions that were not heard of in time.
    pub(super) sessions_expired: AtomicU64,
    /// Transactions after which the tree was not what the replica predicted.
    pub(super) digest_mismatches: AtomicU64,
    /// Transactions that are not durable yet.
    pub(super) outstanding: AtomicU64,
    /// Live sessions that all servers know.
    pub(super) sessions: AtomicI64,
    /// Live sessions that only this server knows.
    pub(super) local_sessions: AtomicI64,
    /// What this server is in its ensemble.
    pub(super) place: Mutex<Place>,
    /// Sizes of what it proposes as leader, in bytes.
    pub(super) proposal_sizes: Arc<Sizes>,
}

/// A server's place in its ensemble.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) role: Role,
    pub(super) is_read_only: bool,
    pub(super) leader: Option<ServerId>,
    /// Of a leader: who, whether an observer, whether it serves clients.
    pub(super) learners: Vec<(ServerId, bool, bool)>,
    /// Of a leader: syncs of learners that wait.
    pub(super) pending_syncs: usize,
    /// The members in force.
    pub(super) members: Option<Arc<Members>>,
    /// Since when it has led a quorum, in monotonic milliseconds; -1 unless it does.
    pub(super) leading_since_ms: i64,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            role: Role::Looking,
            is_read_only: false,
            leader: None,
            learners: Vec::new(),
            pending_syncs: 0,
            members: None,
            leading_since_ms: -1,
        }
    }
}
