//! `HistoryBeforeEpochBeforeAck` (I3): the history that an epoch begins with is on disk before the epoch is, and that
//! before NEWLEADER is acknowledged; a leader is established when a quorum has both.

use std::collections::BTreeMap;

use jute_codec::quorum::LearnerPacket;
use zabd::replica::zab::Role;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Ghost, Seen, Server, Written};

/// The promise's name.
pub const NAME: &str = "HistoryBeforeEpochBeforeAck";

/// The current epoch that each disk had last.
#[derive(Debug, Default)]
pub struct HistoryBeforeEpochBeforeAck {
    current: BTreeMap<Server, i64>,
}

fn has_history(book: &Book, ghost: &Ghost, epoch: i64) -> bool {
    // The leader stores its epoch before anybody else can know of it.
    book.reigns
        .get(&epoch)
        .is_none_or(|reign| ghost.disk.starts_with(&reign.initial))
}

impl Checker for HistoryBeforeEpochBeforeAck {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        match seen {
            Seen::OnDisk {
                server,
                written: Written::Epochs(epochs),
            } => {
                let ghost = book.of(*server);
                let before = self.current.insert(*server, epochs.current);
                // A later leader may have had the end of it cut off, if no quorum ever had it: an epoch that stays as it
                // was says nothing new.
                let is_new = before.is_none_or(|before| before < epochs.current);
                if is_new && !has_history(book, ghost, epochs.current) {
                    return broken(
                        NAME,
                        format!(
                            "{server} has epoch {} on disk, and of its initial history only {:?}",
                            epochs.current,
                            ghost.disk.last()
                        ),
                    );
                }
            }
            Seen::ToLeader {
                link,
                packet: LearnerPacket::Ack { zxid },
            } if zxid.counter() == 0 => {
                let ghost = book.of(link.learner);
                if ghost.epochs.current != zxid.epoch() || !has_history(book, ghost, zxid.epoch()) {
                    return broken(
                        NAME,
                        format!(
                            "{} acknowledges NEWLEADER {zxid} with {:?} and {:?} on disk",
                            link.learner,
                            ghost.epochs,
                            ghost.disk.last()
                        ),
                    );
                }
            }
            Seen::Established { server, epoch } if book.of(*server).role == Some(Role::Leading) => {
                let ready = book.servers.iter().filter(|(_, ghost)| {
                    ghost.epochs.current >= *epoch && has_history(book, ghost, *epoch)
                });
                let history = &book.of(*server).applied;
                if !book.is_quorum(history, ready.map(|(server, _)| *server)) {
                    return broken(
                        NAME,
                        format!(
                            "{server} leads in epoch {epoch}, whose history no quorum has on disk"
                        ),
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }
}
