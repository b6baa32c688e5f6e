//! What is counted between sockets and state.
//!
//! Everything here is approximate in one sense only: several counters read one after the other may stem from slightly
//! different moments. Connections add once for a batch of requests, not for each.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Counts of one server, like Java's `ServerStats` and the connection metrics of `ServerMetrics`.
#[derive(Debug, Default)]
pub struct ServerStats {
    /// Frames and four-letter words received.
    pub packets_received: Counter,
    /// Frames sent.
    pub packets_sent: Counter,
    /// Bytes received.
    pub bytes_received: Counter,
    /// Bytes of replies and events.
    pub response_bytes: Counter,
    /// Requests received and not answered yet, server-wide.
    pub outstanding: AtomicI64,
    /// Connections open.
    pub connections: AtomicI64,
    /// Handshakes received.
    pub connection_requests: Counter,
    /// Connections refused by a limit or the connection throttle.
    pub connections_rejected: Counter,
    /// Connections that ended because their client went away.
    pub connections_dropped: Counter,
    /// Connections closed because nothing was heard for too long.
    pub sessionless_connections_expired: Counter,
    /// Requests too large for what large requests may take together.
    pub large_requests_rejected: Counter,
    /// Requests answered with `ThrottledOp`.
    pub throttled_ops: Counter,
    /// How often requests had to wait for the request throttle.
    pub request_throttle_waits: Counter,
    /// Requests found stale in the request throttle.
    pub stale_requests: Counter,
    /// Of those, the ones dropped.
    pub stale_requests_dropped: Counter,
    /// Connections closed because the client did not take what was sent to it.
    pub slow_clients_closed: Counter,
    /// From request to reply, all requests.
    pub latency: Latency,
    /// From request to reply, requests that are read here. In microseconds.
    pub read_latency: Histogram,
    /// From request to reply, requests that became transactions. In microseconds.
    pub update_latency: Histogram,
    /// Sizes of replies in bytes.
    pub response_size: Sizes,
    /// Tokens missing from the connection throttle, at each handshake.
    pub token_deficit: Histogram,
    drop_probability: AtomicU64,
}

impl ServerStats {
    /// The chance, `0..=1`, that the next handshake is dropped.
    #[must_use]
    pub fn connection_drop_probability(&self) -> f64 {
        f64::from_bits(self.drop_probability.load(Relaxed))
    }

    pub(super) fn set_connection_drop_probability(&self, probability: f64) {
        self.drop_probability.store(probability.to_bits(), Relaxed);
    }

    /// Forgets what `srst` resets: packets, latency, sizes and all counters. What is open or under way stays.
    pub fn reset(&self) {
        for counter in [
            &self.packets_received,
            &self.packets_sent,
            &self.bytes_received,
            &self.response_bytes,
            &self.connection_requests,
            &self.connections_rejected,
            &self.connections_dropped,
            &self.sessionless_connections_expired,
            &self.large_requests_rejected,
            &self.throttled_ops,
            &self.request_throttle_waits,
            &self.stale_requests,
            &self.stale_requests_dropped,
            &self.slow_clients_closed,
        ] {
            counter.reset();
        }
        self.latency.reset();
        self.response_size.reset();
        for histogram in [
            &self.read_latency,
            &self.update_latency,
            &self.token_deficit,
        ] {
            histogram.reset();
        }
    }
}

/// A number that only grows, but for resets.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        if count != 0 {
            self.0.fetch_add(count, Relaxed);
        }
    }

    /// The count.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Latency in whole milliseconds, as `srvr` shows it.
#[derive(Debug)]
pub struct Latency {
    count: AtomicU64,
    total_ms: AtomicU64,
    min_ms: AtomicU64,
    max_ms: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            total_ms: AtomicU64::new(0),
            min_ms: AtomicU64::new(u64::MAX),
            max_ms: AtomicU64::new(0),
        }
    }
}

