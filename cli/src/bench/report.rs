//! What is printed at the end: a table, or JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::histogram::Histogram;
use super::options::Options;
use super::tally::Tally;

/// A finished run.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) options: &'a Options,
    pub(crate) servers: String,
    pub(crate) tally: &'a Tally,
    /// From the first measured request to the last reply, in seconds.
    pub(crate) elapsed_s: f64,
    /// Processor time of this program while it measured, in seconds.
    pub(crate) client_cpu_s: f64,
    /// Length in milliseconds and beginning on the wall clock.
    pub(crate) gap_ms: Option<(f64, u64)>,
    pub(crate) returns: Option<Returns>,
}

/// Sessions that were attached to again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Returns {
    pub(crate) count: u64,
    /// On the wall clock.
    pub(crate) first_lost_unix_ms: u64,
    pub(crate) last_back_unix_ms: u64,
    pub(crate) span_ms: f64,
}

impl Report<'_> {
    fn rate(&self) -> f64 {
        if self.elapsed_s > 0.0 {
            self.tally.count() as f64 / self.elapsed_s
        } else {
            0.0
        }
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let options = self.options;
        let mut text = String::new();
        let pace = match options.rate {
            Some(rate) => format!("{rate} requests/s"),
            None => "closed loop".to_owned(),
        };
        let mut line = |name: &str, words: &str| {
            writeln!(text, "{name:<13}{words}").expect("writing to a string does not fail");
        };
        line(
            "workload",
            &format!(
                "{}, {} connections x {} in flight, {} nodes of {} bytes, {pace}",
                options.workload.name(),
                options.connections,
                options.in_flight,
                options.keys,
                options.value_bytes,
            ),
        );
        line("servers", &self.servers);
        line(
            "answered",
            &format!(
                "{} in {:.2} s = {:.0}/s",
                self.tally.count(),
                self.elapsed_s,
                self.rate()
            ),
        );
        let columns = |cells: [String; 6]| {
            let mut row = String::new();
            for cell in cells {
                write!(row, "{cell:>11}").expect("writing to a string does not fail");
            }
            row
        };
        line(
            "",
            &columns(
                ["count", "mean ms", "p50 ms", "p99 ms", "p99.9 ms", "max ms"].map(str::to_owned),
            ),
        );
        for (kind, times) in self.tally.times() {
            let ms = |ns: u64| format!("{:.3}", ns as f64 / 1e6);
            line(
                kind.name(),
                &columns([
                    times.count().to_string(),
                    format!("{:.3}", times.mean() / 1e6),
                    ms(times.permille(500)),
                    ms(times.permille(990)),
                    ms(times.permille(999)),
                    ms(times.max()),
                ]),
            );
        }
        if let Some((gap_ms, began)) = self.gap_ms {
            line(
                "longest gap",
                &format!(
                    "{gap_ms:.1} ms without an acknowledged write, from {began} ms of Unix time"
                ),
            );
        }
        if let Some(returns) = self.returns {
            line(
                "re-attached",
                &format!(
                    "{} sessions, the last one {:.1} ms after the first connection was lost",
                    returns.count, returns.span_ms
                ),
            );
        }
        if self.tally.troubles().is_empty() {
            line("errors", "none");
        }
        for (trouble, count) in self.tally.troubles() {
            line("errors", &format!("{count} x {trouble}"));
        }
        let checks = match (self.tally.broken_promises().is_empty(), options.no_verify) {
            (false, _) => None,
            (true, false) => Some("all replies were as they must be"),
            (true, true) => Some("replies were not looked into"),
        };
        if let Some(words) = checks {
            line("checks", words);
        }
        for (broken, (count, words)) in self.tally.broken_promises() {
            line(
                "BROKEN",
                &format!("{count} x {}; first: {words}", broken.name()),
            );
        }
        line("client CPU", &format!("{:.2} s", self.client_cpu_s));
        text
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> String {
        let options = self.options;
        let times: Map<_, _> = self
            .tally
            .times()
            .iter()
            .map(|(kind, times)| (kind.name().replace(' ', "_"), times_json(times)))
            .collect();
        let errors: Map<_, _> = self
            .tally
            .troubles()
            .iter()
            .map(|(trouble, count)| (trouble.to_string(), json!(count)))
            .collect();
        let broken: Map<_, _> = self
            .tally
            .broken_promises()
            .iter()
            .map(|(broken, (count, first))| {
                (
                    broken.name().to_owned(),
                    json!({"count": count, "first": first}),
                )
            })
            .collect();
        let mut value = json!({
            "workload": options.workload.name(),
            "connections": options.connections,
            "in_flight": options.in_flight,
            "value_bytes": options.value_bytes,
            "keys": options.keys,
            "rate": options.rate,
            "servers": self.servers,
            "elapsed_s": self.elapsed_s,
            "answered": self.tally.count(),
            "per_second": self.rate(),
            "times_ms": times,
            "errors": errors,
            "broken": broken,
            "client_cpu_s": self.client_cpu_s,
        });
        if let Some((gap_ms, began)) = self.gap_ms {
            value["longest_gap"] = json!({"ms": gap_ms, "began_unix_ms": began});
        }
        if let Some(returns) = self.returns {
            value["reattached"] = json!({
                "count": returns.count,
                "span_ms": returns.span_ms,
                "first_lost_unix_ms": returns.first_lost_unix_ms,
                "last_back_unix_ms": returns.last_back_unix_ms,
            });
        }
        value.to_string()
    }
}

fn times_json(times: &Histogram) -> Value {
    let ms = |ns: u64| ns as f64 / 1e6;
    json!({
        "count": times.count(),
        "mean": times.mean() / 1e6,
        "p50": ms(times.permille(500)),
        "p99": ms(times.permille(990)),
        "p99_9": ms(times.permille(999)),
        "max": ms(times.max()),
    })
}
