//! The committed tree as transactions change it: with sessions, quotas and watches.

use std::collections::BTreeMap;

use jute_codec::data::StatPersisted;
use jute_codec::proto::EventType;
use jute_codec::{SessionId, Stat, Text, Zxid};

use super::output::Outputs;
use super::tree::acl::AclRules;
use super::tree::{Change, NewNode, NodeId, Nodes, Tree, path};
use super::watch::WatchTable;
use super::watch::audience::Audience;

/// What one transaction changes.
pub(super) struct Live<'a> {
    pub(super) tree: &'a mut Tree,
    pub(super) sessions: &'a mut BTreeMap<SessionId, i32>,
    pub(super) session_changes: &'a mut BTreeMap<SessionId, Option<i32>>,
    /// `None` while nobody watches anything.
    pub(super) watches: Option<&'a mut WatchTable>,
    pub(super) rules: &'a AclRules,
    pub(super) zxid: Zxid,
    pub(super) outputs: &'a mut Outputs,
}

impl Live<'_> {
    fn fire_children(&mut self, parent: NodeId, child: &Text) {
        let Some(watches) = self.watches.as_deref_mut() else {
            return;
        };
        let parent_path = path::shown(path::parent(child));
        let mut audience = Audience::new(self.tree.acl(parent), self.rules);
        watches.fire_children(parent_path, &mut audience);
        self.outputs.event(
            &audience.allowed,
            self.zxid,
            EventType::NodeChildrenChanged,
            parent_path,
        );
    }
}

impl Nodes for Live<'_> {
    type Key = NodeId;

    fn find(&mut self, path: &str) -> Option<NodeId> {
        self.tree.find(path)
    }

    fn stat(&self, key: NodeId) -> StatPersisted {
        self.tree.stored_stat(key)
    }

    fn client_stat(&self, key: NodeId) -> Stat {
        self.tree.stat(key)
    }

    fn insert(&mut self, parent: NodeId, path: &Text, node: NewNode<'_>) {
        let data_len = node.data.map_or(0, |data| data.len());
        self.tree.insert_child(parent, path, node);
        self.tree.quota_on_create(path, data_len);
    }

    fn remove(&mut self, _parent: NodeId, key: NodeId, path: &Text) {
        let data_len = self.tree.data(key).map_or(0, <[u8]>::len);
        self.tree.remove_subtree(key, path);
        self.tree.quota_on_delete(path, data_len);
    }

    fn update(&mut self, key: NodeId, path: &str, change: Change<'_>) {
        let sets_data = change.data.is_some();
        let more_bytes = self.tree.change(key, path, change);
        if sets_data {
            self.tree.add_usage(path, 0, more_bytes);
        }
    }

    fn ephemerals_of(&self, session: SessionId) -> Vec<Text> {
        self.tree.ephemerals(session).map(Text::from).collect()
    }

    fn open_session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.insert(session, timeout_ms);
        self.session_changes.insert(session, Some(timeout_ms));
    }

    fn close_session(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.session_changes.insert(session, None);
    }

    fn created(&mut self, parent: NodeId, path: &Text) {
        if let Some(watches) = self.watches.as_deref_mut() {
            let acl = self.tree.find(path).and_then(|key| self.tree.acl(key));
            let mut audience = Audience::new(acl, self.rules);
            watches.fire_data(path, &mut audience);
            self.outputs
                .event(&audience.allowed, self.zxid, EventType::NodeCreated, path);
        }
        self.fire_children(parent, path);
    }

    fn deleting(&mut self, parent: NodeId, key: NodeId, path: &Text) {
        if let Some(watches) = self.watches.as_deref_mut() {
            // One NodeDeleted a connection, whichever of its watches it is for.
            let mut audience = Audience::new(self.tree.acl(key), self.rules);
            watches.fire_data(path, &mut audience);
            watches.fire_children(path, &mut audience);
            self.outputs
                .event(&audience.allowed, self.zxid, EventType::NodeDeleted, path);
        }
        self.fire_children(parent, path);
    }

    fn data_set(&mut self, key: NodeId, path: &Text) {
        if let Some(watches) = self.watches.as_deref_mut() {
            let mut audience = Audience::new(self.tree.acl(key), self.rules);
            watches.fire_data(path, &mut audience);
            self.outputs.event(
                &audience.allowed,
                self.zxid,
                EventType::NodeDataChanged,
                path,
            );
        }
    }
}
