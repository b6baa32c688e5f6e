//! The committed tree.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jute_codec::data::{Acl, Stat, StatPersisted, perms};
use jute_codec::digest::{counts, node_digest};
use jute_codec::{SessionId, Text};

use super::acl::AclTable;
use super::fold::FoldSet;
use super::index::ChildIndex;
use super::node::{NodeId, Slab, client_stat};
use super::nodes::{Change, NewNode};
use super::owner::Owner;
use super::path;
use super::quota::QuotaIndex;
use super::record::{Children, Parts};

/// All znodes, and what follows from them.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(super) nodes: Slab,
    pub(super) index: ChildIndex,
    pub(super) acls: AclTable,
    // What the next four hold follows from the nodes' owners and names.
    ephemerals: BTreeMap<SessionId, BTreeSet<NodeId>>,
    containers: BTreeSet<NodeId>,
    ttls: BTreeSet<NodeId>,
    pub(super) quotas: QuotaIndex,
    // The wrapping sum of the nodes' digests.
    digest: u64,
    // Bytes of all paths and data.
    approximate_bytes: u64,
    pub(super) extended_types: bool,
    pub(super) fold: FoldSet,
}

/// A node of the committed tree.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) stat: StatPersisted,
    pub(crate) children: u32,
    /// The node's list; `None` lets everybody do everything.
    pub(crate) acl: Option<&'a [Acl]>,
    pub(crate) data: Option<&'a [u8]>,
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
        let id = self.insert(NodeId::NIL, NodeId::NIL, "", &new);
        self.approximate_bytes += new.data.map_or(0, Bytes::len) as u64;
        debug_assert_eq!(id, NodeId::ROOT, "the root is the first node");
    }

    fn insert(
        &mut self,
        parent: NodeId,
        next: NodeId,
        node_path: &str,
        new: &NewNode<'_>,
    ) -> NodeId {
        let data = new.data.map(|data| &data[..]);
        let digest = digest_of(node_path, data, &new.stat);
        self.digest = self.digest.wrapping_add(digest.into());
        let parts = Parts {
            marks: self.marks_of_new(),
            name: path::name(node_path).as_bytes(),
            children: Children::NONE,
            stat: new.stat.clone(),
            acl: self.acls.intern(new.acl),
            data,
        };
        let id = self.nodes.insert(&parts, parent, next, digest);
        self.inserted(id);
        id
    }

    /// Adds a node below `parent`; there must be none of that name.
    pub(crate) fn insert_child(
        &mut self,
        parent: NodeId,
        node_path: &str,
        new: NewNode<'_>,
    ) -> NodeId {
        self.approximate_bytes += (node_path.len() + new.data.map_or(0, Bytes::len)) as u64;
        let owner = Owner::of(new.stat.ephemeral_owner, self.extended_types);
        let Children { first, count } = self.nodes.children(parent);
        let id = self.insert(parent, first, node_path, &new);
        if first != NodeId::NIL {
            self.nodes.links_mut(first).previous = id;
        }
        let children = Children {
            first: id,
            count: count + 1,
        };
        self.nodes.set_children(parent, children);
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
        id
    }

    /// Removes a node and whatever may be below it.
    ///
    /// There is nothing below it in histories of our own, which never delete a node with children.
    pub(crate) fn remove_subtree(&mut self, id: NodeId, node_path: &str) {
        while let Some(child) = self.first_child(id) {
            let child_path = format!("{node_path}/{}", self.nodes.text_name(child));
            self.remove_subtree(child, &child_path);
        }
        self.before_removal(id, node_path);
        let links = *self.nodes.links(id);
        let Parts {
            stat, acl, data, ..
        } = self.nodes.parts(id);
        self.approximate_bytes -= (node_path.len() + data.map_or(0, <[u8]>::len)) as u64;
        self.nodes.remove(id);
        let Children { mut first, count } = self.nodes.children(links.parent);
        if links.previous == NodeId::NIL {
            first = links.next;
        } else {
            self.nodes.links_mut(links.previous).next = links.next;
        }
        if links.next != NodeId::NIL {
            self.nodes.links_mut(links.next).previous = links.previous;
        }
        let children = Children {
            first,
            count: count - 1,
        };
        self.nodes.set_children(links.parent, children);
        self.index.remove(links.parent, path::name(node_path), id);
        self.digest = self.digest.wrapping_sub(links.digest.into());
        self.acls.release(acl);
        match Owner::of(stat.ephemeral_owner, self.extended_types) {
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

    /// Changes a node that stays; by how many bytes its data has grown.
    pub(crate) fn change(&mut self, id: NodeId, node_path: &str, change: Change<'_>) -> isize {
        self.before_change(id);
        let acl = change.acl.map(|acl| self.acls.intern(acl));
        let mut former_acl = None;
        let mut more_bytes = 0;
        let mut digest = 0;
        let data = change.data.map(|data| data.map(|data| &data[..]));
        self.nodes.change(id, data, |parts, former_data_len| {
            if let Some(stat) = change.stat {
                parts.stat = stat;
            }
            if let Some(acl) = acl {
                former_acl = Some(std::mem::replace(&mut parts.acl, acl));
            }
            let data_len = parts.data.map_or(0, <[u8]>::len);
            more_bytes = data_len.cast_signed() - former_data_len.cast_signed();
            digest = digest_of(canonical(node_path), parts.data, &parts.stat);
        });
        if let Some(former) = former_acl {
            self.acls.release(former);
        }
        self.approximate_bytes = self
            .approximate_bytes
            .wrapping_add_signed(more_bytes as i64);
        let former = std::mem::replace(&mut self.nodes.links_mut(id).digest, digest);
        self.digest = self
            .digest
            .wrapping_sub(former.into())
            .wrapping_add(digest.into());
        more_bytes
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
        for name in path::names(node_path.strip_prefix('/')?) {
            id = self.index.find(&self.nodes, id, name)?;
        }
        Some(id)
    }

    pub(crate) fn stored_stat(&self, id: NodeId) -> StatPersisted {
        self.nodes.parts(id).stat
    }

    /// The stat as clients see it.
    pub(crate) fn stat(&self, id: NodeId) -> Stat {
        self.read(id).1
    }

    /// Data and stat as clients see them.
    pub(crate) fn read(&self, id: NodeId) -> (Option<&[u8]>, Stat) {
        let parts = self.nodes.parts(id);
        let data_len = parts.data.map_or(0, <[u8]>::len);
        let stat = client_stat(
            &parts.stat,
            data_len,
            parts.children.count,
            self.extended_types,
        );
        (parts.data, stat)
    }

    /// All of a node that changes are checked against.
    pub(crate) fn look(&self, id: NodeId) -> Seen<'_> {
        let parts = self.nodes.parts(id);
        Seen {
            stat: parts.stat,
            children: parts.children.count,
            acl: self.acls.list(parts.acl).map(|list| &list[..]),
            data: parts.data,
        }
    }

    pub(crate) fn data(&self, id: NodeId) -> Option<&[u8]> {
        self.nodes.parts(id).data
    }

    pub(crate) fn children(&self, id: NodeId) -> u32 {
        self.nodes.children(id).count
    }

    pub(crate) fn digest_at(&self, id: NodeId) -> u32 {
        self.nodes.links(id).digest
    }

    /// The node's list; `None` lets everybody do everything.
    pub(crate) fn acl(&self, id: NodeId) -> Option<&[Acl]> {
        let key = self.nodes.parts(id).acl;
        self.acls.list(key).map(|list| &list[..])
    }

    pub(crate) fn child_names(&self, id: NodeId) -> impl Iterator<Item = &str> {
        self.child_ids(id).map(|child| self.nodes.text_name(child))
    }

    fn first_child(&self, id: NodeId) -> Option<NodeId> {
        let first = self.nodes.children(id).first;
        (first != NodeId::NIL).then_some(first)
    }

    fn child_ids(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(self.first_child(id), |child| {
            let next = self.nodes.links(*child).next;
            (next != NodeId::NIL).then_some(next)
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

    pub(super) fn visit_below(&self, top: NodeId, mut visit: impl FnMut(NodeId)) {
        let mut next = self.first_child(top);
        while let Some(id) = next {
            visit(id);
            next = self.first_child(id);
            let mut done = id;
            while next.is_none() && done != top {
                let links = self.nodes.links(done);
                if links.next == NodeId::NIL {
                    done = links.parent;
                } else {
                    next = Some(links.next);
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
            let name = self.nodes.text_name(current);
            names.push(name);
            bytes += name.len() + 1;
            current = self.nodes.links(current).parent;
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
            let Parts { stat, children, .. } = self.nodes.parts(**id);
            let unused_too_long =
                never_used_ms != 0 && now_ms.saturating_sub(stat.mtime) > never_used_ms;
            children.count == 0 && (stat.cversion > 0 || unused_too_long)
        });
        let ttls = self.ttls.iter().filter(|id| {
            let Parts { stat, children, .. } = self.nodes.parts(**id);
            match Owner::of(stat.ephemeral_owner, self.extended_types) {
                Owner::Ttl(ttl_ms) => {
                    children.count == 0 && now_ms.saturating_sub(stat.mtime) > ttl_ms
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

    /// The digest counted afresh, for audits: must equal [`Self::digest`].
    pub(crate) fn recount_digest(&self) -> u64 {
        let mut digest = u64::from(digest_of(
            "",
            self.data(NodeId::ROOT),
            &self.stored_stat(NodeId::ROOT),
        ));
        let mut stack: Vec<(NodeId, String)> = vec![(NodeId::ROOT, String::new())];
        while let Some((id, above)) = stack.pop() {
            for child in self.child_ids(id) {
                let Parts { stat, data, .. } = self.nodes.parts(child);
                let node_path = format!("{above}/{}", self.nodes.text_name(child));
                digest = digest.wrapping_add(digest_of(&node_path, data, &stat).into());
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
