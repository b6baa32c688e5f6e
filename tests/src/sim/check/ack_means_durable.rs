//! `AckMeansDurable`: what a client was told of is there after any crash.

use jute_codec::Zxid;

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "AckMeansDurable";

/// The newest transaction that any client has heard of.
#[derive(Debug, Default)]
pub struct AckMeansDurable {
    revealed: Zxid,
}

impl AckMeansDurable {
    /// A client was shown a state that holds everything up to `zxid`, or was answered for it.
    pub fn on_revealed(&mut self, zxid: Zxid) {
        self.revealed = self.revealed.max(zxid);
    }

    /// A server came up with everything up to `zxid`.
    ///
    /// # Errors
    /// When something that a client has heard of is missing.
    pub fn on_recovered(&self, zxid: Zxid) -> Check {
        if zxid < self.revealed {
            return broken(
                NAME,
                format!(
                    "clients have heard of {}, recovery ends at {zxid}",
                    self.revealed
                ),
            );
        }
        Ok(())
    }
}
