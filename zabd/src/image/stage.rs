//! What stands in a snapshot of Java's format, item by item, in both forms that it has here: a state, and rows in a store that is
//! staged beside the one there is.

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::snapshot::{SnapshotItem, SnapshotNode};
use thiserror::Error;

use super::acl_numbers::NumberedAcls;
use crate::state::tree::encode_row;
use crate::state::{RowError, State, StateLoader, StateParams};
use crate::storage::snapshot::{FoldBatch, SnapshotError, SnapshotStore};

/// Makes both out of the items.
pub(super) struct Stage {
    zxid: Zxid,
    loader: StateLoader,
    staged: Box<dyn SnapshotStore>,
    acls: NumberedAcls,
    // The path of the newest node, and whether each was behind the one before it.
    newest: Bytes,
    ascending: bool,
    // Not yet written to `staged`.
    batch: FoldBatch,
    batch_bytes: usize,
}

/// Why an item is not taken.
#[derive(Debug, Error)]
pub(super) enum StageError {
    /// It makes no tree with those before it.
    #[error(transparent)]
    Row(#[from] RowError),
    /// There is such a node already.
    #[error("{0} comes twice")]
    Twice(String),
    /// It cannot be stored.
    #[error(transparent)]
    Store(#[from] SnapshotError),
}

/// What came of it.
type Staged = (State, Box<dyn SnapshotStore>);

impl Stage {
    /// A snapshot as of `zxid`, for a store that holds nothing yet.
    pub(super) fn new(zxid: Zxid, params: StateParams, staged: Box<dyn SnapshotStore>) -> Self {
        Self {
            zxid,
            loader: StateLoader::new(params),
            staged,
            acls: NumberedAcls::default(),
            newest: Bytes::new(),
            ascending: true,
            batch: FoldBatch::default(),
            batch_bytes: 0,
        }
    }

    /// Takes the next item.
    pub(super) fn take(&mut self, item: SnapshotItem) -> Result<(), StageError> {
        match item {
            SnapshotItem::Session {
                session,
                timeout_ms,
            } => {
                self.loader.session(session, timeout_ms);
                self.batch.session_puts.push((session, timeout_ms));
                self.batch_bytes += 16;
            }
            SnapshotItem::Acl { id, acl } => self.acls.insert(id, acl),
            SnapshotItem::Node(node) => self.node(&node)?,
            SnapshotItem::End => {}
        }
        if self.batch_bytes >= BATCH_BYTES {
            self.batch_bytes = 0;
            let batch = std::mem::take(&mut self.batch);
            self.staged.write(FoldBatch {
                zxid: self.zxid,
                ..batch
            })?;
        }
        Ok(())
    }

    /// The state, and the store with all rows, not flushed; `None` if no node came.
    pub(super) fn finish(mut self) -> Result<Option<Staged>, SnapshotError> {
        let Some(state) = self.loader.finish_untold(self.zxid) else {
            return Ok(None);
        };
        // The last batch is not empty of meaning even if it has no rows: it holds the digest.
        self.staged.write(FoldBatch {
            zxid: self.zxid,
            digest: state.digest(),
            ..self.batch
        })?;
        Ok(Some((state, self.staged)))
    }

    fn node(&mut self, node: &SnapshotNode) -> Result<(), StageError> {
        let path = if node.path.is_empty() {
            "/"
        } else {
            &*node.path
        };
        // While paths ascend, as those of our own leaders do, none of them is one of those before.
        self.ascending &= *self.newest < *path.as_bytes();
        if !self.ascending && self.loader.has(path) {
            return Err(StageError::Twice(path.to_owned()));
        }
        let acl = self.acls.list(node.acl_id);
        self.loader
            .node(path, node.stat.clone(), acl, node.data.as_ref())?;
        let data = node.data.as_deref();
        let mut row = Vec::with_capacity(128 + data.map_or(0, <[u8]>::len));
        encode_row(&node.stat, acl, data, &mut row);
        self.batch_bytes += path.len() + row.len();
        self.newest = Bytes::copy_from_slice(path.as_bytes());
        self.batch.puts.push((self.newest.clone(), row.into()));
        Ok(())
    }
}

/// How much is gathered before it is written to the staged store.
const BATCH_BYTES: usize = 1 << 20;
