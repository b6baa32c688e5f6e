//! A snapshot as a learner takes it.

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::quorum::snapshot::{SnapshotItem, SnapshotReader, SnapshotStreamError};

use super::stage::{Stage, StageError};
use crate::state::{RowError, State, StateParams};
use crate::storage::snapshot::{SnapshotError, SnapshotStore};

/// Builds a state out of a stream that comes in pieces, and stages its rows beside the snapshot that is there.
///
/// What is there stays untouched. When the stream is complete and [`SnapshotReceiver::finish`] has returned, the staged
/// snapshot is durable, and [`crate::storage::install`] puts it in place. A receiver that is dropped before leaves something
/// staged: [`SnapshotStore::discard_staged`] removes it, as does the next start.
///
/// ZooKeeper: `Learner.syncWithLeader` for SNAP, `SerializeUtils.deserializeSnapshot`.
pub struct SnapshotReceiver {
    reader: SnapshotReader,
    stage: Stage,
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
            reader: SnapshotReader::new(limit),
            stage: Stage::new(zxid, params, store.stage()?),
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
            self.complete |= matches!(item, SnapshotItem::End);
            self.stage.take(item)?;
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
    pub fn finish(self) -> Result<Received, ReceiveError> {
        if !self.complete {
            return Err(ReceiveError::BrokenOff);
        }
        let (state, mut staged) = self.stage.finish()?.ok_or(ReceiveError::Empty)?;
        staged.flush()?;
        drop(staged);
        Ok(Received {
            state,
            rest: self.reader.into_rest(),
        })
    }
}

impl From<StageError> for ReceiveError {
    fn from(problem: StageError) -> Self {
        match problem {
            StageError::Row(problem) => Self::Row(problem),
            StageError::Twice(path) => Self::Twice { path },
            StageError::Store(problem) => Self::Snapshot(problem),
        }
    }
}
