//! Limits and times of the election port.

use std::time::Duration;

use crate::replica::ensemble::{HostPort, ServerId};

/// Plain values; [`ElectionParams::new`] has ZooKeeper's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionParams {
    /// This server.
    pub me: ServerId,
    /// Where the others reach its election port, and where it listens. Port 0 is replaced by the one that was bound.
    pub addresses: Vec<HostPort>,
    /// Whether it listens on all addresses of the machine instead. ZooKeeper: `quorumListenOnAllIPs`.
    pub listen_everywhere: bool,
    /// Whether others are told all of `addresses` instead of the first. ZooKeeper: `multiAddress.enabled`.
    pub multi_address: bool,
    /// How often binding is tried, a second apart; 0 is for ever. ZooKeeper: `electionPortBindRetry`.
    pub bind_attempts: u32,
    /// How long a connection may take to be made. ZooKeeper: `cnxTimeout`.
    pub connect_timeout: Duration,
    /// How long a caller may take to say who it is. ZooKeeper: `quorumCnxnTimeoutMs`, or `tickTime` times `syncLimit`.
    pub handshake_timeout: Duration,
    /// Whether the kernel probes silent servers. ZooKeeper: `tcpKeepAlive`.
    pub keep_alive: bool,
    /// Callers that have not said who they are; one more and the oldest is closed.
    pub unfinished_max: usize,
    /// Servers that are in no membership, and connected or being called back; more are refused.
    pub strangers_max: usize,
}

impl ElectionParams {
    /// The defaults for the server `me`, which the others reach at `addresses`.
    #[must_use]
    pub const fn new(me: ServerId, addresses: Vec<HostPort>) -> Self {
        Self {
            me,
            addresses,
            listen_everywhere: false,
            multi_address: false,
            bind_attempts: 3,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            keep_alive: false,
            unfinished_max: 256,
            strangers_max: 256,
        }
    }
}
