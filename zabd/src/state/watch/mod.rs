//! Watches: who wants to hear of what.
//!
//! Readers register under the state's read lock, so the tables guard themselves; writers, who hold the write lock,
//! fire without locking. A watch set by a read and what the read returned are one: no write falls between them.
//!
//! ZooKeeper: `WatchManager`, `DataTree.setWatches`; rules F1 to F13 of `semantics.md`.

pub(super) mod audience;
mod table;

pub use table::{WatchMode, WatchTable, WatchTotals};
