//! The tree as it will be once everything outstanding is applied.
//!
//! The leader prepares ahead of application: a request is checked against the effects of all before it. [`Overlay`]
//! holds the nodes that outstanding transactions change; [`Speculation`] is the overlay on top of the committed tree,
//! and what the one function that applies transactions is run on. Stats, digests and the undoing of a multi that fails
//! half-way all come out of that.
//!
//! ZooKeeper keeps `ChangeRecord`s and predicts digests by a second set of rules; see `storage-formats.md` §8.4 for
//! what goes wrong with that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use jute_codec::data::{Acl, StatPersisted};
use jute_codec::{SessionId, Stat, Text, Zxid};

use crate::state::tree::{
    Change, NewNode, NodeId, Nodes, Owner, Tree, client_stat, digest_of, path,
};

/// Nodes that differ from the committed tree.
#[derive(Debug)]
pub(in crate::replica) struct Overlay {
    // By path in the digest's form: the root is the empty string.
    entries: HashMap<Text, Entry, FixedState>,
    // What was changed by which transaction, oldest first; an entry goes when its last change is applied.
    changes: VecDeque<(Zxid, Text)>,
    // The ephemeral nodes among `entries` that exist.
    ephemerals: BTreeMap<SessionId, BTreeSet<Text>>,
    digest: u64,
    // While a multi is prepared: what to put back, newest last, and the digest.
    undo: Option<Undo>,
}

#[derive(Debug)]
struct Undo {
    entries: Vec<(Text, Option<Entry>)>,
    changes: usize,
    digest: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    changed: Zxid,
    /// `None` when the node is deleted.
    node: Option<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    stat: StatPersisted,
    children: u32,
    digest: u32,
    data: Data,
    acl: List,
}

#[derive(Debug, Clone)]
enum Data {
    /// That of the committed node.
    Committed(NodeId),
    New(Option<Bytes>),
}

#[derive(Debug, Clone)]
enum List {
    /// That of the committed node.
    Committed(NodeId),
    New(Option<Vec<Acl>>),
}

impl Overlay {
    pub(in crate::replica) fn new(digest: u64) -> Self {
        Self {
            entries: HashMap::with_hasher(FixedState::default()),
            changes: VecDeque::new(),
            ephemerals: BTreeMap::new(),
            digest,
            undo: None,
        }
    }

    /// The digest of the tree after everything outstanding.
    pub(in crate::replica) const fn digest(&self) -> u64 {
        self.digest
    }

    /// Transactions up to `applied` are in the committed tree now.
    pub(in crate::replica) fn forget_applied(&mut self, applied: Zxid) {
        while let Some((_, path)) = self.changes.pop_front_if(|(zxid, _)| *zxid <= applied) {
            if self
                .entries
                .get(&path)
                .is_some_and(|entry| entry.changed <= applied)
                && let Some(Entry {
                    node: Some(node), ..
                }) = self.entries.remove(&path)
            {
                self.drop_ephemeral(node.stat.ephemeral_owner, &path);
            }
        }
    }

    // The kind of owner does not matter here: marks of containers and TTLs are never asked for as sessions.
    fn note_ephemeral(&mut self, owner: i64, path: &Text) {
        if owner != 0 {
            self.ephemerals
                .entry(SessionId(owner))
                .or_default()
                .insert(path.clone());
        }
    }

    fn drop_ephemeral(&mut self, owner: i64, path: &Text) {
        if let Some(paths) = self.ephemerals.get_mut(&SessionId(owner)) {
            paths.remove(path);
            if paths.is_empty() {
                self.ephemerals.remove(&SessionId(owner));
            }
        }
    }

    /// Puts an entry in place, keeping the books.
    fn put(&mut self, path: &Text, entry: Entry) {
        let (changed, owner) = (
            entry.changed,
            entry.node.as_ref().map(|node| node.stat.ephemeral_owner),
        );
        let former = self.entries.insert(path.clone(), entry);
        if let Some(node) = former.as_ref().and_then(|former| former.node.as_ref()) {
            self.drop_ephemeral(node.stat.ephemeral_owner, path);
        }
        if let Some(owner) = owner {
            self.note_ephemeral(owner, path);
        }
        if former
            .as_ref()
            .is_none_or(|former| former.changed != changed)
        {
            self.changes.push_back((changed, path.clone()));
        }
        if let Some(undo) = &mut self.undo {
            undo.entries.push((path.clone(), former));
        }
    }

