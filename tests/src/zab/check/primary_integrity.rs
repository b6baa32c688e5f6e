//! `PrimaryIntegrity`: before a leader proposes anything it has delivered all of earlier epochs that anybody ever
//! delivers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};

/// The promise's name.
pub const NAME: &str = "PrimaryIntegrity";

/// What each leader had delivered when it began to propose.
#[derive(Debug, Default)]
pub struct PrimaryIntegrity {
    began_with: BTreeMap<i64, BTreeSet<u64>>,
}

impl Checker for PrimaryIntegrity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        if let Seen::Proposed { server, entry } = seen {
            let epoch = entry.zxid.epoch();
            if self.began_with.contains_key(&epoch) {
                return Ok(());
            }
            let delivered = book.of(*server).delivered.iter();
            let has: BTreeSet<u64> = delivered.map(|entry| entry.number).collect();
            for (other, ghost) in &book.servers {
                for entry in &ghost.delivered {
                    if entry.zxid.epoch() < epoch && !has.contains(&entry.number) {
                        return broken(
                            NAME,
                            format!(
                                "{server} proposes without {entry:?}, which {other} has delivered"
                            ),
                        );
                    }
                }
            }
            self.began_with.insert(epoch, has);
        }
        if let Some(delivery) = book.delivery() {
            for entry in &delivery.all[delivery.new_from..] {
                for (epoch, has) in self.began_with.range(entry.zxid.epoch() + 1..) {
                    if !has.contains(&entry.number) {
                        return broken(
                            NAME,
                            format!(
                                "{} delivered {entry:?}, which the leader of epoch {epoch} had not",
                                delivery.server
                            ),
                        );
                    }
                }
            }
        }
        Ok(())
    }
}
