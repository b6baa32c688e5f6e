//! The replicated state: the tree, the sessions and, of this server alone, the watches.
//!
//! Pure: no IO, no clock, no randomness of its own, no thread. There is one writer, which applies committed
//! transactions in the order of their zxids, and any number of readers in between. Applying yields events and replies
//! in the order in which connections must get them; whoever holds the state hands them on *before* readers may look
//! again. From that and one ordered queue a connection follows that a client gets the event before it can see the
//! change (`EventBeforeReveal`).
//!
//! | module | what it holds |
//! |---|---|
//! | [`tree`] | znodes, access control lists, quotas, digest, folds |
//! | `apply` | what each transaction does to a tree |
//! | [`watch`] | watch tables |
//! | [`conn`] | one connection's requests in order, reads, replies |

// Time, threads, files and sockets are for the runtime; iteration order must not depend on a random hash.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod apply;
pub mod conn;
mod live;
mod output;
pub mod tree;
pub mod watch;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use jute_codec::data::{Acl, StatPersisted};
use jute_codec::digest::DIGEST_VERSION;
use jute_codec::txn::TxnEntry;
use jute_codec::{SessionId, Text, Zxid};

pub use apply::Outcome;
pub(crate) use apply::apply;
use conn::reply::{self, Origin};
use live::Live;
pub use output::{Output, Outputs};
use tree::acl::AclRules;
pub use tree::{FoldSlice, RowError};
use tree::{NewNode, Tree, TreeLoader};
use watch::WatchTable;

/// What a state is built with; the same for as long as it lives.
#[derive(Debug, Clone, Default)]
pub struct StateParams {
    /// Keeps hostile names from colliding; never decides anything.
    pub hash_seed: u64,
    /// Whether TTL nodes exist.
    pub extended_types: bool,
    /// What identities are worth.
    pub acl: AclRules,
}

/// A transaction that is decided, and who is to hear of it.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The transaction.
    pub entry: TxnEntry,
    /// The request that it came of, if it was made here.
    pub origin: Option<Origin>,
    /// The connection to close when it is applied: of a session that ends.
    pub close: Option<conn::ConnId>,
}

/// How many digests are kept, and how far apart they are taken.
///
/// ZooKeeper: `DataTree.DIGEST_LOG_LIMIT`, `DIGEST_LOG_INTERVAL`.
const DIGESTS_KEPT: usize = 1024;
const DIGEST_INTERVAL: i64 = 128;

/// A replica that differs from what the leader computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "after {zxid} the tree's digest is {found:#x} and should be {expected:#x}: this copy of the data is wrong"
)]
pub struct DigestMismatch {
    /// The transaction after which they differ.
    pub zxid: Zxid,
    /// The leader's digest.
    pub expected: u64,
    /// Our own.
    pub found: u64,
}

/// The replicated state of one server.
#[derive(Debug)]
pub struct State {
    params: StateParams,
    tree: Tree,
    // Live global sessions with the timeouts they were created with.
    sessions: BTreeMap<SessionId, i32>,
    // Sessions that began (`Some`) or ended since the last fold began.
    session_changes: BTreeMap<SessionId, Option<i32>>,
    watches: WatchTable,
    // The newest transaction that is wholly applied.
    last_zxid: Zxid,
    // What clients may do; of this server alone.
    service: Service,
    digests: VecDeque<(Zxid, u64)>,
}

impl State {
    /// The state of a server that has never seen a transaction.
    #[must_use]
    pub fn new(params: StateParams) -> Self {
        let tree = Tree::new(params.hash_seed, params.extended_types);
        Self::with_tree(params, tree, BTreeMap::new(), Zxid::ZERO)
    }

    fn with_tree(
        params: StateParams,
        tree: Tree,
        sessions: BTreeMap<SessionId, i32>,
        last_zxid: Zxid,
    ) -> Self {
        Self {
            watches: WatchTable::new(params.hash_seed),
            params,
            tree,
            sessions,
            session_changes: BTreeMap::new(),
            last_zxid,
            service: Service::Full,
            digests: VecDeque::new(),
        }
    }

    /// Applies one transaction; what it makes connections hear goes to `outputs`, events first.
    ///
    /// # Errors
    /// When the tree afterwards is not the one that the leader computed. The transaction stays applied: the copy
    /// cannot be trusted, whatever is done.
    pub fn apply(
        &mut self,
        committed: &Committed,
        outputs: &mut Outputs,
    ) -> Result<(), DigestMismatch> {
        let TxnEntry {
            header,
            txn,
            digest,
        } = &committed.entry;
        let quiet = self.watches.is_empty();
        let mut live = Live {
            tree: &mut self.tree,
            sessions: &mut self.sessions,
            session_changes: &mut self.session_changes,
            watches: (!quiet).then_some(&mut self.watches),
            rules: &self.params.acl,
            zxid: header.zxid,
            outputs,
        };
        let outcome = apply(&mut live, header, txn);
        self.last_zxid = self.last_zxid.max(header.zxid);
        if let Some(origin) = &committed.origin {
            reply::write(origin, header.zxid, &outcome, outputs);
        }
        if let Some(conn) = committed.close {
            outputs.close(conn);
        }
        self.log_digest(header.zxid);
        match digest {
            Some(digest) if digest.version == DIGEST_VERSION => {
                self.compare_digest(header.zxid, digest.tree_digest)
            }
            _ => Ok(()),
        }
    }

