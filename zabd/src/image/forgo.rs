//! What a server of Apache ZooKeeper left on disk, not taken over: it is damaged, or it is old, and others have a better copy.
//!
//! The server begins without a history then, as one whose own copy was damaged does (`crate::storage::repair`), and it must
//! not vote before it has a leader's: that is written first. What Java's server promised is kept where it can be read. Java's
//! files stay as they are.

use std::io;
use std::path::PathBuf;

use jute_codec::Zxid;
use thiserror::Error;
use tracing::warn;

use crate::storage::disk::Disk;
use crate::storage::epochs::{EpochError, EpochFile};
use crate::storage::java::dir::JavaDir;
use crate::storage::java::mark::{ImportMark, TakenOverMark};
use crate::storage::java::{JavaFileError, epochs};
use crate::storage::layout::{Layout, LockError};
use crate::storage::recovery::StorageOptions;
use crate::storage::repair::{Repair, RepairError};

/// Why a server cannot begin without Java's history. The next start tries again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ForgoError {
    /// Java's directory, or a mark.
    #[error(transparent)]
    Java(#[from] JavaFileError),
    /// What an import may have left cannot be marked to be set aside.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// The own epochs cannot be written.
    #[error(transparent)]
    Epochs(#[from] EpochError),
    /// The data directory cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A directory cannot be made.
    #[error("create {}", path.display())]
    Create {
        /// Which one.
        path: PathBuf,
        /// Why it did not work.
        source: io::Error,
    },
}

/// Begins without Java's history; what an import may have made of it is what `repair` sets aside at this start. Durable when
/// it returns.
///
/// # Errors
/// Everything in [`ForgoError`]. The server must not start then.
pub fn forgo_import<D: Disk>(
    disk: &D,
    options: &StorageOptions,
    repair: &Repair,
) -> Result<(), ForgoError> {
    let layout = Layout::new(&options.data_dir, &options.data_log_dir);
    let java = JavaDir::look(disk, &options.data_dir, &options.data_log_dir)?;
    let _lock = layout.lock(disk)?;
    // First: from here on it does not vote, whatever comes between.
    repair.ask(disk, &layout)?;
    for dir in [&java.snapshot_dir, &layout.log_dir] {
        disk.create_dir_all(dir)
            .map_err(|source| ForgoError::Create {
                path: dir.clone(),
                source,
            })?;
    }
    match epochs::read(disk, &java.snapshot_dir, Zxid::ZERO) {
        Ok(Some(epochs)) => EpochFile::new(&layout).store(disk, epochs)?,
        Ok(None) => {}
        Err(problem) => warn!(%problem, "what this server had promised is not known any more"),
    }
    let newest = java.newest_name().unwrap_or(Zxid::ZERO);
    TakenOverMark::new(&java.snapshot_dir).set(disk, newest)?;
    Ok(ImportMark::new(&layout).finish(disk, newest)?)
}
