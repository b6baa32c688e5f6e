//! `SyncStartsClean`: nothing that is not in the log gets from one epoch into the next: who votes for itself or agrees
//! to an epoch names the newest transaction of its log, and has applied all of it; who begins to serve has applied what
//! the leader's history has, and nothing else. Who has led an epoch in which nothing was proposed may name its beginning, and
//! has just the history that it led with.

use jute_codec::Zxid;
use jute_codec::quorum::LearnerPacket;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};
use crate::zab::entry::{common, last};

/// The promise's name.
pub const NAME: &str = "SyncStartsClean";

/// Looks at logs and states.
#[derive(Debug, Default)]
pub struct SyncStartsClean;

impl Checker for SyncStartsClean {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        let (server, zxid) = match seen {
            Seen::Stood { server, zxid } => (*server, *zxid),
            Seen::ToLeader {
                link,
                packet: LearnerPacket::AckEpoch { zxid, .. },
            } => (link.learner, *zxid),
            Seen::Established { server, epoch } => {
                let ghost = book.of(*server);
                let Some(reign) = book.reigns.get(epoch) else {
                    return broken(
                        NAME,
                        format!("{server} serves in epoch {epoch}, and nobody leads"),
                    );
                };
                let history: Vec<_> = reign
                    .initial
                    .iter()
                    .chain(&reign.proposed)
                    .copied()
                    .collect();
                let same = common(&history, &ghost.applied);
                if same < ghost.applied.len() || same < reign.initial.len() {
                    return broken(
                        NAME,
                        format!(
                            "{server} begins to serve in epoch {epoch} with {:?}, of which {same} are the leader's",
                            ghost.applied
                        ),
                    );
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        let ghost = book.of(server);
        // It knows that something is missing, and says so.
        if zxid == Zxid(-1) {
            return Ok(());
        }
        let is_beginning = matches!(seen, Seen::Stood { .. })
            && zxid.counter() == 0
            && book.reigns.get(&zxid.epoch()).is_some_and(|reign| {
                reign.leader == server && reign.initial == ghost.log && ghost.log == ghost.applied
            });
        if is_beginning {
            return Ok(());
        }
        if last(&ghost.log) != zxid || ghost.log != ghost.applied {
            return broken(
                NAME,
                format!(
                    "{server} names {zxid} when its log ends with {} and its state with {}",
                    last(&ghost.log),
                    last(&ghost.applied)
                ),
            );
        }
        Ok(())
    }
}
