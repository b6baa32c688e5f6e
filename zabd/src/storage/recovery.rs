//! Opening everything a server keeps, and checking that log and snapshot meet.
//!
//! The state is what the snapshot holds as of its zxid, then the log's transactions after it. Whatever
//! does not allow that (a snapshot that is gone, a log that begins too late or ends too early) is an
//! error: an empty or older state must never look like a start in order.

use std::io;
use std::path::{Path, PathBuf};

use jute_codec::Zxid;

use super::disk::Disk;
use super::install::{InstallError, Installation};
use super::layout::{Layout, LockError};
use super::snapshot::{SnapshotError, SnapshotMeta, SnapshotStore};
use super::txn_log::{Durability, LogError, LogOptions, LogReader, Recovered, StagedLog, TxnLog};

/// What to open, and how.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// ZooKeeper: `dataDir`.
    pub data_dir: PathBuf,
    /// ZooKeeper: `dataLogDir`, by default the `dataDir`.
    pub data_log_dir: PathBuf,
    /// How the log is kept.
    pub log: LogOptions,
    /// What to do about a log that is missing or ends before the snapshot.
    pub log_behind: LogBehind,
}

/// What to do about a log that is missing or ends before the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogBehind {
    /// Refuse: acknowledged transactions after the snapshot may have been in it. With
    /// [`Durability::NoFsync`] a log that is there may end early, and is continued at the snapshot.
    Refuse,
    /// Begin the log anew at the snapshot, which somebody vouches for (an import).
    TrustSnapshot,
}

/// An opened data directory.
pub struct Storage<D: Disk, S> {
    /// The log, ready for the transaction after `recovered.last_zxid`.
    pub log: TxnLog<D>,
    /// The snapshot.
    pub snapshot: S,
    /// As of when the snapshot is; `None` if there is none and the log has everything.
    pub snapshot_meta: Option<SnapshotMeta>,
    /// What opening the log found.
    pub recovered: Recovered,
    /// Where things are.
    pub layout: Layout,
    /// Keeps other processes out of the data directory while it lives.
    pub lock: D::Lock,
}

/// Why a data directory cannot be opened. Each is for the operator to act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// Another process is using it.
    #[error(transparent)]
    Lock(#[from] LockError),

    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),

    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),

    /// There is no snapshot, and the log has lost its beginning to one.
    #[error(
        "the snapshot in {} is missing: the transaction log in {} begins after {oldest}, and everything up to there \
         was in it. {REPAIR}", snapshot_dir.display(), log_dir.display()
    )]
    SnapshotMissing {
        /// Where it should be.
        snapshot_dir: PathBuf,
        /// Where the log is.
        log_dir: PathBuf,
        /// The log holds the transactions after this one.
        oldest: Zxid,
    },

    /// Transactions between snapshot and log are gone.
    #[error(
        "transactions after {snapshot} up to {oldest} are missing: the snapshot in {} ends before the transaction log \
         in {} begins. {REPAIR}", snapshot_dir.display(), log_dir.display()
    )]
    Gap {
        /// Where the snapshot is.
        snapshot_dir: PathBuf,
        /// Where the log is.
        log_dir: PathBuf,
        /// The snapshot's zxid.
        snapshot: Zxid,
        /// The log holds the transactions after this one.
        oldest: Zxid,
    },

    /// The log is gone, or its end is.
    #[error(
        "the transaction log in {} {}, but the snapshot is as of {snapshot}: acknowledged transactions after that may \
         be missing. Is dataLogDir the right one, and mounted? {REPAIR}", log_dir.display(), ends(*last)
    )]
    LogBehind {
        /// Where the log is, or should be.
        log_dir: PathBuf,
        /// Its last transaction; `None` if there is no log.
        last: Option<Zxid>,
        /// The snapshot's zxid.
        snapshot: Zxid,
    },

    /// A received snapshot could not be put in place.
    #[error(transparent)]
    Install(#[from] InstallError),

    /// The disk.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
}

