//! `messageIllegal`: nobody gets a packet that means nothing to what it is at the time.

use std::collections::BTreeSet;

use jute_codec::quorum::{LeaderPacket, LearnerPacket};

use super::dialogue::Dialogues;
use super::{Check, Checker, broken};
use crate::zab::book::{Book, Link, Seen};

/// The promise's name.
pub const NAME: &str = "messageIllegal";

/// Both ends of all connections.
#[derive(Debug, Default)]
pub struct MessageIllegal {
    dialogues: Dialogues,
    introduced: BTreeSet<Link>,
}

impl Checker for MessageIllegal {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, _: &Book, seen: &Seen<'_>) -> Check {
        match seen {
            Seen::AtLearner { link, packet } => {
                let dialogue = self.dialogues.of(*link);
                let observes = dialogue.introduced == Some(true);
                let legal = match packet {
                    LeaderPacket::LeaderInfo { .. } => dialogue.introduced.is_some(),
                    LeaderPacket::Inform { .. } | LeaderPacket::InformAndActivate { .. } => {
                        observes && dialogue.plan_heard
                    }
                    // An observer is caught up with these, and goes along with INFORM.
                    LeaderPacket::Proposal { .. }
                    | LeaderPacket::Commit { .. }
                    | LeaderPacket::CommitAndActivate { .. } => {
                        dialogue.plan_heard && !(observes && dialogue.up_to_date_heard)
                    }
                    LeaderPacket::Ping { .. } => dialogue.agreed,
                    LeaderPacket::Revalidate { .. } | LeaderPacket::Sync => {
                        dialogue.up_to_date_heard
                    }
                    _ => true,
                };
                if !legal {
                    return broken(
                        NAME,
                        format!("{packet:?} arrives when {dialogue:?} on {link:?}"),
                    );
                }
            }
            Seen::AtLeader { link, packet } => {
                let dialogue = self.dialogues.of(*link);
                let legal = match packet {
                    LearnerPacket::FollowerInfo { .. } | LearnerPacket::ObserverInfo { .. } => {
                        self.introduced.insert(*link)
                    }
                    LearnerPacket::Ack { zxid } => {
                        dialogue.introduced == Some(false) || zxid.counter() == 0
                    }
                    LearnerPacket::AckEpoch { .. } => self.introduced.contains(link),
                    LearnerPacket::Ping { .. }
                    | LearnerPacket::Revalidate { .. }
                    | LearnerPacket::Request { .. } => dialogue.up_to_date_heard,
                };
                if !legal {
                    return broken(
                        NAME,
                        format!("{packet:?} arrives when {dialogue:?} on {link:?}"),
                    );
                }
            }
            _ => {}
        }
        self.dialogues.take_down(seen);
        Ok(())
    }
}
