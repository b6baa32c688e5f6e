//! The configuration, as each part of the server wants it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use jute_codec::Text;

use super::folder::FoldPolicy;
use crate::auth::{DigestAlgorithm, DigestParams, ProviderParams};
use crate::config::{self, Config, EnsembleConfig};
use crate::net::client::{ListenAddr, NetParams};
use crate::net::throttle::{ThrottleParams, ThrottleWeights};
use crate::replica::ensemble::Standalone;
use crate::replica::params::{LocalSessions, ReplicaParams};
use crate::replica::zab::ZabParams;
use crate::state::StateParams;
use crate::state::conn::ConnParams;
use crate::state::tree::acl::AclRules;
use crate::storage::log_thread::LogThreadOptions;
use crate::storage::recovery::{LogBehind, StorageOptions};
use crate::storage::txn_log::{Durability, LogOptions};

/// The size of a log segment that had to be made while somebody waits.
const INLINE_SEGMENT_BYTES: u64 = 1 << 20;
/// The smallest segment made ahead.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;

/// The shortest wait without a leader before read-only clients are served. ZooKeeper: `QuorumPeer.run`.
const READ_ONLY_AFTER_MS_MIN: i64 = 2000;

/// A fold holds no more than this many changed nodes, whatever `snapCount` says: they stand in memory at once.
const FOLD_BACKLOG_MAX: usize = 50_000;
const FOLD_LOGGED_BYTES: u64 = 48 << 20;
const FOLD_AGE: Duration = Duration::from_secs(60);

pub(super) fn state(config: &Config, hash_seed: u64) -> StateParams {
    let schemes = config
        .auth
        .providers
        .iter()
        .filter_map(|provider| provider.scheme);
    StateParams {
        hash_seed,
        extended_types: config.tree.extended_types_enabled,
        acl: AclRules {
            skip: config.auth.skip_acl,
            digest: config.auth.digest_scheme_enabled,
            exact_schemes: schemes
                // Nobody is of the scheme `ensemble`: no list can name it.
                .filter(|scheme| !matches!(*scheme, "ip" | "digest" | "ensemble"))
                .map(Text::from)
                .collect(),
        },
    }
}

pub(super) fn replica(config: &Config) -> ReplicaParams {
    let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    ReplicaParams {
        // The low byte goes into session ids, as in Java.
        server_id: config
            .ensemble
            .as_ref()
            .map_or(1, |ensemble| ensemble.me.0.to_le_bytes()[0]),
        tick_ms: int(config.sessions.tick_ms),
        session_timeout_min_ms: int(config.sessions.timeout_min_ms),
        session_timeout_max_ms: int(config.sessions.timeout_max_ms),
        extended_types: config.tree.extended_types_enabled,
        enforce_quota: config.tree.enforce_quota,
        reconfig_enabled: config.reconfig_enabled,
        local_sessions: local_sessions(config),
        leader_serves: (config.ensemble.as_ref())
            .is_none_or(|ensemble| ensemble.leader.serves_clients),
        read_only_after_ms: (config.ensemble.is_some() && config.read_only_mode_enabled)
            .then(|| READ_ONLY_AFTER_MS_MIN.max(config.sessions.tick_ms.into())),
        standalone: standalone(config.standalone_enabled),
        multi_address: config
            .ensemble
            .as_ref()
            .is_some_and(|ensemble| ensemble.multi_address.enabled),
        container_check_interval_ms: config.containers.check_interval_ms.into(),
        container_per_minute_max: config.containers.max_per_minute.into(),
        container_never_used_max_ms: config
            .containers
            .max_never_used_ms
            .map_or(0, |ms| i64::try_from(ms).unwrap_or(i64::MAX)),
    }
}

fn local_sessions(config: &Config) -> LocalSessions {
    match &config.ensemble {
        Some(ensemble) if ensemble.local_sessions_enabled => {
            if ensemble.local_sessions_upgrading_enabled {
                LocalSessions::Upgraded
            } else {
                LocalSessions::Kept
            }
        }
        _ => LocalSessions::Off,
    }
}

pub(super) fn zab(ensemble: &EnsembleConfig) -> ZabParams {
    ZabParams {
        tick_ms: ensemble.tick_ms.into(),
        init_limit: ensemble.init_limit.into(),
        sync_limit: ensemble.sync_limit.into(),
        recent_max: ensemble.leader.commit_log_count as usize,
        reconfig_enabled: ensemble.reconfig_enabled,
        standalone: standalone(ensemble.standalone_enabled),
        force_snapshot_sync: ensemble.leader.force_snapshot_sync,
        snap_syncs_max: ensemble.leader.snap_syncs_max as usize,
        diff_syncs_max: ensemble.leader.diff_syncs_max as usize,
        notification_min_ms: ensemble.election.notification_min_ms.into(),
        notification_max_ms: ensemble.election.notification_max_ms.into(),
        ..ZabParams::new(ensemble.me)
    }
}

pub(super) const fn standalone(is_enabled: bool) -> Standalone {
    match is_enabled {
        true => Standalone::Enabled,
        false => Standalone::Disabled,
    }
}

pub(super) fn storage(config: &Config) -> StorageOptions {
    StorageOptions {
        data_dir: config.data_dir.clone(),
        data_log_dir: config.data_log_dir.clone(),
        log: log(config),
        log_behind: LogBehind::Refuse,
    }
}

