//! Tests of the figures behind `mntr`.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use super::*;
use crate::admin::{LearnerCounts, MemberFigures, Metrics, SessionDeadlines};
use crate::net::client::Connections;
use crate::net::clock::MonotonicClock;
use crate::net::stats::ServerStats;
use crate::state::StateParams;

const RUNTIME: RuntimeFigures = RuntimeFigures {
    proposed: 9,
    committed: 8,
    sessions_expired: 2,
    digest_mismatches: 0,
    outstanding_txns: 1,
    sessions: 3,
    local_sessions: 4,
    folds: 2,
    fold_ms_total: 25,
    last_fold_zxid: 7,
    startup_ms: 21,
    startup_txns: 5,
};

fn context() -> AdminContext {
    AdminContext {
        state: Arc::new(RwLock::new(State::new(StateParams::default()))),
        connections: Arc::new(Connections::new(1 << 20)),
        stats: Arc::new(ServerStats::default()),
        auth: Arc::default(),
        clock: MonotonicClock::start(),
        log: Arc::default(),
        metrics: Arc::new(Metrics::default()),
        session_deadlines: Arc::new(SessionDeadlines::default),
        conf: Arc::new(|_| String::new()),
        dir_bytes: Arc::new(|| (0, 0)),
        is_enabled: Arc::new(|_| true),
        runtime: Arc::new(|| RUNTIME),
        member: Arc::new(|| None),
        proposal_sizes: Arc::default(),
    }
}

fn shown(ctx: &AdminContext) -> BTreeMap<String, String> {
    let readings = ctx.readings();
    let count = readings.len();
    let shown: BTreeMap<_, _> = readings
        .into_iter()
        .map(|Reading { key, value }| (key, value.to_string()))
        .collect();
    assert_eq!(shown.len(), count, "a key is there twice");
    shown
}

/// The keys that a new standalone Apache ZooKeeper 3.9.5 shows, without `zk_`; ours besides.
#[test]
fn keys_are_those_of_apache() {
    let shown = shown(&context());
    let keys: BTreeSet<&str> = shown
        .keys()
        .map(String::as_str)
        .filter(|key| !key.starts_with("zabd_"))
        .collect();
    let apache: BTreeSet<&str> = include_str!("apache_mntr_keys.txt").lines().collect();
    assert_eq!(
        keys.difference(&apache).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "too many"
    );
    assert_eq!(
        apache.difference(&keys).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "missing"
    );
}

#[test]
fn figures_have_javas_names() {
    let ctx = context();
    ctx.stats.packets_received.add(7);
    ctx.stats.connections.store(2, Relaxed);
    ctx.stats.read_latency.record(1_500, 2);
    ctx.log.count.store(4, Relaxed);
    ctx.log.total_us.store(10_000, Relaxed);
    ctx.log.max_us.store(7_100, Relaxed);
    let shown = shown(&ctx);
    for (key, value) in [
        // What a new Apache shows.
        ("znode_count", "5"),
        ("approximate_data_size", "44"),
        ("last_client_response_size", "-1"),
        ("connection_drop_probability", "0.0"),
        ("avg_latency", "0.0"),
        ("packets_received", "7"),
        ("num_alive_connections", "2"),
        ("global_sessions", "3"),
        ("stale_sessions_expired", "2"),
        ("outstanding_changes_queued", "9"),
        ("outstanding_changes_removed", "8"),
        ("avg_readlatency", "1.5"),
        ("cnt_readlatency", "2"),
        ("sum_readlatency", "3"),
        ("p99_readlatency", "2"),
        ("avg_fsynctime", "2.5"),
        ("max_fsynctime", "7"),
        ("cnt_fsynctime", "4"),
        ("sum_fsynctime", "10"),
        ("avg_snapshottime", "12.5"),
        ("avg_dbinittime", "21.0"),
        ("sum_startup_txns_loaded", "5"),
        ("response_packet_cache_hits", "0"),
        ("zabd_fold_seconds_total", "0.025"),
    ] {
        assert_eq!(shown[key], value, "{key}");
    }
}

