//! The quorum port.
//!
//! A leader listens, learners connect; packets go both ways, with nothing between them. What happens is told as
//! [`ZabInput`](crate::replica::zab::ZabInput), what is to be done comes as the effects of the same name. Nothing is
//! decided here, only limited: a learner that takes less than it is sent is cut off when too much waits, and a peer
//! that is silent for longer than it may.
//!
//! In between packets goes bulk: parts of the log, and snapshots. It is made and taken on threads that may block, a
//! chunk at a time, so that neither a slow disk nor a slow peer holds up anything but its own connection. Packets that
//! are queued behind bulk follow it.
//!
//! A connection is told of with its first packet, so that whoever does not speak the protocol is not heard of.
//!
//! ZooKeeper: `LearnerHandler`, `Learner.connectToLeader`; sections 6 and 11 of `quorum-protocol.md`.
//!
//! | module | what it holds |
//! |---|---|
//! | `net` | all of it together |
//! | `params` | limits and times |
//! | `listening` | the leader's listeners, and callers that have not said anything yet |
//! | `link` | what a connection shares with the rest of the server |
//! | `outbox` | what is to be sent on it |
//! | `outbound`, `inbound` | its two halves |
//! | `bulk` | what makes and takes bulk |

mod bulk;
mod inbound;
mod link;
mod listening;
mod net;
mod outbound;
mod outbox;
mod params;
#[cfg(test)]
mod tests;

pub use bulk::{BulkSink, BulkSource, Taken};
pub use link::LinkFigures;
pub use net::{OWN_FROM, OnInputs, PeerNet, Unsent};
pub use params::PeerParams;
