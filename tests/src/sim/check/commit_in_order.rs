//! `CommitInOrder`: transactions are numbered without gaps, and applied in that order, each after it was proposed.

use jute_codec::Zxid;

use super::{Check, broken};

/// The promise's name.
pub const NAME: &str = "CommitInOrder";

/// The two cursors.
#[derive(Debug, Default)]
pub struct CommitInOrder {
    proposed: Zxid,
    applied: Zxid,
}

impl CommitInOrder {
    /// A transaction went to the log.
    ///
    /// # Errors
    /// When it is not the next.
    pub fn on_proposed(&mut self, zxid: Zxid) -> Check {
        if zxid != self.proposed.next() {
            return broken(NAME, format!("{zxid} proposed behind {}", self.proposed));
        }
        self.proposed = zxid;
        Ok(())
    }

    /// A transaction was applied.
    ///
    /// # Errors
    /// When it is not the next, or was never proposed.
    pub fn on_applied(&mut self, zxid: Zxid) -> Check {
        if zxid != self.applied.next() || zxid > self.proposed {
            return broken(
                NAME,
                format!(
                    "{zxid} applied behind {}, proposed up to {}",
                    self.applied, self.proposed
                ),
            );
        }
        self.applied = zxid;
        Ok(())
    }

    /// A server came up with everything up to `zxid`.
    pub const fn on_recovered(&mut self, zxid: Zxid) {
        self.proposed = zxid;
        self.applied = zxid;
    }
}
