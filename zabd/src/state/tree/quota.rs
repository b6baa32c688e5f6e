//! Quotas: limits on the number of nodes and bytes below a path, kept as ordinary nodes below `/zookeeper/quota`.
//!
//! ZooKeeper: `StatsTrack`, `Quotas`, `DataTree.updateQuotaStat`, `ZooKeeperServer.checkQuota`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::path;

/// Name of the node that holds a quota's limits.
pub const LIMITS: &str = "zookeeper_limits";
/// Name of the node that holds the usage.
pub const STATS: &str = "zookeeper_stats";

/// The values of a quota or of its usage; -1 is unlimited or unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatsTrack {
    /// Nodes.
    pub count: i64,
    /// Bytes of data.
    pub bytes: i64,
    /// Nodes, enforced.
    pub count_hard: i64,
    /// Bytes of data, enforced.
    pub bytes_hard: i64,
}

impl StatsTrack {
    /// Whether one more node, or `more_bytes` more, would go beyond a limit that is not enforced.
    #[must_use]
    pub const fn would_exceed_softly(
        &self,
        usage: &Self,
        more_nodes: i64,
        more_bytes: i64,
    ) -> bool {
        let count = if self.count_hard > -1 {
            self.count_hard
        } else {
            self.count
        };
        let bytes = if self.bytes_hard > -1 {
            self.bytes_hard
        } else {
            self.bytes
        };
        (count > -1 && more_nodes > 0 && usage.count + more_nodes > count)
            || (bytes > -1 && more_bytes > 0 && usage.bytes + more_bytes > bytes)
    }
}

/// Text that is no quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a list of key=number pairs")]
pub struct QuotaTextError;

impl StatsTrack {
    /// Reads `key=number` pairs separated by runs of commas and semicolons. Keys that are not there are -1.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn parse(data: &[u8]) -> Result<Self, QuotaTextError> {
        let text = std::str::from_utf8(data).map_err(|_| QuotaTextError)?;
        // Java splits at runs of separators, which leaves an empty pair only before a leading one.
        if text.starts_with([',', ';']) {
            return Err(QuotaTextError);
        }
        let mut values: BTreeMap<&str, i64> = BTreeMap::new();
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            // What stands behind a second `=` is not looked at; the Java writer itself leaves one behind the bytes.
            let mut parts = pair.split('=');
            let key = parts.next().ok_or(QuotaTextError)?;
            let value = parts.next().ok_or(QuotaTextError)?;
            values.insert(key, value.parse().map_err(|_| QuotaTextError)?);
        }
        let value = |key| values.get(key).copied().unwrap_or(-1);
        Ok(Self {
            count: value("count"),
            bytes: value("bytes"),
            count_hard: value("countHardLimit"),
            bytes_hard: value("byteHardLimit"),
        })
    }

    /// The text of a usage node.
    #[must_use]
    pub fn usage_text(count: i64, bytes: i64) -> String {
        format!("count={count},bytes={bytes}")
    }

    /// Whether one more node, or `more_bytes` more, would go beyond the hard limits, given the usage.
    #[must_use]
    pub const fn would_exceed(&self, usage: &Self, more_nodes: i64, more_bytes: i64) -> bool {
        (self.count_hard > -1 && more_nodes > 0 && usage.count + more_nodes > self.count_hard)
            || (self.bytes_hard > -1
                && more_bytes != 0
                && usage.bytes + more_bytes > self.bytes_hard)
    }
}

/// What a path below `/zookeeper/quota` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuotaNode<'a> {
    /// The limits of the quota on this path.
    Limits(&'a str),
    /// The usage of the quota on this path.
    Stats(&'a str),
}

impl<'a> QuotaNode<'a> {
    /// What the node at `node_path` is for. A quota on the root is none: see [`is_quota_on_root`].
    pub(crate) fn of(node_path: &'a str) -> Option<Self> {
        let quota = node_path.strip_prefix(path::QUOTA)?;
        let (target, name) = quota.rsplit_once('/')?;
        match name {
            _ if target.is_empty() => None,
            LIMITS => Some(Self::Limits(target)),
            STATS => Some(Self::Stats(target)),
            _ => None,
        }
    }
}

/// Whether `node_path` would put a quota on the root, which kills a Java server.
pub(crate) fn is_quota_on_root(node_path: &str) -> bool {
    node_path
        .strip_prefix(path::QUOTA)
        .is_some_and(|rest| rest.strip_prefix('/') == Some(LIMITS))
}

/// The paths that a quota is armed on.
#[derive(Debug, Default)]
pub(crate) struct QuotaIndex {
    armed: BTreeSet<Box<str>>,
}

impl QuotaIndex {
    pub(crate) fn arm(&mut self, target: &str) {
        self.armed.insert(target.into());
    }

    pub(crate) fn disarm(&mut self, target: &str) {
        self.armed.remove(target);
    }

    /// The deepest armed path at or above `node_path`.
    pub(crate) fn covering<'a>(&self, node_path: &'a str) -> Option<&'a str> {
        if self.armed.is_empty() {
            return None;
        }
        path::self_and_ancestors(node_path).find(|candidate| self.armed.contains(*candidate))
    }

    pub(crate) fn armed(&self) -> impl Iterator<Item = &str> {
        self.armed.iter().map(|target| &**target)
    }
}

