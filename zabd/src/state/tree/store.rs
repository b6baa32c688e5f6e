//! The committed tree.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jute_codec::data::{Acl, Stat, StatPersisted, perms};
use jute_codec::digest::{counts, node_digest};
use jute_codec::{SessionId, Text};

use super::acl::AclTable;
use super::fold::FoldSet;
use super::index::ChildIndex;
use super::node::{FoldMarks, Node, NodeId, Slab};
use super::nodes::{Change, NewNode};
use super::owner::Owner;
use super::path;
use super::quota::{self, QuotaIndex, QuotaNode, StatsTrack};

/// All znodes, and what follows from them.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(super) nodes: Slab,
    index: ChildIndex,
    pub(super) acls: AclTable,
    // What the next four hold follows from the nodes' owners and names.
    ephemerals: BTreeMap<SessionId, BTreeSet<NodeId>>,
    containers: BTreeSet<NodeId>,
    ttls: BTreeSet<NodeId>,
    quotas: QuotaIndex,
    // The wrapping sum of the nodes' digests.
    digest: u64,
    // Bytes of all paths and data.
    approximate_bytes: u64,
    pub(super) extended_types: bool,
    pub(super) fold: FoldSet,
}

impl Tree {
    /// The tree of a server that has never seen a transaction.
    ///
    /// ZooKeeper: `DataTree.<init>`.
    pub(crate) fn new(hash_seed: u64, extended_types: bool) -> Self {
        let mut tree = Self::without_nodes(hash_seed, extended_types);
        let empty = Bytes::new();
        let node = |stat, acl| NewNode {
            stat,
            data: Some(&empty),
            acl,
        };
        tree.insert_root(node(StatPersisted::ZERO, None));
        let zookeeper = tree.insert_child(
            NodeId::ROOT,
            path::ZOOKEEPER,
            node(StatPersisted::ZERO, None),
        );
        tree.insert_child(zookeeper, path::QUOTA, node(StatPersisted::ZERO, None));
        let readable = [Acl::new(
            perms::READ,
            Text::from_static("world"),
            Text::from_static("anyone"),
        )];
        let config = StatPersisted {
            aversion: -1,
            ..StatPersisted::ZERO
        };
        tree.insert_child(zookeeper, path::CONFIG, node(config, Some(&readable)));
        tree
    }

    /// A tree that is yet to be loaded, root first.
    pub(super) fn without_nodes(hash_seed: u64, extended_types: bool) -> Self {
        Self {
            nodes: Slab::default(),
            index: ChildIndex::new(hash_seed),
            acls: AclTable::new(hash_seed),
            ephemerals: BTreeMap::new(),
            containers: BTreeSet::new(),
            ttls: BTreeSet::new(),
            quotas: QuotaIndex::default(),
            digest: 0,
            approximate_bytes: 0,
            extended_types,
            fold: FoldSet::default(),
        }
    }

    pub(super) fn insert_root(&mut self, new: NewNode<'_>) {
        let node = self.node_of(NodeId::NIL, "", &new);
        self.digest = self.digest.wrapping_add(node.digest.into());
        self.approximate_bytes += node.data_len() as u64;
        let id = self.nodes.insert(node);
        debug_assert_eq!(id, NodeId::ROOT, "the root is the first node");
        self.mark_dirty(id);
    }

    fn node_of(&mut self, parent: NodeId, node_path: &str, new: &NewNode<'_>) -> Node {
        let data = new.data.map(|data| Box::from(&data[..]));
        Node {
            digest: digest_of(node_path, new.data.map(|data| &data[..]), &new.stat),
            stat: new.stat.clone(),
            data,
            name: path::name(node_path).into(),
            acl: self.acls.intern(new.acl),
            parent,
            first_child: NodeId::NIL,
            previous: NodeId::NIL,
            next: NodeId::NIL,
            children: 0,
            marks: FoldMarks::default(),
        }
    }

    /// Adds a node below `parent`; there must be none of that name.
    pub(crate) fn insert_child(
        &mut self,
        parent: NodeId,
        node_path: &str,
        new: NewNode<'_>,
    ) -> NodeId {
        let mut node = self.node_of(parent, node_path, &new);
        self.digest = self.digest.wrapping_add(node.digest.into());
        self.approximate_bytes += (node_path.len() + node.data_len()) as u64;
        let first = self.nodes[parent].first_child;
        node.next = first;
        let owner = Owner::of(node.stat.ephemeral_owner, self.extended_types);
        let id = self.nodes.insert(node);
        if first != NodeId::NIL {
            self.nodes[first].previous = id;
        }
        let above = &mut self.nodes[parent];
        above.first_child = id;
        above.children += 1;
        self.index.insert(parent, path::name(node_path), id);
        match owner {
            Owner::Persistent => {}
            Owner::Container => {
                self.containers.insert(id);
            }
            Owner::Ttl(_) => {
                self.ttls.insert(id);
            }
            Owner::Session(session) => {
                self.ephemerals.entry(session).or_default().insert(id);
            }
        }
        self.mark_dirty(id);
        id
    }

