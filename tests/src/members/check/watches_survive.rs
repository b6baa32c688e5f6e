//! `WatchesSurvive`: what a client watches it is told of before it is shown the change, also when it was somewhere else
//! in between and had said there what it watches.

use jute_codec::Zxid;

use super::{Check, broken};
use crate::sim::model::tree::Tree;

/// The promise's name.
pub const NAME: &str = "WatchesSurvive";

/// What is watched of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// That its data changes, or that it goes.
    Data,
    /// That it comes into being.
    Existence,
    /// That its children change, or that it goes.
    Children,
}

/// A client that watches `path` since it was shown `since`, and was told of nothing, is shown `tree`.
///
/// # Errors
/// When there was something to be told.
pub fn on_shown(kind: Kind, path: &str, since: Zxid, tree: &Tree) -> Check {
    let missed = match (kind, tree.get(path)) {
        (Kind::Existence, node) => node.is_some(),
        (_, None) => true,
        (Kind::Data, Some(node)) => node.mzxid > since,
        (Kind::Children, Some(node)) => node.pzxid > since,
    };
    if !missed {
        return Ok(());
    }
    broken(
        NAME,
        format!("{kind:?} of {path} is watched since {since}; a change is shown, and nothing came"),
    )
}
