//! `srvr`, and `stat` around it.

use crate::admin::java::to_four_places;

/// What `srvr` is made of.
#[derive(Debug, Clone, Copy)]
pub(in crate::admin) struct Srvr {
    pub(in crate::admin) min_latency_ms: u64,
    pub(in crate::admin) avg_latency_ms: f64,
    pub(in crate::admin) max_latency_ms: u64,
    pub(in crate::admin) received: u64,
    pub(in crate::admin) sent: u64,
    pub(in crate::admin) connections: i64,
    pub(in crate::admin) outstanding: i64,
    pub(in crate::admin) zxid: i64,
    pub(in crate::admin) nodes: usize,
    pub(in crate::admin) mode: &'static str,
    /// The last, the smallest and the greatest proposal in bytes, of a leader.
    pub(in crate::admin) proposals: Option<(i64, i64, i64)>,
}

impl Srvr {
    /// Everything behind the version.
    ///
    /// ZooKeeper: `ServerStats.toString`, `StatCommand`.
    pub(in crate::admin) fn text(&self) -> String {
        let avg = to_four_places(self.avg_latency_ms);
        let proposals = self.proposals.map_or_else(String::new, |(last, min, max)| {
            format!("Proposal sizes last/min/max: {last}/{min}/{max}\n")
        });
        format!(
            "Latency min/avg/max: {}/{avg}/{}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: {}\n\
             Zxid: {:#x}\nMode: {}\nNode count: {}\n{proposals}",
            self.min_latency_ms,
            self.max_latency_ms,
            self.received,
            self.sent,
            self.connections,
            self.outstanding,
            self.zxid,
            self.mode,
            self.nodes,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_where_java_has_them() {
        let srvr = Srvr {
            min_latency_ms: 0,
            avg_latency_ms: 19.0 / 10.0,
            max_latency_ms: 6,
            received: 17,
            sent: 16,
            connections: 2,
            outstanding: 0,
            zxid: 0x4,
            nodes: 8,
            mode: "standalone",
            proposals: None,
        };
        assert_eq!(
            srvr.text(),
            "Latency min/avg/max: 0/1.9/6\nReceived: 17\nSent: 16\nConnections: 2\nOutstanding: 0\nZxid: 0x4\n\
             Mode: standalone\nNode count: 8\n"
        );
        let later = Srvr {
            zxid: 0x5_0000_00ab,
            mode: "leader",
            proposals: Some((68, 48, 100)),
            avg_latency_ms: 73.0 / 64.0,
            ..srvr
        };
        assert!(later.text().contains("0/1.1406/6\n"));
        assert!(later.text().contains("\nZxid: 0x5000000ab\n"));
        assert!(
            later.text().ends_with(
                "\nMode: leader\nNode count: 8\nProposal sizes last/min/max: 68/48/100\n"
            )
        );
    }
}