impl<D: Disk, S: SnapshotStore> Storage<D, S> {
    /// Opens log and snapshot; `open_snapshot` is given the snapshot's directory, whose parent exists.
    ///
    /// # Errors
    /// Everything in [`RecoveryError`]. Nothing that is on the disk is given up.
    pub fn open(
        disk: &D,
        options: &StorageOptions,
        open_snapshot: impl FnOnce(&Path) -> Result<S, SnapshotError>,
    ) -> Result<Self, RecoveryError> {
        let layout = Layout::new(&options.data_dir, &options.data_log_dir);
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| RecoveryError::Io {
                action,
                path,
                source,
            }
        };
        let lock = layout.lock(disk)?;
        let mut snapshot = open_snapshot(&layout.snapshot_dir)?;
        let unfinished = Installation::unfinished(disk, &layout)?;
        if let Some(installation) = &unfinished {
            tracing::info!(
                snapshot = %installation.received().snapshot, through = %installation.received().through,
                "the last run ended while putting a leader's history in place; finishing that"
            );
            disk.create_dir_all(&layout.log_dir)
                .map_err(io("create", &layout.log_dir))?;
            StagedLog::put_in_place(disk, &layout.received_log_dir, &layout.log_dir)?;
        }
        let (mut log, mut recovered) = TxnLog::open(disk.clone(), &layout.log_dir, options.log)?;
        if let Some(installation) = unfinished {
            installation.finish(disk, &mut snapshot, || Ok(log.index()))?;
        } else {
            // Something may be staged that was never received as a whole.
            snapshot.discard_staged()?;
            StagedLog::discard(disk, &layout.received_log_dir)?;
        }
        let snapshot_meta = snapshot.meta()?;

        let trust = options.log_behind == LogBehind::TrustSnapshot
            || (options.log.durability == Durability::NoFsync && recovered.oldest_base.is_some());
        match meeting(snapshot_meta.map(|meta| meta.zxid), &recovered, &layout) {
            Ok(()) => {}
            Err(RecoveryError::LogBehind { snapshot, .. }) if trust => {
                tracing::warn!(%snapshot, log = %recovered.last_zxid, "log begun anew at the snapshot");
                log.restart_at(snapshot)?;
                recovered.last_zxid = snapshot;
                recovered.oldest_base = Some(snapshot);
            }
            Err(error) => return Err(error),
        }
        Ok(Self {
            log,
            snapshot,
            snapshot_meta,
            recovered,
            layout,
            lock,
        })
    }

    /// The transactions that the snapshot does not have, in order.
    ///
    /// # Errors
    /// The log's, here and for each transaction.
    pub fn replay(&self) -> Result<LogReader<D>, LogError> {
        self.log
            .read_after(self.snapshot_meta.map_or(Zxid::ZERO, |meta| meta.zxid))
    }
}

/// Whether snapshot and log make one history without a hole.
fn meeting(snapshot: Option<Zxid>, log: &Recovered, layout: &Layout) -> Result<(), RecoveryError> {
    let Layout {
        snapshot_dir,
        log_dir,
        ..
    } = layout.clone();
    match (snapshot, log.oldest_base) {
        (None, Some(oldest)) if oldest > Zxid::ZERO => Err(RecoveryError::SnapshotMissing {
            snapshot_dir,
            log_dir,
            oldest,
        }),
        (Some(snapshot), Some(oldest)) if oldest > snapshot => Err(RecoveryError::Gap {
            snapshot_dir,
            log_dir,
            snapshot,
            oldest,
        }),
        (Some(snapshot), oldest) if oldest.is_none() || log.last_zxid < snapshot => {
            // A snapshot of the empty tree needs no log.
            if snapshot == Zxid::ZERO {
                return Ok(());
            }
            let last = oldest.map(|_| log.last_zxid);
            Err(RecoveryError::LogBehind {
                log_dir,
                last,
                snapshot,
            })
        }
        _ => Ok(()),
    }
}

fn ends(last: Option<Zxid>) -> String {
    last.map_or_else(
        || "is missing".to_owned(),
        |last| format!("ends with {last}"),
    )
}

