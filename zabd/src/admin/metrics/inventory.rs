//! The metrics of a standalone Apache ZooKeeper 3.9.5, in the shapes in which its `mntr` shows them.
//!
//! ZooKeeper: `ServerMetrics`, `ZooKeeperServer.registerMetrics`. A name that is listed nowhere but recorded is zabd's
//! own, or one of the sets below, whose keys come into being when they are first used.
//!
//! | set | shape | label `key` |
//! |---|---|---|
//! | `write_per_namespace`, `read_per_namespace` | basic summary | first element of the path |
//! | `quota_exceeded_error_per_namespace` | counter | first element of the path |
//! | `quota_{count,bytes}_{limit,usage}_per_namespace` | gauge | first element of the path |

use Source::{Ensemble, Facade, Figure, NoSuchPart};

/// Where a metric's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A figure that a standalone zabd keeps.
    Figure,
    /// Whatever is recorded through the facade under this name: 0 until something is.
    Facade,
    /// Only servers of an ensemble have it; a standalone Apache shows 0 too.
    Ensemble,
    /// A stage, queue or cache of the Java server that zabd does not have: always 0.
    NoSuchPart,
}

/// How a summary is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// `avg_ min_ max_ cnt_ sum_`.
    Basic,
    /// And `p50_ p95_ p99_ p999_`.
    Advanced,
}

