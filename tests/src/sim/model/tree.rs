//! The tree: one map from paths to nodes. Copies are cheap, so that the tree after every transaction can be kept.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use jute_codec::data::{Acl, Stat, StatPersisted, perms};
use jute_codec::digest::node_digest;
use jute_codec::{Text, Zxid};

/// What becomes of a node by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Persistent,
    /// It goes with its session.
    Ephemeral(i64),
    /// It goes when its last child has gone.
    Container,
    /// It goes when left alone for so many milliseconds.
    Ttl(i64),
}

/// A znode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its data; null is not empty.
    pub data: Option<Bytes>,
    /// Its access control list.
    pub acl: Rc<[Acl]>,
    /// Transaction that created it.
    pub czxid: Zxid,
    /// Transaction that last set its data.
    pub mzxid: Zxid,
    /// Transaction that last created or deleted a child.
    pub pzxid: Zxid,
    /// When it was created.
    pub ctime: i64,
    /// When its data was last set.
    pub mtime: i64,
    /// How often its data was set.
    pub version: i32,
    /// How often its list was set.
    pub aversion: i32,
    /// How many children were ever created.
    pub creations: i32,
    /// Its kind.
    pub kind: Kind,
}

impl Node {
    fn built_in(acl: Acl) -> Self {
        Self {
            data: Some(Bytes::new()),
            acl: Rc::new([acl]),
            czxid: Zxid::ZERO,
            mzxid: Zxid::ZERO,
            pzxid: Zxid::ZERO,
            ctime: 0,
            mtime: 0,
            version: 0,
            aversion: 0,
            creations: 0,
            kind: Kind::Persistent,
        }
    }

    /// The mark that stands for the kind in storage and in the digest.
    #[must_use]
    pub const fn owner(&self) -> i64 {
        match self.kind {
            Kind::Persistent => 0,
            Kind::Ephemeral(session) => session,
            Kind::Container => i64::MIN,
            Kind::Ttl(ttl_ms) => (0xff_u64 << 56).cast_signed() | ttl_ms,
        }
    }
}

/// All znodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<Rc<str>, Rc<Node>>,
    /// Whether TTL nodes exist.
    pub extended_types: bool,
}

impl Tree {
    /// The tree of a new server.
    #[must_use]
    pub fn new(extended_types: bool) -> Self {
        let readable = Acl::new(perms::READ, "world", "anyone");
        let config = Node {
            aversion: -1,
            ..Node::built_in(readable)
        };
        let mut nodes = BTreeMap::new();
        for path in ["/", "/zookeeper", "/zookeeper/quota"] {
            nodes.insert(Rc::from(path), Rc::new(Node::built_in(Acl::open())));
        }
        nodes.insert(Rc::from("/zookeeper/config"), Rc::new(config));
        Self {
            nodes,
            extended_types,
        }
    }

    /// The node at a path; the empty path is the root's, too.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Rc<Node>> {
        self.nodes.get(if path.is_empty() { "/" } else { path })
    }

    pub(super) fn put(&mut self, path: &str, node: Node) {
        self.nodes.insert(Rc::from(path), Rc::new(node));
    }

    pub(super) fn change(&mut self, path: &str, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(path) {
            change(Rc::make_mut(node));
        }
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.nodes.remove(path);
    }

    /// All nodes, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (&**path, &**node))
    }

    /// Paths strictly below `path`.
    pub fn below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let prefix = if path == "/" || path.is_empty() {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        let start: Rc<str> = Rc::from(&*prefix);
        let end = prefix.clone();
        self.nodes
            .range(start..)
            .map(|(found, _)| &**found)
            .take_while(move |found| found.starts_with(&end))
            .filter(move |found| found.len() > prefix.len())
    }

    /// The names of a node's children.
    #[must_use]
    pub fn children(&self, path: &str) -> Vec<Text> {
        let skip = if path == "/" || path.is_empty() {
            1
        } else {
            path.len() + 1
        };
        self.below(path)
            .map(|found| &found[skip..])
            .filter(|name| !name.contains('/'))
            .map(Text::from)
            .collect()
    }

    fn child_count(&self, path: &str) -> i32 {
        let skip = if path == "/" { 1 } else { path.len() + 1 };
        let count = self
            .below(path)
            .filter(|found| !found[skip..].contains('/'))
            .count();
        i32::try_from(count).unwrap_or(i32::MAX)
    }

    /// The stat that clients see.
    #[must_use]
    pub fn stat(&self, path: &str) -> Option<Stat> {
        let path = if path.is_empty() { "/" } else { path };
        let node = self.get(path)?;
        let num_children = self.child_count(path);
        Some(Stat {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime: node.ctime,
            mtime: node.mtime,
            version: node.version,
            cversion: node.creations.wrapping_mul(2).wrapping_sub(num_children),
            aversion: node.aversion,
            ephemeral_owner: match node.kind {
                Kind::Ephemeral(session) => session,
                _ => 0,
            },
            data_length: node
                .data
                .as_ref()
                .map_or(0, |data| i32::try_from(data.len()).unwrap_or(i32::MAX)),
            num_children,
            pzxid: node.pzxid,
        })
    }

    /// The paths of a session's ephemeral nodes.
    #[must_use]
    pub fn ephemerals(&self, session: i64) -> Vec<Text> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.kind == Kind::Ephemeral(session))
            .map(|(path, _)| Text::from(&**path))
            .collect()
    }

    /// The digest of the whole tree.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let counted = self
            .nodes
            .iter()
            .filter(|(path, _)| !path.starts_with("/zookeeper/"));
        counted.fold(0, |sum, (path, node)| {
            let stat = StatPersisted {
                czxid: node.czxid,
                mzxid: node.mzxid,
                ctime: node.ctime,
                mtime: node.mtime,
                version: node.version,
                cversion: node.creations,
                aversion: node.aversion,
                ephemeral_owner: node.owner(),
                pzxid: node.pzxid,
            };
            let path = if &**path == "/" { "" } else { path };
            sum.wrapping_add(
                node_digest(path, node.data.as_deref().unwrap_or_default(), &stat).into(),
            )
        })
    }
}
