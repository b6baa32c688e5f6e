//! The snapshot: every znode and session as of one exact zxid, kept up to date by folding in what changed.
//!
//! A fold is one atomic [`FoldBatch`]: rows put and deleted, sessions, and the zxid and digest at which
//! the result stands. Folds become durable in order, at the latest with [`SnapshotStore::flush`]; after a
//! crash the store is as of some fold, whole, never between two. The log may be purged up to
//! [`SnapshotStore::durable_zxid`] and no further.
//!
//! A [`SnapshotView`] stays as it is while folds go on; a learner is sent one. What a learner receives is written to a
//! store of its own, *staged* beside, and then adopted whole; `super::install` says when.
//!
//! Rows are opaque: the key is the znode's path, so that a scan meets parents before their children.

mod mem;
#[cfg(feature = "rocksdb")]
mod rocks;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use bytes::Bytes;
use jute_codec::{SessionId, Zxid};

pub use mem::MemStore;
#[cfg(feature = "rocksdb")]
pub use rocks::RocksStore;

/// What changed since the last fold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldBatch {
    /// The last transaction whose effects are in the store after this fold.
    pub zxid: Zxid,
    /// The digest of the tree at `zxid`.
    pub digest: u64,
    /// Paths of znodes that are gone. Taken before `puts`, for those that were made again.
    pub deletes: Vec<Bytes>,
    /// Paths and rows of znodes that are new or changed.
    pub puts: Vec<(Bytes, Bytes)>,
    /// Sessions that are gone. Taken before `session_puts`.
    pub session_deletes: Vec<SessionId>,
    /// Sessions that are new or changed, with their timeout in milliseconds.
    pub session_puts: Vec<(SessionId, i32)>,
    /// Further values, by name, that stand for the whole tree.
    pub extras: Vec<(String, Bytes)>,
}

/// As of when the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last transaction in it.
    pub zxid: Zxid,
    /// The digest of the tree then.
    pub digest: u64,
}

/// Is shown the path and the row of a znode, and says whether to go on.
pub type RowVisitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Keeps a snapshot. Used by one thread at a time.
pub trait SnapshotStore: Send + 'static {
    /// Folds a batch in, atomically. Not durable before [`SnapshotStore::flush`].
    ///
    /// # Errors
    /// The disk's; the store is then as before.
    fn write(&mut self, batch: FoldBatch) -> Result<(), SnapshotError>;

    /// Makes every fold so far durable.
    ///
    /// # Errors
    /// The disk's; the folds may be tried again.
    fn flush(&mut self) -> Result<(), SnapshotError>;

    /// The zxid of the last fold that survives a power cut; `None` if there is none.
    ///
    /// # Errors
    /// Damage; the disk's.
    fn durable_zxid(&self) -> Result<Option<Zxid>, SnapshotError>;

    /// As of when the rows are; `None` for a store without any fold.
    ///
    /// # Errors
    /// Damage; the disk's.
    fn meta(&self) -> Result<Option<SnapshotMeta>, SnapshotError>;

    /// A value put by [`FoldBatch::extras`].
    ///
    /// # Errors
    /// Damage; the disk's.
    fn extra(&self, name: &str) -> Result<Option<Bytes>, SnapshotError>;

    /// Visits each row, ascending by path in byte order, until told to stop.
    ///
    /// # Errors
    /// Damage; the disk's. Rows visited before are sound, but not all there are.
    fn scan_rows(&self, visit: &mut RowVisitor<'_>) -> Result<(), SnapshotError>;

    /// Visits each session with its timeout in milliseconds, in ascending order of the unsigned id.
    ///
    /// # Errors
    /// As [`SnapshotStore::scan_rows`].
    fn scan_sessions(&self, visit: &mut dyn FnMut(SessionId, i32)) -> Result<(), SnapshotError>;

    /// The store as it is now, folds not yet durable included; `None` for one without any fold.
    ///
    /// # Errors
    /// Damage; the disk's.
    fn view(&self) -> Result<Option<Box<dyn SnapshotView>>, SnapshotError>;

    /// An empty store beside this one, which is to take its place. One that was staged before is discarded.
    ///
    /// # Errors
    /// The disk's.
    fn stage(&mut self) -> Result<Box<dyn SnapshotStore>, SnapshotError>;

    /// Removes what was staged and not adopted, if there is something. The staged store must be closed (dropped).
    ///
    /// # Errors
    /// The disk's.
    fn discard_staged(&mut self) -> Result<(), SnapshotError>;

    /// Puts what was staged and flushed in the place of everything here, durably; views end. Does nothing if nothing is
    /// staged, so after a crash on the way it is called again. The staged store must be closed (dropped).
    ///
    /// # Errors
    /// The disk's; the store is then of no use before a call has succeeded.
    fn adopt_staged(&mut self) -> Result<(), SnapshotError>;
}

/// A store as it was at one moment.
pub trait SnapshotView: Send {
    /// As of when the rows are.
    fn meta(&self) -> SnapshotMeta;

    /// Rows with their paths, ascending by path in byte order from the first one after `after` on (from the first of
    /// all, if there is none): until they have `bytes` bytes or more. None come at the end only.
    ///
    /// # Errors
    /// Damage; the disk's; the store was replaced meanwhile.
    fn rows_after(
        &mut self,
        after: Option<&[u8]>,
        bytes: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, SnapshotError>;

    /// The sessions with their timeouts in milliseconds, in ascending order of the unsigned id.
    ///
    /// # Errors
    /// As [`SnapshotView::rows_after`].
    fn sessions(&mut self) -> Result<Vec<(SessionId, i32)>, SnapshotError>;
}

/// Why the snapshot cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// What is on the disk is not what was written, or a part of it is missing.
    #[error("snapshot {} is damaged: {detail}. {REPAIR}", dir.display())]
    Damaged {
        /// The snapshot's directory.
        dir: PathBuf,
        /// What RocksDB says, with the file.
        detail: String,
    },

    /// Written by another version of the program.
    #[error("snapshot {} has format version {found}; this program reads version {supported}. Use the program \
             that wrote it", dir.display())]
    Version {
        /// The snapshot's directory.
        dir: PathBuf,
        /// The version found.
        found: u32,
        /// The version this program reads.
        supported: u32,
    },

    /// The disk, or RocksDB on its behalf, refused.
    #[error("{action} snapshot {}", dir.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The snapshot's directory.
        dir: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
}

const REPAIR: &str = "Restore the directory from a copy; or move it away, which is enough if the transaction log \
                      still begins with the first transaction; or, if this server belongs to an ensemble that has a \
                      quorum without it, move all its zabd directories away and let it synchronise from the others";
