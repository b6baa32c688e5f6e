//! What is on disk, as a state.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jute_codec::txn::TxnEntry;
use jute_codec::{SessionId, Zxid};
use thiserror::Error;
use tracing::{error, info, warn};

use crate::state::{Committed, DigestMismatch, Outputs, RowError, State, StateLoader, StateParams};
use crate::storage::disk::RealDisk;
use crate::storage::snapshot::{RocksStore, SnapshotError, SnapshotMeta, SnapshotStore};
use crate::storage::txn_log::{LogError, LogOptions, TxnLog};

/// An empty file of this name in the log directory says: go on without the log that is missing.
const ACCEPT_MISSING_LOG: &str = "accept-missing-log";

/// Where things are.
#[derive(Debug, Clone)]
pub(super) struct Directories {
    /// Holds the snapshot.
    pub(super) snapshot: PathBuf,
    /// Holds the transaction log.
    pub(super) log: PathBuf,
}

impl Directories {
    /// Below the data directories that an operator names, where Java's own folder `version-2` may stand, too.
    pub(super) fn of(data_dir: &Path, data_log_dir: &Path) -> Self {
        Self { snapshot: data_dir.join("zabd").join("snapshot"), log: data_log_dir.join("zabd").join("log") }
    }
}

/// Data that a server cannot start from.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// A directory cannot be used.
    #[error("use directory {path}")]
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
    /// The log says no.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The snapshot says no.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
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
    /// There is a log that continues a snapshot, but not the snapshot.
    #[error(
        "the snapshot in {snapshot} is missing: the log in {log} begins after transaction {base}, so what came before is \
         nowhere. Bring the directory back from where it went, or from a backup; nothing was changed"
    )]
    SnapshotMissing {
        /// Where it should be.
        snapshot: PathBuf,
        /// Where the log is.
        log: PathBuf,
        /// The transaction that the log continues.
        base: Zxid,
    },
    /// The log ends before the snapshot does: acknowledged transactions may have been lost with it.
    #[error(
        "the transaction log in {log} ends at {last}, before the snapshot at {zxid}: (a part of) the log is missing, \
         and writes that were acknowledged after the snapshot with it. Bring it back; or, if it is lost for good, make an \
         empty file named {ACCEPT_MISSING_LOG} beside it to go on from the snapshot alone"
    )]
    LogMissing {
        /// Where it should be.
        log: PathBuf,
        /// Its last transaction.
        last: Zxid,
        /// That of the snapshot.
        zxid: Zxid,
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

/// What was recovered.
pub(super) struct Recovery {
    pub(super) state: State,
    pub(super) log: TxnLog<RealDisk>,
    pub(super) store: RocksStore,
    /// The transaction as of which the snapshot is.
    pub(super) snapshot_zxid: Zxid,
    /// Transactions that were replayed.
    pub(super) replayed: u64,
}

/// Opens log and snapshot and builds the state: rows first, then the tail of the log.
pub(super) fn recover(
    directories: &Directories,
    params: StateParams,
    log_options: LogOptions,
) -> Result<Recovery, RecoverError> {
    let (mut log, found) = TxnLog::open(RealDisk, &directories.log, log_options)?;
    if let Some(torn) = &found.torn {
        info!(
            file = %torn.file.display(), offset = torn.offset,
            "the last run ended while writing; what was not finished was never acknowledged and is left out"
        );
    }
    fs::create_dir_all(&directories.snapshot)
        .map_err(|source| RecoverError::Directory { path: directories.snapshot.clone(), source })?;
    let store = RocksStore::open(&directories.snapshot)?;
    let mut state = load_snapshot(directories, params, &store)?;
    let snapshot_zxid = state.last_zxid();
    check_fit(directories, &mut log, snapshot_zxid, found.oldest_base)?;
    let replayed = replay(directories, &log, &mut state)?;
    Ok(Recovery { state, log, store, snapshot_zxid, replayed })
}

fn load_snapshot(directories: &Directories, params: StateParams, store: &RocksStore) -> Result<State, RecoverError> {
    let Some(SnapshotMeta { zxid, digest }) = store.meta()? else {
        return Ok(State::new(params));
    };
    let mut loader = StateLoader::new(params);
    let mut sessions = Vec::new();
    let path = &directories.snapshot;
    store.scan(
        |row_path, row| {
            let text = String::from_utf8_lossy(row_path);
            loader
                .row(&text, &Bytes::copy_from_slice(row))
                .map_err(|source| RecoverError::Row { path: path.clone(), source })
        },
        |session, timeout_ms| sessions.push((SessionId(session), timeout_ms)),
    )?;
    for (session, timeout_ms) in sessions {
        loader.session(session, timeout_ms);
    }
    loader.finish(Zxid(zxid), digest).map_err(|source| RecoverError::Digest { path: path.clone(), source })
}

/// Log and snapshot must be of one history: the log begins no later than the snapshot ends, and ends no earlier.
fn check_fit(
    directories: &Directories,
    log: &mut TxnLog<RealDisk>,
    snapshot: Zxid,
    oldest_base: Option<Zxid>,
) -> Result<(), RecoverError> {
    if let Some(base) = oldest_base
        && base > snapshot
    {
        return Err(RecoverError::SnapshotMissing {
            snapshot: directories.snapshot.clone(),
            log: directories.log.clone(),
            base,
        });
    }
    if log.last_zxid() >= snapshot {
        return Ok(());
    }
    let marker = directories.log.join(ACCEPT_MISSING_LOG);
    if !marker.exists() {
        return Err(RecoverError::LogMissing {
            log: directories.log.clone(),
            last: log.last_zxid(),
            zxid: snapshot,
        });
    }
    warn!(zxid = %snapshot, "going on from the snapshot alone, as {} says", marker.display());
    log.restart_at(snapshot)?;
    fs::remove_file(&marker).map_err(|source| RecoverError::Directory { path: marker, source })
}

fn replay(directories: &Directories, log: &TxnLog<RealDisk>, state: &mut State) -> Result<u64, RecoverError> {
    let mut replayed = 0;
    let mut outputs = Outputs::default();
    for record in log.read_after(state.last_zxid())? {
        let (zxid, payload) = record?;
        let entry = TxnEntry::decode(&payload)
            .map_err(|source| RecoverError::Txn { log: directories.log.clone(), zxid, source })?;
        if let Err(mismatch) = state.apply(&Committed { entry, origin: None, close: None }, &mut outputs) {
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
        let entries = fs::read_dir(&java).map_err(|source| RecoverError::Directory { path: java.clone(), source })?;
        let is_data = |name: &str| name.starts_with("snapshot.") || name.starts_with("log.");
        if entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_data)) {
            return Err(RecoverError::JavaData { path: java });
        }
    }
    Ok(())
}