    fn log_digest(&mut self, zxid: Zxid) {
        if zxid.0 % DIGEST_INTERVAL == 0 {
            if self.digests.len() == DIGESTS_KEPT {
                self.digests.pop_front();
            }
            self.digests.push_back((zxid, self.tree.digest()));
        }
    }

    fn compare_digest(&self, zxid: Zxid, expected: i64) -> Result<(), DigestMismatch> {
        let (expected, found) = (expected.cast_unsigned(), self.tree.digest());
        if expected == found {
            Ok(())
        } else {
            Err(DigestMismatch {
                zxid,
                expected,
                found,
            })
        }
    }

    /// Makes `/zookeeper/config` say what the membership is, if it says something else. No transaction does this: of a
    /// membership that only files, or other servers, have told of there is none.
    ///
    /// ZooKeeper: `ZKDatabase.initConfigInZKDatabase`.
    pub fn set_config(&mut self, text: &Text, version: i64, now_ms: i64) {
        let Some(node) = self.tree.find(tree::path::CONFIG) else {
            return;
        };
        if self.tree.data(node) == Some(text.as_bytes()) {
            return;
        }
        let stat = StatPersisted {
            mzxid: Zxid(version),
            mtime: now_ms,
            version: -1,
            ..self.tree.stored_stat(node)
        };
        let change = tree::Change {
            stat: Some(stat),
            data: Some(Some(text.as_bytes_shared())),
            acl: None,
        };
        self.tree.change(node, tree::path::CONFIG, change);
    }

    /// What `/zookeeper/config` says, with its version, unless somebody has merely written something there.
    #[must_use]
    pub fn config(&self) -> Option<(&str, i64)> {
        let node = self.tree.find(tree::path::CONFIG)?;
        let stat = self.tree.stored_stat(node);
        let text = std::str::from_utf8(self.tree.data(node)?).ok()?;
        (stat.version == -1).then_some((text, stat.mzxid.0))
    }

    /// The newest transaction applied.
    #[must_use]
    pub const fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// What clients may do.
    #[must_use]
    pub const fn service(&self) -> Service {
        self.service
    }

    /// Whether clients may read.
    #[must_use]
    pub const fn is_serving(&self) -> bool {
        matches!(self.service, Service::ReadOnly | Service::Full)
    }

    /// Whether all that is applied is committed, so that folds may begin.
    #[must_use]
    pub const fn is_committed(&self) -> bool {
        matches!(self.service, Service::Others | Service::Full)
    }

    /// Lets clients do so much from now on.
    pub const fn set_service(&mut self, service: Service) {
        self.service = service;
    }

    /// What the state was built with.
    #[must_use]
    pub const fn params(&self) -> &StateParams {
        &self.params
    }

    pub(crate) const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The watch tables.
    #[must_use]
    pub const fn watches(&self) -> &WatchTable {
        &self.watches
    }

    /// Live sessions with the timeouts, in milliseconds, that they were created with.
    #[must_use]
    pub const fn sessions(&self) -> &BTreeMap<SessionId, i32> {
        &self.sessions
    }

    /// Containers and TTL nodes whose time has come; see [`Owner`](tree::Owner).
    #[must_use]
    pub fn abandoned(&self, now_ms: i64, never_used_ms: i64) -> Vec<Text> {
        self.tree.abandoned(now_ms, never_used_ms)
    }

