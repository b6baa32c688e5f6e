//! Nodes and where they are kept.

use jute_codec::data::{Stat, StatPersisted};

use super::arena::{Arena, Place};
use super::owner::Owner;
use super::record::{self, Children, Parts};

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

/// Where the bytes of a node are, and which nodes are next to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links {
    record: Place,
    pub(super) parent: NodeId,
    // The children of a node are a doubly linked list.
    pub(super) previous: NodeId,
    pub(super) next: NodeId,
    // The node's share in the tree's digest; 0 for nodes that do not count.
    pub(super) digest: u32,
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

/// Nodes by id. A million of them is the normal case: some 45 bytes each beyond name and data.
///
/// What is of one length stands in chunks: growing never moves what is there, so no writer ever pays for copying a whole
/// tree. The rest is a [`record`] in an [`Arena`].
#[derive(Debug, Default)]
pub(super) struct Slab {
    chunks: Vec<Vec<Links>>,
    free: Vec<NodeId>,
    len: usize,
    arena: Arena,
    // Empty but while a record is written.
    head: Vec<u8>,
}

const CHUNK: usize = 1024;

impl Slab {
    /// Adds a node in front of `next`, the first child of `parent`, which is told separately.
    pub(super) fn insert(
        &mut self,
        parts: &Parts<'_>,
        parent: NodeId,
        next: NodeId,
        digest: u32,
    ) -> NodeId {
        record::encode_head(parts, &mut self.head);
        let record = self
            .arena
            .insert(&self.head, parts.data.unwrap_or_default());
        self.head.clear();
        self.len += 1;
        let links = Links {
            record,
            parent,
            previous: NodeId::NIL,
            next,
            digest,
        };
        if let Some(id) = self.free.pop() {
            *self.links_mut(id) = links;
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
        chunk.push(links);
        NodeId(
            u32::try_from(place)
                .ok()
                .filter(|place| *place < u32::MAX)
                .expect("memory ends before 4 billion nodes"),
        )
    }

    pub(super) fn remove(&mut self, id: NodeId) {
        let links = self.links_mut(id);
        let record = std::mem::replace(&mut links.record, Place::NONE);
        self.arena.remove(record);
        self.len -= 1;
        self.free.push(id);
    }

    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.chunks
            .get(id.0 as usize / CHUNK)
            .and_then(|chunk| chunk.get(id.0 as usize % CHUNK))
            .is_some_and(|links| links.record != Place::NONE)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn links(&self, id: NodeId) -> &Links {
        &self.chunks[id.0 as usize / CHUNK][id.0 as usize % CHUNK]
    }

    pub(super) fn links_mut(&mut self, id: NodeId) -> &mut Links {
        &mut self.chunks[id.0 as usize / CHUNK][id.0 as usize % CHUNK]
    }

    /// Something of a node's links; 0 if there is no such node.
    pub(super) fn first_of_links(&self, id: NodeId) -> u32 {
        let chunk = self.chunks.get(id.0 as usize / CHUNK);
        let links = chunk.and_then(|chunk| chunk.get(id.0 as usize % CHUNK));
        links.map_or(0, |links| links.digest)
    }

    /// Something of a node's record; 0 if there is no such node.
    pub(super) fn first_of_record(&self, id: NodeId) -> u32 {
        if !self.contains(id) {
            return 0;
        }
        let record = self.record(id);
        // A record may lie across lines of a cache.
        u32::from(record[0]) ^ u32::from(record[record.len() - 1])
    }

    fn record(&self, id: NodeId) -> &[u8] {
        self.arena.bytes(self.links(id).record)
    }

    fn record_mut(&mut self, id: NodeId) -> &mut [u8] {
        let place = self.links(id).record;
        self.arena.bytes_mut(place)
    }

    pub(super) fn parts(&self, id: NodeId) -> Parts<'_> {
        record::decode(self.record(id)).0
    }

    pub(super) fn name(&self, id: NodeId) -> &[u8] {
        record::name(self.record(id))
    }

    /// The name as text.
    pub(super) fn text_name(&self, id: NodeId) -> &str {
        std::str::from_utf8(self.name(id)).expect("names come as text")
    }

    pub(super) fn data_len(&self, id: NodeId) -> usize {
        self.parts(id).data.map_or(0, <[u8]>::len)
    }

    pub(super) fn children(&self, id: NodeId) -> Children {
        record::children(self.record(id))
    }

    pub(super) fn set_children(&mut self, id: NodeId, children: Children) {
        let written = record::set_children(self.record_mut(id), children);
        if !written && children != Children::NONE {
            self.change(id, None, |parts, _| parts.children = children);
        }
    }

    pub(super) fn marks(&self, id: NodeId) -> FoldMarks {
        record::fold_marks(self.record(id))
    }

    pub(super) fn set_marks(&mut self, id: NodeId, marks: FoldMarks) {
        record::set_fold_marks(self.record_mut(id), marks);
    }

    /// Changes the data, if there is other, and what is not the data: `change` gets the length of the former data, too, and
    /// leaves the data alone.
    pub(super) fn change(
        &mut self,
        id: NodeId,
        data: Option<Option<&[u8]>>,
        change: impl FnOnce(&mut Parts<'_>, usize),
    ) {
        let mut head = std::mem::take(&mut self.head);
        let place = self.links(id).record;
        let (mut parts, former_len) = record::decode(self.arena.bytes(place));
        let former_data_len = parts.data.map_or(0, <[u8]>::len);
        let keeps_data = data.is_none();
        if let Some(data) = data {
            parts.data = data;
        }
        change(&mut parts, former_data_len);
        record::encode_head(&parts, &mut head);
        if keeps_data && head.len() == former_len {
            self.arena.bytes_mut(place)[..former_len].copy_from_slice(&head);
        } else if keeps_data {
            head.extend_from_slice(parts.data.unwrap_or_default());
            self.links_mut(id).record = self.arena.replace(place, &head, &[]);
        } else {
            let data = data.flatten().unwrap_or_default();
            self.links_mut(id).record = self.arena.replace(place, &head, data);
        }
        head.clear();
        // The data of a node may be long, and has been in it now and then.
        head.shrink_to(HEAD_KEPT);
        self.head = head;
    }
}

/// How much room for a record's head is kept, in bytes.
const HEAD_KEPT: usize = 4096;
