//! Folds: exact images of the tree's changes, for the snapshot on disk.
//!
//! A node that changes is marked dirty, once, and remembered. When a fold begins, the dirty nodes become its pending
//! ones: the fold copies them in slices, with writers in between. A writer that is about to change a pending node
//! copies it first, so what the fold gets is the tree as it was when the fold began, at one zxid, whatever happens
//! meanwhile. The work follows what changed, and neither readers nor writers ever wait for more than one slice.

use bytes::Bytes;
use jute_codec::data::{Acl, StatPersisted};
use jute_codec::{DecodeError, Jute, Reader};
use thiserror::Error;

use super::node::{FoldMarks, NodeId};
use super::nodes::NewNode;
use super::path;
use super::record::Parts;
use super::store::Tree;

/// A row as it is stored: path and image.
pub(super) type Row = (Box<str>, Vec<u8>);

/// What is still to be stored.
#[derive(Debug, Default)]
pub(super) struct FoldSet {
    // Nodes marked dirty; an id may stand here twice, or be gone or taken again: the marks decide.
    dirty: Vec<NodeId>,
    // Paths removed since the last fold began.
    deleted: Vec<Box<str>>,
    // The nodes that come are those of the snapshot.
    loading: bool,
    // The fold under way.
    pending: Vec<NodeId>,
    copied: Vec<Row>,
}

/// A part of a fold.
#[derive(Debug, Default)]
pub struct FoldSlice {
    /// Images of nodes as of the fold's beginning, by path; the root's path is `/`.
    pub rows: Vec<(Box<str>, Vec<u8>)>,
    /// Whether there is more to come.
    pub more: bool,
}

impl Tree {
    /// How many changed nodes and deletions the next fold would hold.
    pub(crate) fn fold_backlog(&self) -> usize {
        self.fold.dirty.len() + self.fold.deleted.len()
    }

    pub(super) fn mark_dirty(&mut self, id: NodeId) {
        let marks = self.nodes.marks(id);
        if !marks.dirty {
            let marks = FoldMarks {
                dirty: true,
                ..marks
            };
            self.nodes.set_marks(id, marks);
            self.fold.dirty.push(id);
        }
    }

    /// The marks of a node that is about to be inserted.
    pub(super) const fn marks_of_new(&self) -> FoldMarks {
        FoldMarks {
            dirty: !self.fold.loading,
            pending: false,
        }
    }

    /// A node was inserted with the marks of a new one.
    pub(super) fn inserted(&mut self, id: NodeId) {
        if !self.fold.loading {
            self.fold.dirty.push(id);
        }
    }

    pub(super) fn before_change(&mut self, id: NodeId) {
        self.copy_if_pending(id);
        self.mark_dirty(id);
    }

    pub(super) fn before_removal(&mut self, id: NodeId, node_path: &str) {
        self.copy_if_pending(id);
        self.fold.deleted.push(node_path.into());
    }

    fn copy_if_pending(&mut self, id: NodeId) {
        if let Some(row) = self.take_pending(id) {
            self.fold.copied.push(row);
        }
    }

    /// Begins a fold: the paths that are gone since the last one began. No other fold may be under way.
    pub(crate) fn begin_fold(&mut self) -> Vec<Box<str>> {
        debug_assert!(
            self.fold.pending.is_empty(),
            "one fold ends before the next begins"
        );
        let dirty = std::mem::take(&mut self.fold.dirty);
        for id in &dirty {
            if self.nodes.contains(*id) {
                let marks = self.nodes.marks(*id);
                let marks = FoldMarks {
                    dirty: false,
                    pending: marks.pending || marks.dirty,
                };
                self.nodes.set_marks(*id, marks);
            }
        }
        self.fold.pending = dirty;
        std::mem::take(&mut self.fold.deleted)
    }

