//! Transactions one after the other, whoever logged them.

use std::path::{Path, PathBuf};

use jute_codec::Zxid;
use jute_codec::txn::TxnEntry;

use super::{InspectError, RECORD_BYTES_MAX};
use crate::storage::disk::{RealDisk, RealFile};
use crate::storage::java::dir::{FOLDER, JavaDir};
use crate::storage::java::log::{LogFile, LogFiles};
use crate::storage::txn_log::{LogReader, look};

/// A transaction with its place, where there is one to tell.
pub(super) struct Logged {
    pub(super) entry: TxnEntry,
    pub(super) bytes: usize,
    pub(super) place: Option<(PathBuf, u64)>,
}

/// What to read.
pub(super) enum Source {
    Own(PathBuf),
    JavaDir(JavaDir),
    JavaFile(PathBuf),
}

impl Source {
    /// A log file of ZooKeeper's; or all of them in a `dataLogDir` or `version-2`; or zabd's, in its `dataLogDir` or by its own
    /// directory.
    pub(super) fn find(path: &Path) -> Result<Self, InspectError> {
        let nothing = |what| InspectError::Nothing {
            path: path.to_owned(),
            what,
        };
        if path.is_file() {
            return Ok(Self::JavaFile(path.to_owned()));
        }
        if !path.is_dir() {
            return Err(nothing("not there"));
        }
        for own in [path.to_owned(), path.join("log"), path.join("zabd/log")] {
            if has_segments(&own) {
                return Ok(Self::Own(own));
            }
        }
        let dir = if path.ends_with(FOLDER) {
            path.parent().unwrap_or(path)
        } else {
            path
        };
        let java = JavaDir::look(&RealDisk, dir, dir)?;
        if java.logs.is_empty() {
            return Err(nothing("a directory without a transaction log"));
        }
        Ok(Self::JavaDir(java))
    }

    /// Shows each transaction in turn.
    pub(super) fn each(
        &self,
        visit: &mut dyn FnMut(Logged) -> Result<(), InspectError>,
    ) -> Result<(), InspectError> {
        let mut open = self.open()?;
        while let Some(logged) = open.next()? {
            visit(logged)?;
        }
        Ok(())
    }

    pub(super) fn open(&self) -> Result<Open<'_>, InspectError> {
        Ok(match self {
            Self::Own(dir) => {
                let index = look(&RealDisk, dir)?;
                let oldest = index.oldest_base().unwrap_or(Zxid::ZERO);
                Open::Own(index.read_after(oldest)?)
            }
            Self::JavaDir(java) => {
                let first = java
                    .logs
                    .first()
                    .map_or(0, |log| log.zxid.0.saturating_sub(1));
                Open::JavaDir(LogFiles::after(
                    RealDisk,
                    java,
                    Zxid(first),
                    RECORD_BYTES_MAX,
                ))
            }
            Self::JavaFile(path) => {
                Open::JavaFile(LogFile::open(&RealDisk, path, RECORD_BYTES_MAX)?)
            }
        })
    }
}

/// A log that is being read.
pub(super) enum Open<'a> {
    Own(LogReader<RealDisk>),
    JavaDir(LogFiles<'a, RealDisk>),
    JavaFile(LogFile<RealFile>),
}

impl Open<'_> {
    pub(super) fn next(&mut self) -> Result<Option<Logged>, InspectError> {
        let (zxid, payload, place) = match self {
            Self::Own(reader) => match reader.next().transpose()? {
                Some((zxid, payload)) => (zxid, payload, None),
                None => return Ok(None),
            },
            Self::JavaDir(files) => match files.next_record()? {
                Some((path, record)) => (record.zxid, record.payload, Some((path, record.offset))),
                None => return Ok(None),
            },
            Self::JavaFile(file) => match file.next_record()? {
                Some(record) => {
                    let place = (file.path().to_owned(), record.offset);
                    (record.zxid, record.payload, Some(place))
                }
                None => return Ok(None),
            },
        };
        let entry =
            TxnEntry::decode(&payload).map_err(|source| InspectError::Txn { zxid, source })?;
        Ok(Some(Logged {
            entry,
            bytes: payload.len(),
            place,
        }))
    }
}

fn has_segments(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "zlog")
        })
    })
}
