//! `TreeDigest`: the digest that was predicted, the one counted along, the one counted afresh and the model's are one.

use jute_codec::Zxid;

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "TreeDigest";

/// Two digests of the tree after `zxid`.
///
/// # Errors
/// When they differ.
pub fn same(zxid: Zxid, what: &str, found: u64, expected: u64) -> Check {
    if found == expected {
        return Ok(());
    }
    broken(
        NAME,
        format!("after {zxid} {what}: {found:#x}, the model says {expected:#x}"),
    )
}
