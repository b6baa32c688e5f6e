//! One client connection, without its socket: requests in order, reads, replies.
//!
//! [`ClientConn`] takes whole frames and says what is to be written and what goes to the replica. It keeps the promises
//! that a session has: `SessionFifo`, requests take effect and are answered in the order in which they came, and
//! `ReadYourWrites`, a read waits for the session's own writes before it, and for nobody else's.

mod client_conn;
pub(crate) mod read;
pub(crate) mod reply;
pub mod request;

pub use client_conn::{Advance, ClientConn, CloseReason, ConnParams, FrameKind, Submission};
pub use reply::{Origin, ReplyKind};
pub use request::{AuthOutcome, Authenticator, ClientRequest, WriteBody};

/// A connection of this server; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);
