//! `ReadYourWrites`: a read is answered from a state that holds the session's own writes before it.

use jute_codec::Zxid;

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "ReadYourWrites";

/// A read is answered from the state at `zxid`; `written` is the session's newest write answered before.
///
/// # Errors
/// When the state is older than the write.
pub fn on_read(written: Zxid, zxid: Zxid) -> Check {
    if zxid < written {
        return broken(
            NAME,
            format!("a read shows {zxid}, and the session has written {written}"),
        );
    }
    Ok(())
}