#[test]
fn what_is_recorded_takes_its_place() {
    let ctx = context();
    metrics::with_local_recorder(&*ctx.metrics, || {
        metrics::histogram!("fsynctime").record(0.25);
        metrics::counter!("watch_bytes").increment(99);
        metrics::counter!("quota_exceeded_error_per_namespace", "key" => "app").increment(1);
        metrics::histogram!("read_per_namespace", "key" => "app").record(73.0);
        metrics::counter!("zabd_frames_total").increment(5);
    });
    let shown = shown(&ctx);
    assert_eq!(shown["avg_fsynctime"], "0.25");
    assert_eq!(shown["watch_bytes"], "99");
    assert_eq!(shown["app_quota_exceeded_error_per_namespace"], "1");
    assert_eq!(shown["avg_app_read_per_namespace"], "73.0");
    assert_eq!(shown["sum_app_read_per_namespace"], "73");
    assert_eq!(shown["zabd_frames_total"], "5");
}

#[test]
fn a_reset_forgets_what_javas_forgets() {
    let ctx = context();
    ctx.stats.packets_received.add(7);
    ctx.log.count.store(4, Relaxed);
    ctx.reset_stats();
    let shown = shown(&ctx);
    for (key, value) in [
        ("packets_received", "0"),
        ("cnt_fsynctime", "0"),
        ("outstanding_changes_queued", "0"),
        ("cnt_dbinittime", "0"),
        ("cnt_startup_txns_loaded", "0"),
        ("global_sessions", "3"),
        ("zabd_fold_last_zxid", "7"),
    ] {
        assert_eq!(shown[key], value, "{key}");
    }
}

#[test]
fn quotas_add_up_by_the_first_element_of_the_path() {
    let track = |count, bytes, count_hard, bytes_hard| StatsTrack {
        count,
        bytes,
        count_hard,
        bytes_hard,
    };
    let quotas = [
        ("/app/x", track(3, -1, 1000, -1), track(57, 316, -1, -1)),
        ("/app/y", track(10, 50, -1, -1), track(1, 2, -1, -1)),
        ("/b", track(-1, -1, -1, -1), track(1, 0, -1, -1)),
    ];
    let gauges = quota_gauges(quotas.into_iter());
    let lines: Vec<String> = gauges
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        lines.join(" "),
        "app_quota_bytes_limit_per_namespace=49 app_quota_bytes_usage_per_namespace=318 \
         app_quota_count_limit_per_namespace=1010 app_quota_count_usage_per_namespace=58 \
         b_quota_bytes_limit_per_namespace=-1 b_quota_bytes_usage_per_namespace=0 \
         b_quota_count_limit_per_namespace=-1 b_quota_count_usage_per_namespace=1"
    );
}

/// What Apache ZooKeeper 3.9.5 shows of a member beyond what it shows of a standalone server.
#[test]
fn members_show_what_apaches_show() {
    let leaders = [
        ("last_proposal_size", "68"),
        ("leader_uptime", "0"),
        ("learners", "3"),
        ("max_proposal_size", "100"),
        ("min_proposal_size", "48"),
        ("pending_syncs", "0"),
        ("quorum_size", "3"),
        ("synced_followers", "2"),
        ("synced_non_voting_followers", "0"),
        ("synced_observers", "1"),
    ];
    let learners = [("quorum_size", "3")];
    for (role, more) in [
        (Role::Leading, &leaders[..]),
        (Role::Following, &learners),
        (Role::Observing, &learners),
    ] {
        let mut ctx = context();
        let alone = shown(&ctx);
        ctx.proposal_sizes.record(68, 48, 100);
        ctx.member = Arc::new(move || {
            Some(MemberFigures {
                role,
                is_read_only: false,
                leader: None,
                quorum_size: 3,
                learners: LearnerCounts {
                    all: 3,
                    synced_followers: 2,
                    synced_non_voting_followers: 0,
                    synced_observers: 1,
                },
                pending_syncs: 0,
                leading_since_ms: -1,
            })
        });
        let mut shown = shown(&ctx);
        // The driver counts the sessions of a leader, the state those of others.
        let sessions = if role == Role::Leading { "3" } else { "0" };
        assert_eq!(shown["global_sessions"], sessions);
        shown.retain(|key, _| !alone.contains_key(key));
        let shown: Vec<(&str, &str)> = shown
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(shown, more, "{role:?}");
    }
}
