//! Looking into files: snapshots and transaction logs, zabd's and those of Apache ZooKeeper, printed, checked, compared and
//! summed up, as text or as JSON.
//!
//! Nothing is changed by it. zabd's snapshot is locked while its server runs, so that one has to be stopped; ZooKeeper's files and both logs
//! can be looked at any time.
//!
//! ZooKeeper: `SnapshotFormatter`, `SnapshotComparer`, `TxnLogToolkit`.

mod log;
mod print_log;
mod print_snapshot;
mod snapshot;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use print_log::{LogCommand, run_log};
pub use print_snapshot::{SnapshotCommand, run_snapshot};

use crate::state::RowError;
use crate::storage::java::JavaFileError;
use crate::storage::snapshot::SnapshotError;
use crate::storage::txn_log::LogError;

/// How to show what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong, or both are the same.
    Sound,
    /// Something is wrong, or they differ; it was printed.
    Wrong,
}

/// Why something cannot be looked at.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is nothing that could be.
    #[error("{} is {what}", path.display())]
    Nothing {
        /// What was named.
        path: PathBuf,
        /// What it is not.
        what: &'static str,
    },
    /// ZooKeeper's files.
    #[error(transparent)]
    Java(#[from] JavaFileError),
    /// zabd's snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// zabd's log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A row of zabd's snapshot.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A transaction that is none.
    #[error("transaction {zxid} cannot be read: {source}")]
    Txn {
        /// Which.
        zxid: jute_codec::Zxid,
        /// Why not.
        source: jute_codec::DecodeError,
    },
    /// What is found cannot be printed.
    #[error("print")]
    Output(#[from] io::Error),
}

impl InspectError {
    /// Whether it is what is in a file that is wrong.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Java(problem) => {
                matches!(
                    problem,
                    JavaFileError::Damaged { .. } | JavaFileError::Gap { .. }
                )
            }
            Self::Snapshot(problem) => matches!(problem, SnapshotError::Damaged { .. }),
            Self::Log(problem) => matches!(
                problem,
                LogError::Damaged { .. } | LogError::DamagedHeader { .. }
            ),
            Self::Row(_) | Self::Txn { .. } => true,
            _ => false,
        }
    }
}

/// No record in a file that is looked at is longer: as much as zabd's log takes.
const RECORD_BYTES_MAX: usize = 512 << 20;
