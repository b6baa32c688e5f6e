//! What is on disk, as a state.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jute_codec::Zxid;
use jute_codec::txn::TxnEntry;
use thiserror::Error;
use tracing::{error, info};

use crate::state::{Committed, DigestMismatch, Outputs, RowError, State, StateLoader, StateParams};
use crate::storage::disk::RealDisk;
use crate::storage::recovery::{RecoveryError, Storage, StorageOptions};
use crate::storage::snapshot::{RocksStore, SnapshotError, SnapshotStore};
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
    /// A row of the snapshot is not what a zabd wrote.
    #[error("the snapshot in {path} cannot be used: {source}")]
    Row {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        source: RowError,
    },
    /// Rows of the snapshot are missing or changed.
    #[error("the snapshot in {path} is not what was written: {source}")]
    Digest {
        /// Its directory.
        path: PathBuf,
        /// Why not.
        source: DigestMismatch,
    },
    /// A transaction of the log is none.
    #[error("transaction {zxid} in the log in {log} cannot be read: {source}")]
    Txn {
        /// Where the log is.
        log: PathBuf,
        /// Which.
        zxid: Zxid,
        /// Why not.
        source: jute_codec::DecodeError,
    },
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
    let storage = Storage::open(&RealDisk, options, RocksStore::open)?;
    if let Some(torn) = &storage.recovered.torn {
        info!(
            file = %torn.file.display(), offset = torn.offset,
            "the last run ended while writing; what was not finished was never acknowledged and is left out"
        );
    }
    let mut state = load_snapshot(&storage, params)?;
    let snapshot_zxid = state.last_zxid();
    let replayed = replay(&storage, &mut state)?;
    Ok(Recovery {
        state,
        storage,
        snapshot_zxid,
        replayed,
    })
}

fn load_snapshot(
    storage: &Storage<RealDisk, RocksStore>,
    params: StateParams,
) -> Result<State, RecoverError> {
    let Some(meta) = storage.snapshot_meta else {
        return Ok(State::new(params));
    };
    let path = &storage.layout.snapshot_dir;
    let mut loader = StateLoader::new(params);
    let mut refused = None;
    storage.snapshot.scan_rows(&mut |row_path, row| {
        // Paths come out of frames as text; other bytes are damage, which the digest would find at the latest.
        let text = String::from_utf8_lossy(row_path);
        match loader.row(&text, &Bytes::copy_from_slice(row)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(source) => {
                refused = Some(source);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(source) = refused {
        return Err(RecoverError::Row {
            path: path.clone(),
            source,
        });
    }
    storage
        .snapshot
        .scan_sessions(&mut |session, timeout_ms| loader.session(session, timeout_ms))?;
    loader
        .finish(meta.zxid, meta.digest)
        .map_err(|source| RecoverError::Digest {
            path: path.clone(),
            source,
        })
}

fn replay(storage: &Storage<RealDisk, RocksStore>, state: &mut State) -> Result<u64, RecoverError> {
    let mut replayed = 0;
    let mut outputs = Outputs::default();
    for record in storage.replay()? {
        let (zxid, payload) = record?;
        let entry = TxnEntry::decode(&payload).map_err(|source| RecoverError::Txn {
            log: storage.layout.log_dir.clone(),
            zxid,
            source,
        })?;
        if let Err(mismatch) = state.apply(
            &Committed {
                entry,
                origin: None,
                close: None,
            },
            &mut outputs,
        ) {
            error!(%mismatch, "the tree after replaying a transaction is not what was predicted; please report this");
        }
        replayed += 1;
    }
    Ok(replayed)
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
