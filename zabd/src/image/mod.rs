//! Between what is stored and what is served: states out of snapshot and log, snapshots to and from other servers.
//!
//! The storage layer holds rows and transactions without knowing what is in them; the state knows nothing of disks. What needs
//! both is here, for the real server and the simulator alike.
//!
//! - [`rebuild`]: a state as of any transaction that snapshot and log still have between them.
//! - [`SnapshotStream`]: a snapshot as a leader sends it, slice by slice.
//! - [`SnapshotReceiver`]: a snapshot as a learner takes it, into a state and into a store staged beside the old one.
//! - [`Behind`]: the transactions that come behind it, into a log staged beside the old one.
//! - [`import`]: the history that a server of Apache ZooKeeper left on disk, taken over.
//! - [`forgo`]: the same history, left where it is, for a server whose ensemble has a better one.
//! - [`export`]: a history given to one.

mod acl_numbers;
mod behind;
pub mod export;
mod fold;
pub mod forgo;
pub mod import;
mod loading;
pub mod rebuild;
mod receive;
mod send;
mod stage;
#[cfg(test)]
mod tests;

pub use behind::{Behind, BehindError, BehindLimits, TakenOver, Taking};
pub use fold::{fold_batch, whole_fold};
pub use receive::{Progress, ReceiveError, Received, SnapshotReceiver};
pub use send::{SendError, SnapshotStream};
