//! What is recorded through the `metrics` facade, kept so that it can be read back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use metrics::{Counter, Gauge, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::summary::{PARTS, Summary};
use crate::admin::RuntimeFigures;
use crate::net::stats::Histogram;
use crate::storage::log_thread::FsyncStats;

/// A metric: its name, and the value of its label `key` if it is one of a set. Other labels are not told apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) metric: String,
    pub(super) key: Option<String>,
}

impl Name {
    fn of(key: &Key) -> Self {
        let label = key.labels().find(|label| label.key() == SET_LABEL);
        Self {
            metric: key.name().to_owned(),
            key: label.map(|label| label.value().to_owned()),
        }
    }

    pub(super) fn plain(metric: &str) -> Self {
        Self {
            metric: metric.to_owned(),
            key: None,
        }
    }

    /// As `mntr` has it: the key of a set comes first.
    pub(super) fn shown(&self) -> String {
        match &self.key {
            Some(key) => format!("{key}_{}", self.metric),
            None => self.metric.clone(),
        }
    }
}

/// The label of sets.
const SET_LABEL: &str = "key";

/// The recorder. Registering takes a lock, recording through a kept handle does not.
///
/// Counters, gauges and histograms of one name are different metrics. Histograms take values in the metric's own unit,
/// milliseconds for ZooKeeper's times, and keep them to a thousandth of it, percentiles to within a sixteenth.
#[derive(Debug, Default)]
pub struct Metrics {
    counters: Mutex<BTreeMap<Name, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<Name, Arc<AtomicU64>>>,
    histograms: Mutex<BTreeMap<Name, Arc<Recorded>>>,
    // What the figures that only ever grow were when `srst` was last asked; `None` before.
    reset_at: Mutex<Option<RuntimeFigures>>,
}

impl Metrics {
    /// Those of this process. The first call makes the macros of the `metrics` facade record here, for good.
    pub fn of_process() -> Arc<Self> {
        static OF_PROCESS: OnceLock<Arc<Metrics>> = OnceLock::new();
        let all = OF_PROCESS.get_or_init(|| {
            let all = Arc::new(Self::default());
            if metrics::set_global_recorder(Shared(Arc::clone(&all))).is_err() {
                tracing::warn!("another part of the process records metrics: some of them stay 0");
            }
            all
        });
        Arc::clone(all)
    }

    /// Counters and histograms begin anew; gauges stay. Sets keep their keys, as in Java.
    pub(in crate::admin) fn reset(&self, runtime: RuntimeFigures, log: &FsyncStats) {
        lock(&self.counters)
            .values()
            .for_each(|counter| counter.store(0, Relaxed));
        lock(&self.histograms)
            .values()
            .for_each(|histogram| histogram.0.reset());
        for figure in [
            &log.last_us,
            &log.max_us,
            &log.total_us,
            &log.count,
            &log.slow,
            &log.txns,
            &log.bytes,
        ] {
            figure.store(0, Relaxed);
        }
        *lock(&self.reset_at) = Some(runtime);
    }

    /// What has been added to figures that only ever grow since they were last reset.
    pub(super) fn since_reset(&self, now: RuntimeFigures) -> RuntimeFigures {
        let Some(then) = *lock(&self.reset_at) else {
            return now;
        };
        RuntimeFigures {
            proposed: now.proposed.saturating_sub(then.proposed),
            committed: now.committed.saturating_sub(then.committed),
            sessions_expired: now.sessions_expired.saturating_sub(then.sessions_expired),
            digest_mismatches: now.digest_mismatches.saturating_sub(then.digest_mismatches),
            folds: now.folds.saturating_sub(then.folds),
            fold_ms_total: now.fold_ms_total.saturating_sub(then.fold_ms_total),
            ..now
        }
    }

    /// Whether there was a reset.
    pub(super) fn was_reset(&self) -> bool {
        lock(&self.reset_at).is_some()
    }

    pub(super) fn counters(&self) -> BTreeMap<Name, u64> {
        lock(&self.counters)
            .iter()
            .map(|(name, counter)| (name.clone(), counter.load(Relaxed)))
            .collect()
    }

