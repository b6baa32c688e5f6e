//! `SyncSeesAll`: after a sync the view has everything that anybody had been shown when it was sent.
//!
//! A leader that has lost its quorum without knowing answers syncs as long as it serves, in ZooKeeper as here. So what
//! counts is what was shown up to the epoch in which the server serves.

use jute_codec::Zxid;

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "SyncSeesAll";

/// The end of a sync shows `zxid`; when it was sent, `floor` had been shown.
pub(in crate::members) fn on_synced(floor: Zxid, zxid: Zxid) -> Check {
    if zxid >= floor {
        return Ok(());
    }
    broken(
        NAME,
        format!("a sync shows {zxid}, and {floor} had been shown when it was sent"),
    )
}
