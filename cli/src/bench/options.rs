//! What to measure, as the command line has it.

use clap::{Parser, ValueEnum};

/// Measures a ZooKeeper: zabd's or Apache's.
///
/// The servers are those of `-server`, connections are spread over all of them. Nodes are made under a root of
/// their own first, and removed at the end. All times are taken from when a request was due: with --rate, what waits
/// behind a slow reply is counted as slow, too.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "zab bench",
    bin_name = "zab bench",
    no_binary_name = true,
    disable_version_flag = true
)]
pub(crate) struct Options {
    /// What the connections do.
    #[arg(value_enum)]
    pub(crate) workload: Workload,
    /// Connections, each with a session of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Requests that a connection has under way at most.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) in_flight: u32,
    /// Bytes of each node's data.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=(16 << 20)))]
    pub(crate) value_bytes: u32,
    /// Nodes that are read and written; with delete, the nodes that there are to delete.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    pub(crate) keys: u32,
    /// How long is measured, in seconds.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) duration_s: f64,
    /// How long the load runs before it is measured, in seconds.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub(crate) warmup_s: f64,
    /// Requests a second over all connections; without, each connection asks as soon as it is answered.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// With mixed: how many of a hundred requests are reads.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(..=100))]
    pub(crate) reads_percent: u32,
    /// With multi: how many nodes each request sets.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) multi_ops: u32,
    /// With sessions: drop all connections at the end and attach to all sessions again.
    #[arg(long)]
    pub(crate) reattach: bool,
    /// How long connecting to a server may take, in milliseconds [default: the session timeout by the number of
    /// servers].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) connect_timeout_ms: Option<u64>,
    /// Threads of this program [default: half of the processors].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: Option<u32>,
    /// The node under which everything is done; it must not exist yet, except with --reuse.
    #[arg(long, default_value = "/zab-bench")]
    pub(crate) root: String,
    /// Leave the nodes at the end.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Use the nodes that an earlier run with --keep left, and leave them again.
    #[arg(long)]
    pub(crate) reuse: bool,
    /// Count replies without comparing them with what was written.
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Print one JSON object in place of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What connections do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// getData of random nodes.
    Read,
    /// setData of random nodes.
    Write,
    /// create of new nodes.
    Create,
    /// delete of the nodes, until none is left.
    Delete,
    /// getData and setData.
    Mixed,
    /// multi of several setData.
    Multi,
    /// getChildren2 of nodes with up to a thousand children.
    Children,
    /// One node is changed, and every connection watches it.
    Watch,
    /// Sessions are opened, held, and attached to again whenever their connection is lost.
    Sessions,
    /// setData all the time, connecting anew at once; the longest time without an acknowledged write.
    Failover,
    /// Makes the nodes and leaves them.
    Load,
}

impl Workload {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1e6)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.001, 1e9)
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("not a number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_workload_is_enough() {
        let options = parse("mixed").unwrap();
        assert_eq!(options.workload, Workload::Mixed);
        assert_eq!((options.connections, options.in_flight), (1, 1));
        assert_eq!((options.value_bytes, options.keys), (100, 1000));
        assert_eq!((options.rate, options.reads_percent), (None, 90));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "dance",
            "read --connections 0",
            "read --in-flight 0",
            "read --rate 0",
            "read --rate x",
            "read --duration-s -1",
            "read --duration-s nan",
            "mixed --reads-percent 101",
            "read more",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
