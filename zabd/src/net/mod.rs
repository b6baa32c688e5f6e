//! Sockets: bytes in, bytes out, back-pressure, limits. Nothing is decided here.
//!
//! | module | what it holds |
//! |---|---|
//! | [`client`] | the port of the clients: listeners, connections, what they have in common |
//! | [`election`] | the election port: one connection for each pair of servers, and notifications on it |
//! | [`peer`] | the quorum port: packets between a leader and its learners, and bulk in between |
//! | `listen`, `dial` | listening and connecting, for all of them |
//! | [`gate`] | what stops reading while too much waits to be looked at |
//! | [`stats`] | what is counted on the way |
//! | [`throttle`] | the token bucket for handshakes |
//! | [`addr`] | addresses as Java prints them |
//! | [`clock`] | one monotonic clock for all who compare times |

pub mod addr;
pub mod client;
pub mod clock;
mod dial;
pub mod election;
pub mod gate;
mod listen;
pub mod peer;
pub mod stats;
pub mod throttle;
