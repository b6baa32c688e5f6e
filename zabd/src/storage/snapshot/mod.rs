//! The snapshot: rows, sessions and a zxid, changed by whole batches.
//!
//! A store holds the tree as of one exact zxid. A [`FoldBatch`] takes it to a later one, wholly or not at all, in memory
//! at first; [`SnapshotStore::flush`] makes what was written durable. After a crash the store is as of some batch that
//! was flushed, and never between two. What a row holds is not known here.

mod mem;
#[cfg(feature = "rocksdb")]
mod rocks;

use std::path::PathBuf;

use thiserror::Error;

pub use mem::MemStore;
#[cfg(feature = "rocksdb")]
pub use rocks::RocksStore;

/// What takes a snapshot from one zxid to a later one. Deletions come before puts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoldBatch {
    /// The transaction as of which the snapshot is exact afterwards.
    pub zxid: i64,
    /// The digest of the tree then.
    pub digest: u64,
    /// Paths of rows to delete; they need not exist.
    pub deletes: Vec<Vec<u8>>,
    /// Rows to put: path and image.
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    /// Sessions to put: id and timeout in milliseconds.
    pub session_puts: Vec<(i64, i32)>,
    /// Sessions to delete.
    pub session_deletes: Vec<i64>,
}

/// Which point in history a snapshot is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The transaction.
    pub zxid: i64,
    /// The digest of the tree.
    pub digest: u64,
}

/// A snapshot that cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The database below says no.
    #[error("snapshot {path}: {problem}")]
    Database {
        /// Its directory.
        path: PathBuf,
        /// Its words.
        problem: String,
    },
    /// What is stored is not what was written.
    #[error(
        "snapshot {path} is damaged: {problem}. Keep a copy; if the transaction log still reaches back to the beginning, \
         removing the snapshot directory lets the server rebuild it from the log"
    )]
    Damaged {
        /// Its directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another version of zabd wrote it.
    #[error("snapshot {path} has format {found}; this zabd reads {expected}")]
    Version {
        /// Its directory.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The format that is read here.
        expected: u32,
    },
}

/// A place for a snapshot.
pub trait SnapshotStore: Send + 'static {
    /// Takes a batch, wholly or not at all.
    ///
    /// # Errors
    /// The store's; it is then as before.
    fn write(&mut self, batch: &FoldBatch) -> Result<(), SnapshotError>;

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The store's.
    fn flush(&mut self) -> Result<(), SnapshotError>;

    /// The point in history that a crash would leave; `None` for an empty store.
    ///
    /// # Errors
    /// The store's.
    fn durable(&self) -> Result<Option<SnapshotMeta>, SnapshotError>;

    /// The point in history of what is written, durable or not; `None` for an empty store.
    ///
    /// # Errors
    /// The store's.
    fn meta(&self) -> Result<Option<SnapshotMeta>, SnapshotError>;

    /// Calls `row` with path and image of every row, in the order of the paths' bytes, and `session` with every session.
    ///
    /// # Errors
    /// The store's, or the first error of `row`.
    fn scan<E: From<SnapshotError>>(
        &self,
        row: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
        session: impl FnMut(i64, i32),
    ) -> Result<(), E>
    where
        Self: Sized;
}