    pub(super) fn gauges(&self) -> BTreeMap<Name, f64> {
        let value = |gauge: &AtomicU64| f64::from_bits(gauge.load(Relaxed));
        lock(&self.gauges)
            .iter()
            .map(|(name, gauge)| (name.clone(), value(gauge)))
            .collect()
    }

    /// Those with a value since the last reset, and all that belong to sets.
    pub(super) fn histograms(&self) -> BTreeMap<Name, Summary> {
        let all: Vec<_> = lock(&self.histograms)
            .iter()
            .map(|(name, recorded)| (name.clone(), Arc::clone(recorded)))
            .collect();
        all.into_iter()
            .map(|(name, recorded)| (name, Summary::of(&recorded.0, PARTS)))
            .filter(|(name, summary)| summary.count > 0 || name.key.is_some())
            .collect()
    }
}

// Nothing under these locks panics half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn registered<T: Default>(all: &Mutex<BTreeMap<Name, Arc<T>>>, key: &Key) -> Arc<T> {
    Arc::clone(lock(all).entry(Name::of(key)).or_default())
}

#[derive(Debug, Default)]
struct Recorded(Histogram);

impl HistogramFn for Recorded {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float's cast saturates"
    )]
    fn record_many(&self, value: f64, count: usize) {
        self.0
            .record((value * PARTS as f64).round() as u64, count as u64);
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(registered(&self.counters, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(registered(&self.gauges, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::from_arc(registered(&self.histograms, key))
    }
}

/// What the facade owns of it.
struct Shared(Arc<Metrics>);

impl Recorder for Shared {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.0.describe_counter(name, unit, text);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.0.describe_gauge(name, unit, text);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.0.describe_histogram(name, unit, text);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.0.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> metrics::Histogram {
        self.0.register_histogram(key, metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_back() {
        let all = Metrics::default();
        metrics::with_local_recorder(&all, || {
            let counter = metrics::counter!("watch_bytes");
            counter.increment(3);
            metrics::counter!("watch_bytes").increment(4);
            metrics::gauge!("auth_failed_count").set(2.0);
            let histogram = metrics::histogram!("write_per_namespace", "key" => "app");
            histogram.record(4.0);
            histogram.record(24.0);
        });
        assert_eq!(
            all.counters(),
            BTreeMap::from([(Name::plain("watch_bytes"), 7)])
        );
        assert_eq!(
            all.gauges(),
            BTreeMap::from([(Name::plain("auth_failed_count"), 2.0)])
        );
        let (name, summary) = all.histograms().pop_first().unwrap();
        assert_eq!(name.shown(), "app_write_per_namespace");
        assert_eq!(
            (summary.count, summary.sum, summary.min, summary.max),
            (2, 28.0, 4.0, 24.0)
        );
    }

    #[test]
    fn a_reset_keeps_gauges_and_the_keys_of_sets() {
        let all = Metrics::default();
        metrics::with_local_recorder(&all, || {
            metrics::counter!("watch_bytes").increment(3);
            metrics::gauge!("auth_failed_count").set(2.0);
            metrics::histogram!("write_per_namespace", "key" => "app").record(4.0);
            metrics::histogram!("fsynctime").record(0.25);
        });
        let log = FsyncStats::default();
        log.count.store(5, Relaxed);
        all.reset(
            RuntimeFigures {
                proposed: 10,
                sessions: 1,
                ..RuntimeFigures::default()
            },
            &log,
        );
        assert_eq!(all.counters().into_values().collect::<Vec<_>>(), [0]);
        assert_eq!(all.gauges().into_values().collect::<Vec<_>>(), [2.0]);
        let left: Vec<_> = all
            .histograms()
            .into_iter()
            .map(|(name, summary)| (name.shown(), summary.count))
            .collect();
        assert_eq!(left, [("app_write_per_namespace".to_owned(), 0)]);
        assert_eq!(log.count.load(Relaxed), 0);
        let now = RuntimeFigures {
            proposed: 12,
            sessions: 3,
            ..RuntimeFigures::default()
        };
        let since = all.since_reset(now);
        assert_eq!((since.proposed, since.sessions), (2, 3));
    }
}
