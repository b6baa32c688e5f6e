//! What survives a restart: the transaction log, the snapshot, small files.

pub mod disk;
pub mod log_thread;
pub mod small_file;
pub mod txn_log;