    /// Copies up to `most` nodes of the fold under way.
    pub(crate) fn fold_slice(&mut self, most: usize) -> FoldSlice {
        let mut rows = std::mem::take(&mut self.fold.copied);
        for _ in 0..most {
            let Some(id) = self.fold.pending.pop() else {
                break;
            };
            if self.nodes.contains(id) {
                rows.extend(self.take_pending(id));
            }
        }
        FoldSlice {
            rows,
            more: !self.fold.pending.is_empty(),
        }
    }

    /// The image of a node that is part of the fold under way, which is then done with it.
    fn take_pending(&mut self, id: NodeId) -> Option<Row> {
        let marks = self.nodes.marks(id);
        marks.pending.then(|| {
            let marks = FoldMarks {
                pending: false,
                ..marks
            };
            self.nodes.set_marks(id, marks);
            self.image(id)
        })
    }

    fn image(&self, id: NodeId) -> Row {
        let Parts { stat, data, .. } = self.nodes.parts(id);
        let mut image = Vec::with_capacity(96 + data.map_or(0, <[u8]>::len));
        encode_row(&stat, self.acl(id), data, &mut image);
        (self.path(id).into(), image)
    }
}

/// The first byte of a row; another one is another format.
const ROW_VERSION: u8 = 1;

/// Appends the image of a node: version, stat, access control list (null where everybody may do everything), data.
pub(crate) fn encode_row(
    stat: &StatPersisted,
    acl: Option<&[Acl]>,
    data: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    out.push(ROW_VERSION);
    stat.write(out);
    match acl {
        None => (-1i32).write(out),
        Some(acl) => {
            i32::try_from(acl.len())
                .expect("a list came in a frame")
                .write(out);
            for entry in acl {
                entry.write(out);
            }
        }
    }
    jute_codec::writer::write_buffer(data, out);
}

/// A row of the snapshot that cannot be taken into the tree.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowError {
    /// The bytes are not the image of a node.
    #[error("the row of {path} is damaged")]
    Damaged {
        /// The node.
        path: String,
        /// Why.
        source: DecodeError,
    },
    /// The row was written by a version with another format.
    #[error("the row of {path} has format {version}; this zabd reads {ROW_VERSION}")]
    Version {
        /// The node.
        path: String,
        /// The format.
        version: u8,
    },
    /// The row's key is not the path of a node.
    #[error("{path:?} in the snapshot is not a path")]
    NotAPath {
        /// The key.
        path: String,
    },
    /// The node's parent is not there.
    #[error("{path} has no parent in the snapshot")]
    NoParent {
        /// The node.
        path: String,
    },
}

/// A decoded row.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    pub(crate) stat: StatPersisted,
    /// None where everybody may do everything.
    pub(crate) acl: Option<&'a [Acl]>,
    /// Whether the list is the one of the row before.
    pub(crate) same_acl: bool,
    pub(crate) data: Option<Bytes>,
}

/// Decodes rows. Mostly neighbours have the same access control list, which is decoded once then.
#[derive(Debug, Default)]
pub(crate) struct RowDecoder {
    // The last list, as it is stored and decoded.
    stored: Vec<u8>,
    list: Option<Vec<Acl>>,
}

impl RowDecoder {
    pub(crate) fn decode(&mut self, node_path: &str, row: &Bytes) -> Result<Image<'_>, RowError> {
        let damaged = |source| RowError::Damaged {
            path: node_path.to_owned(),
            source,
        };
        let mut reader = Reader::with_limit(row, row.len());
        let version = reader.take(1).map_err(damaged)?[0];
        if version != ROW_VERSION {
            return Err(RowError::Version {
                path: node_path.to_owned(),
                version,
            });
        }
        let stat = Jute::read(&mut reader).map_err(damaged)?;
        let begin = row.len() - reader.remaining();
        // A stored list says itself where it ends, so what begins with one is that one.
        let same_acl = !self.stored.is_empty() && row[begin..].starts_with(&self.stored);
        if same_acl {
            reader.take(self.stored.len()).map_err(damaged)?;
        } else {
            self.stored.clear();
            self.list = reader.vector().map_err(damaged)?;
            let end = row.len() - reader.remaining();
            self.stored.extend_from_slice(&row[begin..end]);
        }
        Ok(Image {
            stat,
            acl: self.list.as_deref(),
            same_acl,
            data: reader.buffer().map_err(damaged)?,
        })
    }
}

