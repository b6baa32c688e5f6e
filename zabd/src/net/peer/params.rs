//! Limits and times of the quorum port.

use std::time::Duration;

use jute_codec::Reader;

use crate::replica::ensemble::HostPort;

/// Plain values; [`PeerParams::new`] has ZooKeeper's defaults where it has such a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerParams {
    /// Where this server listens when it leads.
    pub addresses: Vec<HostPort>,
    /// Whether it listens on all addresses of the machine instead. ZooKeeper: `quorumListenOnAllIPs`.
    pub listen_everywhere: bool,
    /// Whether the kernel probes silent servers. ZooKeeper: `tcpKeepAlive`.
    pub keep_alive: bool,
    /// How long a connection may be silent until it is told otherwise. ZooKeeper: `tickTime` times `initLimit`.
    pub initial_timeout: Duration,
    /// How long it may take to connect to a leader, with all attempts. ZooKeeper: `tickTime` times `initLimit`, or
    /// times `connectToLearnerMasterLimit`.
    pub connect_budget: Duration,
    /// How often each of a leader's addresses is tried with full rests in between.
    pub connect_attempts: u32,
    /// How long to rest between two attempts; before them come some with shorter rests. ZooKeeper:
    /// `leaderConnectDelayDuringRetryMs`.
    pub connect_rest: Duration,
    /// The longest data of a packet, in bytes. ZooKeeper: `jute.maxbuffer` and `jute.maxbuffer.extrasize` together.
    pub data_bytes_max: usize,
    /// What may wait to be sent on one connection, in bytes. Packets share their data with whoever else holds it, so
    /// that much more memory is not always needed.
    pub queue_bytes_max: usize,
    /// How many packets may wait to be sent on one connection.
    pub queue_packets_max: usize,
    /// Callers that have not said anything; one more and the oldest is closed.
    pub unfinished_max: usize,
    /// Connections that were accepted; more are refused.
    pub learners_max: usize,
}

impl PeerParams {
    /// The defaults for a server that the others reach at `addresses`.
    #[must_use]
    pub const fn new(addresses: Vec<HostPort>) -> Self {
        Self {
            addresses,
            listen_everywhere: false,
            keep_alive: false,
            initial_timeout: Duration::from_secs(20),
            connect_budget: Duration::from_secs(20),
            connect_attempts: 5,
            connect_rest: Duration::from_millis(100),
            data_bytes_max: Reader::DEFAULT_LIMIT,
            queue_bytes_max: 256 << 20,
            queue_packets_max: 1 << 20,
            unfinished_max: 256,
            learners_max: 1024,
        }
    }
}
