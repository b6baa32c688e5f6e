//! What survives a restart: the transaction log, the snapshot, small files.

pub mod disk;
pub mod txn_log;
