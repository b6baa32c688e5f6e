//! Where the pure core meets the world: threads, clocks, the log, the snapshot, connections.
//!
//! | thread | what it does |
//! |---|---|
//! | `driver` | steps the replica, applies what is decided, hands events and replies on; when there is little to do, others do that in its place (`mailbox`) |
//! | log (in [`crate::storage`]) | appends and makes durable, one fsync for all that waits |
//! | `folder` | copies changes of the tree into the snapshot on disk, then lets old log segments go |
//! | `peer` (in [`crate::net`]) | connections to the other servers of an ensemble; `history` and `transfer` do what is long |
//! | clients (in [`crate::net`]) | one asynchronous runtime each, reads included |

mod clock;
mod driver;
mod export;
mod figures;
mod folder;
mod history;
mod mailbox;
mod membership;
mod milestones;
mod peers;
mod publish;
mod recover;
mod server;
mod settings;
mod transfer;
mod work;

pub use export::{ExportJavaError, export_java, export_java_copy};
pub use peers::PeersError;
pub use recover::RecoverError;
pub use server::{STOP_PATIENCE, Server, StartError};
