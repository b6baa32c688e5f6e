//! A histogram of times with a relative error below one percent.

/// Bits of a value that are kept below its highest one.
const PRECISION_BITS: u32 = 7;
const SUB_BUCKETS: u64 = 1 << PRECISION_BITS;
/// Greatest value that is told apart, about 18 minutes in nanoseconds; more counts as this.
const VALUE_MAX: u64 = (1 << 40) - 1;

/// Counts of values in buckets whose width grows with the value.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    // One count a bucket, all of them from the start: recording must not allocate.
    buckets: Vec<u64>,
    count: u64,
    sum: u128,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; bucket(VALUE_MAX) + 1],
            count: 0,
            sum: 0,
            max: 0,
        }
    }

    pub(crate) fn record(&mut self, value: u64) {
        let value = value.min(VALUE_MAX);
        self.buckets[bucket(value)] += 1;
        self.count += 1;
        self.sum += u128::from(value);
        self.max = self.max.max(value);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    pub(crate) fn mean(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        self.sum as f64 / self.count as f64
    }

    /// The value that `permille / 10` percent of all are not above; 0 if there are none.
    pub(crate) fn permille(&self, permille: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(permille)).div_ceil(1000);
        let mut seen = 0u128;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank && seen > 0 {
                return upper_end(index).min(self.max);
            }
        }
        0
    }
}

fn bucket(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(PRECISION_BITS + 1);
    let index = u64::from(shift) * SUB_BUCKETS + (value >> shift);
    usize::try_from(index).expect("there are a few thousand buckets")
}

/// The greatest value that falls into a bucket.
fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * SUB_BUCKETS {
        return index;
    }
    let shift = index / SUB_BUCKETS - 1;
    let start = index - shift * SUB_BUCKETS;
    ((start + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_ends_within_a_percent_of_it() {
        let mut before = 0;
        for value in (0..3000).chain((12..40).flat_map(|bits| {
            let power = 1u64 << bits;
            [power - 1, power, power + 1, power + power / 3]
        })) {
            let index = bucket(value);
            let end = upper_end(index);
            assert!(end >= value, "{value}: {end}");
            assert!(end - value <= value / 100, "{value}: {end}");
            if value < 3000 {
                assert!(index == before || index == before + 1, "{value}");
                before = index;
            }
            assert_eq!(bucket(end), index);
            assert_eq!(bucket(end + 1), index + 1);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.permille(500), 0);
        for value in 1..=1000 {
            histogram.record(value * 1000);
        }
        for (permille, exact) in [(1, 1), (500, 500), (990, 990), (999, 999), (1000, 1000)] {
            let value = histogram.permille(permille);
            let exact = exact * 1000;
            assert!(
                value >= exact && value <= exact + exact / 100,
                "{permille}: {value}"
            );
        }
        assert_eq!((histogram.count(), histogram.max()), (1000, 1_000_000));
        assert!((histogram.mean() - 500_500.0).abs() < 1.0);
    }

    #[test]
    fn merging_is_recording_both() {
        let (mut one, mut other, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
        for value in [5, 70_000, u64::MAX] {
            one.record(value);
            both.record(value);
        }
        for value in [1, 900] {
            other.record(value);
            both.record(value);
        }
        one.merge(&other);
        assert_eq!(one.buckets, both.buckets);
        assert_eq!(
            (one.count, one.sum, one.max),
            (both.count, both.sum, both.max)
        );
    }
}
