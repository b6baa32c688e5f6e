//! Figures that are kept elsewhere, under their names as metrics; and everything that `mntr` shows.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::inventory::{COUNTERS, Detail, GAUGES, summaries};
use super::reading::{Reading, Value};
use super::recorder::Name;
use super::summary::Summary;
use crate::admin::context::{AdminContext, RuntimeFigures};
use crate::admin::four_letter::NODES_MORE;
use crate::replica::zab::Role;
use crate::state::tree::quota::StatsTrack;
use crate::state::watch::WatchTotals;
use crate::state::{Figures, State};

/// The path `/`, which Java counts among the bytes.
const ROOT_BYTES: u64 = 1;

type Values = BTreeMap<&'static str, Value>;
type Summaries = BTreeMap<&'static str, Summary>;
type Gauges = BTreeMap<String, i64>;

/// What is taken out of the state under its lock.
struct Look {
    state: Figures,
    watches: WatchTotals,
    quotas: Gauges,
}

impl Look {
    fn at(state: &State) -> Self {
        Self {
            state: state.figures(),
            watches: state.watches().totals(),
            quotas: quota_gauges(state.quotas()),
        }
    }
}

impl AdminContext {
    /// All metrics, ZooKeeper's first.
    pub(in crate::admin) fn readings(&self) -> Vec<Reading> {
        let look = self.look(Look::at);
        let runtime = self.metrics.since_reset((self.runtime)());
        let mut out = Vec::new();
        self.gauges_and_counters(&look, &runtime, &mut out);
        self.summaries(&runtime, &mut out);
        let own = self.own(&look, &runtime);
        out.extend(own.into_iter().map(|(key, value)| Reading {
            key: key.to_owned(),
            value,
        }));
        out
    }

    fn gauges_and_counters(&self, look: &Look, runtime: &RuntimeFigures, out: &mut Vec<Reading>) {
        for (name, value) in self.ensemble_gauges() {
            let key = name.to_owned();
            out.push(Reading { key, value });
        }
        let mut recorded = self.metrics.gauges();
        let figures = self.gauge_figures(look, runtime);
        for (name, _) in GAUGES {
            let value = recorded.remove(&Name::plain(name)).map(Value::of);
            let value = value
                .or_else(|| figures.get(name).copied())
                .unwrap_or(Value::Whole(0));
            out.push(Reading {
                key: name.to_owned(),
                value,
            });
        }
        out.extend(look.quotas.iter().map(|(key, value)| Reading {
            key: key.clone(),
            value: Value::Whole(*value),
        }));
        out.extend(recorded.iter().map(|(name, value)| Reading {
            key: name.shown(),
            value: Value::of(*value),
        }));

        let mut recorded = self.metrics.counters();
        let figures = self.counter_figures(runtime);
        for (name, _) in COUNTERS {
            let count = recorded.remove(&Name::plain(name)).unwrap_or(0);
            let count = count + figures.get(name).copied().unwrap_or(0);
            out.push(Reading {
                key: name.to_owned(),
                value: Value::count(count),
            });
        }
        out.extend(recorded.iter().map(|(name, count)| Reading {
            key: name.shown(),
            value: Value::count(*count),
        }));
    }

    fn summaries(&self, runtime: &RuntimeFigures, out: &mut Vec<Reading>) {
        let mut recorded = self.metrics.histograms();
        let figures = self.summary_figures(runtime);
        for (name, detail) in summaries() {
            let summary = recorded
                .remove(&Name::plain(name))
                .or_else(|| figures.get(name).copied());
            summary.unwrap_or_default().readings(name, detail, out);
        }
        for (name, summary) in recorded {
            summary.readings(name.shown(), Detail::Basic, out);
        }
    }

    /// What servers of an ensemble show besides.
    ///
    /// ZooKeeper: `QuorumZooKeeperServer.registerMetrics`, `LeaderZooKeeperServer.registerMetrics`.
    fn ensemble_gauges(&self) -> Vec<(&'static str, Value)> {
        let Some(member) = (self.member)() else {
            return Vec::new();
        };
        let mut gauges = vec![("quorum_size", Value::size(member.quorum_size))];
        if member.role == Role::Leading {
            let (learners, sizes) = (member.learners, &self.proposal_sizes);
            let uptime_ms = if member.leading_since_ms < 0 {
                0
            } else {
                self.clock.now_ms() - member.leading_since_ms
            };
            gauges.extend([
                ("last_proposal_size", Value::Whole(sizes.last())),
                ("leader_uptime", Value::Whole(uptime_ms)),
                ("learners", Value::size(learners.all)),
                ("max_proposal_size", Value::Whole(sizes.max())),
                ("min_proposal_size", Value::Whole(sizes.min())),
                ("pending_syncs", Value::size(member.pending_syncs)),
                ("synced_followers", Value::size(learners.synced_followers)),
                (
                    "synced_non_voting_followers",
                    Value::size(learners.synced_non_voting_followers),
                ),
                ("synced_observers", Value::size(learners.synced_observers)),
            ]);
        }
        gauges
    }

