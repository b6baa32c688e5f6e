//! `FoldIsExact`: the snapshot on disk is the state at its transaction, exactly.

use jute_codec::Zxid;

use super::{Check, Violation, broken};

/// The promise's name.
pub const NAME: &str = "FoldIsExact";

/// A snapshot at `zxid` that cannot be loaded.
///
/// # Errors
/// Always.
pub fn unloadable<T>(zxid: Zxid, why: &dyn std::fmt::Display) -> Check<T> {
    broken(
        NAME,
        format!("the snapshot at {zxid} cannot be loaded: {why}"),
    )
}

/// A comparison of the snapshot's state with the model, under this name.
///
/// # Errors
/// As the comparison.
pub fn compared(result: Check) -> Check {
    result.map_err(|Violation { invariant, what }| Violation {
        invariant: NAME,
        what: format!("{invariant}: {what}"),
    })
}
