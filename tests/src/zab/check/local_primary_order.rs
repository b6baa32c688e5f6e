//! `LocalPrimaryOrder`: the transactions of one leader are delivered in the order of its proposals, none left out.

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};

/// The promise's name.
pub const NAME: &str = "LocalPrimaryOrder";

/// Looks at neighbours only.
#[derive(Debug, Default)]
pub struct LocalPrimaryOrder;

impl Checker for LocalPrimaryOrder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, _: &Seen<'_>) -> Check {
        let Some(delivery) = book.delivery() else {
            return Ok(());
        };
        for place in delivery.new_from..delivery.all.len() {
            let entry = delivery.all[place];
            let Some(reign) = book.reigns.get(&entry.zxid.epoch()) else {
                return broken(NAME, format!("{entry:?} is of an epoch without a leader"));
            };
            let proposed = reign
                .proposed
                .iter()
                .position(|proposed| *proposed == entry);
            let before = proposed
                .and_then(|proposed| proposed.checked_sub(1))
                .map(|before| reign.proposed[before]);
            let delivered = place
                .checked_sub(1)
                .map(|before| delivery.all[before])
                .filter(|before| before.zxid.epoch() == entry.zxid.epoch());
            if proposed.is_none() || before != delivered {
                return broken(
                    NAME,
                    format!(
                        "{} delivered {entry:?} after {delivered:?}, {} proposed it after {before:?}",
                        delivery.server, reign.leader
                    ),
                );
            }
        }
        Ok(())
    }
}
