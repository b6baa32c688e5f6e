//! Sockets: bytes in, bytes out, back-pressure, limits. Nothing is decided here.
//!
//! | module | what it holds |
//! |---|---|
//! | [`client`] | the port of the clients: listeners, connections, what they have in common |
//! | [`stats`] | what is counted on the way |
//! | [`throttle`] | the token bucket for handshakes |
//! | [`addr`] | addresses as Java prints them |
//! | [`clock`] | one monotonic clock for all who compare times |

pub mod addr;
pub mod client;
pub mod clock;
pub mod stats;
pub mod throttle;