    fn begin_undoable(&mut self) {
        self.undo = Some(Undo {
            entries: Vec::new(),
            changes: self.changes.len(),
            digest: self.digest,
        });
    }

    fn keep(&mut self) {
        self.undo = None;
    }

    fn roll_back(&mut self) {
        let Some(undo) = self.undo.take() else {
            return;
        };
        for (path, former) in undo.entries.into_iter().rev() {
            let current = match former {
                Some(former) => {
                    let owner = former.node.as_ref().map(|node| node.stat.ephemeral_owner);
                    let current = self.entries.insert(path.clone(), former);
                    (current, owner)
                }
                None => (self.entries.remove(&path), None),
            };
            if let Some(node) = current.0.and_then(|current| current.node) {
                self.drop_ephemeral(node.stat.ephemeral_owner, &path);
            }
            if let Some(owner) = current.1 {
                self.note_ephemeral(owner, &path);
            }
        }
        self.changes.truncate(undo.changes);
        self.digest = undo.digest;
    }
}

/// The overlay on top of the committed tree, for one transaction.
#[derive(Debug)]
pub(in crate::replica) struct Speculation<'a> {
    overlay: &'a mut Overlay,
    tree: &'a Tree,
    zxid: Zxid,
    // The paths of the nodes found so far; keys are places in here, so that they outlast changes.
    found: Vec<Text>,
}

/// A node that was found: its place among the paths found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::replica) struct Key(usize);

impl<'a> Speculation<'a> {
    pub(in crate::replica) fn new(overlay: &'a mut Overlay, tree: &'a Tree, zxid: Zxid) -> Self {
        Self {
            overlay,
            tree,
            zxid,
            found: Vec::new(),
        }
    }

    /// The committed tree underneath.
    pub(in crate::replica) const fn committed(&self) -> &Tree {
        self.tree
    }

    /// What follows can be undone, until [`Self::keep`] or [`Self::roll_back`].
    pub(in crate::replica) fn begin_undoable(&mut self) {
        self.overlay.begin_undoable();
    }

    pub(in crate::replica) fn keep(&mut self) {
        self.overlay.keep();
    }

    pub(in crate::replica) fn roll_back(&mut self) {
        self.overlay.roll_back();
    }

    /// A node, looked at.
    pub(in crate::replica) fn look(&self, node_path: &str) -> Option<Look<'_>> {
        let canonical = canonical(node_path);
        match self.overlay.entries.get(canonical) {
            Some(entry) => {
                let node = entry.node.as_ref()?;
                Some(Look {
                    stat: node.stat.clone(),
                    children: node.children,
                    acl: self.list(&node.acl),
                    data_len: self.data(&node.data).map_or(0, <[u8]>::len),
                })
            }
            None => {
                let id = self.tree.find(canonical)?;
                Some(Look {
                    stat: self.tree.stored_stat(id),
                    children: self.tree.children(id),
                    acl: self.tree.acl(id),
                    data_len: self.tree.data(id).map_or(0, <[u8]>::len),
                })
            }
        }
    }

    /// The paths of the session's ephemeral nodes.
    pub(in crate::replica) fn ephemerals(&self, session: SessionId) -> Vec<Text> {
        let committed = self.tree.ephemerals(session).map(Text::from);
        let changed = self
            .overlay
            .ephemerals
            .get(&session)
            .into_iter()
            .flatten()
            .cloned();
        committed
            .filter(|path| !self.overlay.entries.contains_key(path))
            .chain(changed)
            .collect()
    }

    fn data<'b>(&'b self, data: &'b Data) -> Option<&'b [u8]> {
        match data {
            Data::Committed(id) => self.tree.data(*id),
            Data::New(data) => data.as_deref(),
        }
    }

    fn list<'b>(&'b self, list: &'b List) -> Option<&'b [Acl]> {
        match list {
            List::Committed(id) => self.tree.acl(*id),
            List::New(list) => list.as_deref(),
        }
    }

    /// A copy of a node that exists, to change and put back.
    fn copy(&self, canonical: &str) -> Option<Node> {
        match self.overlay.entries.get(canonical) {
            Some(entry) => entry.node.clone(),
            None => self.tree.find(canonical).map(|id| Node {
                stat: self.tree.stored_stat(id),
                children: self.tree.children(id),
                digest: self.tree.digest_at(id),
                data: Data::Committed(id),
                acl: List::Committed(id),
            }),
        }
    }

    fn put(&mut self, canonical: Text, node: Option<Node>) {
        self.overlay.put(
            &canonical,
            Entry {
                changed: self.zxid,
                node,
            },
        );
    }

    fn change_node(&mut self, path: &str, change: impl FnOnce(&mut Node)) {
        if let Some(mut node) = self.copy(path) {
            change(&mut node);
            self.put(Text::from(path), Some(node));
        }
    }

    fn look_at(&self, key: Key) -> Look<'_> {
        self.look(&self.found[key.0])
            .expect("only nodes that exist are found")
    }

    fn count_digest(&mut self, former: u32, now: u32) {
        let digest = &mut self.overlay.digest;
        *digest = digest.wrapping_sub(former.into()).wrapping_add(now.into());
    }
}

