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
use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use jute_codec::data::{Acl, StatPersisted};
use jute_codec::{SessionId, Stat, Text, Zxid};

use crate::state::tree::{Change, NewNode, NodeId, Nodes, Owner, Tree, client_stat, digest_of};

/// Nodes that differ from the committed tree, or may do so soon.
#[derive(Debug)]
pub(in crate::replica) struct Overlay {
    slots: Slots,
    // What was changed by which transaction, oldest first; an entry goes when its last change is applied.
    changes: VecDeque<(Zxid, Key)>,
    // The ephemeral nodes in slots that exist.
    ephemerals: BTreeMap<SessionId, BTreeSet<Text>>,
    digest: u64,
    // While a multi is prepared: what to put back, newest last, and the digest.
    undo: Option<Undo>,
}

#[derive(Debug)]
struct Undo {
    entries: Vec<(Key, Option<Former>)>,
    changes: usize,
    digest: u64,
}

/// What was in a slot.
#[derive(Debug)]
struct Former {
    changed: Zxid,
    node: Option<Node>,
}

/// The place of a node in the overlay. It stays until the last transaction that changed the node is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::replica) struct Key(usize);

#[derive(Debug)]
struct Slot {
    // In the digest's form: the root is the empty string.
    path: Text,
    hash: u64,
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

/// Slots by path.
#[derive(Debug, Default)]
struct Slots {
    hasher: FixedState,
    keys: HashTable<Key>,
    slots: Vec<Option<Slot>>,
    free: Vec<Key>,
}

impl Slots {
    fn hash(&self, canonical: &str) -> u64 {
        self.hasher.hash_one(canonical.as_bytes())
    }

    fn find(&self, hash: u64, canonical: &str) -> Option<Key> {
        let is_it = |key: &Key| {
            let slot = self.slots[key.0].as_ref();
            slot.is_some_and(|slot| slot.hash == hash && *slot.path == *canonical)
        };
        self.keys.find(hash, is_it).copied()
    }

    /// Takes a path that has no slot.
    fn insert(&mut self, slot: Slot) -> Key {
        let hash = slot.hash;
        let key = match self.free.pop() {
            Some(key) => {
                self.slots[key.0] = Some(slot);
                key
            }
            None => {
                self.slots.push(Some(slot));
                Key(self.slots.len() - 1)
            }
        };
        let slots = &self.slots;
        self.keys.insert_unique(hash, key, |key| {
            slots[key.0].as_ref().map_or(0, |slot| slot.hash)
        });
        key
    }

    fn remove(&mut self, key: Key) -> Option<Slot> {
        let slot = self.slots[key.0].take()?;
        if let Ok(entry) = self.keys.find_entry(slot.hash, |found| *found == key) {
            entry.remove();
        }
        self.free.push(key);
        Some(slot)
    }

    fn get(&self, key: Key) -> &Slot {
        let slot = self.slots[key.0].as_ref();
        slot.expect("a slot stays until its last change is applied")
    }

    fn get_mut(&mut self, key: Key) -> &mut Slot {
        let slot = self.slots[key.0].as_mut();
        slot.expect("a slot stays until its last change is applied")
    }

