//! The election port.
//!
//! Any server may call any other, and each pair keeps one connection: the one that the server with the greater id has
//! made. Who called in vain is called back. On the connection go notifications, in frames. For each server the newest
//! one waits to be sent, no other: an election does not need those before it.
//!
//! A server is recognised by its id. Its name is looked up at each call, and the address that it calls itself by comes
//! before the configured one when it is called back. Where ZooKeeper tries an address it was given and no other, the
//! configured ones are tried after it here.
//!
//! A caller without a name (the id `i64::MAX`) gets one, -1, -2, and so on, for as long as the connection lasts. Unlike in
//! ZooKeeper it is not called back: it would call again, as the greatest of all. No other caller may have a negative id.
//!
//! ZooKeeper: `QuorumCnxManager`; section 2 of `quorum-protocol.md`.
//!
//! | module | what it holds |
//! |---|---|
//! | `net` | all of it together |
//! | `params` | limits and times |
//! | `table` | the other servers: addresses, messages to send, connections |
//! | `call` | calling, and being called |
//! | `link` | one connection |

mod call;
mod link;
mod net;
mod params;
mod table;
#[cfg(test)]
mod tests;

pub use net::{ElectionNet, OnMessage};
pub use params::ElectionParams;
pub use table::{Addresses, Ends};
