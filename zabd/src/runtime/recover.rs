//! What is on disk, as a state.

use std::path::PathBuf;
use std::time::SystemTime;

use jute_codec::Zxid;
use thiserror::Error;
use tracing::{error, info, warn};

use super::server::{chain, end_process};
use crate::image::forgo::{ForgoError, forgo_import};
use crate::image::import::{ImportError, import_if_wanted};
use crate::image::rebuild::{RebuildError, Rebuilt, Sources};
use crate::image::whole_fold;
use crate::replica::ensemble::{Members, ServerId};
use crate::replica::zab;
use crate::state::{State, StateParams};
use crate::storage::disk::RealDisk;
use crate::storage::epochs::{EpochError, EpochFile, Epochs, FILE_NAME as EPOCHS};
use crate::storage::install::{Incomplete, InstallError};
use crate::storage::layout::Layout;
use crate::storage::recovery::{RecoveryError, Storage, StorageOptions};
use crate::storage::repair::{Repair, RepairError};
use crate::storage::snapshot::{RocksStore, SnapshotError, SnapshotStore};
use crate::storage::txn_log::LogError;
use crate::utc;

/// Data that a server cannot start from.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The data of Apache ZooKeeper cannot be taken over.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The server cannot begin without that data.
    #[error(transparent)]
    Forgo(#[from] ForgoError),
    /// Log and snapshot, or one of them, say no.
    #[error(transparent)]
    Storage(#[from] RecoveryError),
    /// What they hold makes no state.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The epochs that this server has promised by.
    #[error(transparent)]
    Epochs(#[from] EpochError),
    /// A leader's history that was being taken over, or the mark of a copy that was damaged.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A damaged copy cannot be set aside.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// A server that is to stand alone has a copy that only an ensemble can make whole.
    #[error(
        "{mark} says that this server's copy was damaged and set aside, and it never had all of its ensemble's history since: \
         what it has must not be served by a server that stands alone. Start it as a member of that ensemble; or put a whole \
         copy in place, such as the one that was set aside beside it, and remove that file"
    )]
    Incomplete {
        /// The mark that says so.
        mark: PathBuf,
    },
}

impl RecoverError {
    /// Whether this copy of the data is damaged, so that another one would help. A directory that has not even the epochs
    /// is not damaged: it is the wrong one, or not mounted.
    fn is_damage(&self) -> bool {
        match self {
            Self::Storage(problem) => match problem {
                RecoveryError::Log(problem) => is_log_damaged(problem),
                RecoveryError::Snapshot(problem) => is_snapshot_damaged(problem),
                RecoveryError::Install(problem) => is_installation_damaged(problem),
                RecoveryError::Gap { .. } => true,
                RecoveryError::SnapshotMissing { snapshot_dir, .. } => {
                    snapshot_dir.with_file_name(EPOCHS).exists()
                }
                RecoveryError::LogBehind { last, log_dir, .. } => {
                    last.is_some() || log_dir.join(EPOCHS).exists()
                }
                _ => false,
            },
            Self::Rebuild(problem) => match problem {
                RebuildError::Snapshot(problem) => is_snapshot_damaged(problem),
                RebuildError::Log(problem) => is_log_damaged(problem),
                RebuildError::Row { .. }
                | RebuildError::Digest { .. }
                | RebuildError::Txn { .. } => true,
                _ => false,
            },
            Self::Install(problem) => is_installation_damaged(problem),
            _ => false,
        }
    }
}

/// Whether bytes of the log that were durable are not what was written.
pub(super) const fn is_log_damaged(problem: &LogError) -> bool {
    matches!(
        problem,
        LogError::Damaged { .. } | LogError::DamagedHeader { .. }
    )
}

/// Whether the snapshot is not what was written.
pub(super) const fn is_snapshot_damaged(problem: &SnapshotError) -> bool {
    matches!(problem, SnapshotError::Damaged { .. })
}

