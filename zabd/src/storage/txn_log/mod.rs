//! The transaction log: opaque transactions with ascending zxids, durable before they are acknowledged.
//!
//! It owns the files of one directory and a lock on it. It never looks into a transaction, and never
//! drops one that was durable: what no longer reads as it was written is reported, not cut off.
//!
//! **Segments.** The log is a chain of files named by the lowest zxid they can hold. A segment's header
//! names its `base`, the last transaction before it: of the older segments only what comes up to the base
//! counts. Hence a truncation, a restart after a failed write, and the rewriting of a doubtful last batch
//! are one thing: a new segment is written whole, synced, and then renamed into place.
//!
//! **Torn or damaged.** Records are written in batches, one fsync each, and a batch is begun only when
//! the one before is durable. Each record names the offset at which its batch began, so any readable
//! record proves everything before its batch durable; so do the header of a newer segment (up to its
//! base), the segment's own name (the batch written before it got that name) and the seal of a clean
//! close. An unreadable record that something proves durable is damage, and the log refuses to open or to
//! read on; otherwise it belongs to a batch that was never acknowledged, and is left out.
//! *Limit:* decay within the very last batch of a log that was not closed cannot be told from a torn write.
//!
//! **Failing disks.** After a failed write or fsync the file is never written again. What was not
//! acknowledged stays in memory, and each later `sync` tries a fresh segment that continues after the last
//! durable transaction.
//!
//! The bytes are described in `docs/file-formats.md`.

mod error;
mod format;
mod log;
mod place;
mod reader;
mod recover;
mod segment;
mod spare;
mod staged;
#[cfg(test)]
mod tests;

pub(super) use format::is_segment;
pub(super) use staged::staged_dir;

pub use error::{DamageCause, LogError};
pub use log::{Durability, LogOptions, Synced, TxnLog};
pub use place::{LogPlace, Unusable};
pub use reader::{LogHold, LogIndex, LogReader};
pub use recover::{Recovered, TornTail, look};
pub use spare::SparePool;
pub use staged::StagedLog;
