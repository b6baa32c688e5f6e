//! Distributions as `mntr` shows them.

use std::fmt;

use super::inventory::Detail;
use super::reading::{Reading, Value};
use crate::net::stats::Histogram;

/// Values of histograms are kept as thousandths of the metric's unit: a time in milliseconds in microseconds.
pub(super) const PARTS: u64 = 1000;

/// A distribution at one moment, in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// The percentiles 50, 95, 99 and 99.9.
    pub(super) quantiles: [f64; 4],
}

impl Summary {
    /// Of a histogram that counts `parts` to the unit.
    pub(super) fn of(histogram: &Histogram, parts: u64) -> Self {
        let read = histogram.summary();
        let scaled = |value: u64| value as f64 / parts as f64;
        Self {
            count: read.count,
            sum: scaled(read.sum),
            min: scaled(read.min),
            max: scaled(read.max),
            quantiles: QUANTILES.map(|(quantile, _)| scaled(read.quantile(quantile))),
        }
    }

    /// Of which only the number and the sum are known: the mean stands for everything else, the whole units next to
    /// it for the smallest and the greatest.
    pub(super) fn of_totals(count: u64, sum: f64) -> Self {
        let mean = if count == 0 { 0.0 } else { sum / count as f64 };
        Self {
            count,
            sum,
            min: mean.floor(),
            max: mean.ceil(),
            quantiles: [mean; 4],
        }
    }

    /// One value.
    pub(super) fn of_one(value: f64) -> Self {
        Self::of_totals(1, value)
    }

    fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum / self.count as f64
        }
    }

    /// What is shown. The mean is exact; all else is rounded to whole units, as Java has it.
    pub(super) fn readings(&self, name: impl fmt::Display, detail: Detail, out: &mut Vec<Reading>) {
        let mut add = |part: &str, value| {
            out.push(Reading {
                key: format!("{part}_{name}"),
                value,
            })
        };
        add("avg", Value::Mean(self.mean()));
        add("min", Value::rounded(self.min));
        add("max", Value::rounded(self.max));
        add("cnt", Value::count(self.count));
        add("sum", Value::rounded(self.sum));
        if detail == Detail::Advanced {
            for ((_, part), value) in QUANTILES.iter().zip(self.quantiles) {
                add(part, Value::rounded(value));
            }
        }
    }
}

const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (0.999, "p999")];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(summary: &Summary, detail: Detail) -> String {
        let mut out = Vec::new();
        summary.readings("x", detail, &mut out);
        let lines: Vec<String> = out
            .iter()
            .map(|Reading { key, value }| format!("{key}={value}"))
            .collect();
        lines.join(" ")
    }

    #[test]
    fn a_summary_has_javas_keys_in_javas_order() {
        let histogram = Histogram::default();
        histogram.record(1_000, 2);
        histogram.record(4_500, 1);
        let summary = Summary::of(&histogram, PARTS);
        assert_eq!(
            shown(&summary, Detail::Basic),
            "avg_x=2.1667 min_x=1 max_x=5 cnt_x=3 sum_x=7"
        );
        assert_eq!(
            shown(&summary, Detail::Advanced),
            "avg_x=2.1667 min_x=1 max_x=5 cnt_x=3 sum_x=7 p50_x=1 p95_x=4 p99_x=4 p999_x=4"
        );
    }

    #[test]
    fn nothing_is_zero() {
        let nothing = "avg_x=0.0 min_x=0 max_x=0 cnt_x=0 sum_x=0";
        assert_eq!(
            shown(&Summary::of(&Histogram::default(), PARTS), Detail::Basic),
            nothing
        );
        assert_eq!(shown(&Summary::of_totals(0, 0.0), Detail::Basic), nothing);
    }

    #[test]
    fn totals_alone_show_their_mean() {
        let summary = Summary::of_totals(4, 10.0);
        assert_eq!(
            shown(&summary, Detail::Basic),
            "avg_x=2.5 min_x=2 max_x=3 cnt_x=4 sum_x=10"
        );
    }
}
