//! `DoubtedIsHidden`: a server that has found its tree to be another than its leader's shows it to nobody before that is
//! settled.

use super::{Check, broken};
use crate::members::net::Node;

/// The promise's name.
pub const NAME: &str = "DoubtedIsHidden";

/// A client is shown something.
pub(in crate::members) fn shown(server: Node) -> Check {
    broken(
        NAME,
        format!("{server} answers clients out of a tree that it knows not to be its leader's"),
    )
}

/// It serves under the leader that it did not agree with, by a tree that still is another.
pub(in crate::members) fn serves_again<T>(server: Node, leader: Node) -> Check<T> {
    broken(
        NAME,
        format!("{server} serves under {leader} again, by the tree that was not {leader}'s"),
    )
}