    /// Live sessions: the leader's word, elsewhere the state's.
    fn sessions(&self, look: &Look, runtime: &RuntimeFigures) -> Value {
        match (self.member)() {
            Some(member) if member.role != Role::Leading => Value::size(look.state.sessions),
            _ => Value::Whole(runtime.sessions),
        }
    }

    fn gauge_figures(&self, look: &Look, runtime: &RuntimeFigures) -> Values {
        let stats = &self.stats;
        BTreeMap::from([
            (
                "approximate_data_size",
                Value::count(look.state.approximate_bytes + ROOT_BYTES),
            ),
            (
                "auth_failed_count",
                Value::count(self.auth.auth_failed_count()),
            ),
            ("avg_latency", Value::Mean(stats.latency.avg_ms())),
            (
                "connection_drop_probability",
                Value::Real(stats.connection_drop_probability()),
            ),
            ("ephemerals_count", Value::size(look.state.ephemerals)),
            ("global_sessions", self.sessions(look, runtime)),
            ("local_sessions", Value::Whole(runtime.local_sessions)),
            (
                "last_client_response_size",
                Value::Whole(stats.response_size.last()),
            ),
            (
                "max_client_response_size",
                Value::Whole(stats.response_size.max()),
            ),
            ("max_file_descriptor_count", Value::Whole(open_files_max())),
            ("max_latency", Value::count(stats.latency.max_ms())),
            (
                "min_client_response_size",
                Value::Whole(stats.response_size.min()),
            ),
            ("min_latency", Value::count(stats.latency.min_ms())),
            (
                "num_alive_connections",
                Value::Whole(stats.connections.load(Relaxed)),
            ),
            ("open_file_descriptor_count", Value::Whole(open_files())),
            (
                "outstanding_requests",
                Value::Whole(stats.outstanding.load(Relaxed)),
            ),
            (
                "packets_received",
                Value::count(stats.packets_received.count()),
            ),
            ("packets_sent", Value::count(stats.packets_sent.count())),
            ("uptime", Value::Whole(self.clock.now_ms())),
            ("watch_count", Value::size(look.watches.watches)),
            ("znode_count", Value::size(look.state.nodes + NODES_MORE)),
        ])
    }

