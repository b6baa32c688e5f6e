//! `NoAckOvertakes`: no proposal is acknowledged before NEWLEADER is.

use jute_codec::quorum::LearnerPacket;

use super::dialogue::Dialogues;
use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};

/// The promise's name.
pub const NAME: &str = "NoAckOvertakes";

/// Both ends of all connections.
#[derive(Debug, Default)]
pub struct NoAckOvertakes {
    dialogues: Dialogues,
}

impl Checker for NoAckOvertakes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, _: &Book, seen: &Seen<'_>) -> Check {
        if let Seen::ToLeader {
            link,
            packet: LearnerPacket::Ack { zxid },
        } = seen
            && zxid.counter() != 0
            && !self.dialogues.of(*link).new_leader_acked
        {
            return broken(
                NAME,
                format!("{zxid} acknowledged before NEWLEADER on {link:?}"),
            );
        }
        self.dialogues.take_down(seen);
        Ok(())
    }
}
