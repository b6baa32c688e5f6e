//! `ActivatedWhenCommitted`: no server goes by a change of the members as in force before the change is on the disks of a
//! quorum of the former members and of a quorum of the new ones.

use std::collections::BTreeSet;

use jute_codec::Zxid;

use super::ack_means_durable::may_be_committed;
use super::{Check, Checker, broken};
use crate::zab::book::{Book, Ghost, Seen};
use crate::zab::entry::{Entry, through};

/// The promise's name.
pub const NAME: &str = "ActivatedWhenCommitted";

/// The changes that are known to be committed.
#[derive(Debug, Default)]
pub struct ActivatedWhenCommitted {
    committed: BTreeSet<Zxid>,
}

impl Checker for ActivatedWhenCommitted {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        let Seen::InForce { server, version } = seen else {
            return Ok(());
        };
        let change = Zxid(*version);
        // What no transaction made was written in a file, or has its version of an epoch.
        if change.counter() == 0 || self.committed.contains(&change) {
            return Ok(());
        }
        let mut ghosts = book.servers.values();
        if !ghosts.any(|ghost| is_committed(book, ghost, change)) {
            return broken(
                NAME,
                format!("{server} goes by {change}, which is not on the disks of both quorums"),
            );
        }
        self.committed.insert(change);
        Ok(())
    }
}

/// Whether this server's disk has the change, and both quorums as of it have it as well.
fn is_committed(book: &Book, ghost: &Ghost, change: Zxid) -> bool {
    let history = &ghost.disk[..through(&ghost.disk, change)];
    let newest: Option<&Entry> = history.last();
    newest.is_some_and(|entry| {
        entry.zxid == change && entry.members().is_some() && may_be_committed(book, history, *entry)
    })
}
