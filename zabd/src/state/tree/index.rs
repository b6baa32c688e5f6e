//! The way from a parent and a name to the child.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::node::{NodeId, Slab};

/// How many tables the entries are spread over. Growing one of them is all that a single insertion can cost: with ten
/// million nodes a table holds some 40,000 entries and grows in well under a millisecond.
const SHARDS: usize = 256;

/// `(parent, name) → child`, keyed by a hash whose seed nobody outside knows.
#[derive(Debug)]
pub(super) struct ChildIndex {
    hasher: FixedState,
    // The hash stands beside the id so that growing a table touches no node.
    shards: Box<[HashTable<(u32, NodeId)>]>,
}

impl ChildIndex {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(hash_seed),
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
        }
    }

    fn hash(&self, parent: NodeId, name: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        parent.hash(&mut hasher);
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    pub(super) fn find(&self, nodes: &Slab, parent: NodeId, name: &str) -> Option<NodeId> {
        let hash = self.hash(parent, name);
        let short = short(hash);
        self.shards[shard(hash)]
            .find(spread(short), |(candidate, id)| {
                *candidate == short && {
                    let node = &nodes[*id];
                    node.parent == parent && *node.name == *name
                }
            })
            .map(|(_, id)| *id)
    }

    pub(super) fn insert(&mut self, parent: NodeId, name: &str, id: NodeId) {
        let hash = self.hash(parent, name);
        self.shards[shard(hash)].insert_unique(
            spread(short(hash)),
            (short(hash), id),
            |(short, _)| spread(*short),
        );
    }

    pub(super) fn remove(&mut self, parent: NodeId, name: &str, id: NodeId) {
        let hash = self.hash(parent, name);
        if let Ok(entry) = self.shards[shard(hash)]
            .find_entry(spread(short(hash)), |(_, candidate)| *candidate == id)
        {
            entry.remove();
        }
    }
}

/// The shard goes by bits that the stored hash does not hold.
const fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
const fn short(hash: u64) -> u32 {
    hash as u32
}

/// A table takes its tags from the high bits and its places from the low ones: fill both from 32 bits.
const fn spread(short: u32) -> u64 {
    (short as u64) << 32 | short as u64
}
