//! Limits and times of the clients' port.

use crate::net::throttle::ThrottleParams;

/// Plain values; the configuration's defaults are ZooKeeper's, which [`NetParams::default`] has too.
#[derive(Debug, Clone, PartialEq)]
pub struct NetParams {
    /// The longest frame that is taken, in bytes. ZooKeeper: `jute.maxbuffer`.
    pub frame_bytes_max: usize,
    /// Connections from one address at one listener; 0 is no limit. ZooKeeper: `maxClientCnxns`.
    pub conns_per_address_max: usize,
    /// Connections at one listener; 0 is no limit. ZooKeeper: `maxCnxns`.
    pub conns_max: usize,
    /// With more requests under way than this, a connection that has one itself is read no further. ZooKeeper:
    /// `globalOutstandingLimit`.
    pub global_outstanding_limit: usize,
    /// Frames longer than this are large; `None`: none is. ZooKeeper: `largeRequestThreshold`.
    pub large_request_threshold: Option<usize>,
    /// What large frames may take together, in bytes. ZooKeeper: `largeRequestMaxBytes`.
    pub large_request_bytes_max: usize,
    /// How fast sessions may be asked for. ZooKeeper: `connection_throttle_*`.
    pub connection_throttle: ThrottleParams,
    /// Whether new sessions are local ones, as far as `connection_throttle` weighs them.
    pub local_sessions: bool,
    /// With this many requests under way no request is begun; 0 is no limit. ZooKeeper: `request_throttle_max_requests`.
    pub request_throttle_max_requests: usize,
    /// How long a request that is held back waits before the limit is looked at again. ZooKeeper:
    /// `request_throttle_stall_time`.
    pub request_throttle_stall_ms: u64,
    /// Whether stale requests are dropped, with their connection. ZooKeeper: `request_throttle_drop_stale`.
    pub request_throttle_drop_stale: bool,
    /// Whether a request that was held back longer than its session's timeout is stale. ZooKeeper:
    /// `request_stale_latency_check`.
    pub request_stale_latency_check: bool,
    /// Whether a request whose connection is gone is stale. ZooKeeper: `request_stale_connection_check`.
    pub request_stale_connection_check: bool,
    /// A request that was held back longer than this is refused; 0 switches that off. ZooKeeper:
    /// `throttled_op_wait_time`.
    pub throttled_op_wait_ms: u64,
    /// How long a connection may stay without a session; also the grain of all idle limits. ZooKeeper:
    /// `zookeeper.nio.sessionlessCnxnTimeout`.
    pub sessionless_timeout_ms: u64,
    /// Whether the kernel probes silent clients. ZooKeeper: `clientTcpKeepAlive`.
    pub tcp_keep_alive: bool,
    /// Connections that wait to be accepted.
    pub listen_backlog: i32,
    /// While a client has this much not taken, nothing more is read from it or answered. Bytes.
    pub out_bytes_max: usize,
    /// A client for which more than this waits (events, replies to writes) is cut off. Bytes.
    pub outbox_bytes_max: usize,
    /// Requests of one connection that may be under way. Java knows no such limit; clients only see that the server
    /// reads more slowly.
    pub conn_outstanding_max: usize,
}

impl Default for NetParams {
    fn default() -> Self {
        Self {
            frame_bytes_max: 0xf_ffff,
            conns_per_address_max: 60,
            conns_max: 0,
            global_outstanding_limit: 1000,
            large_request_threshold: None,
            large_request_bytes_max: 100 << 20,
            connection_throttle: ThrottleParams::default(),
            local_sessions: false,
            request_throttle_max_requests: 0,
            request_throttle_stall_ms: 100,
            request_throttle_drop_stale: true,
            request_stale_latency_check: false,
            request_stale_connection_check: true,
            throttled_op_wait_ms: 0,
            sessionless_timeout_ms: 10_000,
            tcp_keep_alive: false,
            listen_backlog: 50,
            out_bytes_max: 256 << 10,
            outbox_bytes_max: 16 << 20,
            conn_outstanding_max: 1024,
        }
    }
}
