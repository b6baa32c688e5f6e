//! Authentication: what credentials are worth.
//!
//! Whether identities then allow a request is for the state to say ([`AclRules`](crate::state::tree::acl::AclRules)).

pub mod digest;
mod providers;

pub use digest::{DigestAlgorithm, digest_id};
pub use providers::{DigestParams, ProviderParams, Providers};
