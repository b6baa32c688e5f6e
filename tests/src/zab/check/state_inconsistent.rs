//! `stateInconsistent`: each packet belongs to a phase: epochs are agreed on in discovery, histories are made the same
//! in synchronisation, and nowhere else.

use jute_codec::quorum::{LeaderPacket, LearnerPacket};

use super::dialogue::Dialogues;
use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};

/// The promise's name.
pub const NAME: &str = "stateInconsistent";

/// Both ends of all connections.
#[derive(Debug, Default)]
pub struct StateInconsistent {
    dialogues: Dialogues,
}

impl Checker for StateInconsistent {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, _: &Book, seen: &Seen<'_>) -> Check {
        match seen {
            Seen::AtLearner { link, packet } => {
                let dialogue = self.dialogues.of(*link);
                let synchronises = dialogue.agreed && !dialogue.up_to_date_heard;
                let fits = match packet {
                    LeaderPacket::LeaderInfo { .. } => !dialogue.agreed,
                    LeaderPacket::Diff { .. }
                    | LeaderPacket::Trunc { .. }
                    | LeaderPacket::Snap { .. } => synchronises && !dialogue.plan_heard,
                    LeaderPacket::NewLeader { .. } => {
                        synchronises && dialogue.plan_heard && !dialogue.new_leader_heard
                    }
                    LeaderPacket::UpToDate => synchronises && dialogue.new_leader_acked,
                    _ => true,
                };
                if !fits {
                    return broken(
                        NAME,
                        format!("{packet:?} arrives when {dialogue:?} on {link:?}"),
                    );
                }
            }
            Seen::AtLeader { link, packet } => {
                let dialogue = self.dialogues.of(*link);
                let fits = match packet {
                    LearnerPacket::AckEpoch { .. } => {
                        dialogue.info_sent.is_some() && !dialogue.plan_sent
                    }
                    LearnerPacket::Ack { .. } => dialogue.new_leader_sent,
                    _ => true,
                };
                if !fits {
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