    /// Removes a node and whatever may be below it.
    ///
    /// There is nothing below it in histories of our own, which never delete a node with children.
    pub(crate) fn remove_subtree(&mut self, id: NodeId, node_path: &str) {
        while self.nodes[id].first_child != NodeId::NIL {
            let child = self.nodes[id].first_child;
            let child_path = format!("{node_path}/{}", self.nodes[child].name);
            self.remove_subtree(child, &child_path);
        }
        self.before_removal(id, node_path);
        let node = self.nodes.remove(id);
        if node.previous == NodeId::NIL {
            self.nodes[node.parent].first_child = node.next;
        } else {
            self.nodes[node.previous].next = node.next;
        }
        if node.next != NodeId::NIL {
            self.nodes[node.next].previous = node.previous;
        }
        self.nodes[node.parent].children -= 1;
        self.index.remove(node.parent, &node.name, id);
        self.digest = self.digest.wrapping_sub(node.digest.into());
        self.approximate_bytes -= (node_path.len() + node.data_len()) as u64;
        self.acls.release(node.acl);
        match Owner::of(node.stat.ephemeral_owner, self.extended_types) {
            Owner::Persistent => {}
            Owner::Container => {
                self.containers.remove(&id);
            }
            Owner::Ttl(_) => {
                self.ttls.remove(&id);
            }
            Owner::Session(session) => self.forget_ephemeral(session, id),
        }
    }

    fn forget_ephemeral(&mut self, session: SessionId, id: NodeId) {
        if let Some(owned) = self.ephemerals.get_mut(&session) {
            owned.remove(&id);
            if owned.is_empty() {
                self.ephemerals.remove(&session);
            }
        }
    }

    pub(crate) fn change(&mut self, id: NodeId, node_path: &str, change: Change<'_>) {
        self.before_change(id);
        if let Some(acl) = change.acl {
            let key = self.acls.intern(acl);
            let former = std::mem::replace(&mut self.nodes[id].acl, key);
            self.acls.release(former);
        }
        let node = &mut self.nodes[id];
        if let Some(data) = change.data {
            let former = node.data_len();
            node.data = data.map(|data| Box::from(&data[..]));
            self.approximate_bytes =
                self.approximate_bytes + node.data_len() as u64 - former as u64;
        }
        if let Some(stat) = change.stat {
            node.stat = stat;
        }
        let digest = digest_of(canonical(node_path), node.data.as_deref(), &node.stat);
        self.digest = self
            .digest
            .wrapping_sub(node.digest.into())
            .wrapping_add(digest.into());
        node.digest = digest;
    }

    /// Whether TTL nodes exist.
    pub(crate) const fn extended_types(&self) -> bool {
        self.extended_types
    }

    /// The node at `node_path`, the root as `/` and as the empty string.
    pub(crate) fn find(&self, node_path: &str) -> Option<NodeId> {
        let node_path = canonical(node_path);
        if node_path.is_empty() {
            return Some(NodeId::ROOT);
        }
        let mut id = NodeId::ROOT;
        for name in node_path.strip_prefix('/')?.split('/') {
            id = self.index.find(&self.nodes, id, name)?;
        }
        Some(id)
    }

    pub(crate) fn stored_stat(&self, id: NodeId) -> &StatPersisted {
        &self.nodes[id].stat
    }

    /// The stat as clients see it.
    pub(crate) fn stat(&self, id: NodeId) -> Stat {
        self.nodes[id].client_stat(self.extended_types)
    }

    pub(crate) fn data(&self, id: NodeId) -> Option<&[u8]> {
        self.nodes[id].data.as_deref()
    }

    pub(crate) fn children(&self, id: NodeId) -> u32 {
        self.nodes[id].children
    }

    pub(crate) fn digest_at(&self, id: NodeId) -> u32 {
        self.nodes[id].digest
    }

    /// The node's list; `None` lets everybody do everything.
    pub(crate) fn acl(&self, id: NodeId) -> Option<&[Acl]> {
        self.acls.list(self.nodes[id].acl).map(|list| &list[..])
    }

    pub(crate) fn child_names(&self, id: NodeId) -> impl Iterator<Item = &str> {
        self.child_ids(id).map(|child| &*self.nodes[child].name)
    }

    fn child_ids(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let mut next = self.nodes[id].first_child;
        std::iter::from_fn(move || {
            let current = next;
            (current != NodeId::NIL).then(|| {
                next = self.nodes[current].next;
                current
            })
        })
    }

