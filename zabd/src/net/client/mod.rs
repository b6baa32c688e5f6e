//! The port of the clients.
//!
//! Each of a few threads runs a single-threaded tokio runtime; a connection belongs to one of them from accept to end,
//! as one task. The task reads what is there, takes every whole frame, answers what can be answered under one read
//! lock of the state, and writes once. What a connection may do and in which order is [`ClientConn`]'s to say; here are
//! its socket, its buffers and its limits.
//!
//! The driver of the replica hands on what connections are to hear through [`Connections`]: into each one's outbox
//! while it holds the state's write lock, so that an event stands in the outbox before any read can see the change
//! (`EventBeforeReveal`); a task empties its outbox under the read lock before it answers reads.
//!
//! | module | what it holds |
//! |---|---|
//! | `link` | what a connection shares with the rest of the server: outbox, figures |
//! | `connections` | all connections by id |
//! | `registered` | a connection's places in tables and counts, given back however it ends |
//! | `task` | one connection's task |
//! | `closing` | why and how connections end |
//! | `outgoing` | its bytes to send |
//! | `inbound` | its bytes received: frames, four-letter words, what large frames take |
//! | `tally` | its requests under way, for figures |
//! | `listener` | accepting, and the limits on that |
//! | `worker` | the threads |
//! | `serve` | all of it together |
//!
//! [`ClientConn`]: crate::state::conn::ClientConn

mod closing;
mod connections;
mod inbound;
mod link;
mod listener;
mod outgoing;
mod params;
mod registered;
mod serve;
mod tally;
mod task;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::{Arc, RwLock};

use jute_codec::SessionId;

pub use connections::Connections;
pub use link::{ConnInfo, ConnStats};
pub use listener::{ListenAddr, ListenerInfo};
pub use params::NetParams;
pub use serve::{Rebinder, ServeError, ServeHandle, serve};

use super::clock::MonotonicClock;
pub use super::listen::BindError;
use super::stats::ServerStats;
use crate::state::State;
use crate::state::conn::{Authenticator, ConnId, ConnParams, Submission};

/// The replica, as connections see it.
pub trait ReplicaHandle: Send + Sync + 'static {
    /// Takes all of `submissions`, in order. Must not wait for the replica.
    fn submit(&self, submissions: &mut Vec<Submission>);
    /// A connection that submitted something is gone; its session lives on. `heard` is the session, if there was one,
    /// and when it was last heard of, in milliseconds of the connections' clock: nobody else knows any more.
    fn disconnected(&self, conn: ConnId, heard: Option<(SessionId, i64)>);
}

/// Answers four-letter words.
pub trait FourLetter: Send + Sync + 'static {
    /// Whether `word` is one that is known, enabled or not.
    fn is_command(&self, word: [u8; 4]) -> bool;

    /// How many bytes behind `word` belong to it.
    fn argument_bytes(&self, word: [u8; 4]) -> usize;

    /// The whole answer; the connection closes behind it. `argument` is shorter than wanted if the client sent no
    /// more. Called without any lock held.
    fn answer(
        &self,
        word: [u8; 4],
        argument: &[u8],
        conn: ConnId,
        listener: &ListenerInfo,
    ) -> Vec<u8>;
}

/// What all connections share.
#[derive(Clone)]
pub struct ClientContext {
    /// The replicated state, which reads are answered from.
    pub state: Arc<RwLock<State>>,
    /// Where connections register.
    pub connections: Arc<Connections>,
    /// Who takes writes.
    pub replica: Arc<dyn ReplicaHandle>,
    /// Who judges credentials.
    pub auth: Arc<dyn Authenticator + Send + Sync>,
    /// Limits and times.
    pub params: Arc<NetParams>,
    /// What [`ClientConn`](crate::state::conn::ClientConn) needs to know.
    pub conn_params: Arc<ConnParams>,
    /// What is counted.
    pub stats: Arc<ServerStats>,
    /// Who answers four-letter words.
    pub four_letter: Arc<dyn FourLetter>,
    /// The clock of [`Connections::last_heard_ms`] and of all figures.
    pub clock: MonotonicClock,
}

impl std::fmt::Debug for ClientContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientContext")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}
