//! Data directories of Apache ZooKeeper: `version-2` with its snapshots, logs and epochs.
//!
//! Read for the import, for the tools and for nothing else; written for the way back. Whatever is read may be torn,
//! damaged or hostile: lengths are bounded, and every error names the file and, where there is one, the place in it.
//! Nothing that is there is ever changed.
//!
//! - [`dir`]: which files there are, and what their names say.
//! - [`snapshot`]: a snapshot, plain, gz or snappy, item by item; and writing one.
//! - [`log`]: the transactions of the log files, in order.
//! - [`epochs`]: `acceptedEpoch` and `currentEpoch`.
//! - [`mark`]: which of the two histories in a directory counts, zabd's or Java's.

pub mod dir;
pub mod epochs;
pub mod log;
pub mod mark;
pub mod snapshot;
mod source;

use std::io;
use std::path::{Path, PathBuf};

use jute_codec::Zxid;

/// Why files of Apache ZooKeeper cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JavaFileError {
    /// The bytes are not what a server wrote.
    #[error("{} is damaged at offset {offset}: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it; of a compressed file, where in what it unpacks to.
        offset: u64,
        /// What does not fit.
        detail: String,
    },

    /// Transactions are missing between two that follow each other.
    #[error(
        "transactions are missing: {} has {next} at offset {offset}, and what comes before ends with {last}",
        path.display()
    )]
    Gap {
        /// The file with the later one.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// The last transaction before the gap.
        last: Zxid,
        /// The first one after it.
        next: Zxid,
    },

    /// The directories are mixed up.
    #[error(
        "{} is among the {kind} of dataDir and dataLogDir: are the two exchanged in the configuration?", path.display()
    )]
    Exchanged {
        /// The file that is at the wrong place.
        path: PathBuf,
        /// The wrong place.
        kind: &'static str,
    },

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

impl JavaFileError {
    /// Whether what is in the file is wrong, rather than the disk.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JavaFileError {
    let path = path.to_owned();
    move |source| JavaFileError::Io {
        action,
        path,
        source,
    }
}
