//! `OnePromiseAnEpoch` (I4): a server agrees to no epoch before one that it has agreed to, has its promise on disk
//! before it gives it, and is counted once for an epoch.

use std::collections::{BTreeMap, BTreeSet};

use jute_codec::quorum::{LeaderPacket, LearnerPacket};

use super::dialogue::Dialogues;
use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen, Server};

/// The promise's name.
pub const NAME: &str = "OnePromiseAnEpoch";

/// What was promised.
#[derive(Debug, Default)]
pub struct OnePromiseAnEpoch {
    dialogues: Dialogues,
    newest: BTreeMap<Server, i64>,
    counted: BTreeSet<(Server, i64)>,
    led: BTreeSet<(Server, i64)>,
}

impl Checker for OnePromiseAnEpoch {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        match seen {
            // The leader counts itself for the epoch that it asks others to accept.
            Seen::ToLearner {
                link,
                packet: LeaderPacket::LeaderInfo { epoch, .. },
            } => {
                let (leader, epoch) = (link.leader, epoch.epoch());
                if self.led.insert((leader, epoch)) && !self.counted.insert((leader, epoch)) {
                    return broken(
                        NAME,
                        format!(
                            "{leader} leads in epoch {epoch}, to which it agreed under another"
                        ),
                    );
                }
            }
            Seen::ToLeader {
                link,
                packet: LearnerPacket::AckEpoch { current_epoch, .. },
            } => {
                let server = link.learner;
                let Some(epoch) = self.dialogues.of(*link).info_heard.map(|info| info.epoch())
                else {
                    return broken(NAME, format!("{server} agrees to it knows not what"));
                };
                let newest = self.newest.entry(server).or_default();
                if epoch < *newest {
                    return broken(
                        NAME,
                        format!("{server} agrees to epoch {epoch} after {newest}"),
                    );
                }
                *newest = epoch;
                if book.of(server).epochs.accepted < epoch {
                    return broken(
                        NAME,
                        format!(
                            "{server} agrees to epoch {epoch} with {:?} on disk",
                            book.of(server).epochs
                        ),
                    );
                }
                let counts = *current_epoch != -1 && book.voters.contains(&server);
                if counts && !self.counted.insert((server, epoch)) {
                    return broken(NAME, format!("{server} is counted twice for epoch {epoch}"));
                }
            }
            _ => {}
        }
        self.dialogues.take_down(seen);
        Ok(())
    }
}