impl Nodes for Speculation<'_> {
    type Key = Key;

    fn find(&mut self, node_path: &str) -> Option<Key> {
        self.look(node_path)?;
        self.found.push(Text::from(canonical(node_path)));
        Some(Key(self.found.len() - 1))
    }

    fn stat(&self, key: Key) -> StatPersisted {
        self.look_at(key).stat
    }

    fn client_stat(&self, key: Key) -> Stat {
        let look = self.look_at(key);
        client_stat(
            &look.stat,
            look.data_len,
            look.children,
            self.tree.extended_types(),
        )
    }

    fn insert(&mut self, _parent: Key, node_path: &Text, new: NewNode<'_>) {
        let digest = digest_of(node_path, new.data.map(|data| &data[..]), &new.stat);
        let node = Node {
            stat: new.stat,
            children: 0,
            digest,
            data: Data::New(new.data.cloned()),
            acl: List::New(new.acl.map(<[Acl]>::to_vec)),
        };
        self.count_digest(0, digest);
        self.put(node_path.clone(), Some(node));
        self.change_node(path::parent(node_path), |parent| parent.children += 1);
    }

    fn remove(&mut self, _parent: Key, _key: Key, node_path: &Text) {
        let digest = self
            .copy(canonical(node_path))
            .map_or(0, |node| node.digest);
        self.count_digest(digest, 0);
        self.put(node_path.clone(), None);
        self.change_node(path::parent(node_path), |parent| {
            parent.children = parent.children.saturating_sub(1)
        });
    }

    fn update(&mut self, _key: Key, node_path: &str, change: Change<'_>) {
        let canonical = canonical(node_path);
        let Some(mut node) = self.copy(canonical) else {
            return;
        };
        if let Some(data) = change.data {
            node.data = Data::New(data.cloned());
        }
        if let Some(acl) = change.acl {
            node.acl = List::New(acl.map(<[Acl]>::to_vec));
        }
        if let Some(stat) = change.stat {
            node.stat = stat;
        }
        let digest = digest_of(canonical, self.data(&node.data), &node.stat);
        self.count_digest(node.digest, digest);
        node.digest = digest;
        self.put(Text::from(canonical), Some(node));
    }

    fn ephemerals_of(&self, session: SessionId) -> Vec<Text> {
        self.ephemerals(session)
    }

    // Sessions, quota usage and watches follow the committed tree.
    fn open_session(&mut self, _session: SessionId, _timeout_ms: i32) {}
    fn close_session(&mut self, _session: SessionId) {}
    fn created(&mut self, _parent: Key, _path: &Text) {}
    fn deleting(&mut self, _parent: Key, _key: Key, _path: &Text) {}
    fn data_set(&mut self, _key: Key, _path: &Text) {}
}

/// What checks look at.
#[derive(Debug, Clone)]
pub(in crate::replica) struct Look<'a> {
    pub(in crate::replica) stat: StatPersisted,
    pub(in crate::replica) children: u32,
    pub(in crate::replica) acl: Option<&'a [Acl]>,
    pub(in crate::replica) data_len: usize,
}

impl Look<'_> {
    pub(in crate::replica) const fn owner(&self, extended_types: bool) -> Owner {
        Owner::of(self.stat.ephemeral_owner, extended_types)
    }
}

fn canonical(node_path: &str) -> &str {
    if node_path == "/" { "" } else { node_path }
}
