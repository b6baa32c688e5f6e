//! What can go wrong with the log, split by who has to act.

use std::io;
use std::path::{Path, PathBuf};

use jute_codec::Zxid;

/// Why the log cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The disk reported an error. When it comes from `sync`, nothing after the last durable zxid is
    /// acknowledged, and the next `sync` tries a fresh file.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },

    /// Bytes that were durable no longer are what was written.
    #[error(
        "transaction log {} is damaged at byte {offset} ({cause}): transactions after {last_good} {} are lost \
         or unreadable; this was durable once, so it is not cut off. {REPAIR}",
        file.display(), until(*next_good)
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where the first byte of the damaged record is.
        offset: u64,
        /// The last transaction before it.
        last_good: Zxid,
        /// The first readable transaction after it, if any is known.
        next_good: Option<Zxid>,
        /// What does not fit.
        cause: DamageCause,
    },

    /// A file that is named like a segment is not one any more.
    #[error("transaction log segment {} is damaged as a whole ({cause}). {REPAIR}", file.display())]
    DamagedHeader {
        /// The segment.
        file: PathBuf,
        /// What does not fit.
        cause: DamageCause,
    },

    /// The file was written by another version of the program.
    #[error(
        "transaction log segment {} has format version {found}; this program reads version {supported}. \
         Use the program that wrote it", file.display()
    )]
    Version {
        /// The segment.
        file: PathBuf,
        /// The version in its header.
        found: u32,
        /// The version this program reads.
        supported: u32,
    },

    /// Another process has the directory open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },

    /// A reader asked for history that has been purged.
    #[error("the log begins after {oldest}; transactions after {asked} are no longer there")]
    Purged {
        /// The reader has everything up to here.
        asked: Zxid,
        /// The log has everything after here.
        oldest: Zxid,
    },

    /// A reader asked for what has not reached the disk yet, or is not there at all.
    #[error("the log ends with {durable}; transactions up to {asked} are not in it")]
    NotDurable {
        /// The reader wants everything up to here.
        asked: Zxid,
        /// The log has everything up to here.
        durable: Zxid,
    },

    /// The caller appended a transaction that does not follow the last one: a bug.
    #[error("transaction {zxid} does not follow {last}")]
    OutOfOrder {
        /// The last transaction appended.
        last: Zxid,
        /// The one refused.
        zxid: Zxid,
    },

    /// The caller appended a transaction longer than a record can hold, or asked to cut the log at a
    /// place it does not have: a bug.
    #[error("{0}")]
    Refused(String),
}

/// What about damaged bytes does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DamageCause {
    /// The checksum does not match, or there is no record where one must be.
    #[error("checksum mismatch")]
    Checksum,
    /// The name of the file is not the one its header asks for: it was renamed.
    #[error("wrong name")]
    Name,
    /// Records are intact, but some between them are missing.
    #[error("missing transactions")]
    Gap,
    /// The file ends within a record, or before what must be in it.
    #[error("the file is too short")]
    Short,
    /// The segment says of itself that more segments were made before it than can have been.
    #[error("impossible sequence number")]
    Sequence,
    /// The file does not begin like a segment.
    #[error("not a log segment")]
    Magic,
}

impl LogError {
    pub(super) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk has no room left.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

fn until(next: Option<Zxid>) -> String {
    next.map_or_else(
        || "to its end".to_owned(),
        |next| format!("and before {next}"),
    )
}

const REPAIR: &str = "Restore the file from a copy, or, if this server belongs to an ensemble that has a quorum \
                      without it, move its zabd directories away and let it synchronise from the others";
