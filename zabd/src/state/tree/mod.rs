//! The tree of znodes.
//!
//! [`Tree`] holds the nodes and everything that follows from them: access control lists, the ephemeral nodes of each
//! session, containers, TTL nodes, quota usage and the digest. It changes through the [`Nodes`] trait only, whose one
//! user is [`super::apply`]; the leader's speculative overlay implements the same trait.

pub mod acl;
mod arena;
mod fetch;
mod fold;
mod index;
mod node;
mod nodes;
mod owner;
pub mod path;
pub mod quota;
mod record;
mod store;
mod usage;

pub(crate) use fetch::FETCHED_AT_ONCE;
pub use fold::{FoldSlice, RowError};
pub(crate) use fold::{RowDecoder, TreeLoader, encode_row};
pub(crate) use node::{NodeId, client_stat};
pub(crate) use nodes::{Change, NewNode, Nodes};
pub use owner::{Owner, TTL_MAX_MS};
pub(crate) use store::{Tree, digest_of};
