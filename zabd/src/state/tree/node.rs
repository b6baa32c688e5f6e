//! Nodes and where they are kept.

use jute_codec::data::{Stat, StatPersisted};

use super::acl::AclKey;
use super::owner::Owner;

/// The place of a node in a [`Slab`]; valid until the node is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(super) u32);

impl NodeId {
    /// The root, which is never removed.
    pub(crate) const ROOT: Self = Self(0);
    /// No node: the end of a list of siblings.
    pub(super) const NIL: Self = Self(u32::MAX);
}

/// What a fold still has to do about a node; see [`super::fold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FoldMarks {
    /// Changed since the last fold began.
    pub(super) dirty: bool,
    /// Part of the fold under way, and not yet copied into it.
    pub(super) pending: bool,
}

/// One znode. A million of them is the normal case: about 130 bytes beyond name and data.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) stat: StatPersisted,
    pub(super) data: Option<Box<[u8]>>,
    pub(super) name: Box<str>,
    pub(super) acl: AclKey,
    pub(super) parent: NodeId,
    // The children are a doubly linked list; `children` is its length.
    pub(super) first_child: NodeId,
    pub(super) previous: NodeId,
    pub(super) next: NodeId,
    pub(super) children: u32,
    // The node's share in the tree's digest; 0 for nodes that do not count.
    pub(super) digest: u32,
    pub(super) marks: FoldMarks,
}

impl Node {
    pub(super) fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    /// The stat as clients see it.
    ///
    /// ZooKeeper: `DataNode.copyStat`.
    pub(super) fn client_stat(&self, extended_types: bool) -> Stat {
        client_stat(&self.stat, self.data_len(), self.children, extended_types)
    }
}

/// The stat that clients see of a node with this stored one.
pub(crate) fn client_stat(
    stored: &StatPersisted,
    data_len: usize,
    children: u32,
    extended_types: bool,
) -> Stat {
    let children = i32::try_from(children).unwrap_or(i32::MAX);
    let ephemeral_owner = match Owner::of(stored.ephemeral_owner, extended_types) {
        Owner::Session(session) => session.0,
        _ => 0,
    };
    Stat {
        czxid: stored.czxid,
        mzxid: stored.mzxid,
        ctime: stored.ctime,
        mtime: stored.mtime,
        version: stored.version,
        cversion: stored.cversion.wrapping_mul(2).wrapping_sub(children),
        aversion: stored.aversion,
        ephemeral_owner,
        data_length: i32::try_from(data_len).unwrap_or(i32::MAX),
        num_children: children,
        pzxid: stored.pzxid,
    }
}

/// Nodes by id, in chunks: growing never moves what is there, so no writer ever pays for copying a whole tree.
#[derive(Debug, Default)]
pub(super) struct Slab {
    chunks: Vec<Vec<Option<Node>>>,
    free: Vec<NodeId>,
    len: usize,
}

const CHUNK: usize = 1024;

impl Slab {
    pub(super) fn insert(&mut self, node: Node) -> NodeId {
        self.len += 1;
        if let Some(id) = self.free.pop() {
            *self.slot_mut(id) = Some(node);
            return id;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunks = self.chunks.len();
        let chunk = self
            .chunks
            .last_mut()
            .expect("a chunk with room was just made sure of");
        let place = (chunks - 1) * CHUNK + chunk.len();
        chunk.push(Some(node));
        NodeId(
            u32::try_from(place)
                .ok()
                .filter(|place| *place < u32::MAX)
                .expect("memory ends before 4 billion nodes"),
        )
    }

    pub(super) fn remove(&mut self, id: NodeId) -> Node {
        let node = self
            .slot_mut(id)
            .take()
            .expect("only nodes that exist are removed");
        self.len -= 1;
        self.free.push(id);
        node
    }

    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.chunks
            .get(id.0 as usize / CHUNK)
            .and_then(|chunk| chunk.get(id.0 as usize % CHUNK))
            .is_some_and(Option::is_some)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn slot_mut(&mut self, id: NodeId) -> &mut Option<Node> {
        &mut self.chunks[id.0 as usize / CHUNK][id.0 as usize % CHUNK]
    }
}

impl std::ops::Index<NodeId> for Slab {
    type Output = Node;

    fn index(&self, id: NodeId) -> &Node {
        self.chunks[id.0 as usize / CHUNK][id.0 as usize % CHUNK]
            .as_ref()
            .expect("ids are of nodes that exist")
    }
}

impl std::ops::IndexMut<NodeId> for Slab {
    fn index_mut(&mut self, id: NodeId) -> &mut Node {
        self.slot_mut(id)
            .as_mut()
            .expect("ids are of nodes that exist")
    }
}
