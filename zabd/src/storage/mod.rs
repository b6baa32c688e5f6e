//! What survives a restart: the transaction log, the snapshot, small files.
//!
//! It owns `<dataDir>/zabd/` (lock, snapshot) and `<dataLogDir>/zabd/log/`. Transactions, rows and
//! sessions are opaque bytes to it; it knows zxids, and promises that what it reported durable is there
//! after any crash, or that opening fails and says what is missing.
//!
//! - [`disk`]: what is asked of a file system; the real one, and one that loses power on request.
//! - [`txn_log`]: the log's format, appending, recovery. [`log_thread`] runs it off a queue.
//! - [`snapshot`]: the tree as of one zxid; in RocksDB, or in memory for the simulator.
//! - [`small_file`]: small files that are replaced whole. [`epochs`] is one.
//! - [`install`]: puts a received snapshot in the place of the whole history.
//! - [`repair`]: sets a damaged copy aside.
//! - [`java`]: the files of Apache ZooKeeper's servers.
//! - [`layout`]: where things are, and the lock.
//! - [`recovery`]: opens log and snapshot together and checks that they meet.
//! - [`retention`]: which segments may go.

pub mod disk;
pub mod epochs;
pub mod install;
pub mod java;
pub mod layout;
pub mod log_thread;
pub mod recovery;
pub mod repair;
pub mod retention;
pub mod small_file;
pub mod snapshot;
pub mod txn_log;