/// Builds a tree from rows in the order of their paths, parents before children.
#[derive(Debug)]
pub(crate) struct TreeLoader {
    tree: Tree,
    // The nodes on the way to the last one loaded: most parents are found here. Their paths are beginnings of its own.
    trail: Vec<(NodeId, usize)>,
    last_path: String,
    decoder: RowDecoder,
}

impl TreeLoader {
    pub(crate) fn new(hash_seed: u64, extended_types: bool) -> Self {
        let mut tree = Tree::without_nodes(hash_seed, extended_types);
        tree.fold.loading = true;
        tree.index.let_wait();
        Self {
            tree,
            trail: Vec::new(),
            last_path: String::new(),
            decoder: RowDecoder::default(),
        }
    }

    pub(crate) fn row(&mut self, node_path: &str, row: &Bytes) -> Result<(), RowError> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let taken = decoder.decode(node_path, row).and_then(|image| {
            let node = NewNode {
                stat: image.stat,
                data: image.data.as_ref(),
                acl: image.acl,
            };
            self.node(node_path, node)
        });
        self.decoder = decoder;
        taken
    }

    pub(crate) fn node(&mut self, node_path: &str, node: NewNode<'_>) -> Result<(), RowError> {
        // A key that lacks its slash, say, would be taken for another node's and be counted as neither.
        if !path::is_absolute(node_path) {
            return Err(RowError::NotAPath {
                path: node_path.to_owned(),
            });
        }
        if node_path == "/" {
            self.tree.insert_root(node);
            return Ok(());
        }
        let no_parent = || RowError::NoParent {
            path: node_path.to_owned(),
        };
        let parent = self.parent(path::parent(node_path)).ok_or_else(no_parent)?;
        let id = self.tree.insert_child(parent, node_path, node);
        self.trail.push((id, node_path.len()));
        self.last_path.clear();
        self.last_path.push_str(node_path);
        Ok(())
    }

    /// Whether the node is there already.
    pub(crate) fn has(&mut self, node_path: &str) -> bool {
        self.tree.index.settle();
        self.tree.nodes.len() > 0 && self.tree.find(node_path).is_some()
    }

    fn parent(&mut self, parent_path: &str) -> Option<NodeId> {
        while let Some((id, len)) = self.trail.last() {
            let trail_path = &self.last_path[..*len];
            if trail_path == parent_path {
                return Some(*id);
            }
            if parent_path.starts_with(trail_path) {
                break;
            }
            self.trail.pop();
        }
        if self.tree.nodes.len() == 0 {
            None
        } else if parent_path.is_empty() {
            Some(NodeId::ROOT)
        } else {
            self.tree.index.settle();
            self.tree.find(parent_path)
        }
    }

    /// The tree; nothing in it counts as changed.
    pub(crate) fn finish(mut self) -> Option<Tree> {
        if self.tree.nodes.len() == 0 {
            return None;
        }
        self.tree.fold.loading = false;
        self.tree.index.wait_no_more();
        // Usage is counted at every start, as in Java; what then differs from the snapshot is dirty.
        self.tree.load_quotas();
        Some(self.tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_whose_key_is_no_path_is_refused() {
        let mut row = Vec::new();
        encode_row(&StatPersisted::ZERO, None, None, &mut row);
        let row = Bytes::from(row);
        let mut loader = TreeLoader::new(1, false);
        loader.row("/", &row).expect("the root");
        loader.row("/a", &row).expect("a child of the root");
        for key in ["", "a", "//", "//a", "/a/", "/a//b"] {
            let not_a_path = RowError::NotAPath {
                path: key.to_owned(),
            };
            assert_eq!(loader.row(key, &row), Err(not_a_path));
        }
    }
}