    fn counter_figures(&self, runtime: &RuntimeFigures) -> BTreeMap<&'static str, u64> {
        let stats = &self.stats;
        BTreeMap::from([
            ("bytes_received_count", stats.bytes_received.count()),
            ("connection_drop_count", stats.connections_dropped.count()),
            ("connection_rejected", stats.connections_rejected.count()),
            (
                "connection_request_count",
                stats.connection_requests.count(),
            ),
            ("digest_mismatches_count", runtime.digest_mismatches),
            ("ensemble_auth_fail", self.auth.ensemble_auth_fail()),
            ("ensemble_auth_skip", self.auth.ensemble_auth_skip()),
            ("ensemble_auth_success", self.auth.ensemble_auth_success()),
            (
                "large_requests_rejected",
                stats.large_requests_rejected.count(),
            ),
            ("outstanding_changes_queued", runtime.proposed),
            ("outstanding_changes_removed", runtime.committed),
            ("prep_processor_request_queued", runtime.proposed),
            (
                "request_throttle_wait_count",
                stats.request_throttle_waits.count(),
            ),
            ("response_bytes", stats.response_bytes.count()),
            (
                "sessionless_connections_expired",
                stats.sessionless_connections_expired.count(),
            ),
            ("stale_requests", stats.stale_requests.count()),
            (
                "stale_requests_dropped",
                stats.stale_requests_dropped.count(),
            ),
            ("stale_sessions_expired", runtime.sessions_expired),
            ("sync_processor_request_queued", runtime.proposed),
            ("throttled_ops", stats.throttled_ops.count()),
        ])
    }

    fn summary_figures(&self, runtime: &RuntimeFigures) -> Summaries {
        let (stats, log) = (&self.stats, &self.log);
        let fsyncs = log.count.load(Relaxed);
        let fsync = Summary {
            max: ms(log.max_us.load(Relaxed)),
            ..Summary::of_totals(fsyncs, ms(log.total_us.load(Relaxed)))
        };
        let mut all = BTreeMap::from([
            (
                "connection_token_deficit",
                Summary::of(&stats.token_deficit, 1),
            ),
            ("fsynctime", fsync),
            ("readlatency", Summary::of(&stats.read_latency, 1000)),
            (
                "snapshottime",
                Summary::of_totals(runtime.folds, runtime.fold_ms_total as f64),
            ),
            (
                "sync_processor_batch_size",
                Summary::of_totals(fsyncs, log.txns.load(Relaxed) as f64),
            ),
            ("updatelatency", Summary::of(&stats.update_latency, 1000)),
        ]);
        if !self.metrics.was_reset() {
            all.insert("dbinittime", Summary::of_one(runtime.startup_ms as f64));
            // Java has no value when there was nothing to replay.
            if runtime.startup_txns > 0 {
                all.insert(
                    "startup_txns_loaded",
                    Summary::of_one(runtime.startup_txns as f64),
                );
            }
        }
        all
    }

    /// What ZooKeeper has no name for.
    fn own(&self, look: &Look, runtime: &RuntimeFigures) -> [(&'static str, Value); 15] {
        let log = &self.log;
        let seconds = |us: u64| Value::Real(us as f64 / 1e6);
        [
            ("zabd_acls", Value::size(look.state.acls)),
            ("zabd_committed_txns_total", Value::count(runtime.committed)),
            ("zabd_data_watches", Value::size(look.watches.data_watches)),
            (
                "zabd_fold_backlog_nodes",
                Value::size(look.state.fold_backlog),
            ),
            ("zabd_fold_last_zxid", Value::Whole(runtime.last_fold_zxid)),
            (
                "zabd_fold_seconds_total",
                seconds(runtime.fold_ms_total * 1000),
            ),
            ("zabd_folds_total", Value::count(runtime.folds)),
            (
                "zabd_log_bytes_total",
                Value::count(log.bytes.load(Relaxed)),
            ),
            (
                "zabd_log_fsync_seconds_total",
                seconds(log.total_us.load(Relaxed)),
            ),
            (
                "zabd_log_fsyncs_total",
                Value::count(log.count.load(Relaxed)),
            ),
            (
                "zabd_log_slow_fsyncs_total",
                Value::count(log.slow.load(Relaxed)),
            ),
            ("zabd_log_txns_total", Value::count(log.txns.load(Relaxed))),
            (
                "zabd_outstanding_txns",
                Value::count(runtime.outstanding_txns),
            ),
            ("zabd_proposed_txns_total", Value::count(runtime.proposed)),
            (
                "zabd_slow_clients_closed_total",
                Value::count(self.stats.slow_clients_closed.count()),
            ),
        ]
    }
}

/// The quotas of each first element of a path, added up; a hard limit stands for the soft one.
///
/// ZooKeeper: `QuotaMetricsUtils`.
fn quota_gauges<'a>(quotas: impl Iterator<Item = (&'a str, StatsTrack, StatsTrack)>) -> Gauges {
    let limit = |hard: i64, soft: i64| if hard > -1 { hard } else { soft };
    let mut gauges = Gauges::new();
    for (path, limits, usage) in quotas {
        let namespace = path.split('/').nth(1).unwrap_or_default();
        for (name, value) in [
            ("count_limit", limit(limits.count_hard, limits.count)),
            ("bytes_limit", limit(limits.bytes_hard, limits.bytes)),
            ("count_usage", usage.count),
            ("bytes_usage", usage.bytes),
        ] {
            let sum = gauges
                .entry(format!("{namespace}_quota_{name}_per_namespace"))
                .or_default();
            *sum += value;
        }
    }
    gauges
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// Descriptors that this process has open; -1 if that cannot be known, as in Java.
fn open_files() -> i64 {
    // The look itself has one open.
    std::fs::read_dir("/proc/self/fd").map_or(-1, |files| {
        i64::try_from(files.count()).unwrap_or(i64::MAX) - 1
    })
}

/// How many it may have.
fn open_files_max() -> i64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile)
        .current
        .map_or(i64::MAX, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