fn log(config: &Config) -> LogOptions {
    let storage = &config.storage;
    let wanted = storage.pre_alloc_bytes.unwrap_or(INLINE_SEGMENT_BYTES);
    let segment_bytes = storage
        .txn_log_size_limit_bytes
        .map_or(wanted, |limit| wanted.min(limit))
        .max(SEGMENT_BYTES_MIN);
    LogOptions {
        segment_bytes,
        inline_segment_bytes: INLINE_SEGMENT_BYTES.min(segment_bytes),
        durability: if storage.force_sync {
            Durability::Fsync
        } else {
            Durability::NoFsync
        },
    }
}

pub(super) fn log_thread(config: &Config) -> LogThreadOptions {
    LogThreadOptions {
        slow_fsync: Duration::from_millis(config.storage.fsync_warning_threshold_ms),
        ..LogThreadOptions::default()
    }
}

pub(super) fn folds(config: &Config) -> FoldPolicy {
    let by_size = config.storage.snap_size_limit_bytes.unwrap_or(u64::MAX);
    FoldPolicy {
        backlog: FOLD_BACKLOG_MAX.min(config.storage.snap_count as usize),
        logged_bytes: FOLD_LOGGED_BYTES.min(by_size),
        age: FOLD_AGE,
    }
}

pub(super) fn auth(config: &Config) -> ProviderParams {
    let auth = &config.auth;
    ProviderParams {
        digest: auth.digest_scheme_enabled.then(|| DigestParams {
            algorithm: digest_algorithm(auth.digest_algorithm),
            super_digest: auth
                .super_digest
                .as_ref()
                .map(|digest| digest.expose().to_owned()),
        }),
        ensemble_names: auth
            .providers
            .iter()
            .any(|provider| provider.scheme == Some("ensemble"))
            .then(|| auth.ensemble_names.clone()),
        ..ProviderParams::default()
    }
}

const fn digest_algorithm(algorithm: config::DigestAlgorithm) -> DigestAlgorithm {
    match algorithm {
        config::DigestAlgorithm::Sha1 => DigestAlgorithm::Sha1,
        config::DigestAlgorithm::Sha224 => DigestAlgorithm::Sha224,
        config::DigestAlgorithm::Sha256 => DigestAlgorithm::Sha256,
        config::DigestAlgorithm::Sha384 => DigestAlgorithm::Sha384,
        config::DigestAlgorithm::Sha512 => DigestAlgorithm::Sha512,
        config::DigestAlgorithm::Sha3With224 => DigestAlgorithm::Sha3With224,
        config::DigestAlgorithm::Sha3With256 => DigestAlgorithm::Sha3With256,
        config::DigestAlgorithm::Sha3With384 => DigestAlgorithm::Sha3With384,
        config::DigestAlgorithm::Sha3With512 => DigestAlgorithm::Sha3With512,
    }
}

pub(super) fn conn(config: &Config) -> ConnParams {
    let requests = &config.requests;
    ConnParams {
        field_bytes_max: requests.frame_bytes_max as usize + requests.record_extra_bytes as usize,
        required_schemes: config.auth.enforced_schemes.clone(),
        sync_by_replica: config.ensemble.is_some(),
    }
}

pub(super) fn net(config: &Config) -> NetParams {
    let (connections, requests) = (&config.connections, &config.requests);
    NetParams {
        frame_bytes_max: requests.frame_bytes_max as usize,
        conns_per_address_max: connections.max_per_client.unwrap_or(0) as usize,
        conns_max: connections.max_total.unwrap_or(0) as usize,
        global_outstanding_limit: requests.outstanding_max as usize,
        large_request_threshold: requests.large_threshold_bytes.map(|bytes| bytes as usize),
        large_request_bytes_max: requests.large_bytes_max as usize,
        connection_throttle: throttle(&config.connection_throttle),
        request_throttle_max_requests: requests.throttle_max.unwrap_or(0) as usize,
        request_throttle_stall_ms: requests.throttle_stall_ms.into(),
        request_throttle_drop_stale: requests.throttle_drop_stale,
        request_stale_latency_check: requests.stale_latency_check,
        request_stale_connection_check: requests.stale_connection_check,
        throttled_op_wait_ms: requests.throttled_op_wait_ms.unwrap_or(0).into(),
        sessionless_timeout_ms: connections.sessionless_timeout_ms.into(),
        tcp_keep_alive: connections.tcp_keep_alive,
        local_sessions: local_sessions(config) != LocalSessions::Off,
        listen_backlog: i32::try_from(connections.backlog()).unwrap_or(i32::MAX),
        ..NetParams::default()
    }
}

/// The configuration has the weights worked into bucket and refill; the throttle does that itself.
fn throttle(throttle: &config::ConnectionThrottle) -> ThrottleParams {
    let weights = throttle.weights;
    let weighted = (weights.global, weights.local, weights.renew) != (1, 1, 1);
    let by = if weighted { weights.global.max(1) } else { 1 };
    ThrottleParams {
        tokens: throttle.tokens.unwrap_or(0) / by,
        fill_time_ms: throttle.fill_time_ms,
        fill_count: throttle.fill_count / by,
        freeze_time_ms: throttle.freeze_time_ms,
        drop_increase: throttle.drop_increase,
        drop_decrease: throttle.drop_decrease,
        decrease_ratio: throttle.decrease_ratio,
        weights: weighted.then_some(ThrottleWeights {
            global: weights.global,
            local: weights.local,
            renew: weights.renew,
        }),
    }
}

pub(super) fn listeners(config: &Config) -> Vec<ListenAddr> {
    config
        .listeners
        .iter()
        .map(|listener| ListenAddr {
            addr: SocketAddr::new(
                listener.ip.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
                listener.port,
            ),
        })
        .collect()
}
