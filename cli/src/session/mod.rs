//! One session over several servers.
//!
//! A [`Client`] finds a server, keeps a session alive on it, and moves the session to another server when that one
//! fails: with its watches and its credentials, names of hosts looked up anew. Requests are sent in the order in which
//! they are made, without waiting for each other's replies, and answered in that order.
//!
//! What a lost connection means is said, never guessed: a read is asked again on the next connection; a write that had
//! been sent ends in [`Error::ConnectionLoss`], as it may have been carried out or not; one that had not been sent waits
//! for the next connection. [`Client::states`] tells how the session is, and
//! [`State::Overdue`] when it can have expired without this client's knowing.

mod answer;
mod chroot;
mod client;
mod core;
mod driver;
mod error;
mod transaction;
mod watches;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jute_codec::SessionId;

pub use answer::{Answered, Change};
pub use client::Client;
pub use error::Error;
pub use transaction::{MultiError, Transaction};
pub use watches::{Notice, WatchEvent, Watcher};

/// What a session is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The session timeout wished for; servers have bounds of their own, often 4 to 40 s.
    pub timeout: Duration,
    /// Whether a server that serves reads only will do, until one is found that takes writes.
    pub read_only_allowed: bool,
    /// Presented on every connection before anything else is asked.
    pub credentials: Vec<Credential>,
}

impl Default for Options {
    /// 30 s, writes wanted, no credentials.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            read_only_allowed: false,
            credentials: Vec::new(),
        }
    }
}

/// Proof of an identity in some scheme, such as `digest` and `user:password`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The scheme.
    pub scheme: String,
    /// What the scheme takes.
    pub secret: Bytes,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.scheme)
    }
}

/// How a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none yet: a server is being looked for.
    Connecting,
    /// A server serves it.
    Connected {
        /// Its id.
        session: SessionId,
        /// As negotiated.
        timeout: Duration,
    },
    /// A server serves reads; the session is that server's own.
    ConnectedReadOnly {
        /// Its id there.
        session: SessionId,
    },
    /// The connection was lost, and another is being looked for. The session lives, and with it its ephemeral nodes.
    Suspended,
    /// No server has been heard of for so long that the session can have expired. Whoever holds something by an
    /// ephemeral node has to act as if he had lost it; he may have it again when [`Self::Connected`] follows.
    Overdue,
    /// The servers have given it up, with all its ephemeral nodes. For good.
    Expired,
    /// A credential was refused. For good.
    AuthFailed,
    /// It was closed from this side. For good.
    Closed,
}

impl State {
    /// Whether a server is connected.
    #[must_use]
    pub const fn is_connected(self) -> bool {
        matches!(
            self,
            Self::Connected { .. } | Self::ConnectedReadOnly { .. }
        )
    }

    /// Whether nothing can follow.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Expired | Self::AuthFailed | Self::Closed)
    }

    /// Whether ephemeral nodes of the session are certainly there: nobody else can have what they stand for.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Connected { .. } | Self::Suspended)
    }
}
