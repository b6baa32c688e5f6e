//! What applying a transaction needs of a tree.

use bytes::Bytes;
use jute_codec::data::{Acl, StatPersisted};
use jute_codec::{SessionId, Text};

/// A node to be.
#[derive(Debug)]
pub(crate) struct NewNode<'a> {
    pub(crate) stat: StatPersisted,
    pub(crate) data: Option<&'a Bytes>,
    pub(crate) acl: Option<&'a [Acl]>,
}

/// What changes about a node that stays.
#[derive(Debug, Default)]
pub(crate) struct Change<'a> {
    pub(crate) stat: Option<StatPersisted>,
    pub(crate) data: Option<Option<&'a Bytes>>,
    pub(crate) acl: Option<Option<&'a [Acl]>>,
}

/// A tree that transactions can be applied to: the committed one, or the leader's speculation on top of it.
///
/// Paths are in the form of transactions; the root is found as `/` and as the empty string. Implementations keep
/// their digest up to date with every call.
pub(crate) trait Nodes {
    /// A node found, until the next removal.
    type Key: Copy;

    fn find(&mut self, path: &str) -> Option<Self::Key>;
    fn stat(&self, key: Self::Key) -> StatPersisted;
    /// The stat as clients see it.
    fn client_stat(&self, key: Self::Key) -> jute_codec::Stat;
    /// Adds a node that is not there yet below `parent`, at `path`.
    fn insert(&mut self, parent: Self::Key, path: &Text, node: NewNode<'_>);
    /// Removes a node, and whatever may be below it.
    fn remove(&mut self, parent: Self::Key, key: Self::Key, path: &Text);
    fn update(&mut self, key: Self::Key, path: &str, change: Change<'_>);

    /// The paths of the session's ephemeral nodes, in a fixed order.
    fn ephemerals_of(&self, session: SessionId) -> Vec<Text>;
    fn open_session(&mut self, session: SessionId, timeout_ms: i32);
    fn close_session(&mut self, session: SessionId);

    /// `path` has just been inserted below `parent`.
    fn created(&mut self, parent: Self::Key, path: &Text);
    /// `path`, whose node is `key`, is about to be removed from below `parent`.
    fn deleting(&mut self, parent: Self::Key, key: Self::Key, path: &Text);
    /// The data of `path` has just been set.
    fn data_set(&mut self, key: Self::Key, path: &Text);
}
