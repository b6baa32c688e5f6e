//! What quotas allow, and the usage that is counted against them.

use bytes::Bytes;

use super::node::NodeId;
use super::nodes::Change;
use super::path;
use super::quota::{self, QuotaNode, StatsTrack};
use super::store::Tree;

impl Tree {
    /// The quota whose hard limits forbid `more_nodes` and `more_bytes` below or at `node_path`.
    ///
    /// # Errors
    /// When the limits are no quota text; Java then answers that the request cannot be decoded.
    pub(crate) fn exceeds_quota<'a>(
        &self,
        node_path: &'a str,
        more_nodes: i64,
        more_bytes: i64,
    ) -> Result<Option<&'a str>, quota::QuotaTextError> {
        let Some(target) = self.quotas.covering(node_path) else {
            return Ok(None);
        };
        let text = |path: &str| self.find(path).map(|id| self.data(id).unwrap_or_default());
        let (Some(limits), Some(usage)) = (
            text(&quota::limits_path(target)),
            text(&quota::stats_path(target)),
        ) else {
            return Ok(None);
        };
        // Usage that is no text (somebody overwrote it) is made good at the next change; until then nothing is known.
        let Ok(usage) = StatsTrack::parse(usage) else {
            return Ok(None);
        };
        Ok(StatsTrack::parse(limits)?
            .would_exceed(&usage, more_nodes, more_bytes)
            .then_some(target))
    }

    /// The quota that `more_nodes` and `more_bytes` below or at `node_path` would exceed, enforced or not.
    pub(crate) fn softly_exceeded<'a>(
        &self,
        node_path: &'a str,
        more_nodes: i64,
        more_bytes: i64,
    ) -> Option<&'a str> {
        let target = self.quotas.covering(node_path)?;
        let track = |path: &str| StatsTrack::parse(self.data(self.find(path)?)?).ok();
        let (limits, usage) = (
            track(&quota::limits_path(target))?,
            track(&quota::stats_path(target))?,
        );
        limits
            .would_exceed_softly(&usage, more_nodes, more_bytes)
            .then_some(target)
    }

    /// The armed quotas: path, limits and usage.
    pub(crate) fn quotas(&self) -> impl Iterator<Item = (&str, StatsTrack, StatsTrack)> {
        self.quotas.armed().filter_map(|target| {
            let track = |path: &str| StatsTrack::parse(self.data(self.find(path)?)?).ok();
            Some((
                target,
                track(&quota::limits_path(target))?,
                track(&quota::stats_path(target))?,
            ))
        })
    }

    /// What creating a node means for quotas.
    pub(crate) fn quota_on_create(&mut self, node_path: &str, data_len: usize) {
        match QuotaNode::of(node_path) {
            Some(QuotaNode::Limits(target)) => self.quotas.arm(target),
            Some(QuotaNode::Stats(target)) => self.recount_quota(target),
            None => {}
        }
        self.add_usage(node_path, 1, data_len.cast_signed());
    }

    /// What deleting a node means for quotas.
    pub(crate) fn quota_on_delete(&mut self, node_path: &str, data_len: usize) {
        if let Some(QuotaNode::Limits(target)) = QuotaNode::of(node_path) {
            self.quotas.disarm(target);
        }
        self.add_usage(node_path, -1, -data_len.cast_signed());
    }

    /// Adds to the usage of the deepest quota that covers `node_path`.
    pub(crate) fn add_usage(&mut self, node_path: &str, nodes: i64, bytes: isize) {
        let Some(target) = self.quotas.covering(node_path) else {
            return;
        };
        let stats_path = quota::stats_path(target);
        let Some(id) = self.find(&stats_path) else {
            return;
        };
        match StatsTrack::parse(self.data(id).unwrap_or_default()) {
            Ok(usage) => {
                let text = StatsTrack::usage_text(usage.count + nodes, usage.bytes + bytes as i64);
                self.set_usage(id, &stats_path, text);
            }
            // Somebody overwrote the usage, which kills a Java server: count afresh instead.
            Err(quota::QuotaTextError) => {
                let target = target.to_owned();
                self.recount_quota(&target);
            }
        }
    }

    /// Counts what is at and below `target` and writes it into its usage node, if that exists.
    fn recount_quota(&mut self, target: &str) {
        let stats_path = quota::stats_path(target);
        let Some(stats) = self.find(&stats_path) else {
            return;
        };
        let (mut count, mut bytes) = (0, 0);
        if let Some(top) = self.find(target) {
            (count, bytes) = (1, self.nodes.data_len(top));
            self.visit_below(top, |id| {
                count += 1;
                bytes += self.nodes.data_len(id);
            });
        }
        let text = StatsTrack::usage_text(count, i64::try_from(bytes).unwrap_or(i64::MAX));
        self.set_usage(stats, &stats_path, text);
    }

    fn set_usage(&mut self, id: NodeId, stats_path: &str, text: String) {
        let data = Bytes::from(text);
        self.change(
            id,
            stats_path,
            Change {
                data: Some(Some(&data)),
                ..Change::default()
            },
        );
    }

    /// Arms and recounts all quotas of a tree that was just loaded.
    pub(super) fn load_quotas(&mut self) {
        let mut targets = Vec::new();
        if let Some(top) = self.find(path::QUOTA) {
            self.visit_below(top, |id| {
                if self.nodes.text_name(id) == quota::LIMITS {
                    targets.push(self.nodes.links(id).parent);
                }
            });
        }
        for parent in targets {
            let quota_path = self.path(parent);
            if let Some(target) = quota_path
                .strip_prefix(path::QUOTA)
                .filter(|target| !target.is_empty())
            {
                self.quotas.arm(target);
                self.recount_quota(target);
            }
        }
    }
}
