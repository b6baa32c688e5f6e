//! `NeverBackInTime`: what a session is shown never goes back, across reconnects and crashes.

use jute_codec::Zxid;

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "NeverBackInTime";

/// A session that has seen `seen` is shown `zxid`.
///
/// # Errors
/// When that is older.
pub fn on_shown(seen: Zxid, zxid: Zxid) -> Check {
    if zxid < seen {
        return broken(
            NAME,
            format!("a session that has seen {seen} is shown {zxid}"),
        );
    }
    Ok(())
}
