//! The digest of a tree: what replicas compare to know that they hold the same.
//!
//! Version 2, as of ZooKeeper 3.6: the wrapping sum over all nodes of the CRC-32 of path, data and stat. Nodes below
//! `/zookeeper/` do not count.
//!
//! ZooKeeper: `DigestCalculator`, `AdHash`.

use crate::data::StatPersisted;
use crate::record::records;

/// The version of the digest that this module computes.
pub const DIGEST_VERSION: i32 = 2;

records! {
    /// What a transaction carries behind its record: the digest of the tree after it.
    pub struct TxnDigest {
        /// See [`DIGEST_VERSION`].
        pub version: i32,
        /// The tree's digest.
        pub tree_digest: i64,
    }
}

/// The digest of one node. The root's `path` is empty. `data` is empty for null.
#[must_use]
pub fn node_digest(path: &str, data: &[u8], stat: &StatPersisted) -> u32 {
    let mut fields = [0u8; 60];
    for (place, value) in [
        stat.czxid.0,
        stat.mzxid.0,
        stat.pzxid.0,
        stat.ctime,
        stat.mtime,
    ]
    .iter()
    .enumerate()
    {
        fields[place * 8..place * 8 + 8].copy_from_slice(&value.to_be_bytes());
    }
    for (place, value) in [stat.version, stat.cversion, stat.aversion]
        .iter()
        .enumerate()
    {
        fields[40 + place * 4..44 + place * 4].copy_from_slice(&value.to_be_bytes());
    }
    fields[52..60].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());

    let mut crc = crc32fast::Hasher::new();
    crc.update(path.as_bytes());
    crc.update(data);
    crc.update(&fields);
    crc.finalize()
}

/// Whether a node at `path` counts towards the tree's digest.
#[must_use]
pub fn counts(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `storage-formats.md` §10.2: root 68323592, `/zookeeper` 1303661912.
    #[test]
    fn the_initial_tree_has_the_digest_that_java_gives_it() {
        assert_eq!(node_digest("", &[], &StatPersisted::ZERO), 68_323_592);
        assert_eq!(
            node_digest("/zookeeper", &[], &StatPersisted::ZERO),
            1_303_661_912
        );
    }
}
