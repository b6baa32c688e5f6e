//! A state out of snapshot and log: at a start, and after the log was cut.

use std::path::PathBuf;

use jute_codec::Zxid;
use jute_codec::txn::TxnEntry;
use thiserror::Error;
use tracing::error;

use super::loading::load_rows;
use crate::state::{Committed, DigestMismatch, Outputs, RowError, State, StateLoader, StateParams};
use crate::storage::disk::Disk;
use crate::storage::layout::Layout;
use crate::storage::snapshot::{SnapshotError, SnapshotStore};
use crate::storage::txn_log::{LogError, LogIndex, LogPlace, Unusable};

/// What a state is made of.
pub struct Sources<'a, D: Disk, S> {
    /// Where both are, for messages.
    pub layout: &'a Layout,
    /// The snapshot.
    pub snapshot: &'a S,
    /// The log.
    pub log: LogIndex<D>,
}

/// A state, and how it came about.
#[derive(Debug)]
pub struct Rebuilt {
    /// The state.
    pub state: State,
    /// The transaction as of which the snapshot is; zero if there is none.
    pub snapshot_zxid: Zxid,
    /// Transactions that were replayed.
    pub replayed: u64,
}

/// Why no state can be made, or not the one that was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
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
    /// The history is to end before what the snapshot holds already, and a snapshot cannot be taken back.
    #[error(
        "the history is to end with {zxid}, but the snapshot in {path} is as of {snapshot} already"
    )]
    SnapshotBeyond {
        /// The snapshot's directory.
        path: PathBuf,
        /// As of when it is.
        snapshot: Zxid,
        /// Where the history is to end.
        zxid: Zxid,
    },
    /// The history is to end with a transaction that it does not have.
    #[error(
        "the history is to end with {zxid}, which the log in {log} does not have: {before} comes before its place"
    )]
    NotInLog {
        /// Where the log is.
        log: PathBuf,
        /// Where the history is to end.
        zxid: Zxid,
        /// The newest transaction before that.
        before: Zxid,
    },
}

impl<D: Disk, S: SnapshotStore> Sources<'_, D, S> {
    /// The state as of the newest durable transaction.
    ///
    /// # Errors
    /// Everything in [`RebuildError`] but what is about an end.
    pub fn newest(&self, params: StateParams) -> Result<Rebuilt, RebuildError> {
        self.through(self.log.durable_zxid(), params)
    }

    /// The state as of `zxid`, which is the newest transaction of the log or an earlier one.
    ///
    /// # Errors
    /// Everything in [`RebuildError`].
    pub fn through(&self, zxid: Zxid, params: StateParams) -> Result<Rebuilt, RebuildError> {
        self.check_end(zxid)?;
        let mut state = self.load(params)?;
        let snapshot_zxid = state.last_zxid();
        let replayed = self.replay(&mut state, zxid)?;
        Ok(Rebuilt {
            state,
            snapshot_zxid,
            replayed,
        })
    }

    /// The state as of `zxid`, and the digest of the tree as of an earlier transaction on the way, if the snapshot is not
    /// beyond that.
    ///
    /// # Errors
    /// Everything in [`RebuildError`].
    pub fn through_and_digest_at(
        &self,
        zxid: Zxid,
        earlier: Zxid,
        params: StateParams,
    ) -> Result<(Rebuilt, Option<u64>), RebuildError> {
        self.check_end(zxid)?;
        let mut state = self.load(params)?;
        let snapshot_zxid = state.last_zxid();
        let mut replayed = 0;
        let mut digest = None;
        if snapshot_zxid <= earlier && earlier <= zxid {
            replayed = self.replay(&mut state, earlier)?;
            digest = (state.last_zxid() == earlier).then(|| state.digest());
        }
        replayed += self.replay(&mut state, zxid)?;
        let rebuilt = Rebuilt {
            state,
            snapshot_zxid,
            replayed,
        };
        Ok((rebuilt, digest))
    }

    /// Cuts the log after `zxid` and makes the state as of then. `cut` does as
    /// [`crate::storage::txn_log::TxnLog::truncate_after`], and returns when that is durable. Nothing is cut unless the
    /// state can be made.
    ///
    /// ZooKeeper: `ZKDatabase.truncateLog`, which leaves a snapshot beyond `zxid` in place, and with it what was to be
    /// forgotten.
    ///
    /// # Errors
    /// Everything in [`RebuildError`].
    pub fn truncate(
        &self,
        zxid: Zxid,
        params: StateParams,
        cut: impl FnOnce(Zxid) -> Result<(), LogError>,
    ) -> Result<Rebuilt, RebuildError> {
        self.check_end(zxid)?;
        if let LogPlace::After(before) = self.place(zxid)? {
            return Err(RebuildError::NotInLog {
                log: self.layout.log_dir.clone(),
                zxid,
                before,
            });
        }
        let rebuilt = self.through(zxid, params)?;
        cut(zxid)?;
        Ok(rebuilt)
    }

    fn place(&self, zxid: Zxid) -> Result<LogPlace, RebuildError> {
        match self.log.look_up(zxid, None) {
            LogPlace::Unusable(Unusable::Log(problem)) => Err(problem.into()),
            place => Ok(place),
        }
    }

    fn check_end(&self, zxid: Zxid) -> Result<(), RebuildError> {
        match self.snapshot.meta()? {
            Some(meta) if meta.zxid > zxid => Err(RebuildError::SnapshotBeyond {
                path: self.layout.snapshot_dir.clone(),
                snapshot: meta.zxid,
                zxid,
            }),
            _ => Ok(()),
        }
    }

    fn load(&self, params: StateParams) -> Result<State, RebuildError> {
        let Some(meta) = self.snapshot.meta()? else {
            return Ok(State::new(params));
        };
        let path = &self.layout.snapshot_dir;
        let loaded = load_rows(self.snapshot, StateLoader::new(params))?;
        let mut loader = loaded.map_err(|source| RebuildError::Row {
            path: path.clone(),
            source,
        })?;
        self.snapshot
            .scan_sessions(&mut |session, timeout_ms| loader.session(session, timeout_ms))?;
        loader
            .finish(meta.zxid, meta.digest)
            .map_err(|source| RebuildError::Digest {
                path: path.clone(),
                source,
            })
    }

    fn replay(&self, state: &mut State, through: Zxid) -> Result<u64, RebuildError> {
        let mut replayed = 0;
        // The first of those up to the newest comparison.
        let mut mismatch = None;
        let mut outputs = Outputs::default();
        for record in self.log.read_range(state.last_zxid(), through)? {
            let (zxid, payload) = record?;
            let entry = TxnEntry::decode(&payload).map_err(|source| RebuildError::Txn {
                log: self.layout.log_dir.clone(),
                zxid,
                source,
            })?;
            let committed = Committed {
                entry,
                origin: None,
                close: None,
            };
            let tells_digest = committed.entry.digest.is_some();
            match state.apply(&committed, &mut outputs) {
                Err(found) => {
                    mismatch.get_or_insert(found);
                }
                // A snapshot of a Java leader has something of what came behind it, and comes out right behind that.
                Ok(()) if tells_digest => mismatch = None,
                Ok(()) => {}
            }
            replayed += 1;
        }
        if let Some(mismatch) = mismatch {
            // Those behind it follow from the first.
            error!(%mismatch, "the tree after replaying a transaction is not what the leader had then, nor is it in the end");
        }
        Ok(replayed)
    }
}
