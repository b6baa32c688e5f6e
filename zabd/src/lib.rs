//! The coordination daemon: a library, and a thin `main`.
//!
//! Everything that decides is pure and single-threaded ([`replica`], [`state`]). Everything that touches the world
//! decides nothing. See ARCHITECTURE.md.

pub mod admin;
pub mod auth;
pub mod cli_args;
pub mod config;
pub mod image;
#[cfg(feature = "rocksdb")]
pub mod inspect;
pub mod logging;
pub mod net;
pub mod properties;
pub mod replica;
#[cfg(feature = "rocksdb")]
pub mod runtime;
pub mod state;
pub mod storage;
#[cfg(feature = "rocksdb")]
mod utc;
