//! A snapshot as a learner takes it.

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::snapshot::{
    SnapshotItem, SnapshotNode, SnapshotReader, SnapshotStreamError,
};

use super::acl_numbers::NumberedAcls;
use crate::state::tree::encode_row;
use crate::state::{RowError, State, StateLoader, StateParams};
use crate::storage::snapshot::{FoldBatch, SnapshotError, SnapshotStore};

/// Builds a state out of a stream that comes in pieces, and stages its rows beside the snapshot that is there.
///
/// What is there stays untouched. When the stream is complete and [`SnapshotReceiver::finish`] has returned, the staged
/// snapshot is durable, and [`crate::storage::install`] puts it in place. A receiver that is dropped before leaves something
/// staged: [`SnapshotStore::discard_staged`] removes it, as does the next start.
///
/// ZooKeeper: `Learner.syncWithLeader` for SNAP, `SerializeUtils.deserializeSnapshot`.
pub struct SnapshotReceiver {
    zxid: Zxid,
    reader: SnapshotReader,
    loader: StateLoader,
    staged: Box<dyn SnapshotStore>,
    acls: NumberedAcls,
    // The path of the newest node, and whether each was behind the one before it.
    newest: Bytes,
    ascending: bool,
    // Not yet written to `staged`.
    batch: FoldBatch,
    batch_bytes: usize,
    complete: bool,
}

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    More,
    /// It is complete. What was fed beyond its end is given back by [`SnapshotReceiver::finish`].
    Complete,
}

/// What came of a stream.
#[derive(Debug)]
pub struct Received {
    /// The state, with its digest counted afresh.
    pub state: State,
    /// What was fed beyond the stream's end.
    pub rest: Bytes,
}

/// Why a stream is not taken. What was there before is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// It is no snapshot.
    #[error(transparent)]
    Stream(#[from] SnapshotStreamError),
    /// Its nodes make no tree.
    #[error("the snapshot that was sent is no tree: {0}")]
    Row(#[from] RowError),
    /// A node comes twice.
    #[error("the snapshot that was sent has {path} twice")]
    Twice {
        /// Which.
        path: String,
    },
    /// It has no nodes.
    #[error("the snapshot that was sent is empty")]
    Empty,
    /// It is not complete.
    #[error("the snapshot that was sent breaks off")]
    BrokenOff,
    /// What came cannot be stored.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl SnapshotReceiver {
    /// Begins to take a snapshot as of `zxid`. Strings, data and lists in it have `limit` bytes at most
    /// (`jute.maxbuffer` and its extra size).
    ///
    /// # Errors
    /// When nothing can be staged.
    pub fn begin(
        store: &mut dyn SnapshotStore,
        zxid: Zxid,
        params: StateParams,
        limit: usize,
    ) -> Result<Self, ReceiveError> {
        Ok(Self {
            zxid,
            reader: SnapshotReader::new(limit),
            loader: StateLoader::new(params),
            staged: store.stage()?,
            acls: NumberedAcls::default(),
            newest: Bytes::new(),
            ascending: true,
            batch: FoldBatch {
                zxid,
                ..FoldBatch::default()
            },
            batch_bytes: 0,
            complete: false,
        })
    }

    /// Takes the next bytes, which may go beyond the stream's end.
    ///
    /// # Errors
    /// Everything in [`ReceiveError`]; the receiver is of no use then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, ReceiveError> {
        self.reader.feed(bytes);
        while let Some(item) = self.reader.next_item()? {
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
                SnapshotItem::End => self.complete = true,
            }
            if self.batch_bytes >= BATCH_BYTES {
                self.write_batch()?;
            }
        }
        Ok(if self.complete {
            Progress::Complete
        } else {
            Progress::More
        })
    }

    /// Makes the staged snapshot durable and closes it.
    ///
    /// # Errors
    /// [`ReceiveError::BrokenOff`] before the stream is complete; the disk's.
    pub fn finish(mut self) -> Result<Received, ReceiveError> {
        if !self.complete {
            return Err(ReceiveError::BrokenOff);
        }
        // The last batch is not empty of meaning even if it has no rows: it holds the digest.
        let last = std::mem::take(&mut self.batch);
        let state = self
            .loader
            .finish_untold(self.zxid)
            .ok_or(ReceiveError::Empty)?;
        self.staged.write(FoldBatch {
            digest: state.digest(),
            ..last
        })?;
        self.staged.flush()?;
        drop(self.staged);
        Ok(Received {
            state,
            rest: self.reader.into_rest(),
        })
    }

    fn node(&mut self, node: &SnapshotNode) -> Result<(), ReceiveError> {
        let path = if node.path.is_empty() {
            "/"
        } else {
            &*node.path
        };
        // While paths ascend, as those of our own leaders do, none of them is one of those before.
        self.ascending &= *self.newest < *path.as_bytes();
        if !self.ascending && self.loader.has(path) {
            return Err(ReceiveError::Twice {
                path: path.to_owned(),
            });
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

    fn write_batch(&mut self) -> Result<(), ReceiveError> {
        let next = FoldBatch {
            zxid: self.zxid,
            ..FoldBatch::default()
        };
        self.batch_bytes = 0;
        let batch = std::mem::replace(&mut self.batch, next);
        Ok(self.staged.write(batch)?)
    }
}

/// How much is gathered before it is written to the staged store.
const BATCH_BYTES: usize = 1 << 20;
