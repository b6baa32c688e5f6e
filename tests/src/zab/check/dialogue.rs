//! How far the dialogue on a connection has come, as both ends know it.

use std::collections::BTreeMap;

use jute_codec::Zxid;
use jute_codec::quorum::{LeaderPacket, LearnerPacket};

use crate::zab::book::{Link, Seen};

/// One connection.
#[derive(Debug, Clone, Default)]
pub struct Dialogue {
    /// The learner has said who it is, and whether it observes.
    pub introduced: Option<bool>,
    /// What LEADERINFO said, once it has left.
    pub info_sent: Option<Zxid>,
    /// The same, once it is there.
    pub info_heard: Option<Zxid>,
    /// ACKEPOCH has left.
    pub agreed: bool,
    /// DIFF, TRUNC or SNAP has left.
    pub plan_sent: bool,
    /// The same, once it is there.
    pub plan_heard: bool,
    /// NEWLEADER has left.
    pub new_leader_sent: bool,
    /// The same, once it is there.
    pub new_leader_heard: bool,
    /// NEWLEADER was acknowledged.
    pub new_leader_acked: bool,
    /// UPTODATE is there.
    pub up_to_date_heard: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Dialogues(BTreeMap<Link, Dialogue>);

impl Dialogues {
    /// As it was before what is seen now.
    #[must_use]
    pub fn of(&self, link: Link) -> Dialogue {
        self.0.get(&link).cloned().unwrap_or_default()
    }

    /// Takes down what was seen.
    pub fn take_down(&mut self, seen: &Seen<'_>) {
        let (Seen::ToLearner { link, .. }
        | Seen::AtLearner { link, .. }
        | Seen::ToLeader { link, .. }
        | Seen::AtLeader { link, .. }) = seen
        else {
            return;
        };
        let dialogue = self.0.entry(*link).or_default();
        match seen {
            Seen::ToLearner { packet, .. } => match packet {
                LeaderPacket::LeaderInfo { epoch, .. } => dialogue.info_sent = Some(*epoch),
                LeaderPacket::Diff { .. }
                | LeaderPacket::Trunc { .. }
                | LeaderPacket::Snap { .. } => dialogue.plan_sent = true,
                LeaderPacket::NewLeader { .. } => dialogue.new_leader_sent = true,
                _ => {}
            },
            Seen::AtLearner { packet, .. } => match packet {
                LeaderPacket::LeaderInfo { epoch, .. } => dialogue.info_heard = Some(*epoch),
                LeaderPacket::Diff { .. }
                | LeaderPacket::Trunc { .. }
                | LeaderPacket::Snap { .. } => dialogue.plan_heard = true,
                LeaderPacket::NewLeader { .. } => dialogue.new_leader_heard = true,
                LeaderPacket::UpToDate => dialogue.up_to_date_heard = true,
                _ => {}
            },
            Seen::ToLeader { packet, .. } => match packet {
                LearnerPacket::FollowerInfo { .. } => dialogue.introduced = Some(false),
                LearnerPacket::ObserverInfo { .. } => dialogue.introduced = Some(true),
                LearnerPacket::AckEpoch { .. } => dialogue.agreed = true,
                LearnerPacket::Ack { zxid } if zxid.counter() == 0 => {
                    dialogue.new_leader_acked = true;
                }
                _ => {}
            },
            _ => {}
        }
    }
}
