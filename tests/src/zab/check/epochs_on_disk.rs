//! `EpochsOnDisk` (I1): at every moment the disk's accepted epoch is not before its current one nor before that of the
//! newest transaction; who follows or observes in an epoch has it for its current one.

use zabd::replica::zab::Role;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};
use crate::zab::entry::last;

/// The promise's name.
pub const NAME: &str = "EpochsOnDisk";

/// Looks at disks.
#[derive(Debug, Default)]
pub struct EpochsOnDisk;

impl Checker for EpochsOnDisk {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        let server = match seen {
            Seen::OnDisk { server, .. }
            | Seen::Recovered { server, .. }
            | Seen::Established { server, .. } => *server,
            _ => return Ok(()),
        };
        let ghost = book.of(server);
        let newest = last(&ghost.disk);
        if ghost.epochs.accepted < ghost.epochs.current || ghost.epochs.accepted < newest.epoch() {
            return broken(
                NAME,
                format!(
                    "{server} has {:?} on disk, and {newest} in its log",
                    ghost.epochs
                ),
            );
        }
        if let Seen::Established { epoch, .. } = seen
            && ghost.epochs.current != *epoch
            && ghost.role != Some(Role::Leading)
        {
            // A leader may be established by a quorum of others before its own disk has the epoch.
            return broken(
                NAME,
                format!(
                    "{server} serves in epoch {epoch} and has {:?} on disk",
                    ghost.epochs
                ),
            );
        }
        Ok(())
    }
}
