//! `OthersGoOn`: when a server finds its tree to be another than its leader's, and the leader's is right, the leader
//! goes on with the others.

use super::{Check, broken};
use crate::members::net::Node;

/// The promise's name.
pub const NAME: &str = "OthersGoOn";

/// A leader sends its clients away, and there is nothing else that it could do so for.
pub(in crate::members) fn stops(server: Node) -> Check {
    broken(
        NAME,
        format!("{server} leads no more, as another server's tree is another"),
    )
}
