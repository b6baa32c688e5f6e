//! Lookups side by side.
//!
//! In a large tree most of what a lookup takes is waiting for memory: each of the four places that it looks at is in no cache,
//! and each says where the next one is. A processor waits for several at once if they do not depend on each other. So what
//! came together is looked at together first, place by place and without a decision in between, and looked up afterwards.

use std::hint::black_box;

use super::index::Sought;
use super::node::NodeId;
use super::path;
use super::store::Tree;

/// How many lookups go side by side.
pub(crate) const FETCHED_AT_ONCE: usize = 64;

/// Smaller trees are in a cache of the processor, mostly.
const FEW_NODES: usize = 50_000;

/// Fewer do not gain by it.
const FEW_LOOKUPS: usize = 4;

impl Tree {
    /// Brings what the nodes at these paths, at most [`FETCHED_AT_ONCE`] of them, consist of into the processor's caches, if it
    /// is likely to be elsewhere.
    pub(crate) fn fetch<'a>(&self, paths: impl Iterator<Item = &'a str>) {
        if self.node_count() < FEW_NODES {
            return;
        }
        let mut sought = [Sought::default(); FETCHED_AT_ONCE];
        let mut count = 0;
        // Most have the parent of the one before.
        let mut above: Option<(&str, NodeId)> = None;
        for (place, node_path) in sought.iter_mut().zip(paths) {
            let parent_path = path::parent(node_path);
            let parent = match above {
                Some((known, parent)) if known == parent_path => Some(parent),
                _ => self.find(parent_path),
            };
            let Some(parent) = parent else { continue };
            above = Some((parent_path, parent));
            *place = self.index.sought(parent, path::name(node_path));
            count += 1;
        }
        if count < FEW_LOOKUPS {
            return;
        }
        let mut seen = 0;
        for sought in &sought {
            seen ^= self.index.first_place(*sought);
        }
        let mut nodes = [NodeId::NIL; FETCHED_AT_ONCE];
        for (node, sought) in nodes.iter_mut().zip(&sought) {
            *node = self.index.candidate(*sought);
        }
        for node in nodes {
            seen ^= self.nodes.first_of_links(node);
        }
        for node in nodes {
            seen ^= self.nodes.first_of_record(node);
        }
        black_box(seen);
    }
}

#[cfg(test)]
mod tests {
    use jute_codec::data::StatPersisted;

    use super::*;
    use crate::state::tree::NewNode;

    /// It is a hint: paths may be anything that a client sends, and what is looked at first need not be what is meant.
    #[test]
    fn whatever_is_fetched_is_found_as_before() {
        let mut tree = Tree::new(3, false);
        for number in 0..FEW_NODES {
            let new = NewNode {
                stat: StatPersisted::ZERO,
                data: None,
                acl: None,
            };
            tree.insert_child(NodeId::ROOT, &format!("/{number}"), new);
        }
        let odd = [
            "",
            "/",
            "//",
            "a",
            "/gone/below",
            "/7/",
            "/\\0",
            "/zookeeper/config",
        ];
        let known: Vec<String> = (0..200)
            .map(|number| format!("/{}", number * 251))
            .collect();
        let all = || odd.into_iter().chain(known.iter().map(String::as_str));
        let found: Vec<_> = all().map(|path| tree.find(path)).collect();
        for from in 0..all().count() {
            tree.fetch(all().skip(from));
        }
        assert!(all().map(|path| tree.find(path)).eq(found.iter().copied()));
        assert!(found[odd.len()..].iter().all(Option::is_some));
    }
}