    /// How many nodes are below a node, at any depth.
    pub(crate) fn descendants(&self, id: NodeId) -> usize {
        if id == NodeId::ROOT {
            return self.nodes.len() - 1;
        }
        let mut count = 0;
        self.visit_below(id, |_| count += 1);
        count
    }

    fn visit_below(&self, top: NodeId, mut visit: impl FnMut(&Node)) {
        let mut id = self.nodes[top].first_child;
        while id != NodeId::NIL && id != top {
            let node = &self.nodes[id];
            visit(node);
            id = node.first_child;
            let mut done = node;
            while id == NodeId::NIL {
                if done.next != NodeId::NIL {
                    id = done.next;
                } else if done.parent == top {
                    id = top;
                } else {
                    done = &self.nodes[done.parent];
                }
            }
        }
    }

    /// The path of a node; `/` for the root.
    pub(crate) fn path(&self, id: NodeId) -> String {
        let mut names = Vec::new();
        let mut bytes = 0;
        let mut current = id;
        while current != NodeId::ROOT {
            let node = &self.nodes[current];
            names.push(&*node.name);
            bytes += node.name.len() + 1;
            current = node.parent;
        }
        if names.is_empty() {
            return "/".to_owned();
        }
        let mut path = String::with_capacity(bytes);
        for name in names.iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        path
    }

    pub(crate) fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = String> {
        self.ephemerals
            .get(&session)
            .into_iter()
            .flatten()
            .map(|id| self.path(*id))
    }

    /// Sessions with ephemeral nodes, each with the nodes' paths.
    pub(crate) fn sessions_with_ephemerals(
        &self,
    ) -> impl Iterator<Item = (SessionId, Vec<String>)> {
        self.ephemerals
            .iter()
            .map(|(session, owned)| (*session, owned.iter().map(|id| self.path(*id)).collect()))
    }

    pub(crate) fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// Containers and TTL nodes whose time has come, as paths.
    ///
    /// ZooKeeper: `ContainerManager.getCandidates`.
    pub(crate) fn abandoned(&self, now_ms: i64, never_used_ms: i64) -> Vec<Text> {
        let containers = self.containers.iter().filter(|id| {
            let node = &self.nodes[**id];
            let unused_too_long =
                never_used_ms != 0 && now_ms.saturating_sub(node.stat.mtime) > never_used_ms;
            node.children == 0 && (node.stat.cversion > 0 || unused_too_long)
        });
        let ttls = self.ttls.iter().filter(|id| {
            let node = &self.nodes[**id];
            match Owner::of(node.stat.ephemeral_owner, self.extended_types) {
                Owner::Ttl(ttl_ms) => {
                    node.children == 0 && now_ms.saturating_sub(node.stat.mtime) > ttl_ms
                }
                _ => false,
            }
        });
        containers
            .chain(ttls)
            .map(|id| Text::from(self.path(*id)))
            .collect()
    }

    /// The digest of the whole tree.
    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) const fn approximate_bytes(&self) -> u64 {
        self.approximate_bytes
    }

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
    pub(super) fn recount_quota(&mut self, target: &str) {
        let stats_path = quota::stats_path(target);
        let Some(stats) = self.find(&stats_path) else {
            return;
        };
        let (mut count, mut bytes) = (0, 0);
        if let Some(top) = self.find(target) {
            (count, bytes) = (1, self.nodes[top].data_len());
            self.visit_below(top, |node| {
                count += 1;
                bytes += node.data_len();
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
            self.visit_below(top, |node| {
                if &*node.name == quota::LIMITS {
                    targets.push(node.parent);
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

    /// The digest counted afresh, for audits: must equal [`Self::digest`].
    pub(crate) fn recount_digest(&self) -> u64 {
        let mut digest = u64::from(digest_of(
            "",
            self.data(NodeId::ROOT),
            self.stored_stat(NodeId::ROOT),
        ));
        let mut stack: Vec<(NodeId, String)> = vec![(NodeId::ROOT, String::new())];
        while let Some((id, above)) = stack.pop() {
            for child in self.child_ids(id) {
                let node = &self.nodes[child];
                let node_path = format!("{above}/{}", node.name);
                digest = digest
                    .wrapping_add(digest_of(&node_path, node.data.as_deref(), &node.stat).into());
                stack.push((child, node_path));
            }
        }
        digest
    }

    pub(crate) fn acl_count(&self) -> usize {
        self.acls.len()
    }
}

/// The form of a path that the digest and the index go by: the root is the empty string.
pub(super) fn canonical(node_path: &str) -> &str {
    if node_path == "/" { "" } else { node_path }
}

/// A node's share in the tree's digest.
pub(crate) fn digest_of(node_path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    if counts(node_path) {
        node_digest(canonical(node_path), data.unwrap_or_default(), stat)
    } else {
        0
    }
}