const REPAIR: &str = "Restore what is missing from a copy, or, if this server belongs to an ensemble that has a quorum \
                      without it, move all its zabd directories away and let it synchronise from the others";

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::storage::disk::{Crash, SimDisk};
    use crate::storage::snapshot::{FoldBatch, MemStore};

    fn options() -> StorageOptions {
        StorageOptions {
            data_dir: "/data".into(),
            data_log_dir: "/logs".into(),
            log: LogOptions {
                segment_bytes: 8192,
                inline_segment_bytes: 8192,
                durability: Durability::Fsync,
            },
            log_behind: LogBehind::Refuse,
        }
    }

    fn open(
        disk: &SimDisk,
        store: &MemStore,
        options: &StorageOptions,
    ) -> Result<Storage<SimDisk, MemStore>, RecoveryError> {
        Storage::open(disk, options, |_| Ok(store.clone()))
    }

    fn append(log: &mut TxnLog<SimDisk>, zxids: impl IntoIterator<Item = i64>) {
        for zxid in zxids {
            log.append(Zxid(zxid), Bytes::from(vec![1; 1500])).unwrap();
            log.sync().unwrap();
        }
    }

    fn fold_to(store: &mut MemStore, zxid: i64) {
        store
            .write(FoldBatch {
                zxid: Zxid(zxid),
                ..FoldBatch::default()
            })
            .unwrap();
        store.flush().unwrap();
    }

    /// A log of 1 to 20, a snapshot at 12, and the log purged up to it.
    fn running() -> (SimDisk, MemStore) {
        let (disk, mut store) = (SimDisk::new(1), MemStore::new());
        let mut storage = open(&disk, &store, &options()).unwrap();
        append(&mut storage.log, 1..=20);
        fold_to(&mut store, 12);
        storage.log.purge(Zxid(12)).unwrap();
        drop(storage);
        disk.reboot(Crash::Power);
        (disk, store)
    }

    fn replayed(storage: &Storage<SimDisk, MemStore>) -> Vec<i64> {
        storage
            .replay()
            .unwrap()
            .map(|record| record.unwrap().0.0)
            .collect()
    }

    #[test]
    fn a_start_is_the_snapshot_and_the_log_after_it() {
        let (disk, store) = running();
        let storage = open(&disk, &store, &options()).unwrap();
        assert_eq!(storage.snapshot_meta.unwrap().zxid, Zxid(12));
        assert!(storage.recovered.oldest_base.unwrap() > Zxid::ZERO);
        assert_eq!(replayed(&storage), (13..=20).collect::<Vec<_>>());
        assert_eq!(storage.layout.log_dir, Path::new("/logs/zabd/log"));
    }

    #[test]
    fn the_first_start_is_empty_and_the_second_has_what_was_logged() {
        let (disk, store) = (SimDisk::new(1), MemStore::new());
        let mut storage = open(&disk, &store, &options()).unwrap();
        assert!(storage.snapshot_meta.is_none() && replayed(&storage).is_empty());
        append(&mut storage.log, 1..=3);
        drop(storage);
        let storage = open(&disk, &store, &options()).unwrap();
        assert_eq!(replayed(&storage), [1, 2, 3]);
        assert!(matches!(
            open(&disk, &store, &options()),
            Err(RecoveryError::Lock(LockError::InUse { .. }))
        ));
    }

    #[test]
    fn a_lost_snapshot_is_not_an_empty_start() {
        let (disk, _) = running();
        let error = open(&disk, &MemStore::new(), &options())
            .map(drop)
            .unwrap_err();
        assert!(
            matches!(error, RecoveryError::SnapshotMissing { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("/data/zabd/snapshot"), "{error}");
        let mut older = MemStore::new();
        fold_to(&mut older, 1);
        assert!(matches!(
            open(&disk, &older, &options()).map(drop),
            Err(RecoveryError::Gap { .. })
        ));
    }

    #[test]
    fn a_lost_log_is_not_an_older_start() {
        let (_, store) = running();
        let empty = SimDisk::new(2);
        let error = open(&empty, &store, &options()).map(drop).unwrap_err();
        assert!(
            matches!(error, RecoveryError::LogBehind { last: None, .. }),
            "{error}"
        );
        let vouched = StorageOptions {
            log_behind: LogBehind::TrustSnapshot,
            ..options()
        };
        let mut storage = open(&empty, &store, &vouched).unwrap();
        assert_eq!(storage.recovered.last_zxid, Zxid(12));
        append(&mut storage.log, [13]);
        drop(storage);
        empty.reboot(Crash::Power);
        assert_eq!(replayed(&open(&empty, &store, &options()).unwrap()), [13]);
    }

    #[test]
    fn without_fsync_the_log_may_end_before_the_snapshot() {
        let (disk, mut store) = running();
        fold_to(&mut store, 40);
        assert!(matches!(
            open(&disk, &store, &options()).map(drop),
            Err(RecoveryError::LogBehind {
                last: Some(Zxid(20)),
                snapshot: Zxid(40),
                ..
            })
        ));
        let mut lax = options();
        lax.log.durability = Durability::NoFsync;
        let storage = open(&disk, &store, &lax).unwrap();
        assert_eq!(
            (storage.recovered.last_zxid, replayed(&storage)),
            (Zxid(40), Vec::new())
        );
    }
}
