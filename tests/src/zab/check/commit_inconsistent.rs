//! `commitInconsistent`: a COMMIT is of the oldest proposal that is not committed; a snapshot has nothing in it that is
//! not.

use std::collections::{BTreeMap, VecDeque};

use jute_codec::Zxid;
use jute_codec::quorum::LeaderPacket;

use super::{Check, Checker, broken};
use crate::zab::book::{Book, Link, Seen};
use crate::zab::entry::last;

/// The promise's name.
pub const NAME: &str = "commitInconsistent";

/// Proposals that have arrived and are not committed.
#[derive(Debug, Default)]
pub struct CommitInconsistent {
    proposed: BTreeMap<Link, VecDeque<Zxid>>,
}

impl Checker for CommitInconsistent {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on(&mut self, book: &Book, seen: &Seen<'_>) -> Check {
        match seen {
            Seen::AtLearner {
                link,
                packet: LeaderPacket::Proposal { zxid, .. },
            } => self.proposed.entry(*link).or_default().push_back(*zxid),
            Seen::AtLearner {
                link,
                packet: LeaderPacket::Commit { zxid } | LeaderPacket::CommitAndActivate { zxid, .. },
            } => {
                let oldest = self.proposed.entry(*link).or_default().pop_front();
                if oldest != Some(*zxid) {
                    return broken(
                        NAME,
                        format!("{zxid} committed before {oldest:?} on {link:?}"),
                    );
                }
            }
            Seen::ToLearner {
                link,
                packet: LeaderPacket::Snap { zxid },
            } => {
                let applied = last(&book.of(link.leader).applied);
                if *zxid > applied {
                    return broken(
                        NAME,
                        format!(
                            "a snapshot as of {zxid}, and {} has applied {applied}",
                            link.leader
                        ),
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }
}
