//! What the tests of zabd share: a client that speaks raw frames, and launchers for the servers it speaks to.
//!
//! | module | what it holds |
//! |---|---|
//! | [`raw`] | [`raw::RawClient`]: any bytes out, frames in with their order and the kind of close kept |
//! | [`servers`] | zabd and Apache ZooKeeper as child processes on loopback, from one description |
//! | [`sim`] | the simulator: a server and its clients on virtual time and a virtual disk |
//! | [`zab`] | the simulator of ensembles: the order of transactions among several servers |

pub mod raw;
pub mod servers;
pub mod sim;
pub mod zab;
