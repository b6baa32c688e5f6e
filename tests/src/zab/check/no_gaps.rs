//! `NoGaps` (I5): in every log, and in what leaders propose, the zxids of an epoch are 1, 2, 3, and so on.

use std::collections::BTreeMap;

use jute_codec::Zxid;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Seen, Written};
use crate::zab::entry::{Entry, follows};

/// The promise's name.
pub const NAME: &str = "NoGaps";

/// What each epoch's leader proposed last.
#[derive(Debug, Default)]
pub struct NoGaps {
    proposed: BTreeMap<i64, Zxid>,
}

fn check_end(whose: &str, server: i64, log: &[Entry]) -> Check {
    let Some((newest, before)) = log.split_last() else {
        return Ok(());
    };
    let before = before.last().map_or(Zxid::ZERO, |entry| entry.zxid);
    if !follows(before, newest.zxid) {
        return broken(
            NAME,
            format!("{} behind {before} in the {whose} of {server}", newest.zxid),
        );
    }
    Ok(())
}

impl Checker for NoGaps {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        match seen {
            Seen::Appended { server, .. } => check_end("log", *server, &book.of(*server).log),
            Seen::OnDisk {
                server,
                written: Written::Entry(_),
            } => check_end("disk", *server, &book.of(*server).disk),
            Seen::Proposed { server, entry } => {
                let epoch = entry.zxid.epoch();
                let before = self.proposed.entry(epoch).or_insert(Zxid(epoch << 32));
                if entry.zxid != before.next() {
                    return broken(
                        NAME,
                        format!("{server} proposes {} behind {before}", entry.zxid),
                    );
                }
                *before = entry.zxid;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
