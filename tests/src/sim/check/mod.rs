//! Checkers: one file an invariant, each named as in the design.
//!
//! They look at what goes to the log, what clients get, and what is there after a restart; never at how the server got
//! there.

pub mod ack_means_durable;
pub mod commit_in_order;
pub mod event_before_reveal;
pub mod fold_is_exact;
pub mod never_back_in_time;
pub mod nothing_half_applied;
pub mod nothing_invented;
pub mod read_your_writes;
pub mod replies_match_model;
pub mod server_stays_up;
pub mod session_fifo;
pub mod sessions_live;
pub mod tree_digest;
pub mod watches_exact;

use std::fmt;

/// A promise that a run found broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The promise's name.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken: {}", self.invariant, self.what)
    }
}

/// Whether a promise holds.
pub type Check<T = ()> = Result<T, Violation>;

pub(crate) fn broken<T>(invariant: &'static str, what: impl Into<String>) -> Check<T> {
    Err(Violation {
        invariant,
        what: what.into(),
    })
}
