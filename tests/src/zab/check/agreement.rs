//! `Agreement`: of what two servers have delivered, one has all that the other has.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen, Server};

/// The promise's name.
pub const NAME: &str = "Agreement";

/// What each has delivered, and how much of it every two have in common.
#[derive(Debug, Default)]
pub struct Agreement {
    delivered: BTreeMap<Server, BTreeSet<u64>>,
    common: BTreeMap<(Server, Server), usize>,
}

impl Checker for Agreement {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, _: &Seen<'_>) -> Check {
        let Some(delivery) = book.delivery() else {
            return Ok(());
        };
        let server = delivery.server;
        let mut mine = self.delivered.remove(&server).unwrap_or_default();
        for entry in &delivery.all[delivery.new_from..] {
            if mine.insert(entry.number) {
                for (other, theirs) in &self.delivered {
                    if theirs.contains(&entry.number) {
                        let pair = (server.min(*other), server.max(*other));
                        *self.common.entry(pair).or_default() += 1;
                    }
                }
            }
        }
        for (other, theirs) in &self.delivered {
            let pair = (server.min(*other), server.max(*other));
            let common = self.common.get(&pair).copied().unwrap_or_default();
            if common < mine.len().min(theirs.len()) {
                return broken(
                    NAME,
                    format!(
                        "{server} has delivered {} transactions, {other} {}, and both only {common}",
                        mine.len(),
                        theirs.len()
                    ),
                );
            }
        }
        self.delivered.insert(server, mine);
        Ok(())
    }
}
