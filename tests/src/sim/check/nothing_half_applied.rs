//! `NothingHalfApplied`: a state that was recovered is the model's at the same transaction, node by node: every write
//! before it with its exact effect, none behind it, no multi in part.

use std::collections::BTreeMap;

use jute_codec::Zxid;

use super::{Check, broken};
use crate::sim::model::tree::Tree;
use crate::sim::probe::SeenNode;

/// The promise's name.
pub const NAME: &str = "NothingHalfApplied";

/// A server came up at `zxid` with `found`; the model holds `expected`.
///
/// # Errors
/// When they differ.
pub fn on_recovered(zxid: Zxid, found: &BTreeMap<String, SeenNode>, expected: &Tree) -> Check {
    for (path, node) in expected.iter() {
        let stat = expected.stat(path).unwrap_or(jute_codec::Stat::ZERO);
        let node = SeenNode {
            data: node.data.clone(),
            stat,
            acl: node.acl.to_vec(),
        };
        match found.get(path) {
            None => return broken(NAME, format!("at {zxid}, {path} is missing")),
            Some(other) if *other != node => {
                return broken(
                    NAME,
                    format!("at {zxid}, {path} is {other:?}, not {node:?}"),
                );
            }
            Some(_) => {}
        }
    }
    match found.keys().find(|path| expected.get(path).is_none()) {
        Some(path) => broken(NAME, format!("at {zxid}, {path} should not be there")),
        None => Ok(()),
    }
}