    /// The digest of the tree.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.tree.digest()
    }

    /// The digest counted afresh from all nodes; equal to [`Self::digest`] unless there is a bug.
    #[must_use]
    pub fn audit_digest(&self) -> u64 {
        self.tree.recount_digest()
    }

    /// Digests of the past, oldest first, one for every 128 transactions.
    pub fn digests(&self) -> impl Iterator<Item = (Zxid, u64)> {
        self.digests.iter().copied()
    }

    /// Forgets the digests of the past: those of a tree that was of no one moment say nothing.
    pub fn forget_digests(&mut self) {
        self.digests.clear();
    }

    /// Sessions with ephemeral nodes, and the nodes.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = (SessionId, Vec<String>)> {
        self.tree.sessions_with_ephemerals()
    }

    /// Figures for operators.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            nodes: self.tree.node_count(),
            ephemerals: self.tree.ephemeral_count(),
            approximate_bytes: self.tree.approximate_bytes(),
            acls: self.tree.acl_count(),
            sessions: self.sessions.len(),
            fold_backlog: self.fold_backlog(),
        }
    }

    /// Changed nodes, deletions and sessions that the next fold would hold.
    #[must_use]
    pub fn fold_backlog(&self) -> usize {
        self.tree.fold_backlog() + self.session_changes.len()
    }

    /// The armed quotas: path, limits, usage.
    pub fn quotas(
        &self,
    ) -> impl Iterator<Item = (&str, tree::quota::StatsTrack, tree::quota::StatsTrack)> {
        self.tree.quotas()
    }

    /// Begins a fold of everything that changed since the last one began. Exactly one may be under way.
    #[must_use]
    pub fn begin_fold(&mut self) -> FoldStart {
        FoldStart {
            zxid: self.last_zxid,
            digest: self.tree.digest(),
            deleted: self.tree.begin_fold(),
            sessions: std::mem::take(&mut self.session_changes),
        }
    }

    /// Copies up to `most` nodes of the fold under way, as they were when it began.
    #[must_use]
    pub fn fold_slice(&mut self, most: usize) -> FoldSlice {
        self.tree.fold_slice(most)
    }
}

/// What clients may do with a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Nothing.
    None,
    /// Nothing, though all that is applied is committed: other servers serve clients.
    Others,
    /// Read. What is applied may never be committed.
    ReadOnly,
    /// Everything: all that is applied is committed.
    Full,
}

/// Figures of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Znodes, the root and the built-in ones included.
    pub nodes: usize,
    /// Ephemeral znodes.
    pub ephemerals: usize,
    /// Bytes of all paths and data.
    pub approximate_bytes: u64,
    /// Distinct access control lists.
    pub acls: usize,
    /// Live sessions.
    pub sessions: usize,
    /// Changed nodes, deletions and sessions that the next fold would hold.
    pub fold_backlog: usize,
}

/// What a fold begins with.
#[derive(Debug)]
pub struct FoldStart {
    /// The transaction as of which the fold is exact.
    pub zxid: Zxid,
    /// The digest of the tree at that point.
    pub digest: u64,
    /// Paths to delete, before any row is put.
    pub deleted: Vec<Box<str>>,
    /// Sessions that began (with their timeouts) or ended.
    pub sessions: BTreeMap<SessionId, Option<i32>>,
}

/// Builds a state out of a snapshot.
#[derive(Debug)]
pub struct StateLoader {
    params: StateParams,
    tree: TreeLoader,
    sessions: BTreeMap<SessionId, i32>,
}

impl StateLoader {
    /// Begins with nothing.
    #[must_use]
    pub fn new(params: StateParams) -> Self {
        let tree = TreeLoader::new(params.hash_seed, params.extended_types);
        Self {
            params,
            tree,
            sessions: BTreeMap::new(),
        }
    }

    /// Takes a row. Rows come in the order of their paths' bytes, the root's, `/`, first.
    ///
    /// # Errors
    /// When the row is damaged, of another format, or has no parent.
    pub fn row(&mut self, path: &str, row: &Bytes) -> Result<(), RowError> {
        self.tree.row(path, row)
    }

    /// Takes a node that is no row yet; otherwise as [`Self::row`].
    pub(crate) fn node(
        &mut self,
        path: &str,
        stat: StatPersisted,
        acl: Option<&[Acl]>,
        data: Option<&Bytes>,
    ) -> Result<(), RowError> {
        self.tree.node(path, NewNode { stat, data, acl })
    }

    /// Takes a live session.
    pub fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.insert(session, timeout_ms);
    }

    /// Whether a row of this path was taken. A second one must not be.
    #[must_use]
    pub fn has(&mut self, path: &str) -> bool {
        self.tree.has(path)
    }

    /// The state as of `zxid`, whose digest nobody has told; `None` if no row came.
    #[must_use]
    pub fn finish_untold(self, zxid: Zxid) -> Option<State> {
        let tree = self.tree.finish()?;
        Some(State::with_tree(self.params, tree, self.sessions, zxid))
    }

    /// The state as of `zxid`; a new server's if no row came.
    ///
    /// # Errors
    /// When the digest is not the snapshot's: rows are missing or changed.
    pub fn finish(self, zxid: Zxid, digest: u64) -> Result<State, DigestMismatch> {
        let Some(tree) = self.tree.finish() else {
            return Ok(State::new(self.params));
        };
        let state = State::with_tree(self.params, tree, self.sessions, zxid);
        state.compare_digest(zxid, digest.cast_signed())?;
        Ok(state)
    }
}
