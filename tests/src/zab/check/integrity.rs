//! `Integrity`: what is delivered was proposed by a leader.

use std::collections::BTreeMap;

use jute_codec::Zxid;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen};

/// The promise's name.
pub const NAME: &str = "Integrity";

/// All that was ever proposed.
#[derive(Debug, Default)]
pub struct Integrity {
    proposed: BTreeMap<u64, Zxid>,
}

impl Checker for Integrity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        if let Seen::Proposed { entry, .. } = seen {
            self.proposed.insert(entry.number, entry.zxid);
        }
        let Some(delivery) = book.delivery() else {
            return Ok(());
        };
        for entry in &delivery.all[delivery.new_from..] {
            if self.proposed.get(&entry.number) != Some(&entry.zxid) {
                return broken(
                    NAME,
                    format!(
                        "{} delivered {entry:?}, which nobody proposed",
                        delivery.server
                    ),
                );
            }
        }
        Ok(())
    }
}