    /// Gives back what a burst took.
    fn shrink(&mut self) {
        if self.keys.is_empty() && self.slots.capacity() > SLOTS_KEPT {
            *self = Self {
                hasher: self.hasher.clone(),
                ..Self::default()
            };
        }
    }
}

/// With more slots than this their memory is given back once none is in use.
const SLOTS_KEPT: usize = 4096;

impl Overlay {
    pub(in crate::replica) fn new(digest: u64) -> Self {
        Self {
            slots: Slots::default(),
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
        let before = self.changes.len();
        while let Some((_, key)) = self.changes.pop_front_if(|(zxid, _)| *zxid <= applied) {
            // Of several changes that are applied the first one ends the slot.
            if self.slots.slots[key.0]
                .as_ref()
                .is_some_and(|slot| slot.changed <= applied)
            {
                self.remove(key);
            }
        }
        if before != 0 && self.changes.is_empty() {
            self.slots.shrink();
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(slot) = self.slots.remove(key)
            && let Some(node) = slot.node
        {
            self.drop_ephemeral(node.stat.ephemeral_owner, &slot.path);
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

    fn drop_ephemeral(&mut self, owner: i64, path: &str) {
        if owner != 0
            && let Some(paths) = self.ephemerals.get_mut(&SessionId(owner))
        {
            paths.remove(path);
            if paths.is_empty() {
                self.ephemerals.remove(&SessionId(owner));
            }
        }
    }

    /// Makes a slot for a path that has none.
    fn insert(&mut self, slot: Slot) -> Key {
        if let Some(node) = &slot.node {
            self.note_ephemeral(node.stat.ephemeral_owner, &slot.path);
        }
        let changed = slot.changed;
        let key = self.slots.insert(slot);
        self.changes.push_back((changed, key));
        if let Some(undo) = &mut self.undo {
            undo.entries.push((key, None));
        }
        key
    }

    /// A slot that is about to be changed by a transaction.
    fn changing(&mut self, key: Key, zxid: Zxid) -> &mut Slot {
        let slot = self.slots.get_mut(key);
        // One transaction saves a slot once.
        if slot.changed != zxid {
            if let Some(undo) = &mut self.undo {
                let former = Former {
                    changed: slot.changed,
                    node: slot.node.clone(),
                };
                undo.entries.push((key, Some(former)));
            }
            slot.changed = zxid;
            self.changes.push_back((zxid, key));
        }
        slot
    }

    /// Puts another node, or none, into a slot.
    fn put(&mut self, key: Key, zxid: Zxid, node: Option<Node>) {
        let owner = node.as_ref().map_or(0, |node| node.stat.ephemeral_owner);
        let slot = self.changing(key, zxid);
        let former = std::mem::replace(&mut slot.node, node);
        let former_owner = former.map_or(0, |node| node.stat.ephemeral_owner);
        if former_owner != owner {
            let path = slot.path.clone();
            self.drop_ephemeral(former_owner, &path);
            self.note_ephemeral(owner, &path);
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
        for (key, former) in undo.entries.into_iter().rev() {
            match former {
                Some(Former { changed, node }) => {
                    self.put(key, changed, node);
                    self.slots.get_mut(key).changed = changed;
                }
                None => self.remove(key),
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
}

impl<'a> Speculation<'a> {
    pub(in crate::replica) fn new(overlay: &'a mut Overlay, tree: &'a Tree, zxid: Zxid) -> Self {
        Self {
            overlay,
            tree,
            zxid,
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
        let slots = &self.overlay.slots;
        match slots.find(slots.hash(canonical), canonical) {
            Some(key) => {
                let node = slots.get(key).node.as_ref()?;
                Some(Look {
                    stat: node.stat.clone(),
                    children: node.children,
                    acl: self.list(&node.acl),
                    data_len: self.data(&node.data).map_or(0, <[u8]>::len),
                })
            }
            None => {
                let seen = self.tree.look(self.tree.find(canonical)?);
                Some(Look {
                    stat: seen.stat,
                    children: seen.children,
                    acl: seen.acl,
                    data_len: seen.data.map_or(0, <[u8]>::len),
                })
            }
        }
    }

    /// The paths of the session's ephemeral nodes.
    pub(in crate::replica) fn ephemerals(&self, session: SessionId) -> Vec<Text> {
        let slots = &self.overlay.slots;
        let committed = self.tree.ephemerals(session).map(Text::from);
        let changed = self
            .overlay
            .ephemerals
            .get(&session)
            .into_iter()
            .flatten()
            .cloned();
        committed
            .filter(|path| slots.find(slots.hash(path), path).is_none())
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

    /// A node that exists.
    fn node(&self, key: Key) -> &Node {
        let node = self.overlay.slots.get(key).node.as_ref();
        node.expect("only nodes that exist are found")
    }

    fn change_node(&mut self, key: Key, change: impl FnOnce(&mut Node)) {
        if let Some(node) = &mut self.overlay.changing(key, self.zxid).node {
            change(node);
        }
    }

    fn count_digest(&mut self, former: u32, now: u32) {
        let digest = &mut self.overlay.digest;
        *digest = digest.wrapping_sub(former.into()).wrapping_add(now.into());
    }
}

impl Nodes for Speculation<'_> {
    type Key = Key;

    /// A committed node gets a slot at once: what transactions find they change.
    fn find(&mut self, node_path: &str) -> Option<Key> {
        let canonical = canonical(node_path);
        let slots = &self.overlay.slots;
        let hash = slots.hash(canonical);
        if let Some(key) = slots.find(hash, canonical) {
            return slots.get(key).node.is_some().then_some(key);
        }
        let id = self.tree.find(canonical)?;
        let seen = self.tree.look(id);
        let node = Node {
            stat: seen.stat,
            children: seen.children,
            digest: self.tree.digest_at(id),
            data: Data::Committed(id),
            acl: List::Committed(id),
        };
        Some(self.overlay.insert(Slot {
            path: Text::from(canonical),
            hash,
            changed: self.zxid,
            node: Some(node),
        }))
    }

    fn stat(&self, key: Key) -> StatPersisted {
        self.node(key).stat.clone()
    }

    fn client_stat(&self, key: Key) -> Stat {
        let node = self.node(key);
        let data_len = self.data(&node.data).map_or(0, <[u8]>::len);
        client_stat(
            &node.stat,
            data_len,
            node.children,
            self.tree.extended_types(),
        )
    }

    fn insert(&mut self, parent: Key, node_path: &Text, new: NewNode<'_>) {
        let digest = digest_of(node_path, new.data.map(|data| &data[..]), &new.stat);
        let node = Node {
            stat: new.stat,
            children: 0,
            digest,
            data: Data::New(new.data.cloned()),
            acl: List::New(new.acl.map(<[Acl]>::to_vec)),
        };
        self.count_digest(0, digest);
        let slots = &self.overlay.slots;
        let hash = slots.hash(node_path);
        match slots.find(hash, node_path) {
            // One that was deleted.
            Some(key) => self.overlay.put(key, self.zxid, Some(node)),
            None => {
                self.overlay.insert(Slot {
                    path: node_path.clone(),
                    hash,
                    changed: self.zxid,
                    node: Some(node),
                });
            }
        }
        self.change_node(parent, |parent| parent.children += 1);
    }

    fn remove(&mut self, parent: Key, key: Key, _node_path: &Text) {
        let digest = self.node(key).digest;
        self.count_digest(digest, 0);
        self.overlay.put(key, self.zxid, None);
        self.change_node(parent, |parent| {
            parent.children = parent.children.saturating_sub(1)
        });
    }

    fn update(&mut self, key: Key, node_path: &str, change: Change<'_>) {
        let (tree, canonical) = (self.tree, canonical(node_path));
        let mut digests = None;
        self.change_node(key, |node| {
            if let Some(data) = change.data {
                node.data = Data::New(data.cloned());
            }
            if let Some(acl) = change.acl {
                node.acl = List::New(acl.map(<[Acl]>::to_vec));
            }
            if let Some(stat) = change.stat {
                node.stat = stat;
            }
            let data = match &node.data {
                Data::Committed(id) => tree.data(*id),
                Data::New(data) => data.as_deref(),
            };
            let digest = digest_of(canonical, data, &node.stat);
            digests = Some((std::mem::replace(&mut node.digest, digest), digest));
        });
        if let Some((former, now)) = digests {
            self.count_digest(former, now);
        }
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
