//! Where a server's files are, and the lock that keeps other processes away from them.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::txn_log::staged_dir;

/// Where things are, under ZooKeeper's `dataDir` and `dataLogDir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `<dataDir>/zabd`.
    pub root: PathBuf,
    /// `<dataDir>/zabd/snapshot`.
    pub snapshot_dir: PathBuf,
    /// `<dataLogDir>/zabd/log`.
    pub log_dir: PathBuf,
    /// `<dataLogDir>/zabd/log.received`.
    pub received_log_dir: PathBuf,
}

/// Why a data directory cannot be had for oneself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has it.
    #[error("data directory {} is in use by another process", root.display())]
    InUse {
        /// `<dataDir>/zabd`.
        root: PathBuf,
    },

    /// The disk.
    #[error("lock data directory {}", root.display())]
    Io {
        /// `<dataDir>/zabd`.
        root: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
}

impl Layout {
    /// The places for a configuration.
    #[must_use]
    pub fn new(data_dir: &Path, data_log_dir: &Path) -> Self {
        let root = data_dir.join("zabd");
        let log_dir = data_log_dir.join("zabd").join("log");
        Self {
            snapshot_dir: root.join("snapshot"),
            received_log_dir: staged_dir(&log_dir),
            log_dir,
            root,
        }
    }

    /// Keeps other processes out of these directories for as long as what it returns lives. Makes [`Self::root`] if it is
    /// not there.
    ///
    /// # Errors
    /// [`LockError::InUse`]; the disk's.
    pub fn lock<D: Disk>(&self, disk: &D) -> Result<D::Lock, LockError> {
        let root = || self.root.clone();
        disk.create_dir_all(&self.root)
            .and_then(|()| disk.lock(&self.root.join("LOCK")))
            .map_err(|source| LockError::Io {
                root: root(),
                source,
            })?
            .ok_or_else(|| LockError::InUse { root: root() })
    }
}