/// A metric's name, and where its value comes from.
pub type Known = (&'static str, Source);

/// Values of the moment.
pub const GAUGES: [Known; 24] = [
    ("approximate_data_size", Figure),
    ("auth_failed_count", Figure),
    ("avg_latency", Figure),
    ("connection_drop_probability", Figure),
    ("ephemerals_count", Figure),
    ("global_sessions", Figure),
    ("last_client_response_size", Figure),
    ("local_sessions", Figure),
    ("max_client_response_size", Figure),
    ("max_file_descriptor_count", Figure),
    ("max_latency", Figure),
    ("min_client_response_size", Figure),
    ("min_latency", Figure),
    ("non_mtls_local_conn_count", Facade),
    ("non_mtls_remote_conn_count", Facade),
    ("num_alive_connections", Figure),
    ("open_file_descriptor_count", Figure),
    ("outstanding_requests", Figure),
    ("outstanding_tls_handshake", Facade),
    ("packets_received", Figure),
    ("packets_sent", Figure),
    ("uptime", Figure),
    ("watch_count", Figure),
    ("znode_count", Figure),
];

/// Numbers that grow until `srst`.
pub const COUNTERS: [Known; 51] = [
    // Watches of a connection that goes are removed with it: there is no queue of dead watchers.
    ("add_dead_watcher_stall_time", NoSuchPart),
    ("bytes_received_count", Figure),
    ("cnxn_closed_without_zk_server_running", Ensemble),
    ("commit_count", Facade),
    ("connection_drop_count", Figure),
    ("connection_rejected", Figure),
    ("connection_request_count", Figure),
    ("connection_revalidate_count", Ensemble),
    ("dead_watchers_cleared", NoSuchPart),
    ("dead_watchers_queued", NoSuchPart),
    ("diff_count", Facade),
    ("digest_mismatches_count", Figure),
    ("ensemble_auth_fail", Figure),
    ("ensemble_auth_skip", Figure),
    ("ensemble_auth_success", Figure),
    ("insecure_admin_count", Facade),
    ("large_requests_rejected", Figure),
    ("learner_commit_received_count", Facade),
    ("learner_proposal_received_count", Facade),
    ("looking_count", Facade),
    // Java counts changed znodes, zabd transactions: proposed here, applied or failed below.
    ("outstanding_changes_queued", Figure),
    ("outstanding_changes_removed", Figure),
    // Java sends reads this way too; in zabd only what becomes a transaction is prepared.
    ("prep_processor_request_queued", Figure),
    ("proposal_count", Facade),
    ("quit_leading_due_to_disloyal_voter", Ensemble),
    ("request_commit_queued", Ensemble),
    ("request_throttle_wait_count", Figure),
    ("requests_not_forwarded_to_commit_processor", Ensemble),
    ("response_bytes", Figure),
    // Replies are made of the tree each time; nothing is cached.
    ("response_packet_cache_hits", NoSuchPart),
    ("response_packet_cache_misses", NoSuchPart),
    ("response_packet_get_children_cache_hits", NoSuchPart),
    ("response_packet_get_children_cache_misses", NoSuchPart),
    ("restore_error_count", Facade),
    ("restore_rate_limited_count", Facade),
    ("revalidate_count", Ensemble),
    ("sessionless_connections_expired", Figure),
    ("skip_learner_request_to_next_processor_count", Ensemble),
    ("snap_count", Facade),
    ("snapshot_error_count", Facade),
    ("snapshot_rate_limited_count", Facade),
    // A reply whose connection has gone is dropped with the connection's outbox, uncounted.
    ("stale_replies", Facade),
    ("stale_requests", Figure),
    ("stale_requests_dropped", Figure),
    ("stale_sessions_expired", Figure),
    ("sync_processor_request_queued", Figure),
    ("throttled_ops", Figure),
    ("tls_handshake_exceeded", Facade),
    ("unrecoverable_error_count", Facade),
    ("unsuccessful_handshake", Facade),
    ("watch_bytes", Facade),
];

/// Distributions without percentiles. Times are in milliseconds.
pub const BASIC: [Known; 42] = [
    ("commit_commit_proc_req_queued", Ensemble),
    ("commit_process_time", Ensemble),
    (
        "concurrent_request_processing_in_commit_processor",
        Ensemble,
    ),
    ("connection_token_deficit", Figure),
    ("dbinittime", Figure),
    ("election_time", Facade),
    ("follower_sync_time", Facade),
    ("fsynctime", Figure),
    ("inflight_diff_count", Ensemble),
    ("inflight_snap_count", Ensemble),
    ("leader_unavailable_time", Facade),
    ("learner_request_processor_queue_size", Ensemble),
    ("netty_queued_buffer_capacity", NoSuchPart),
    ("node_changed_watch_count", Facade),
    ("node_children_watch_count", Facade),
    ("node_created_watch_count", Facade),
    ("node_deleted_watch_count", Facade),
    ("observer_sync_time", Facade),
    ("pending_session_queue_size", Ensemble),
    ("prep_process_time", Facade),
    ("prep_processor_queue_size", Facade),
    ("proposal_process_time", NoSuchPart),
    ("read_commit_proc_issued", Ensemble),
    ("read_commit_proc_req_queued", Ensemble),
    ("reads_after_write_in_session_queue", Ensemble),
    ("reads_issued_from_session_queue", Ensemble),
    ("requests_in_session_queue", Ensemble),
    ("restore_time", Facade),
    ("session_queues_drained", Ensemble),
    // Only totals are kept: unless folds are recorded one by one, smallest and greatest are the mean.
    ("snapshottime", Figure),
    ("socket_closing_time", Facade),
    ("startup_snap_load_time", Facade),
    ("startup_txns_load_time", Facade),
    ("startup_txns_loaded", Figure),
    ("sync_process_time", Facade),
    ("sync_processor_batch_size", Figure),
    ("sync_processor_queue_size", Facade),
    (
        "time_waiting_empty_pool_in_commit_processor_read_ms",
        Ensemble,
    ),
    ("unavailable_time", Facade),
    ("write_batch_time_in_commit_processor", Ensemble),
    ("write_commit_proc_issued", Ensemble),
    ("write_commit_proc_req_queued", Ensemble),
];

/// Distributions with percentiles. Times are in milliseconds.
pub const ADVANCED: [Known; 23] = [
    ("close_session_prep_time", Facade),
    ("commit_propagation_latency", Ensemble),
    ("dead_watchers_cleaner_latency", NoSuchPart),
    // No collector stops this process.
    ("jvm_pause_time_ms", NoSuchPart),
    ("local_write_committed_time_ms", Ensemble),
    ("om_commit_process_time_ms", Ensemble),
    ("om_proposal_process_time_ms", Ensemble),
    ("prep_processor_queue_time_ms", Facade),
    ("propagation_latency", Facade),
    ("proposal_ack_creation_latency", Ensemble),
    ("proposal_latency", Ensemble),
    ("quorum_ack_latency", Ensemble),
    ("read_commitproc_time_ms", Ensemble),
    ("read_final_proc_time_ms", Ensemble),
    ("readlatency", Figure),
    ("request_throttle_queue_time_ms", Facade),
    ("server_write_committed_time_ms", Ensemble),
    ("sync_processor_queue_and_flush_time_ms", Facade),
    ("sync_processor_queue_flush_time_ms", Facade),
    ("sync_processor_queue_time_ms", Facade),
    ("updatelatency", Figure),
    ("write_commitproc_time_ms", Ensemble),
    ("write_final_proc_time_ms", Ensemble),
];

/// Summaries, with and without percentiles.
pub(super) fn summaries() -> impl Iterator<Item = (&'static str, Detail)> {
    let basic = BASIC.iter().map(|(name, _)| (*name, Detail::Basic));
    basic.chain(ADVANCED.iter().map(|(name, _)| (*name, Detail::Advanced)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        let lists: [&[Known]; 4] = [&GAUGES, &COUNTERS, &BASIC, &ADVANCED];
        for list in lists {
            assert!(list.is_sorted_by(|(one, _), (next, _)| one < next));
        }
        let all: BTreeSet<&str> = lists
            .iter()
            .flat_map(|list| list.iter().map(|(name, _)| *name))
            .collect();
        assert_eq!(
            all.len(),
            lists.iter().map(|list| list.len()).sum::<usize>()
        );
    }
}