/// The path of a quota's limits.
pub(crate) fn limits_path(target: &str) -> String {
    format!("{}{target}/{LIMITS}", path::QUOTA)
}

/// The path of a quota's usage.
pub(crate) fn stats_path(target: &str) -> String {
    format!("{}{target}/{STATS}", path::QUOTA)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule J2, with the text that the Java shell writes.
    #[test]
    fn quota_text_is_read_as_java_writes_it() {
        let all = |count, bytes, count_hard, bytes_hard| StatsTrack {
            count,
            bytes,
            count_hard,
            bytes_hard,
        };
        assert_eq!(StatsTrack::parse(b""), Ok(all(-1, -1, -1, -1)));
        assert_eq!(
            StatsTrack::parse(b"count=2,bytes=100"),
            Ok(all(2, 100, -1, -1))
        );
        let text = b"count=-1,bytes=-1=;byteHardLimit=12;countHardLimit=3";
        assert_eq!(StatsTrack::parse(text), Ok(all(-1, -1, 3, 12)));
        assert_eq!(
            StatsTrack::parse(b"count=2;;,bytes=1,"),
            Ok(all(2, 1, -1, -1))
        );
        for bad in [
            &b"count"[..],
            b"count=x",
            b"\xff",
            b"count=1,nonsense",
            b"count=",
            b",count=1",
        ] {
            assert_eq!(StatsTrack::parse(bad), Err(QuotaTextError), "{bad:?}");
        }
    }

    /// Rule J6.
    #[test]
    fn hard_limits_allow_equality() {
        let limits = StatsTrack {
            count: -1,
            bytes: -1,
            count_hard: 3,
            bytes_hard: 10,
        };
        let usage = |count, bytes| StatsTrack {
            count,
            bytes,
            count_hard: -1,
            bytes_hard: -1,
        };
        assert!(!limits.would_exceed(&usage(2, 5), 1, 5));
        assert!(limits.would_exceed(&usage(3, 0), 1, 0));
        assert!(limits.would_exceed(&usage(0, 5), 1, 6));
        // Over the limit, even a shrinking write that stays above it is refused; one of equal length is not.
        assert!(limits.would_exceed(&usage(0, 20), 0, -5));
        assert!(!limits.would_exceed(&usage(0, 20), 0, 0));
    }

    #[test]
    fn quota_nodes_are_recognised() {
        assert_eq!(
            QuotaNode::of("/zookeeper/quota/a/b/zookeeper_limits"),
            Some(QuotaNode::Limits("/a/b"))
        );
        assert_eq!(
            QuotaNode::of("/zookeeper/quota/a/zookeeper_stats"),
            Some(QuotaNode::Stats("/a"))
        );
        assert_eq!(QuotaNode::of("/zookeeper/quota/zookeeper_limits"), None);
        assert_eq!(QuotaNode::of("/zookeeper/quota/a"), None);
        assert!(is_quota_on_root("/zookeeper/quota/zookeeper_limits"));
        assert!(!is_quota_on_root("/zookeeper/quota/a/zookeeper_limits"));
    }

    #[test]
    fn the_deepest_quota_covers() {
        let mut index = QuotaIndex::default();
        assert_eq!(index.covering("/a"), None);
        index.arm("/a");
        index.arm("/a/b/c");
        assert_eq!(index.covering("/a/b/c/d"), Some("/a/b/c"));
        assert_eq!(index.covering("/a/b"), Some("/a"));
        assert_eq!(index.covering("/ab"), None);
        index.disarm("/a/b/c");
        assert_eq!(index.covering("/a/b/c/d"), Some("/a"));
    }
}
