//! A log that is written beside another one, to take its place as a whole.
//!
//! It is a directory with segments as in any log. The first one has the restart flag, and their sequence numbers go on where
//! those of the other log end: moved into its directory, they override everything that is there. So a move that is cut
//! short anywhere is finished by moving the rest.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jute_codec::Zxid;

use super::error::LogError;
use super::format::is_segment;
use super::log::{LogOptions, TxnLog};
use super::reader::LogIndex;
use crate::storage::disk::Disk;

/// The log behind a snapshot that is being received.
pub struct StagedLog<D: Disk> {
    log: TxnLog<D>,
    /// How much is gathered before it is made durable.
    batch_bytes: u64,
}

impl<D: Disk> StagedLog<D> {
    /// Begins one in `dir`, behind a snapshot as of `after`; what was staged there before is gone. It is to take the place
    /// of the log `other`, which must make no segment any more until then.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(
        disk: &D,
        dir: &Path,
        options: LogOptions,
        other: &LogIndex<D>,
        after: Zxid,
    ) -> Result<Self, LogError> {
        Self::discard(disk, dir)?;
        disk.create_dir_all(dir)
            .map_err(LogError::io("create", dir))?;
        let sequence = other.lock().next_sequence;
        let log = TxnLog::begin(disk.clone(), dir, options, after, sequence)?;
        let batch_bytes = options.inline_segment_bytes / 4;
        Ok(Self { log, batch_bytes })
    }

    /// Takes a transaction. Now and then that makes those so far durable, so that few are in memory.
    ///
    /// # Errors
    /// As [`TxnLog::append`] and [`TxnLog::sync`].
    pub fn append(&mut self, zxid: Zxid, txn: Bytes) -> Result<(), LogError> {
        self.log.append(zxid, txn)?;
        if self.log.pending_bytes() >= self.batch_bytes {
            self.log.sync()?;
        }
        Ok(())
    }

    /// The last transaction.
    #[must_use]
    pub fn last_zxid(&self) -> Zxid {
        self.log.last_zxid()
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(self) -> Result<(), LogError> {
        self.log.close()
    }

    /// Removes what is staged in `dir`, if there is something.
    ///
    /// # Errors
    /// The disk's.
    pub fn discard(disk: &D, dir: &Path) -> Result<(), LogError> {
        let names = list(disk, dir)?;
        for name in &names {
            let path = dir.join(name);
            disk.remove(&path).map_err(LogError::io("remove", &path))?;
        }
        if !names.is_empty() {
            disk.sync_dir(dir).map_err(LogError::io("sync", dir))?;
        }
        forget_dir(disk, dir);
        Ok(())
    }

    /// Moves what is staged in `dir` into the directory of the log that it takes the place of, for [`TxnLog::open`] to find.
    /// Nobody may have that log open.
    ///
    /// # Errors
    /// The disk's, after which the call is to be repeated.
    pub fn put_in_place(disk: &D, dir: &Path, log_dir: &Path) -> Result<(), LogError> {
        move_segments(disk, dir, log_dir)
    }
}

/// Moves all segments, durably: each is at one place or the other, whatever happens to the power.
pub(super) fn move_segments<D: Disk>(disk: &D, from: &Path, to: &Path) -> Result<(), LogError> {
    let names = list(disk, from)?;
    let segments = names.iter().filter(|name| is_segment(name));
    for (old, new) in segments.map(|name| (from.join(name), to.join(name))) {
        disk.rename(&old, &new)
            .map_err(LogError::io("rename", &old))?;
    }
    disk.sync_dir(to).map_err(LogError::io("sync", to))?;
    StagedLog::discard(disk, from)
}

fn list<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<String>, LogError> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(LogError::io("list", dir)),
    }
}

/// An empty directory means nothing, so it may as well stay.
fn forget_dir<D: Disk>(disk: &D, dir: &Path) {
    match disk.remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(dir = %dir.display(), %error, "an empty directory stays");
        }
        _ => {}
    }
}

/// Where the log that is to take the place of the one in `log_dir` is staged: beside it, on the same file system.
pub(in crate::storage) fn staged_dir(log_dir: &Path) -> PathBuf {
    log_dir.with_extension("received")
}
