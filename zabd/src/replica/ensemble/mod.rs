//! Who belongs to the ensemble, and how many of them are enough.

mod java_order;
pub mod member;
pub mod members;
mod quorum;
pub mod text;

use std::fmt;

pub use member::{HostPort, Member, MemberAddress, MemberError, Role};
pub use members::{Configs, Members, MembersError, Standalone};
pub use quorum::{Groups, GroupsError};
pub use text::MembersDraft;

/// The id of a server: the `N` of `server.N`. Negative ids stand for observers without a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub i64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
