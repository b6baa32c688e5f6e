//! `ReplicasAgree`: after one transaction all trees are one, the leader's prediction and the model's among them.

use jute_codec::Zxid;

use super::{Check, broken};
use crate::members::net::Node;

/// The promise's name.
pub const NAME: &str = "ReplicasAgree";

/// A server's tree after `zxid`, and the model's.
pub(in crate::members) fn same(server: Node, zxid: Zxid, found: u64, expected: u64) -> Check {
    if found == expected {
        return Ok(());
    }
    broken(
        NAME,
        format!("after {zxid} the digest of {server} is {found:#x}, the model says {expected:#x}"),
    )
}

/// What the transaction says that the digest will be, and the model's.
pub(in crate::members) fn predicted(zxid: Zxid, found: u64, expected: u64) -> Check {
    if found == expected {
        return Ok(());
    }
    broken(
        NAME,
        format!("the leader predicts {found:#x} after {zxid}, the model says {expected:#x}"),
    )
}
