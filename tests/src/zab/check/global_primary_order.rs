//! `GlobalPrimaryOrder`: transactions of an earlier epoch are delivered before those of a later one.

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};

/// The promise's name.
pub const NAME: &str = "GlobalPrimaryOrder";

/// Looks at neighbours only.
#[derive(Debug, Default)]
pub struct GlobalPrimaryOrder;

impl Checker for GlobalPrimaryOrder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, _: &Seen<'_>) -> Check {
        let Some(delivery) = book.delivery() else {
            return Ok(());
        };
        for place in delivery.new_from.max(1)..delivery.all.len() {
            let (before, entry) = (delivery.all[place - 1], delivery.all[place]);
            if before.zxid.epoch() > entry.zxid.epoch() {
                return broken(
                    NAME,
                    format!("{} delivered {entry:?} after {before:?}", delivery.server),
                );
            }
        }
        Ok(())
    }
}
