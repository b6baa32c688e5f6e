//! What a server goes by.

use crate::replica::ensemble::{ServerId, Standalone};

/// What a server goes by; the same for as long as it lives.
#[derive(Debug, Clone)]
pub struct ZabParams {
    /// This server.
    pub me: ServerId,
    /// The length of a tick, in milliseconds. ZooKeeper: `tickTime`.
    pub tick_ms: i64,
    /// How long a learner may take to be synchronised, in ticks. ZooKeeper: `initLimit`.
    pub init_limit: i64,
    /// How long nothing may be heard of a peer, in ticks. ZooKeeper: `syncLimit`.
    pub sync_limit: i64,
    /// How many committed transactions are kept in memory for learners. ZooKeeper: `zookeeper.commitLogCount`.
    pub recent_max: usize,
    /// How many bytes of them.
    pub recent_bytes_max: usize,
    /// How many bytes of transactions may wait while the history is cut or replaced.
    pub held_bytes_max: usize,
    /// Whether the membership may change. ZooKeeper: `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// Whether a single participant would stand alone. ZooKeeper: `standaloneEnabled`.
    pub standalone: Standalone,
    /// Learners always get a snapshot. ZooKeeper: `zookeeper.forceSnapshotSync`.
    pub force_snapshot_sync: bool,
    /// How many learners may be on their way to a snapshot when an observer comes for one.
    /// ZooKeeper: `zookeeper.leader.maxConcurrentSnapSyncs`.
    pub snap_syncs_max: usize,
    /// The same for transactions. ZooKeeper: `zookeeper.leader.maxConcurrentDiffSyncs`.
    pub diff_syncs_max: usize,
    /// How long a candidate listens for a better vote, in milliseconds.
    pub finalize_wait_ms: i64,
    /// The shortest wait before votes are sent again, in milliseconds.
    /// ZooKeeper: `zookeeper.fastleader.minNotificationInterval`.
    pub notification_min_ms: i64,
    /// The longest one. ZooKeeper: `zookeeper.fastleader.maxNotificationInterval`.
    pub notification_max_ms: i64,
    /// The last counter that an epoch uses; a leader that has come to it makes way for the next epoch.
    pub counter_max: i64,
}

/// The counter after it would overflow into the next epoch.
const COUNTER_MAX: i64 = 0xffff_fffe;

impl ZabParams {
    /// ZooKeeper's values, for one server.
    #[must_use]
    pub const fn new(me: ServerId) -> Self {
        Self {
            me,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            recent_max: 500,
            recent_bytes_max: 32 << 20,
            held_bytes_max: 64 << 20,
            reconfig_enabled: false,
            standalone: Standalone::Enabled,
            force_snapshot_sync: false,
            snap_syncs_max: 10,
            diff_syncs_max: 100,
            finalize_wait_ms: 200,
            notification_min_ms: 200,
            notification_max_ms: 60_000,
            counter_max: COUNTER_MAX,
        }
    }

    pub(super) const fn init_ms(&self) -> i64 {
        self.tick_ms * self.init_limit
    }

    pub(super) const fn sync_ms(&self) -> i64 {
        self.tick_ms * self.sync_limit
    }

    /// Twice a tick.
    pub(super) const fn ping_ms(&self) -> i64 {
        if self.tick_ms < 2 {
            1
        } else {
            self.tick_ms / 2
        }
    }
}