impl Latency {
    /// Records `count` requests that took `ms` each.
    pub fn record(&self, ms: u64, count: u64) {
        self.count.fetch_add(count, Relaxed);
        if ms != 0 {
            self.total_ms.fetch_add(ms.saturating_mul(count), Relaxed);
        }
        if ms < self.min_ms.load(Relaxed) {
            self.min_ms.fetch_min(ms, Relaxed);
        }
        if ms > self.max_ms.load(Relaxed) {
            self.max_ms.fetch_max(ms, Relaxed);
        }
    }

    /// The shortest; 0 if there was none.
    #[must_use]
    pub fn min_ms(&self) -> u64 {
        match self.min_ms.load(Relaxed) {
            u64::MAX => 0,
            ms => ms,
        }
    }

    /// The longest.
    #[must_use]
    pub fn max_ms(&self) -> u64 {
        self.max_ms.load(Relaxed)
    }

    /// The mean; 0 if there was none.
    #[must_use]
    pub fn avg_ms(&self) -> f64 {
        match self.count.load(Relaxed) {
            0 => 0.0,
            count => self.total_ms.load(Relaxed) as f64 / count as f64,
        }
    }

    fn reset(&self) {
        self.count.store(0, Relaxed);
        self.total_ms.store(0, Relaxed);
        self.min_ms.store(u64::MAX, Relaxed);
        self.max_ms.store(0, Relaxed);
    }
}

/// The last, smallest and greatest of some sizes; -1 before the first, as in Java's `BufferStats`.
#[derive(Debug)]
pub struct Sizes {
    last: AtomicI64,
    min: AtomicI64,
    max: AtomicI64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            last: AtomicI64::new(-1),
            min: AtomicI64::new(-1),
            max: AtomicI64::new(-1),
        }
    }
}

impl Sizes {
    /// Records a batch by its last, smallest and greatest size.
    pub fn record(&self, last: i64, min: i64, max: i64) {
        self.last.store(last, Relaxed);
        let known = self.min.load(Relaxed);
        if known < 0 || min < known {
            self.min.store(min, Relaxed);
        }
        if max > self.max.load(Relaxed) {
            self.max.fetch_max(max, Relaxed);
        }
    }

    /// The last.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.last.load(Relaxed)
    }

    /// The smallest.
    #[must_use]
    pub fn min(&self) -> i64 {
        self.min.load(Relaxed)
    }

    /// The greatest.
    #[must_use]
    pub fn max(&self) -> i64 {
        self.max.load(Relaxed)
    }

    pub(crate) fn reset(&self) {
        for size in [&self.last, &self.min, &self.max] {
            size.store(-1, Relaxed);
        }
    }
}

/// Sub-buckets of each power of two, as a power of two: values are kept to within 1/16.
const SUB_BITS: u32 = 4;
const SUB: usize = 1 << SUB_BITS;
/// Values from 2^40 on share the last bucket: 12 days, in microseconds.
const BUCKETS: usize = (40 - SUB_BITS as usize + 1) * SUB;

/// Counts by value, in buckets that grow with the value: exact up to 16, then within a sixteenth.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64; BUCKETS]>,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: Box::new([const { AtomicU64::new(0) }; BUCKETS]),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Records `count` times `value`.
    pub fn record(&self, value: u64, count: u64) {
        self.buckets[bucket_of(value)].fetch_add(count, Relaxed);
        self.sum.fetch_add(value.saturating_mul(count), Relaxed);
        if value < self.min.load(Relaxed) {
            self.min.fetch_min(value, Relaxed);
        }
        if value > self.max.load(Relaxed) {
            self.max.fetch_max(value, Relaxed);
        }
    }

    /// What it holds now.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|count| count.load(Relaxed))
            .collect();
        Summary {
            count: counts.iter().sum(),
            sum: self.sum.load(Relaxed),
            min: match self.min.load(Relaxed) {
                u64::MAX => 0,
                min => min,
            },
            max: self.max.load(Relaxed),
            counts,
        }
    }

    /// Forgets everything.
    pub fn reset(&self) {
        for bucket in self.buckets.iter() {
            bucket.store(0, Relaxed);
        }
        self.sum.store(0, Relaxed);
        self.min.store(u64::MAX, Relaxed);
        self.max.store(0, Relaxed);
    }
}

