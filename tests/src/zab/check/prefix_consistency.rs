//! `PrefixConsistency`: what two servers have delivered is the same as far as both have come.

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};
use crate::zab::entry::Entry;

/// The promise's name.
pub const NAME: &str = "PrefixConsistency";

/// The longest that anybody has delivered.
#[derive(Debug, Default)]
pub struct PrefixConsistency {
    longest: Vec<Entry>,
}

impl Checker for PrefixConsistency {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, _: &Seen<'_>) -> Check {
        let Some(delivery) = book.delivery() else {
            return Ok(());
        };
        if delivery.new_from < delivery.before {
            return broken(
                NAME,
                format!(
                    "{} took back all but {} of {} transactions",
                    delivery.server, delivery.new_from, delivery.before
                ),
            );
        }
        for (place, entry) in delivery.all.iter().enumerate().skip(delivery.new_from) {
            match self.longest.get(place) {
                None => self.longest.push(*entry),
                Some(expected) if expected == entry => {}
                Some(expected) => {
                    return broken(
                        NAME,
                        format!(
                            "{} delivered {entry:?} where others have {expected:?}",
                            delivery.server
                        ),
                    );
                }
            }
        }
        Ok(())
    }
}