const fn is_installation_damaged(problem: &InstallError) -> bool {
    match problem {
        InstallError::Damaged { .. }
        | InstallError::Other { .. }
        | InstallError::OtherLog { .. } => true,
        InstallError::Snapshot(problem) => is_snapshot_damaged(problem),
        InstallError::Log(problem) => is_log_damaged(problem),
        _ => false,
    }
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

/// Whether the others can make a copy whole again that this server sets aside: whether they are a quorum without it.
pub(super) fn others_suffice(members: &Members, me: ServerId) -> bool {
    members.is_quorum(&members.voters().filter(|voter| *voter != me).collect())
}

/// Begins with what is on disk; a copy that is damaged is set aside first, and the server begins without one, as one that
/// does not vote.
pub(super) fn begin_or_repair<T>(
    layout: &Layout,
    begin: impl Fn() -> Result<T, RecoverError>,
) -> Result<T, RecoverError> {
    let name = name_of(SystemTime::now());
    if let Some(repair) = Repair::wanted(&RealDisk, layout, &name)? {
        set_aside(&repair, layout)?;
    }
    match begin() {
        Err(problem) if problem.is_damage() => {
            error!(
                problem = %chain(&problem),
                "this server's copy of the data is damaged; it is set aside, and the others' is taken over"
            );
            set_aside(&Repair::new(name), layout)?;
            begin()
        }
        outcome => outcome,
    }
}

fn set_aside(repair: &Repair, layout: &Layout) -> Result<(), RecoverError> {
    repair.carry_out(&RealDisk, layout, |to| {
        RocksStore::set_aside(&layout.snapshot_dir, to)
    })?;
    warn!(
        snapshot = %repair.snapshot_dir(layout).display(), log = %repair.log_dir(layout).display(),
        "a damaged copy was set aside; remove it when the ensemble is well and nobody wants to look at it any more"
    );
    Ok(())
}

/// Lets the next start set this copy aside, and ends the process, over damage that has been said.
pub(super) fn end_for_repair(layout: &Layout) -> ! {
    let repair = Repair::new(name_of(SystemTime::now()));
    match repair.ask(&RealDisk, layout) {
        Ok(()) => error!(
            "ending the process; the next start sets the damaged copy aside and takes over the others'"
        ),
        Err(problem) => error!(
            problem = %chain(&problem),
            "ending the process; that the next start is to set the damaged copy aside could not be noted"
        ),
    }
    end_process();
}

/// The name of the directories that a copy is set aside in: the time, in UTC.
fn name_of(now: SystemTime) -> String {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = utc::date_of(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let ms = since.subsec_millis();
    format!("damaged-{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{ms:03}Z")
}

/// Refuses to let a server stand alone with a copy that an ensemble was to make whole.
pub(super) fn refuse_incomplete(layout: &Layout) -> Result<(), RecoverError> {
    let mark = Incomplete::new(layout);
    if mark.is_set(&RealDisk)? {
        let mark = mark.path().to_owned();
        return Err(RecoverError::Incomplete { mark });
    }
    Ok(())
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
        storage
            .snapshot
            .write(whole_fold(&mut State::new(params.clone())))?;
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

/// What a member of an ensemble begins with. Without any data it votes only if it may be new.
///
/// ZooKeeper: `FileTxnSnapLog.restore`.
pub(super) fn recovered(
    storage: &Storage<RealDisk, RocksStore>,
    state: &State,
    recent: (usize, usize),
    may_be_new: bool,
) -> Result<zab::Recovered, RecoverError> {
    let last = state.last_zxid();
    let epochs = EpochFile::new(&storage.layout);
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
            "this server's copy was damaged: it does not vote before it has all of a leader's history"
        );
    }
    Ok(zab::Recovered {
        may_lack: is_incomplete || (is_empty && !may_be_new),
        epochs: zab::Epochs { accepted, current },
        last,
        recent: storage.log.index().tail(recent.0, recent.1)?,
    })
}

/// Takes over the data of Apache ZooKeeper if that is all there is. Where it cannot be, and the others are a quorum, the server
/// begins without it, as one that does not vote.
pub(super) fn import_java_data(
    options: &StorageOptions,
    params: StateParams,
    record_bytes_max: usize,
    others_suffice: bool,
) -> Result<(), RecoverError> {
    let imported = import_if_wanted(
        &RealDisk,
        options,
        params,
        record_bytes_max,
        RocksStore::open,
    );
    match imported {
        Err(problem) if others_suffice && problem.is_damage() => {
            error!(
                problem = %chain(&problem),
                "the data of Apache ZooKeeper is of no use; it stays where it is, and the other servers' is taken over"
            );
            let repair = Repair::new(name_of(SystemTime::now()));
            Ok(forgo_import(&RealDisk, options, &repair)?)
        }
        outcome => Ok(outcome.map(drop)?),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn directories_are_named_after_the_time() {
        for (ms, name) in [
            (0, "damaged-19700101T000000.000Z"),
            (951_782_400_001, "damaged-20000229T000000.001Z"),
            (1_709_251_199_999, "damaged-20240229T235959.999Z"),
            (1_767_323_045_678, "damaged-20260102T030405.678Z"),
            (4_107_542_400_000, "damaged-21000301T000000.000Z"),
        ] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
            assert_eq!(name_of(now), name);
        }
    }
}
