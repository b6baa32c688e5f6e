//! Settings of a replica.

use super::ensemble::Standalone;

/// Whether sessions begin as this server's own, unknown to the others. Only of members of an ensemble.
///
/// ZooKeeper: `localSessionsEnabled`, `localSessionsUpgradingEnabled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalSessions {
    /// All sessions are everybody's.
    #[default]
    Off,
    /// They begin local, and stay so: they cannot have ephemeral nodes.
    Kept,
    /// They begin local, and become everybody's when they create an ephemeral node.
    Upgraded,
}

/// What a replica goes by; the same for as long as it lives.
#[derive(Debug, Clone)]
pub struct ReplicaParams {
    /// This server's id; 1 where it stands alone.
    pub server_id: u8,
    /// The length of a tick in milliseconds: the grain of session deadlines.
    pub tick_ms: i32,
    /// The shortest session timeout that is agreed to, in milliseconds.
    pub session_timeout_min_ms: i32,
    /// The longest one.
    pub session_timeout_max_ms: i32,
    /// Whether TTL nodes may be created.
    pub extended_types: bool,
    /// Whether hard quotas refuse.
    pub enforce_quota: bool,
    /// Whether reconfig is offered at all.
    pub reconfig_enabled: bool,
    /// Whether sessions begin local.
    pub local_sessions: LocalSessions,
    /// Whether this server takes clients while it leads. ZooKeeper: `leaderServes`.
    pub leader_serves: bool,
    /// How long a member of an ensemble looks for a leader before it serves read-only clients, in milliseconds; `None`
    /// never does. ZooKeeper: `readonlymode.enabled`.
    pub read_only_after_ms: Option<i64>,
    /// Whether a single participant would stand alone, so that no change may leave fewer than two.
    pub standalone: Standalone,
    /// Whether members may have several addresses.
    pub multi_address: bool,
    /// How often abandoned containers and TTL nodes are looked for, in milliseconds.
    pub container_check_interval_ms: i64,
    /// How many of them are deleted in a minute at the most.
    pub container_per_minute_max: i64,
    /// How long a container that never had a child may stay, in milliseconds; 0 is for ever.
    pub container_never_used_max_ms: i64,
}

impl ReplicaParams {
    /// The session timeout that a client gets which asks for `wished_ms`.
    pub(super) fn negotiated_ms(&self, wished_ms: i32) -> i32 {
        wished_ms.clamp(self.session_timeout_min_ms, self.session_timeout_max_ms)
    }
}

impl Default for ReplicaParams {
    fn default() -> Self {
        Self {
            server_id: 1,
            tick_ms: 3000,
            session_timeout_min_ms: 6000,
            session_timeout_max_ms: 60_000,
            extended_types: false,
            enforce_quota: false,
            reconfig_enabled: false,
            local_sessions: LocalSessions::Off,
            leader_serves: true,
            read_only_after_ms: None,
            standalone: Standalone::Enabled,
            multi_address: false,
            container_check_interval_ms: 60_000,
            container_per_minute_max: 10_000,
            container_never_used_max_ms: 0,
        }
    }
}
