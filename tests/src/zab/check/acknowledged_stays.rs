//! `AcknowledgedStays`: a transaction that a client was told of is never lost.

use zabd::replica::zab::Role;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};
use crate::zab::entry::Entry;

/// The promise's name.
pub const NAME: &str = "AcknowledgedStays";

/// What clients were told of.
#[derive(Debug, Default)]
pub struct AcknowledgedStays {
    answered: Vec<Entry>,
}

impl Checker for AcknowledgedStays {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        match seen {
            Seen::Answered { server, entry } => {
                self.answered.push(*entry);
                let later = book.reigns.range(entry.zxid.epoch() + 1..);
                for (epoch, reign) in later {
                    if !reign.initial.contains(entry) {
                        return broken(
                            NAME,
                            format!(
                                "{server} answers {entry:?}, which epoch {epoch} began without"
                            ),
                        );
                    }
                }
            }
            Seen::Established { server, epoch } => {
                let ghost = book.of(*server);
                // Who follows a leader may be a little behind it, within the epoch.
                let newest = if ghost.role == Some(Role::Leading) {
                    *epoch
                } else {
                    *epoch - 1
                };
                let lost = self
                    .answered
                    .iter()
                    .filter(|entry| entry.zxid.epoch() <= newest)
                    .find(|entry| {
                        ghost
                            .applied
                            .binary_search_by_key(&entry.zxid, |entry| entry.zxid)
                            .map(|place| ghost.applied[place])
                            != Ok(**entry)
                    });
                if let Some(lost) = lost {
                    return broken(
                        NAME,
                        format!("{server} serves in epoch {epoch} without {lost:?}"),
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }
}
