//! `TotalOrder`: if one transaction is delivered before another somewhere, nobody delivers the other without it.

use std::collections::BTreeMap;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};
use crate::zab::entry::Entry;

/// The promise's name.
pub const NAME: &str = "TotalOrder";

/// What was delivered right before each transaction where it was delivered first.
#[derive(Debug, Default)]
pub struct TotalOrder {
    before: BTreeMap<u64, Option<Entry>>,
}

impl Checker for TotalOrder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, _: &Seen<'_>) -> Check {
        let Some(delivery) = book.delivery() else {
            return Ok(());
        };
        for place in delivery.new_from..delivery.all.len() {
            let entry = delivery.all[place];
            let before = place.checked_sub(1).map(|place| delivery.all[place]);
            let first = *self.before.entry(entry.number).or_insert(before);
            if first != before {
                return broken(
                    NAME,
                    format!(
                        "{} delivered {entry:?} after {before:?}, others after {first:?}",
                        delivery.server
                    ),
                );
            }
        }
        Ok(())
    }
}