fn bucket_of(value: u64) -> usize {
    let value_bits = u64::BITS - value.leading_zeros();
    if value_bits <= SUB_BITS {
        return usize::try_from(value).unwrap_or(BUCKETS - 1);
    }
    let shift = value_bits - SUB_BITS - 1;
    let sub = usize::try_from(value >> shift).unwrap_or(0) & (SUB - 1);
    ((shift as usize + 1) * SUB + sub).min(BUCKETS - 1)
}

/// The smallest value of a bucket.
fn bucket_floor(bucket: usize) -> u64 {
    let (power, sub) = (bucket / SUB, (bucket % SUB) as u64);
    if power == 0 {
        sub
    } else {
        (SUB as u64 + sub) << (power - 1)
    }
}

/// A histogram at one moment.
#[derive(Debug, Clone)]
pub struct Summary {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest; 0 if there is none.
    pub min: u64,
    /// The greatest; 0 if there is none.
    pub max: u64,
    counts: Vec<u64>,
}

impl Summary {
    /// The value that a part of `quantile`, `0..=1`, of all values does not exceed; 0 if there is none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        let wanted = (self.count as f64 * quantile).ceil().max(1.0);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                // The middle of the bucket, as far as values reach.
                let (floor, next) = (bucket_floor(bucket), bucket_floor(bucket + 1));
                return (floor + (next - floor) / 2).clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// The mean; 0 if there is no value.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum as f64 / self.count as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_hold_their_values() {
        let mut last = 0;
        for value in (0..4096).chain((12..45).flat_map(|bits| {
            let power = 1u64 << bits;
            [power - 1, power, power + power / 3]
        })) {
            let bucket = bucket_of(value);
            assert!(bucket >= last, "{value}");
            last = bucket;
            assert!(bucket_floor(bucket) <= value);
            assert!(
                bucket == BUCKETS - 1 || value < bucket_floor(bucket + 1),
                "{value}"
            );
        }
    }

    #[test]
    fn quantiles_are_within_a_sixteenth() {
        let histogram = Histogram::default();
        for value in 0..1000 {
            histogram.record(value, 1);
        }
        let summary = histogram.summary();
        assert_eq!((summary.count, summary.min, summary.max), (1000, 0, 999));
        for (quantile, expected) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let found = summary.quantile(quantile) as f64;
            assert!(
                (found - expected).abs() <= expected / 16.0,
                "{found} {expected}"
            );
        }
        assert!((summary.mean() - 499.5).abs() < 1e-9);
        histogram.reset();
        assert_eq!(histogram.summary().quantile(0.5), 0);
    }

    #[test]
    fn latency_and_sizes_begin_as_java_does() {
        let stats = ServerStats::default();
        assert_eq!((stats.latency.min_ms(), stats.latency.max_ms()), (0, 0));
        assert_eq!(
            (stats.response_size.last(), stats.response_size.min()),
            (-1, -1)
        );
        stats.latency.record(3, 2);
        stats.latency.record(9, 1);
        stats.response_size.record(20, 16, 100);
        stats.response_size.record(30, 30, 30);
        assert_eq!((stats.latency.min_ms(), stats.latency.max_ms()), (3, 9));
        assert!((stats.latency.avg_ms() - 5.0).abs() < 1e-9);
        let size = &stats.response_size;
        assert_eq!((size.last(), size.min(), size.max()), (30, 16, 100));
        stats.reset();
        assert_eq!((stats.latency.min_ms(), stats.response_size.max()), (0, -1));
    }
}
