//! What is on disk, as a state.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jute_codec::Zxid;
use thiserror::Error;
use tracing::{info, warn};

use crate::image::rebuild::{RebuildError, Rebuilt, Sources};
use crate::replica::zab;
use crate::state::{State, StateParams};
use crate::storage::disk::RealDisk;
use crate::storage::epochs::{EpochError, EpochFile, Epochs};
use crate::storage::install::{Incomplete, InstallError};
use crate::storage::recovery::{RecoveryError, Storage, StorageOptions};
use crate::storage::snapshot::{FoldBatch, RocksStore, SnapshotError, SnapshotStore};
use crate::storage::txn_log::LogError;

/// Data that a server cannot start from.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// A directory cannot be looked at.
    #[error("look into {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory is there for Apache ZooKeeper.
    #[error(
        "{path} holds data of Apache ZooKeeper, which this version of zabd does not read; \
         name another dataDir, or move that folder away if its data is not wanted"
    )]
    JavaData {
        /// Its folder.
        path: PathBuf,
    },
    /// Log and snapshot, or one of them, say no.
    #[error(transparent)]
    Storage(#[from] RecoveryError),
    /// What they hold makes no state.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The epochs that this server has promised by.
    #[error(transparent)]
    Epochs(#[from] EpochError),
    /// A leader's history that was being taken over.
    #[error(transparent)]
    Install(#[from] InstallError),
}

impl From<SnapshotError> for RecoverError {
    fn from(problem: SnapshotError) -> Self {
        Self::Storage(problem.into())
    }
}

impl From<LogError> for RecoverError {
    fn from(problem: LogError) -> Self {
        Self::Storage(problem.into())
    }
}

/// What was recovered.
pub(super) struct Recovery {
    pub(super) state: State,
    pub(super) storage: Storage<RealDisk, RocksStore>,
    /// The transaction as of which the snapshot is.
    pub(super) snapshot_zxid: Zxid,
    /// Transactions that were replayed.
    pub(super) replayed: u64,
}

/// Opens log and snapshot and builds the state: rows first, then the tail of the log.
pub(super) fn recover(
    options: &StorageOptions,
    params: StateParams,
) -> Result<Recovery, RecoverError> {
    let mut storage = Storage::open(&RealDisk, options, RocksStore::open)?;
    if let Some(torn) = &storage.recovered.torn {
        info!(
            file = %torn.file.display(), offset = torn.offset,
            "the last run ended while writing; what was not finished was never acknowledged and is left out"
        );
    }
    if storage.snapshot_meta.is_none() {
        // What others are sent, and what a history is cut back to, begins with a snapshot, if an empty one.
        storage.snapshot.write(first_fold(params.clone()))?;
        storage.snapshot.flush()?;
    }
    let sources = Sources {
        layout: &storage.layout,
        snapshot: &storage.snapshot,
        log: storage.log.index(),
    };
    let Rebuilt {
        state,
        snapshot_zxid,
        replayed,
    } = sources.newest(params)?;
    Ok(Recovery {
        state,
        storage,
        snapshot_zxid,
        replayed,
    })
}

/// The tree of a server that has never seen a transaction.
fn first_fold(params: StateParams) -> FoldBatch {
    let mut state = State::new(params);
    let start = state.begin_fold();
    let mut batch = FoldBatch {
        zxid: start.zxid,
        digest: start.digest,
        ..FoldBatch::default()
    };
    loop {
        let slice = state.fold_slice(usize::MAX);
        let rows = slice.rows.into_iter();
        batch
            .puts
            .extend(rows.map(|(path, row)| (Bytes::from(path.into_string()), Bytes::from(row))));
        if !slice.more {
            return batch;
        }
    }
}

/// What a member of an ensemble begins with. Without any data it votes only if it may be new.
///
/// ZooKeeper: `FileTxnSnapLog.restore`.
pub(super) fn recovered(
    storage: &Storage<RealDisk, RocksStore>,
    epochs: &EpochFile,
    state: &State,
    recent: (usize, usize),
    may_be_new: bool,
) -> Result<zab::Recovered, RecoverError> {
    let last = state.last_zxid();
    let Epochs { accepted, current } = epochs.load(&RealDisk, last)?;
    let is_empty = last == Zxid::ZERO && accepted == 0;
    if is_empty && !may_be_new {
        warn!(
            "there is no data, db.autocreate is false, and dataDir has no file named initialize: this server does not vote \
             before it has everything from a leader"
        );
    }
    let is_incomplete = Incomplete::new(&storage.layout).is_set(&RealDisk)?;
    if is_incomplete {
        warn!(
            "the last run ended while it was taking over a leader's history: this server does not vote before it has all \
             of one"
        );
    }
    Ok(zab::Recovered {
        may_lack: is_incomplete || (is_empty && !may_be_new),
        epochs: zab::Epochs { accepted, current },
        last,
        recent: storage.log.index().tail(recent.0, recent.1)?,
    })
}

/// Refuses directories that hold Java's data and none of ours: starting empty beside it would look like a loss.
pub(super) fn refuse_java_data(data_dir: &Path, data_log_dir: &Path) -> Result<(), RecoverError> {
    for directory in [data_dir, data_log_dir] {
        let java = directory.join("version-2");
        if directory.join("zabd").exists() || !java.is_dir() {
            continue;
        }
        let entries = fs::read_dir(&java).map_err(|source| RecoverError::Directory {
            path: java.clone(),
            source,
        })?;
        let is_data = |name: &str| name.starts_with("snapshot.") || name.starts_with("log.");
        if entries
            .flatten()
            .any(|entry| entry.file_name().to_str().is_some_and(is_data))
        {
            return Err(RecoverError::JavaData { path: java });
        }
    }
    Ok(())
}
