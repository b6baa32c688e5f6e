//! `CommitInOrder`: every server applies what it has logged, in that order, each transaction once.

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};

/// The promise's name.
pub const NAME: &str = "CommitInOrder";

/// Looks at logs.
#[derive(Debug, Default)]
pub struct CommitInOrder;

impl Checker for CommitInOrder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        if let Seen::Applied { server, entry, .. } = seen {
            let ghost = book.of(*server);
            let next = ghost.log.get(ghost.applied.len() - 1);
            if next != Some(entry) {
                return broken(
                    NAME,
                    format!("{server} applies {entry:?}, its log has {next:?} there"),
                );
            }
        }
        Ok(())
    }
}
