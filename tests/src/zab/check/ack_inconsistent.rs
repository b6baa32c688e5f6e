//! `ackInconsistent`: acknowledgements of NEWLEADER name the leader's epoch, those of proposals come in order.

use std::collections::BTreeMap;

use jute_codec::Zxid;
use jute_codec::quorum::LearnerPacket;

use super::dialogue::Dialogues;
use super::{Check, Checker, broken};
use crate::zab::book::{Book, Link, Seen};

/// The promise's name.
pub const NAME: &str = "ackInconsistent";

/// The newest acknowledgement on each connection.
#[derive(Debug, Default)]
pub struct AckInconsistent {
    dialogues: Dialogues,
    acked: BTreeMap<Link, Zxid>,
}

impl Checker for AckInconsistent {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, _: &Book, seen: &Seen<'_>) -> Check {
        if let Seen::AtLeader {
            link,
            packet: LearnerPacket::Ack { zxid },
        } = seen
        {
            let acked = self.acked.entry(*link).or_default();
            if zxid.counter() == 0 {
                let epoch = self.dialogues.of(*link).info_sent;
                if epoch != Some(*zxid) {
                    return broken(
                        NAME,
                        format!("{zxid} acknowledged in epoch {epoch:?} on {link:?}"),
                    );
                }
            } else if *zxid <= *acked {
                return broken(
                    NAME,
                    format!("{zxid} acknowledged behind {acked} on {link:?}"),
                );
            } else {
                *acked = *zxid;
            }
        }
        self.dialogues.take_down(seen);
        Ok(())
    }
}
